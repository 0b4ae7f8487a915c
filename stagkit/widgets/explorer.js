// What the explorers share. A widget's module is this text with its own after it: plain ES, no import, no bundler.

const SVG = "http://www.w3.org/2000/svg";
const clocks = new WeakMap(); // model -> {timer, views}: two views of one widget share one clock

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

const short = (value, digits = 3) => (value === null || value === undefined ? "–" : String(Number(Number(value).toPrecision(digits))).replace("-", "−"));
const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
const words = (name) => {
  const side = name.endsWith("_L") ? " (subject's left)" : name.endsWith("_R") ? " (subject's right)" : "";
  return name.replace(/_[LR]$/, "").replaceAll("_", " ") + side;
};
const brief = (name) => name.replace(/_([LR])$/, " $1").replaceAll("_", " ");
const at = ([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`;
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// Compressed bytes as Python's zlib writes them, base64.
async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// A smooth line through points (Catmull-Rom as Bezier); closed where asked.
function smooth(points, closed = false, start = "M") {
  const n = points.length;
  const get = (i) => (closed ? points[(i + n) % n] : points[clamp(i, 0, n - 1)]);
  let path = `${start}${at(points[0])}`;
  for (let i = 0; i < (closed ? n : n - 1); i++) {
    const [a, b, c, d] = [get(i - 1), get(i), get(i + 1), get(i + 2)];
    const one = [b[0] + (c[0] - a[0]) / 6, b[1] + (c[1] - a[1]) / 6];
    const two = [c[0] - (d[0] - b[0]) / 6, c[1] - (d[1] - b[1]) / 6];
    path += `C${at(one)} ${at(two)} ${at(c)}`;
  }
  return closed ? path + "Z" : path;
}

// The face as [class, path] from 68 landmarks, in whatever unit they are: never a picture of a person.
function facePaths(p) {
  const slice = (from, to) => p.slice(from, to + 1);
  const [left, right] = [p[0], p[16]];
  const half = (right[0] - left[0]) / 2;
  const height = 0.62 * half * 1.1;
  const forehead = [];
  for (let k = 1; k < 10; k++) {
    const angle = (Math.PI * k) / 10;
    forehead.push([left[0] + half + half * Math.cos(angle) * (1 + 0.03 * Math.sin(angle)), right[1] + (left[1] - right[1]) * (k / 10) - 1.05 * height * Math.sin(angle) ** 0.94]);
  }
  const paths = [["sg-skin", smooth([...slice(0, 16), ...forehead], true)]];
  for (const brow of [slice(17, 21), slice(22, 26)]) paths.push(["sg-trait sg-brow", smooth(brow)]);
  for (const eye of [slice(36, 41), slice(42, 47)])
    paths.push(["sg-white", smooth(eye.slice(0, 4)) + smooth([eye[3], eye[4], eye[5], eye[0]]).replace("M", "L") + "Z"]);
  paths.push(["sg-trait", smooth(slice(27, 30))], ["sg-trait", smooth(slice(31, 35))]);
  for (const lip of [
    [slice(48, 54), [...slice(60, 64)].reverse()],
    [[p[54], ...slice(55, 59), p[48]], [p[60], p[67], p[66], p[65], p[64]]],
  ])
    paths.push(["sg-lip", smooth(lip[0]) + smooth(lip[1], false, "L") + "Z"]);
  return paths;
}

function drawFace(parent, points) {
  const face = make("g", { "aria-hidden": "true" }, parent);
  for (const [name, d] of facePaths(points)) make("path", { class: name, d }, face);
  return face;
}

// Round ticks of an axis from low to high.
function ticks(low, high, most = 5) {
  const step = 10 ** Math.floor(Math.log10((high - low || 1) / most));
  const wide = [1, 2, 5, 10].map((k) => k * step).find((s) => (high - low) / s <= most) ?? 10 * step;
  const out = [];
  for (let value = Math.ceil(low / wide - 1e-9) * wide; value <= high + 1e-9 * wide; value += wide) out.push(Number(value.toPrecision(12)));
  return out;
}

// The frame that every explorer stands in: its root, controls tied to traits, redrawing once a picture, a clock.
function explorer({ model, el }, name, label) {
  const get = (trait) => model.get(trait);
  const put = (values) => {
    for (const [trait, value] of Object.entries(values)) model.set(trait, value);
    model.save_changes();
  };
  const root = html("div", { class: `stag-x stag-${name}`, role: "group", "aria-label": label }, el);
  const heard = [];
  const ties = [];
  const on = (traits, callback) => {
    for (const trait of [traits].flat()) {
      model.on(`change:${trait}`, callback);
      heard.push([`change:${trait}`, callback]);
    }
  };
  // what Python has computed for a choice: sent for it alone, or kept in a saved page
  const payload = (key) => (get("_payload").key === key ? get("_payload") : (get("_saved") ?? {})[key]);

  const field = (parent, text) => {
    const box = html("label", { class: "sg-field" }, parent);
    if (text) html("span", {}, box, text);
    return box;
  };
  function select(parent, text, options, trait, { label: spoken = text, change = null, usable = null } = {}) {
    const node = html("select", { "aria-label": spoken, onchange: () => (change ?? ((value) => put({ [trait]: value })))(node.value) }, field(parent, text));
    const fill = (list) => {
      node.replaceChildren();
      for (const [value, shown] of list) html("option", { value }, node, shown);
    };
    fill(options);
    ties.push(() => {
      if (usable) for (const option of node.options) option.disabled = !usable(option.value);
      node.value = get(trait);
    });
    node.fill = fill;
    return node;
  }
  function segments(parent, spoken, options, trait, usable = null) {
    const box = html("span", { class: "sg-seg", role: "group", "aria-label": spoken }, parent);
    const buttons = options.map(([value, text, title]) => html("button", { type: "button", "data-value": value, title, onclick: () => put({ [trait]: value }) }, box, text));
    ties.push(() => {
      for (const button of buttons) {
        button.setAttribute("aria-pressed", button.dataset.value === String(get(trait)));
        if (usable) button.disabled = !usable(button.dataset.value);
      }
    });
    return box;
  }
  function panel(parent, className, title) {
    const box = html("section", { class: `sg-panel ${className}`, "aria-label": title }, parent);
    const head = html("div", { class: "sg-head" }, box);
    html("h3", {}, head, title);
    return { box, head, note: html("span", { class: "sg-note" }, head) };
  }

  // play, a slider over frames, and the time of the frame shown
  function clock(parent, { frames, told, step = 120 }) {
    const bar = html("div", { class: "sg-clock" }, parent);
    const play = html("button", { type: "button", onclick: () => put({ playing: !get("playing") }) }, bar);
    const slider = html("input", { type: "range", min: 0, step: 1, "aria-label": "Frame", oninput: () => put({ frame: frames()[Number(slider.value)] }) }, bar);
    const text = html("output", {}, bar);
    ties.push(() => {
      const list = frames();
      slider.max = Math.max(list.length - 1, 0);
      slider.value = Math.max(0, list.findIndex((f) => f >= get("frame")));
      slider.setAttribute("aria-valuetext", told());
      text.textContent = told();
      play.textContent = get("playing") ? "❚❚ Pause" : "▶ Play";
      play.setAttribute("aria-pressed", get("playing"));
      play.disabled = list.length < 2;
    });
    const run = () => {
      const shared = clocks.get(model);
      clearInterval(shared.timer);
      shared.timer = get("playing")
        ? setInterval(() => {
            const list = frames();
            const next = list.findIndex((f) => f > get("frame"));
            put({ frame: list[next < 0 ? 0 : next] });
          }, step)
        : 0;
    };
    on("playing", run);
    run();
    return bar;
  }
  if (!clocks.has(model)) clocks.set(model, { timer: 0, views: 0 });
  clocks.get(model).views += 1;

  async function copy(button, code) {
    try {
      await navigator.clipboard.writeText(code);
      const before = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = before), 1200);
    } catch {
      button.after(html("code", { class: "sg-code" }, null, code));
    }
  }

  let [queued, draw] = [0, () => {}];
  const schedule = () => {
    if (!queued)
      queued = requestAnimationFrame(() => {
        queued = 0;
        const start = performance.now();
        for (const tie of ties) tie();
        draw();
        root.dataset.drawMs = (performance.now() - start).toFixed(1);
      });
  };
  return {
    get, put, root, on, payload, field, select, segments, panel, clock, copy, schedule,
    // call last: draw now, and again whenever one of these traits changes
    start(traits, drawing) {
      draw = drawing;
      on(traits, schedule);
      for (const tie of ties) tie();
      draw();
    },
    stop() {
      for (const [event, callback] of heard) model.off(event, callback);
      const shared = clocks.get(model);
      shared.views -= 1;
      if (!shared.views) clearInterval(shared.timer);
      cancelAnimationFrame(queued);
      root.remove();
    },
  };
}
