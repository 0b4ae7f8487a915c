// Shared by all explorers: elements, numbers, controls, tooltip, packed arrays. Parts of one module: see browser.py.

const SVG = "http://www.w3.org/2000/svg";

// ---------------------------------------------------------------------------------------------- elements
function make(tag, attributes = {}, parent = null, text = null) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function html(tag, attributes = {}, parent = null, text = null) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  if (text !== null) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

// ---------------------------------------------------------------------------------------------- numbers and words
function unpack(packed) {
  if (!packed) return null;
  const text = atob(packed.data);
  const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  const kinds = { i2: Int16Array, u2: Uint16Array, u1: Uint8Array, f4: Float32Array };
  const raw = new kinds[packed.kind](bytes.buffer);
  return { shape: packed.shape, values: Float64Array.from(raw, (value) => value * packed.scale) };
}

function softmax(logits) {
  const most = Math.max(...logits);
  const shifted = logits.map((value) => Math.exp(value - most));
  const sum = shifted.reduce((a, b) => a + b, 0);
  return shifted.map((value) => value / sum);
}

const short = (value) =>
  value === null || value === undefined ? "–" : String(Number(value.toPrecision(3))).replace("-", "−");
const signedText = (value) => (value > 0 ? "+" : "") + short(value);
const rounded = (value) => Number(value.toPrecision(4));
const words = (name) => {
  const side = name.endsWith("_L") ? " (subject's left)" : name.endsWith("_R") ? " (subject's right)" : "";
  return name.replace(/_[LR]$/, "").replaceAll("_", " ") + side;
};
const brief = (name) => String(name).replace(/_([LR])$/, " $1").replaceAll("_", " ");
const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
const at = ([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`;

// ---------------------------------------------------------------------------------------------- controls
function field(text, parent) {
  const label = html("label", { class: "sg-field" }, parent);
  if (text) html("span", {}, label, text);
  return label;
}

function select(parent, label, name, options, onchange) {
  const box = field(label, parent);
  const node = html("select", { "aria-label": name, onchange: () => onchange(node.value) }, box);
  for (const [value, text] of options) html("option", { value }, node, text);
  node.field = box;
  return node;
}

function segments(parent, label, options, onchoose) {
  const box = html("span", { class: "sg-seg", role: "group", "aria-label": label }, parent);
  return options.map(([value, text, title]) =>
    html("button", { type: "button", "data-value": value, title, onclick: () => onchoose(value) }, box, text),
  );
}

function panel(className, title, parent) {
  const box = html("section", { class: `sg-panel ${className}`, "aria-label": title }, parent);
  const head = html("div", { class: "sg-head" }, box);
  const name = html("h3", {}, head, title);
  return { box, head, name, note: html("span", { class: "sg-note" }, head) };
}

// A button that opens a small list of actions: keyboard and outside clicks close it.
function menu(parent, label, title, actions) {
  const box = html("details", { class: "sg-menu" }, parent);
  html("summary", { title, role: "button" }, box, label);
  const list = html("div", { class: "sg-menu-list", role: "group", "aria-label": title }, box);
  for (const [text, hint, action] of actions)
    html("button", { type: "button", title: hint, onclick: () => { box.open = false; action(); } }, list, text);
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    box.open = false;
    box.querySelector("summary").focus();
    event.stopPropagation();
  });
  box.addEventListener("focusout", (event) => { if (event.relatedTarget && !box.contains(event.relatedTarget)) box.open = false; });
  return box;
}

// JupyterLab catches keys before the explorer hears them (arrows walk between cells, even from a slider), unless the
// focused element asks for them.
function keepKeys(root) {
  root.addEventListener("focusin", (event) => event.target.setAttribute("data-lm-suppress-shortcuts", "true"));
}

// ---------------------------------------------------------------------------------------------- tooltip
function makeTip(root) {
  const tip = html("div", { class: "sg-tip-box", role: "status", "aria-hidden": "true" }, root);
  return {
    show(event, lines) {
      tip.replaceChildren();
      lines.forEach((line, i) => html(i ? "div" : "b", {}, tip, line));
      const box = root.getBoundingClientRect();
      const from = event.clientX !== undefined && event.type !== "focus" ? event : null;
      const mark = event.currentTarget.getBoundingClientRect();
      const x = (from ? from.clientX : mark.left + mark.width / 2) - box.left;
      const y = (from ? from.clientY : mark.bottom) - box.top;
      tip.style.left = `${Math.max(4, Math.min(x + 14, box.width - tip.offsetWidth - 8))}px`;
      tip.style.top = `${y + 16 + tip.offsetHeight > box.height ? y - tip.offsetHeight - 10 : y + 16}px`;
      tip.classList.add("sg-visible");
    },
    hide: () => tip.classList.remove("sg-visible"),
  };
}
