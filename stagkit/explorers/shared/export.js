// Export of what an explorer shows: images (SVG, PNG), tables (CSV), graphs (GraphML), text.

const STYLE_NAMES = (
  "fill fill-opacity stroke stroke-width stroke-opacity stroke-dasharray stroke-linecap stroke-linejoin opacity " +
  "font-family font-size font-weight text-anchor dominant-baseline paint-order display visibility"
).split(" ");

// The link hangs in the explorer itself: editors that catch clicks on links see it, and nothing outside is touched.
function save(root, name, data, type) {
  const url = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = html("a", { href: url, download: name, style: "display:none" }, root);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Several drawings side by side as one SVG that needs no style sheet; parts: [{svg, title}], all of one size.
function joinDrawings(root, parts, notes = []) {
  const gap = 14;
  const boxes = parts.map(({ svg }) => svg.viewBox.baseVal);
  const width = boxes.reduce((sum, box) => sum + box.width + gap, -gap);
  const height = Math.max(...boxes.map((box) => box.height)) + 34 + 18 * notes.length;
  const style = getComputedStyle(root);
  const out = make("svg", { xmlns: SVG, viewBox: `0 0 ${width} ${height}`, width, height });
  make("rect", { width, height, fill: style.backgroundColor }, out);
  const write = (text, x, y, extra = {}) =>
    make("text", { x, y, fill: style.color, "font-family": style.fontFamily, "font-size": 14, ...extra }, out, text);
  let x = 0;
  parts.forEach(({ svg, title }, i) => {
    const copy = svg.cloneNode(true);
    const [from, to] = [[svg, ...svg.querySelectorAll("*")], [copy, ...copy.querySelectorAll("*")]];
    from.forEach((node, k) => {
      const computed = getComputedStyle(node);
      to[k].setAttribute("style", STYLE_NAMES.map((name) => `${name}:${computed.getPropertyValue(name)}`).join(";"));
      for (const name of ["tabindex", "role", "class"]) to[k].removeAttribute(name);
    });
    for (const [name, value] of [["x", x], ["y", 30], ["width", boxes[i].width], ["height", boxes[i].height]]) copy.setAttribute(name, value);
    write(title, x + 10, 20, { "font-weight": 600 });
    out.appendChild(copy);
    x += boxes[i].width + gap;
  });
  notes.forEach((note, i) => write(note, 10, height - 8 - 18 * (notes.length - 1 - i), { "font-size": 12 }));
  return new XMLSerializer().serializeToString(out);
}

async function toPng(svgText, scale = 2) {
  const image = new Image();
  image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(svgText);
  await image.decode();
  const canvas = html("canvas", { width: image.width * scale, height: image.height * scale });
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.drawImage(image, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

const toCsv = (head, rows) => [head, ...rows].map((row) => row.map((v) => (/[",\n]/.test(String(v)) ? `"${String(v).replaceAll('"', '""')}"` : v)).join(",")).join("\n") + "\n";

// nodes: [{id, ...}], edges: [{source, target, ...}]; text and numbers as attributes.
function toGraphml(nodes, edges, directed = true) {
  const safe = (text) => String(text).replace(/[<>&"]/g, (c) => ({ "<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;" })[c]);
  const keys = new Map();
  const data = (of, values) =>
    Object.entries(values).map(([name, value]) => {
      if (!keys.has(of + name)) keys.set(of + name, `<key id="${of}_${name}" for="${of}" attr.name="${name}" attr.type="${typeof value === "number" ? "double" : "string"}"/>`);
      return `<data key="${of}_${name}">${safe(value)}</data>`;
    }).join("");
  const body = [
    ...nodes.map(({ id, ...values }) => `<node id="${safe(id)}">${data("node", values)}</node>`),
    ...edges.map(({ source, target, ...values }) => `<edge source="${safe(source)}" target="${safe(target)}">${data("edge", values)}</edge>`),
  ];
  return `<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n${[...keys.values()].join("\n")}\n<graph edgedefault="${directed ? "directed" : "undirected"}">\n${body.join("\n")}\n</graph>\n</graphml>\n`;
}

// Puts text on the clipboard; where that is forbidden, shows it as selectable text.
async function copyText(text, button, done = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    const before = button.textContent;
    button.textContent = done;
    setTimeout(() => { button.textContent = before; }, 1600);
  } catch {
    const old = button.parentNode.querySelector(".sg-code");
    if (old) old.remove();
    html("pre", { class: "sg-code", tabindex: 0 }, button.parentNode, text);
  }
}
