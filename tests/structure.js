// What a picture of an explorer must have, whatever its size and theme: structure, not pixels (tests/browser.py).
(selector) => {
  const root = document.querySelector(selector);
  const seen = (n) => n.checkVisibility() && n.getBoundingClientRect().width > 0;
  const boxes = [...root.querySelectorAll('.sg-panel')].filter(seen).map((n) => [n.className, n.getBoundingClientRect()]);
  const overlaps = [];
  boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
    if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 1) overlaps.push([a, b]);
  }));
  const cut = [...root.querySelectorAll('button, select, input, summary, h3')].filter(seen).filter((n) => {
    const box = n.getBoundingClientRect();
    return box.left < -1 || box.right > document.documentElement.clientWidth + 1;
  }).map((n) => n.textContent || n.ariaLabel);
  const nameless = [...root.querySelectorAll('button, select, input, [role=button]')].filter(seen)
    .filter((n) => !(n.ariaLabel || n.textContent.trim() || n.labels?.length)).map((n) => n.outerHTML.slice(0, 90));
  const rgb = (text) => (text.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
  const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ratio = (a, b) => { const [p, q] = [light(a), light(b)].sort((x, y) => y - x); return (p + 0.05) / (q + 0.05); };
  const ground = (n) => { for (; n; n = n.parentElement) { const c = getComputedStyle(n).backgroundColor; if (!/^rgba\(.*, 0\)$/.test(c)) return rgb(c); } return [255, 255, 255]; };
  const pale = [...root.querySelectorAll('button, select, h3, p, label, .sg-note, .sg-name, .sg-number-cell')].filter(seen)
    .filter((n) => n.textContent.trim() && !n.disabled && !n.closest('[disabled]'))
    .map((n) => [n.textContent.trim().slice(0, 30), ratio(rgb(getComputedStyle(n).color), ground(n))]).filter(([, r]) => r < 4.5);
  return {
    panels: boxes.map(([name]) => name.split(' ')[1]), overlaps, cut, nameless, pale,
    nodes: root.querySelectorAll('.sg-panels .sg-node').length, edges: root.querySelectorAll('.sg-panels .sg-edge[data-key]').length,
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
}
