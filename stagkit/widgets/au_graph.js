// AU-graph explorer: one plain ES module, the same in a notebook (anywidget) and in an exported page.
// Every edge matrix is (target, source), row-major: value = matrix[target * n + source].

const SVG = "http://www.w3.org/2000/svg";
const FACE = { width: 520, height: 386, cx: 260, cy: 119, scale: 204 }; // px of the drawing; scale = px an IOD
const STEP_MS = 420; // a frame's time on screen while playing
const players = new WeakMap(); // model -> {timer, views}: two views of one widget share one clock

// ---------------------------------------------------------------------------------------------- small helpers
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
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  if (text !== null) node.textContent = text;
  if (parent) parent.appendChild(node);
  return node;
}

function unpack(packed) {
  if (!packed) return null;
  const text = atob(packed.data);
  const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
  const raw = { i2: () => new Int16Array(bytes.buffer), u2: () => new Uint16Array(bytes.buffer), u1: () => bytes }[packed.kind]();
  return { shape: packed.shape, values: Float64Array.from(raw, (value) => value * packed.scale) };
}

const short = (value) => (value === null || value === undefined ? "–" : String(Number(value.toPrecision(3))));
const rounded = (value) => Number(value.toPrecision(4));
const words = (name) => {
  const side = name.endsWith("_L") ? " (subject's left)" : name.endsWith("_R") ? " (subject's right)" : "";
  return name.replace(/_[LR]$/, "").replaceAll("_", " ") + side;
};
const brief = (name) => name.replace(/_([LR])$/, " $1").replaceAll("_", " ");
const mean = (points) => [0, 1].map((i) => points.reduce((sum, p) => sum + p[i], 0) / points.length);
const place = ([x, y]) => [FACE.cx + x * FACE.scale, FACE.cy + y * FACE.scale];
const at = ([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`;

// A smooth line through points (Catmull-Rom as Bezier); closed where asked.
function smooth(points, closed = false, start = "M") {
  const n = points.length;
  const get = (i) => (closed ? points[(i + n) % n] : points[Math.max(0, Math.min(n - 1, i))]);
  let path = `${start}${at(points[0])}`;
  for (let i = 0; i < (closed ? n : n - 1); i++) {
    const [a, b, c, d] = [get(i - 1), get(i), get(i + 1), get(i + 2)];
    const one = [b[0] + (c[0] - a[0]) / 6, b[1] + (c[1] - a[1]) / 6];
    const two = [c[0] - (d[0] - b[0]) / 6, c[1] - (d[1] - b[1]) / 6];
    path += `C${at(one)} ${at(two)} ${at(c)}`;
  }
  return closed ? path + "Z" : path;
}

// ---------------------------------------------------------------------------------------------- the face
function drawFace(parent, landmarks) {
  const p = landmarks.map(place);
  const slice = (from, to) => p.slice(from, to + 1);
  const face = make("g", { "aria-hidden": "true" }, parent);
  // jaw from the landmarks, forehead as half an ellipse above the temples
  const [left, right] = [p[0], p[16]];
  const half = (right[0] - left[0]) / 2;
  const forehead = [];
  for (let k = 1; k < 10; k++) {
    const angle = (Math.PI * k) / 10;
    const x = left[0] + half + half * Math.cos(angle) * (1 + 0.03 * Math.sin(angle));
    forehead.push([x, right[1] + (left[1] - right[1]) * (k / 10) - 0.52 * FACE.scale * Math.sin(angle) ** 0.94]);
  }
  make("path", { class: "sg-skin", d: smooth([...slice(0, 16), ...forehead], true) }, face);
  for (const brow of [slice(17, 21), slice(22, 26)]) {
    const middle = brow.map((q, i) => [q[0], q[1] + [0.5, 5, 7, 6, 2.5][brow[0][0] < FACE.cx ? i : 4 - i]]);
    make("path", { class: "sg-brow", d: smooth(brow) + smooth([...middle].reverse(), false, "L") + "Z" }, face);
  }
  for (const eye of [slice(36, 41), slice(42, 47)]) {
    const upper = smooth(eye.slice(0, 4));
    const lower = smooth([eye[3], eye[4], eye[5], eye[0]]);
    const id = `sg-eye-${Math.random().toString(36).slice(2)}`;
    const clip = make("clipPath", { id }, face);
    make("path", { d: upper + lower.replace("M", "L") + "Z" }, clip);
    make("path", { class: "sg-white", d: upper + lower.replace("M", "L") + "Z" }, face);
    const [x, y] = mean(eye);
    make("circle", { class: "sg-iris", cx: x, cy: y - 1, r: 10.5, "clip-path": `url(#${id})` }, face);
    make("path", { class: "sg-trait", d: upper, style: "stroke-width:2.4" }, face);
    make("path", { class: "sg-trait", d: lower, style: "opacity:.7" }, face);
  }
  make("path", { class: "sg-trait", d: smooth(slice(27, 30)), style: "opacity:.55" }, face);
  make("path", { class: "sg-trait", d: smooth(slice(31, 35)) }, face);
  for (const lip of [
    [slice(48, 54), [...slice(60, 64)].reverse()],
    [[p[54], ...slice(55, 59), p[48]], [p[60], p[67], p[66], p[65], p[64]]],
  ])
    make("path", { class: "sg-lip", d: smooth(lip[0]) + smooth(lip[1], false, "L") + "Z" }, face);
  return face;
}

// ---------------------------------------------------------------------------------------------- edges
// From source to target, bent to its left, so that the two directions of a pair lie apart.
// On the circle all bend towards its centre instead.
function wire(from, to, startGap, endGap, width, centre = null) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy) || 1;
  const bend = centre ? 9 : Math.min(0.2 * length, 46) + 4;
  const control = [(from[0] + to[0]) / 2 + (dy / length) * bend, (from[1] + to[1]) / 2 - (dx / length) * bend];
  if (centre) for (const i of [0, 1]) control[i] += 0.55 * (centre[i] - (from[i] + to[i]) / 2);
  const toward = (a, b, gap) => {
    const d = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
    return [a[0] + ((b[0] - a[0]) / d) * gap, a[1] + ((b[1] - a[1]) / d) * gap];
  };
  const tipLength = 5 + 1.7 * width;
  const start = toward(from, control, Math.min(startGap, length / 3));
  const tip = toward(to, control, Math.min(endGap, length / 3));
  const neck = toward(to, control, Math.min(endGap, length / 3) + tipLength);
  const [ux, uy] = [(tip[0] - neck[0]) / tipLength, (tip[1] - neck[1]) / tipLength];
  const spread = 2 + 1.05 * width;
  const corners = [tip, [neck[0] - uy * spread, neck[1] + ux * spread], [neck[0] + uy * spread, neck[1] - ux * spread]];
  const middle = [0.25 * start[0] + 0.5 * control[0] + 0.25 * neck[0], 0.25 * start[1] + 0.5 * control[1] + 0.25 * neck[1]];
  return { line: `M${at(start)}Q${at(control)} ${at(neck)}`, tip: `M${corners.map(at).join("L")}Z`, middle };
}

// ---------------------------------------------------------------------------------------------- the explorer
function render({ model, el }) {
  const get = (name) => model.get(name);
  const put = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  };
  const scene = get("_scene");
  const n = { au: scene.aus.length, region: scene.rois.length };
  const names = { au: scene.aus.map((unit) => unit.label), region: scene.rois };
  const reasons = new Map();
  for (const [a, b, why] of scene.reasons) {
    reasons.set(`${a}|${b}`, why);
    reasons.set(`${b}|${a}`, why);
  }
  const regionAt = scene.centres.map(place);
  let clip = null; // the clip's arrays, unpacked

  const root = html("div", { class: "stag-au", role: "group", "aria-label": "Action-unit graph explorer" }, el);

  // ------------------------------------------------------------------------------------------ data
  function load() {
    const payload = get("_payload");
    if (clip && clip.index === payload.index) return;
    clip = {
      index: payload.index,
      times: payload.times_ms,
      present: payload.present,
      evidence: unpack(payload.evidence),
      flow: unpack(payload.flow),
      au: unpack(payload.au),
      weight: unpack(payload.weight),
      attention: unpack(payload.attention),
      weights: payload.time_weights,
      cache: new Map(),
    };
  }

  // "time target source" values of a graph as now chosen; null where the network has none.
  function edgeValues(graph) {
    if (graph === "au") return clip.au && clip.au.values;
    if (get("quantity") === "weight") return clip.weight && clip.weight.values;
    if (!clip.attention) return null;
    const head = get("head");
    const key = `attention ${head}`;
    if (!clip.cache.has(key)) {
      const [time, heads, size] = clip.attention.shape;
      const cells = size * size;
      const out = new Float64Array(time * cells);
      for (let t = 0; t < time; t++)
        for (let h = 0; h < heads; h++)
          if (head < 0 || h === head)
            for (let c = 0; c < cells; c++)
              out[t * cells + c] += clip.attention.values[(t * heads + h) * cells + c] / (head < 0 ? heads : 1);
      clip.cache.set(key, out);
    }
    return clip.cache.get(key);
  }

  function edgeValue(graph, target, source, frame = get("frame")) {
    const values = edgeValues(graph);
    const size = n[graph];
    return values ? values[(frame * size + names[graph].indexOf(target)) * size + names[graph].indexOf(source)] : null;
  }

  function allowed(graph, target, source) {
    if (target === source) return false;
    const kind = graph === "au" ? "all" : get("edge_kind");
    return kind === "all" || (kind === "anatomical") === reasons.has(`${scene.rois[target]}|${scene.rois[source]}`);
  }

  // All candidate values of the clip in order: the threshold is a place in this list.
  function ordered(graph) {
    const key = `order ${graph} ${get("quantity")} ${get("head")} ${get("edge_kind")}`;
    if (!clip.cache.has(key)) {
      const values = edgeValues(graph);
      const size = n[graph];
      const out = [];
      for (let t = 0; t < clip.times.length; t++)
        for (let i = 0; i < size; i++)
          for (let j = 0; j < size; j++) if (allowed(graph, i, j)) out.push(values[(t * size + i) * size + j]);
      clip.cache.set(key, Float64Array.from(out).sort());
    }
    return clip.cache.get(key);
  }

  function cutoff(graph) {
    const list = ordered(graph);
    return list.length ? list[Math.min(Math.floor(get("threshold") * list.length), list.length - 1)] : 0;
  }

  function shownEdges(graph) {
    const values = edgeValues(graph);
    if (!values) return [];
    const [size, frame, limit] = [n[graph], get("frame"), cutoff(graph)];
    const out = [];
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const value = values[(frame * size + i) * size + j];
        if (value > 0 && value >= limit && allowed(graph, i, j))
          out.push({ graph, target: names[graph][i], source: names[graph][j], value });
      }
    // what is selected or cut stays in sight whatever the threshold
    const extra = get("cuts").filter(([kind]) => kind === graph).map(([, target, source]) => [target, source]);
    const chosen = get("selected_edge");
    if (chosen.graph === graph) extra.push([chosen.target, chosen.source]);
    for (const [target, source] of extra)
      if (!out.some((e) => e.target === target && e.source === source))
        out.push({ graph, target, source, value: edgeValue(graph, target, source) });
    return out.sort((a, b) => b.value - a.value);
  }

  const scaleOf = (graph) => scene.maxima[graph === "au" ? "au" : get("quantity")] || 1;
  const meaningOf = (graph) => scene.meaning[graph === "au" ? "au.weight" : `region.${get("quantity")}`];
  const evidence = (k, frame = get("frame")) => clip.evidence.values[frame * n.au + k];
  const unitOf = (label) => scene.aus[names.au.indexOf(label)];
  const movedBy = (label) => scene.incidence[names.au.indexOf(label)].map((v, i) => [scene.rois[i], v]).filter(([, v]) => v > 0);
  const movers = (region) => scene.aus.filter((_, k) => scene.incidence[k][scene.rois.indexOf(region)] > 0);
  const isCut = (edge) => get("cuts").some(([k, t, s]) => k === edge.graph && t === edge.target && s === edge.source);
  const same = (a, b) => a.graph === b.graph && a.target === b.target && a.source === b.source;

  // ------------------------------------------------------------------------------------------ actions
  function choose(what, name) {
    const next = { selected_au: "", selected_region: "", selected_edge: {} };
    if (what) next[what] = get(what) === name ? "" : name;
    put(next);
  }

  function chooseEdge(edge) {
    const chosen = get("selected_edge");
    put({
      selected_au: "",
      selected_region: "",
      selected_edge: chosen.target && same(chosen, edge) ? {} : described(edge),
    });
  }

  function described({ graph, target, source }) {
    const value = edgeValue(graph, target, source);
    return {
      graph,
      target,
      source,
      value: value === null ? null : rounded(value),
      quantity: graph === "au" ? "weight" : get("quantity"),
      clip: get("clip"),
      frame: get("frame"),
    };
  }

  function toggleCut(edge) {
    const cut = [edge.graph, edge.target, edge.source];
    const rest = get("cuts").filter((c) => c.join("|") !== cut.join("|"));
    put({ cuts: rest.length === get("cuts").length ? [...rest, cut] : rest });
  }

  function goTo(frame) {
    put({ frame: Math.max(0, Math.min(clip.times.length - 1, frame)) });
  }

  function goToClip(index) {
    const wanted = scene.clips[index];
    if (!wanted || index === get("clip")) return;
    put({ clip: index });
  }

  let hoverTimer = 0;
  function hover(what) {
    clearTimeout(hoverTimer);
    hoverTimer = setTimeout(() => {
      if (JSON.stringify(get("hovered")) !== JSON.stringify(what)) put({ hovered: what });
    }, 40);
  }

  // ------------------------------------------------------------------------------------------ frame of the page
  const bar = html("div", { class: "sg-bar" }, root);
  const field = (text, parent) => {
    const label = html("label", { class: "sg-field" }, parent);
    html("span", {}, label, text);
    return label;
  };
  function select(parent, label, options, onchange) {
    const node = html("select", { "aria-label": label || "Kind of region edges", onchange: () => onchange(node.value) }, field(label, parent));
    for (const [value, text] of options) html("option", { value }, node, text);
    return node;
  }
  function segments(parent, label, options, trait) {
    const box = html("span", { class: "sg-seg", role: "group", "aria-label": label }, parent);
    return options.map(([value, text, title]) =>
      html("button", { type: "button", "data-value": value, title, onclick: () => put({ [trait]: value }) }, box, text),
    );
  }
  const counts = scene.classes.map((_, c) => scene.clips.filter((entry) => entry.label === c).length);
  const classBox = select(
    bar,
    "Class",
    [["", "all classes"], ...scene.classes.map((name, c) => [name, `${name} (${counts[c]})`])],
    (value) => {
      put({ class_filter: value });
      const label = scene.classes.indexOf(value);
      if (value && scene.clips[get("clip")].label !== label) {
        const first = scene.clips.findIndex((entry) => entry.label === label);
        if (first >= 0) goToClip(first);
      }
    },
  );
  const clipField = field("Clip", bar);
  const clipBox = html("select", { "aria-label": "Clip", style: "max-width:240px", onchange: () => goToClip(Number(clipBox.value)) }, clipField);
  const auBox = select(
    bar,
    "AU",
    [["", "none selected"], ...scene.aus.map((unit) => [unit.label, `${unit.label} ${unit.name}`])],
    (value) => choose("selected_au", value),
  );
  auBox.style.maxWidth = "150px";
  const viewButtons = segments(
    html("span", { class: "sg-push" }, bar),
    "View",
    [["both", "Both", "regions and action units"], ["region", "Regions", "region graph only"], ["au", "AUs", "action-unit graph only"]],
    "view",
  );

  const tools = html("div", { class: "sg-bar" }, root);
  const quantityBox = select(
    tools,
    "Region edges",
    [["weight", "edge weight A"], ["attention", scene.attention_name ? `attention ${scene.attention_name}` : "attention"]],
    (value) => put({ quantity: value }),
  );
  quantityBox.options[0].disabled = !scene.maxima.weight;
  quantityBox.options[1].disabled = !scene.n_heads;
  const headBox = select(
    tools,
    "Head",
    [["-1", "mean"], ...Array.from({ length: scene.n_heads }, (_, h) => [String(h), String(h)])],
    (value) => put({ head: Number(value) }),
  );
  const kindBox = select(
    tools,
    "",
    [["all", "all edges"], ["anatomical", "anatomical only"], ["learned", "beyond anatomy"]],
    (value) => put({ edge_kind: value }),
  );
  for (const box of [quantityBox, kindBox]) box.style.maxWidth = "138px";
  const thresholdField = field("Hide", tools);
  thresholdField.title = "share of the clip's edges, weakest first, that is hidden";
  const thresholdBox = html(
    "input",
    {
      type: "range", min: 0.5, max: 1, step: 0.005, style: "width:84px", "aria-label": "Share of edges that is hidden",
      oninput: () => put({ threshold: Number(thresholdBox.value) }),
    },
    thresholdField,
  );
  const thresholdText = html("output", { style: "min-width:44px" }, thresholdField);
  const layoutButtons = segments(
    html("span", { class: "sg-push" }, tools),
    "Layout of the action units",
    [["face", "At muscles", "action units at their muscles"], ["circle", "Circle", "upper face above, lower face below"]],
    "layout_name",
  );

  const panels = html("div", { class: "sg-panels" }, root);
  function panel(className, title, parent) {
    const box = html("section", { class: `sg-panel ${className}`, "aria-label": title }, parent);
    const head = html("div", { class: "sg-head" }, box);
    html("h3", {}, head, title);
    return { box, note: html("span", { class: "sg-note" }, head) };
  }
  const left = panel("sg-face-panel", "Regions and their motion", panels);
  const right = panel("sg-au-panel", "Action units", panels);
  const view = `0 0 ${FACE.width} ${FACE.height}`;
  const faceSvg = make("svg", { viewBox: view, role: "group", "aria-label": "Face with region graph" }, left.box);
  const auSvg = make("svg", { viewBox: view, role: "group", "aria-label": "Action-unit graph" }, right.box);
  for (const svg of [faceSvg, auSvg]) svg.addEventListener("click", (event) => event.target === svg && choose(null));
  drawFace(faceSvg, scene.face);
  make("text", { class: "sg-side", x: 12, y: FACE.height - 12 }, faceSvg, "subject's right");
  make("text", { class: "sg-side", x: FACE.width - 12, y: FACE.height - 12, "text-anchor": "end" }, faceSvg, "subject's left");
  const ghost = drawFace(auSvg, scene.face);
  ghost.setAttribute("class", "sg-ghost");
  const groupLabels = make("g", {}, auSvg);
  const layers = {};
  for (const [graph, svg] of [["region", faceSvg], ["au", auSvg]])
    layers[graph] = {
      edges: make("g", { role: "group", "aria-label": `${graph === "au" ? "AU" : "region"} edges, strongest first` }, svg),
      nodes: make("g", { role: "group", "aria-label": graph === "au" ? "action units" : "regions" }, svg),
      labels: make("g", { "aria-hidden": "true" }, svg),
    };
  const keys = { region: html("div", { class: "sg-key" }, left.box), au: html("div", { class: "sg-key" }, right.box) };

  const lower = html("div", { class: "sg-lower" }, root);
  const time = panel("sg-time", "Evidence over time", lower);
  const clock = html("div", { class: "sg-clock" }, time.box);
  const playButton = html("button", { type: "button", onclick: () => put({ playing: !get("playing") }) }, clock);
  const timeBox = html(
    "input",
    { type: "range", min: 0, step: 1, "aria-label": "Frame", oninput: () => goTo(Number(timeBox.value)) },
    clock,
  );
  const timeText = html("output", { style: "min-width:58px;text-align:right" }, clock);
  const heatSvg = make("svg", { class: "sg-heat", viewBox: "0 0 400 226", role: "img" }, html("div", { class: "sg-body" }, time.box));
  const chance = panel("sg-chance", "Class probabilities", lower);
  const chanceBody = html("div", { class: "sg-body" }, chance.box);
  const detail = panel("sg-detail", "Details", lower);
  const detailBody = html("div", { class: "sg-body sg-details", "aria-live": "polite" }, detail.box);
  const tip = html("div", { class: "sg-tip-box", role: "status", "aria-hidden": "true" }, root);

  // ------------------------------------------------------------------------------------------ tooltip
  function showTip(event, lines) {
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
  }
  const hideTip = () => tip.classList.remove("sg-visible");

  function touchable(node, what, lines) {
    const enter = (event) => {
      hover(what);
      showTip(event, lines());
    };
    const leave = () => {
      hover({});
      hideTip();
    };
    node.addEventListener("pointerenter", enter);
    node.addEventListener("pointermove", (event) => showTip(event, lines()));
    node.addEventListener("pointerleave", leave);
    node.addEventListener("focus", (event) => node.matches(":focus-visible") && enter(event));
    node.addEventListener("blur", leave);
  }

  const edgeText = ({ graph, target, source, value }) => {
    const [symbol, definition] = meaningOf(graph);
    return {
      title: `${brief(target)} ← ${brief(source)}`,
      value: `${symbol}(target ${target}, source ${source}) = ${short(value)}`,
      definition,
      reason: graph === "region" ? reasons.get(`${target}|${source}`) : undefined,
    };
  };

  // ------------------------------------------------------------------------------------------ nodes (made once)
  const nodes = { au: [], region: [] };
  function makeNode(graph, index, label, radius, lines) {
    const name = names[graph][index];
    const trait = graph === "au" ? "selected_au" : "selected_region";
    const group = make(
      "g",
      { class: "sg-node", role: "button", tabindex: index ? -1 : 0, "data-name": name, "aria-pressed": "false" },
      layers[graph].nodes,
    );
    const node = {
      group, name,
      base: make("circle", { class: "sg-base", r: radius }, group),
      fill: make("circle", { class: "sg-fill", r: radius, "fill-opacity": 0 }, group),
      ring: make("circle", { class: "sg-ring", r: radius }, group),
      text: label === null ? null : make("text", { class: "sg-number" }, group, label),
      at: [0, 0],
    };
    group.addEventListener("click", () => choose(trait, name));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") choose(trait, name);
      else if (event.key === "Escape") choose(null);
      else if (event.key.startsWith("Arrow")) walk(graph, node, event.key);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    touchable(group, { kind: graph, name }, lines);
    nodes[graph].push(node);
    return node;
  }

  // Arrow keys go to the nearest node in that direction; one node at a time is a stop of the Tab key.
  function walk(graph, from, key) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    let best = null;
    for (const node of nodes[graph]) {
      const [x, y] = [node.at[0] - from.at[0], node.at[1] - from.at[1]];
      const ahead = x * dx + y * dy;
      const cost = ahead > 1 ? ahead + 2.2 * Math.abs(x * dy - y * dx) : Infinity;
      if (cost < (best ? best.cost : Infinity)) best = { node, cost };
    }
    if (!best) return;
    for (const node of nodes[graph]) node.group.setAttribute("tabindex", node === best.node ? 0 : -1);
    best.node.group.focus();
  }

  const flowOf = (r) => [0, 1].map((i) => clip.flow.values[(get("frame") * n.region + r) * 2 + i]);
  scene.rois.forEach((name, r) => {
    const node = makeNode("region", r, null, 6, () => {
      const [u, v] = flowOf(r);
      const seen = clip.present[get("frame")][r] === "1";
      return [
        words(name),
        seen
          ? `motion ${short(Math.hypot(u, v))} ${scene.unit}: ${short(Math.abs(u))} ${u < 0 ? "left" : "right"}, ${short(Math.abs(v))} ${v < 0 ? "up" : "down"}`
          : "not seen in this frame",
        movers(name).length ? `moved by ${movers(name).map((unit) => unit.label).join(", ")}` : "moved by no AU (reference)",
      ];
    });
    node.at = regionAt[r];
    node.group.setAttribute("transform", `translate(${at(node.at)})`);
    node.arrow = make("path", { class: "sg-arrow" }, node.group);
    node.arrowTip = make("path", { class: "sg-arrow-tip" }, node.group);
  });
  scene.aus.forEach((unit, k) =>
    makeNode("au", k, String(unit.number), 13, () => [
      `${unit.label} ${unit.name}`,
      unit.muscles.join(", "),
      unit.sided ? "left and right can act alone" : "acts on both sides together",
      `evidence ${short(evidence(k))} (0 = none, 1 = certain)`,
    ]),
  );

  function placeUnits() {
    const circle = get("layout_name") === "circle";
    const positions = circle
      ? scene.au_circle.map(([x, y]) => [FACE.width / 2 + 150 * x, FACE.height / 2 + 156 * y])
      : scene.au_face.map(place);
    nodes.au.forEach((node, k) => {
      node.at = positions[k];
      node.group.setAttribute("transform", `translate(${at(node.at)})`);
    });
    ghost.style.display = circle ? "none" : "";
    groupLabels.replaceChildren();
    if (!circle) return;
    for (const [text, y] of [["upper face", 18], ["lower face", FACE.height - 12]])
      make("text", { class: "sg-side", x: 12, y }, groupLabels, text);
    const upper = scene.aus.flatMap((unit, k) => (unit.group === "upper face" ? [positions[k]] : []));
    for (const [side, k] of [[-1, 0], [1, upper.length - 1]]) {
      const y = upper[k][1] + 25;
      make("path", { class: "sg-divide", d: `M${FACE.width / 2 + side * 122},${y}H${FACE.width / 2 + side * 252}` }, groupLabels);
    }
  }

  // ------------------------------------------------------------------------------------------ what is in focus
  // Hovering outranks the selection; returns the names that matter, or null where nothing is singled out.
  function focus() {
    const hovered = get("hovered");
    const edge = hovered.kind === "edge" ? hovered : get("selected_edge").target && !hovered.kind ? get("selected_edge") : null;
    const au = hovered.kind === "au" ? hovered.name : hovered.kind ? "" : get("selected_au");
    const region = hovered.kind === "region" ? hovered.name : hovered.kind ? "" : get("selected_region");
    if (au) return { au, units: new Set([au]), regions: new Set(movedBy(au).map(([name]) => name)) };
    if (region) return { region, units: new Set(movers(region).map((unit) => unit.label)), regions: new Set([region]) };
    if (edge) {
      const ends = [edge.target, edge.source];
      return edge.graph === "au"
        ? { edge, units: new Set(ends), regions: new Set(ends.flatMap((name) => movedBy(name).map(([r]) => r))) }
        : { edge, units: joint(...ends), regions: new Set(ends) };
    }
    return null;
  }

  // The AUs that move both regions, or either where none moves both.
  function joint(a, b) {
    const [one, other] = [a, b].map((region) => movers(region).map((unit) => unit.label));
    const both = one.filter((label) => other.includes(label));
    return new Set(both.length ? both : [...one, ...other]);
  }

  function edgeMatters(edge, now) {
    if (!now) return true;
    if (now.edge && now.edge.graph === edge.graph) return same(edge, now.edge);
    if (edge.graph === "au") return now.au ? edge.target === now.au || edge.source === now.au : now.units.has(edge.target) && now.units.has(edge.source);
    if (now.au || now.edge) return now.regions.has(edge.target) && now.regions.has(edge.source);
    return edge.target === now.region || edge.source === now.region;
  }

  // ------------------------------------------------------------------------------------------ drawing
  function drawEdges(graph, now) {
    const layer = layers[graph].edges;
    const focused = layer.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    layer.replaceChildren();
    const edges = shownEdges(graph);
    const chosen = get("selected_edge");
    const most = scaleOf(graph);
    const centre = graph === "au" && get("layout_name") === "circle" ? [FACE.width / 2, FACE.height / 2] : null;
    // weak ones first, so that strong ones lie on top; in the tab order the strongest comes first
    edges.forEach((edge, rank) => {
      const strength = Math.max(0, Math.min(1, edge.value / most));
      const on = chosen.target && same(chosen, edge);
      const gone = isCut(edge);
      const matters = edgeMatters(edge, now);
      const width = 0.7 + 3.4 * strength ** 1.3;
      const [i, j] = [edge.target, edge.source].map((name) => names[graph].indexOf(name));
      const [to, from] = [nodes[graph][i], nodes[graph][j]];
      const pen = wire(from.at, to.at, (from.radius || 6) + 2, (to.radius || 6) + 3, width, centre);
      const text = edgeText(edge);
      const label = `${text.title}: ${text.value}${text.reason ? `; joined by ${text.reason}` : ""}${gone ? "; cut" : ""}`;
      const group = make(
        "g",
        {
          class: `sg-edge${on ? " sg-on" : ""}${gone ? " sg-gone" : ""}${matters || on || gone ? "" : " sg-faded"}`,
          role: "button",
          tabindex: rank ? -1 : 0,
          "data-key": `${edge.target}|${edge.source}`,
          "data-target": edge.target,
          "data-source": edge.source,
          "data-value": edge.value === null ? "" : rounded(edge.value),
          "data-graph": graph,
          "aria-label": label,
          "aria-pressed": on ? "true" : "false",
        },
      );
      layer.prepend(group);
      const learned = graph === "region" && !text.reason;
      make("path", { class: "sg-hit", d: pen.line }, group);
      const line = { class: "sg-wire", d: pen.line, "stroke-width": width.toFixed(2), "stroke-opacity": (0.25 + 0.7 * strength).toFixed(2) };
      if (learned && !gone) line["stroke-dasharray"] = "7 3";
      make("path", line, group);
      make("path", { class: "sg-tip", d: pen.tip, "fill-opacity": (0.35 + 0.6 * strength).toFixed(2) }, group);
      if (gone) {
        const [x, y] = pen.middle;
        make("path", { class: "sg-cross", d: `M${x - 5},${y - 5}L${x + 5},${y + 5}M${x + 5},${y - 5}L${x - 5},${y + 5}` }, group);
      }
    });
    if (focused) {
      const again = [...layer.children].find((child) => child.dataset.key === focused);
      if (again) again.focus();
    }
    return edges;
  }

  // One listener a layer instead of four an edge.
  for (const graph of ["region", "au"]) {
    const layer = layers[graph].edges;
    const read = (event) => {
      const group = event.target.closest && event.target.closest(".sg-edge");
      return group && { graph, target: group.dataset.target, source: group.dataset.source, value: Number(group.dataset.value), group };
    };
    const point = (event) => {
      const edge = read(event);
      if (!edge) return;
      const text = edgeText(edge);
      const lines = [text.title, text.value];
      lines.push(text.reason ? `anatomical: ${text.reason}` : graph === "region" ? "not an anatomical edge" : text.definition);
      if (isCut(edge)) lines.push("cut");
      showTip({ type: event.type, clientX: event.clientX, clientY: event.clientY, currentTarget: edge.group }, lines);
      if (event.type !== "pointermove" || get("hovered").target !== edge.target || get("hovered").source !== edge.source)
        hover({ kind: "edge", graph, target: edge.target, source: edge.source });
    };
    layer.addEventListener("pointermove", point);
    layer.addEventListener("pointerleave", () => {
      hover({});
      hideTip();
    });
    layer.addEventListener("pointerout", (event) => {
      if (!event.relatedTarget || !layer.contains(event.relatedTarget)) {
        hover({});
        hideTip();
      }
    });
    layer.addEventListener("click", (event) => {
      const edge = read(event);
      if (edge) chooseEdge(edge);
    });
    layer.addEventListener("keydown", (event) => {
      const edge = read(event);
      if (!edge) return;
      if (event.key === "Enter" || event.key === " ") chooseEdge(edge);
      else if (event.key === "Delete" && !get("_cut_reason")) toggleCut(edge);
      else if (event.key === "Escape") choose(null);
      else if (event.key.startsWith("Arrow")) {
        const stronger = event.key === "ArrowUp" || event.key === "ArrowLeft";
        const next = stronger ? edge.group.nextElementSibling : edge.group.previousElementSibling;
        if (next) {
          for (const child of layer.children) child.setAttribute("tabindex", child === next ? 0 : -1);
          next.focus();
        }
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  // Puts each label where it covers least: below, above, right or left of its node.
  function drawLabels(graph, wanted) {
    const layer = layers[graph].labels;
    layer.replaceChildren();
    const taken = nodes[graph].map((node) => {
      const r = (node.radius || 6) + 1;
      return [node.at[0] - r, node.at[1] - r, node.at[0] + r, node.at[1] + r];
    });
    const covered = (box) =>
      taken.reduce((sum, t) => sum + Math.max(0, Math.min(box[2], t[2]) - Math.max(box[0], t[0])) * Math.max(0, Math.min(box[3], t[3]) - Math.max(box[1], t[1])), 0);
    for (const { text, node } of wanted) {
      const [x, y] = node.at;
      const r = node.radius || 6;
      const w = text.length * 6.1;
      const spots = [
        ["middle", x, y + r + 13], ["middle", x, y - r - 6], ["start", x + r + 5, y + 4], ["end", x - r - 5, y + 4],
        ["start", x + r - 2, y + r + 9], ["end", x - r + 2, y + r + 9], ["start", x + r - 2, y - r - 2], ["end", x - r + 2, y - r - 2],
      ].map(([anchor, tx, ty], i) => {
        const x0 = anchor === "middle" ? tx - w / 2 : anchor === "start" ? tx : tx - w;
        const box = [x0, ty - 10, x0 + w, ty + 3];
        const outside = Math.max(0, 4 - x0) + Math.max(0, x0 + w - FACE.width + 4) + Math.max(0, box[3] - FACE.height + 2);
        return { anchor, tx, ty, box, cost: covered(box) + 60 * outside + 6 * i };
      });
      const best = spots.reduce((a, b) => (b.cost < a.cost ? b : a));
      taken.push(best.box);
      const label = make("text", { class: "sg-label", x: best.tx.toFixed(1), y: best.ty.toFixed(1) }, layer, text);
      label.style.textAnchor = best.anchor;
    }
  }

  function drawRegions(now) {
    const frame = get("frame");
    const wanted = [];
    const most = scene.maxima.flow || 1;
    const chosen = get("selected_region");
    const partners = new Set();
    if (now && now.region)
      for (const edge of shownEdges("region")) {
        if (edge.target === now.region) partners.add(edge.source);
        if (edge.source === now.region) partners.add(edge.target);
      }
    nodes.region.forEach((node, r) => {
      const seen = clip.present[frame][r] === "1";
      const [u, v] = flowOf(r);
      const size = Math.hypot(u, v);
      const on = node.name === chosen || (now && now.regions.has(node.name));
      node.group.setAttribute(
        "class",
        `sg-node${on ? " sg-on" : ""}${partners.has(node.name) ? " sg-partner" : ""}${seen ? "" : " sg-absent"}${now && !on && !partners.has(node.name) ? " sg-faded" : ""}`,
      );
      node.group.setAttribute("aria-pressed", node.name === chosen);
      node.group.setAttribute("aria-label", `${words(node.name)}: motion ${seen ? `${short(size)} ${scene.unit}` : "not seen"}`);
      const length = seen ? (46 * size) / most : 0;
      if (length > 3) {
        const [ux, uy] = [u / size, v / size];
        const start = [ux * 6, uy * 6];
        const end = [ux * (6 + length), uy * (6 + length)];
        const neck = [end[0] - ux * 1, end[1] - uy * 1];
        const head = [end[0] + ux * 5, end[1] + uy * 5];
        node.arrow.setAttribute("d", `M${at(start)}L${at(neck)}`);
        node.arrowTip.setAttribute("d", `M${at(head)}L${at([end[0] - uy * 4 - ux * 2, end[1] + ux * 4 - uy * 2])}L${at([end[0] + uy * 4 - ux * 2, end[1] - ux * 4 - uy * 2])}Z`);
      } else {
        node.arrow.removeAttribute("d");
        node.arrowTip.removeAttribute("d");
      }
      if (on) wanted.push({ text: brief(node.name), node });
    });
    drawLabels("region", wanted);
  }

  function drawUnits(now, edges) {
    const chosen = get("selected_au");
    const circle = get("layout_name") === "circle";
    const wanted = [];
    const partners = new Set(); // strongest first, as the edges are
    if (now && now.au)
      for (const edge of edges) {
        if (edge.target === now.au) partners.add(edge.source);
        if (edge.source === now.au) partners.add(edge.target);
      }
    const close = new Set([...partners].slice(0, 5));
    if (circle) layers.au.labels.replaceChildren();
    const strongest = nodes.au.map((_, k) => k).sort((a, b) => evidence(b) - evidence(a)).slice(0, 4);
    nodes.au.forEach((node, k) => {
      const value = evidence(k);
      const on = node.name === chosen || (now && now.units.has(node.name));
      node.group.setAttribute(
        "class",
        `sg-node${on ? " sg-on" : ""}${partners.has(node.name) ? " sg-partner" : ""}${now && !on && !partners.has(node.name) ? " sg-faded" : ""}`,
      );
      node.group.setAttribute("aria-pressed", node.name === chosen);
      node.group.setAttribute("aria-label", `${node.name} ${scene.aus[k].name}: evidence ${short(value)}`);
      for (const ring of [node.base, node.fill, node.ring]) ring.setAttribute("r", node.radius.toFixed(1));
      node.fill.setAttribute("fill-opacity", value.toFixed(3));
      node.text.style.fontSize = `${(11 + 4 * value).toFixed(1)}px`;
      node.text.classList.toggle("sg-inverse", value > 0.5);
      const named = on || close.has(node.name) || (!now && value > 0.25 && strongest.includes(k));
      if (circle) {
        const [x, y] = scene.au_circle[k];
        const middle = Math.abs(x) < 0.06;
        const gap = node.radius + 7;
        const spot = [node.at[0] + (middle ? 0 : x * gap), node.at[1] + y * (middle ? gap + 5 : gap) + 4];
        const label = make("text", { class: "sg-label", x: spot[0].toFixed(1), y: spot[1].toFixed(1) }, layers.au.labels, scene.aus[k].name);
        label.style.textAnchor = middle ? "middle" : x > 0 ? "start" : "end";
        if (now && !on && !partners.has(node.name)) label.style.opacity = 0.35;
      } else if (named) wanted.push({ text: scene.aus[k].name, node, first: on ? 1 : 0, value });
    });
    if (!circle) drawLabels("au", wanted.sort((a, b) => b.first - a.first || b.value - a.value));
  }

  function drawKeys(shown) {
    for (const graph of ["region", "au"]) {
      const box = keys[graph];
      box.replaceChildren();
      const item = (draw, text, title) => {
        const span = html("span", title ? { title } : {}, box);
        if (draw) draw(make("svg", { viewBox: "0 0 34 12", "aria-hidden": "true" }, span));
        html("span", {}, span, text);
      };
      const arrow = (dashed) => (svg) => {
        const group = make("g", { class: "sg-edge" }, svg);
        make("path", { class: "sg-wire", d: "M2,6L24,6", "stroke-width": 2.4, "stroke-opacity": 0.85, ...(dashed ? { "stroke-dasharray": "7 3" } : {}) }, group);
        make("path", { class: "sg-tip", d: "M33,6L23,1.6L23,10.4Z" }, group);
      };
      const [symbol, definition] = meaningOf(graph);
      const has = !!edgeValues(graph);
      if (has) {
        item(arrow(false), `${symbol}(target ◂ source) ≤ ${Number(scaleOf(graph).toPrecision(2))}`, definition);
        if (graph === "region") {
          item(arrow(true), "beyond anatomy");
          item((svg) => {
            make("path", { class: "sg-arrow", d: "M3,6L24,6" }, svg);
            make("path", { class: "sg-arrow-tip", d: "M32,6L24,2L24,10Z" }, svg);
          }, `motion ${Number(((scene.maxima.flow * 26) / 46).toPrecision(2))} ${scene.unit}`);
        } else item((svg) => {
          for (const [x, r, o] of [[5, 3.4, 0.1], [16, 4.4, 0.5], [28, 5.4, 1]]) {
            make("circle", { class: "sg-base", cx: x, cy: 6, r }, svg);
            make("circle", { class: "sg-fill", cx: x, cy: 6, r, "fill-opacity": o }, svg);
            make("circle", { class: "sg-ring", cx: x, cy: 6, r }, svg);
          }
        }, "evidence 0 … 1");
      } else item(null, graph === "au" ? "This network has no AU edges (connectivity is not AU-guided)." : `This network has no ${get("quantity") === "weight" ? "edge weights" : "attention"} between regions.`);
      const note = graph === "au" ? right.note : left.note;
      note.textContent = has ? `${shown[graph].length} edges ≥ ${short(cutoff(graph))}` : "";
      note.title = has ? `the strongest ${short(100 * (1 - get("threshold")))} % of all edges of the clip; ${definition}` : "";
    }
  }

  const HEAT = { left: 26, right: 398, top: 20, row: 9.2, bottom: 12, width: 400 }; // px of the screen
  function drawHeat() {
    heatSvg.replaceChildren();
    const frames = clip.times.length;
    const [frame, step] = [get("frame"), (HEAT.right - HEAT.left) / frames];
    const height = HEAT.row * n.au;
    heatSvg.setAttribute("viewBox", `0 0 ${HEAT.width} ${HEAT.top + height + HEAT.bottom + 2}`);
    heatSvg.setAttribute("aria-label", `Evidence for ${n.au} action units in ${frames} frames; click to go to a frame`);
    make("rect", { class: "sg-back", x: HEAT.left, y: HEAT.top, width: HEAT.right - HEAT.left, height }, heatSvg);
    const chosen = get("selected_au");
    if (clip.weights) {
      const most = Math.max(...clip.weights, 1e-9);
      make("text", { x: HEAT.left - 4, y: HEAT.top - 4, "text-anchor": "end" }, heatSvg, "α(t)").appendChild(
        make("title", {}, null, "temporal attention: how much each frame counts"),
      );
      clip.weights.forEach((weight, t) => {
        const h = (14 * weight) / most;
        const bar = make("rect", { class: "sg-cell", x: HEAT.left + t * step + 1, y: HEAT.top - 3 - h, width: Math.max(step - 2, 0.5), height: h, "fill-opacity": 0.55 }, heatSvg);
        make("title", {}, bar, `weight of frame ${t} (${clip.times[t]} ms): ${short(weight)}`);
      });
    }
    scene.aus.forEach((unit, k) => {
      const y = HEAT.top + k * HEAT.row;
      make("text", { x: HEAT.left - 4, y: y + HEAT.row / 2 + 0.5, "text-anchor": "end", "dominant-baseline": "central", class: unit.label === chosen ? "sg-on" : "" }, heatSvg, String(unit.number));
      for (let t = 0; t < frames; t++)
        make("rect", { class: "sg-cell", x: (HEAT.left + t * step).toFixed(2), y, width: (step - (step > 6 ? 0.8 : 0)).toFixed(2), height: HEAT.row - 0.8, "fill-opacity": evidence(k, t).toFixed(3) }, heatSvg);
      if (unit.label === chosen) make("rect", { class: "sg-row", x: HEAT.left, y: y - 0.6, width: HEAT.right - HEAT.left, height: HEAT.row }, heatSvg);
    });
    const every = Math.ceil(frames / 7);
    for (let t = 0; t < frames; t += every)
      make("text", { x: HEAT.left + (t + 0.5) * step, y: HEAT.top + height + 10, "text-anchor": "middle" }, heatSvg, `${Math.round(clip.times[t])}`);
    make("text", { x: HEAT.left - 4, y: HEAT.top + height + 10, "text-anchor": "end" }, heatSvg, "ms");
    make("rect", { class: "sg-now", x: HEAT.left + frame * step - 0.5, y: HEAT.top - 1, width: step, height: height + 2, rx: 2 }, heatSvg);
  }
  const heatHit = (event) => {
    const box = heatSvg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * HEAT.width;
    const y = ((event.clientY - box.top) / box.width) * HEAT.width;
    const frame = Math.floor(((x - HEAT.left) / (HEAT.right - HEAT.left)) * clip.times.length);
    const unit = Math.floor((y - HEAT.top) / HEAT.row);
    return { frame: x < HEAT.left ? null : Math.max(0, Math.min(clip.times.length - 1, frame)), unit: unit >= 0 && unit < n.au ? unit : null };
  };
  heatSvg.addEventListener("click", (event) => {
    const { frame, unit } = heatHit(event);
    if (frame !== null) goTo(frame);
    else if (unit !== null) choose("selected_au", names.au[unit]);
  });
  heatSvg.addEventListener("pointermove", (event) => {
    const { frame, unit } = heatHit(event);
    if (frame === null || unit === null) return hideTip();
    showTip({ type: "pointermove", clientX: event.clientX, clientY: event.clientY, currentTarget: heatSvg }, [
      `${names.au[unit]} ${scene.aus[unit].name}`,
      `evidence ${short(evidence(unit, frame))} at ${clip.times[frame]} ms`,
    ]);
  });
  heatSvg.addEventListener("pointerleave", hideTip);

  function drawClock() {
    const frames = clip.times.length;
    timeBox.max = frames - 1;
    timeBox.value = get("frame");
    timeBox.disabled = frames < 2;
    timeBox.setAttribute("aria-valuetext", `${clip.times[get("frame")]} ms, frame ${get("frame") + 1} of ${frames}`);
    playButton.textContent = get("playing") ? "❚❚ Pause" : "▶ Play";
    playButton.setAttribute("aria-pressed", get("playing"));
    playButton.disabled = frames < 2;
    timeText.textContent = `${Math.round(clip.times[get("frame")])} ms`;
    time.note.textContent = `frame ${get("frame") + 1} of ${frames}`;
    time.note.title = "times are milliseconds from the onset frame";
  }

  function drawChances() {
    chanceBody.replaceChildren();
    const base = scene.clips[get("clip")];
    const now = get("probabilities");
    const computed = get("_computed");
    const cuts = get("cuts");
    const valid = computed.clip === get("clip") && JSON.stringify(computed.cuts) === JSON.stringify(cuts);
    const compare = cuts.length > 0 && valid && !computed.error && !get("_cut_reason");
    const shown = scene.classes.map((name) => now[name] ?? 0);
    const guess = shown.indexOf(Math.max(...shown));
    chance.note.textContent = guess === base.label ? "✓ correct" : "✗ wrong";
    scene.classes.forEach((name, c) => {
      const row = html("div", { class: `sg-prob${c === base.label ? " sg-true" : ""}`, "data-class": name }, chanceBody);
      html("span", { class: "sg-name", title: name }, row, (c === base.label ? "◆ " : "") + name);
      const track = html("span", { class: "sg-track", role: "img", "aria-label": `${name}: ${short(shown[c])}${c === base.label ? ", the true class" : ""}` }, row);
      html("span", { class: "sg-value", style: `width:${100 * shown[c]}%` }, track);
      if (compare) html("span", { class: "sg-before", style: `left:${100 * base.probabilities[c]}%`, title: `before the cut: ${short(base.probabilities[c])}` }, track);
      html("span", { class: "sg-number-cell" }, row, shown[c].toFixed(2));
      if (compare) {
        const change = shown[c] - base.probabilities[c];
        html("span", { class: "sg-delta", title: `was ${short(base.probabilities[c])} before the cut` }, row, `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(3)}`);
      }
    });
    chanceBody.classList.toggle("sg-compare", compare);
    html("p", { class: "sg-note", style: "margin:4px 0" }, chanceBody, `◆ true class${compare ? "   ❘ before the cut, ± change since" : ""}`);
    if (cuts.length) {
      const list = html("div", { class: "sg-cuts", role: "group", "aria-label": "cut edges" }, chanceBody);
      for (const [kind, target, source] of cuts)
        html("button", { type: "button", class: "sg-chip", title: "restore this edge", onclick: () => toggleCut({ graph: kind, target, source }) }, list, `✕ ${brief(target)} ← ${brief(source)}`);
      const act = html("div", { class: "sg-act" }, chanceBody);
      html("button", { type: "button", onclick: () => put({ cuts: cuts.slice(0, -1) }) }, act, "Undo last cut");
      html("button", { type: "button", onclick: () => put({ cuts: [] }) }, act, "Restore all");
      const status = computed.error
        ? ["sg-error", computed.error]
        : get("_cut_reason")
          ? ["sg-note", computed.clip === get("clip") ? "Cuts as they were when this page was saved." : "The cuts were not computed for this clip."]
          : ["sg-note", valid ? `recomputed in ${short(computed.ms)} ms` : "recomputing …"];
      html("p", { class: status[0], role: "status" }, chanceBody, status[1]);
    }
  }

  function edgeList(title, edges, parent) {
    if (!edges.length) return;
    html("p", { class: "sg-note" }, parent, title);
    const list = html("div", { class: "sg-list" }, parent);
    for (const edge of edges) {
      const button = html("button", { type: "button", "data-edge": `${edge.graph}|${edge.target}|${edge.source}`, onclick: () => chooseEdge(edge) }, list);
      html("span", {}, button, `${brief(edge.target)} ← ${brief(edge.source)}`);
      html("span", { class: "sg-number-cell" }, button, `${meaningOf(edge.graph)[0]} ${short(edge.value)}`);
    }
  }

  function spark(parent, series) {
    const svg = make("svg", { class: "sg-spark", viewBox: "0 0 300 34", preserveAspectRatio: "none", role: "img", "aria-label": "value over time" }, parent);
    const [most, least] = [Math.max(...series), Math.min(...series)];
    const spot = (value, t) => [4 + (292 * t) / Math.max(series.length - 1, 1), 30 - (26 * (value - least)) / (most - least || 1)];
    make("path", { class: "sg-line", d: "M" + series.map((value, t) => at(spot(value, t))).join("L"), "vector-effect": "non-scaling-stroke" }, svg);
    const [x, y] = spot(series[get("frame")], get("frame"));
    make("ellipse", { class: "sg-dot", cx: x, cy: y, rx: 3.4, ry: 3.4 }, svg);
    html("p", { class: "sg-note" }, parent, `over the clip: ${short(least)} … ${short(most)}`);
  }

  function drawDetails(shown) {
    const focused = detailBody.contains(document.activeElement) ? document.activeElement.textContent : null;
    detailBody.replaceChildren();
    detailBody.setAttribute("aria-live", get("playing") ? "off" : "polite");
    const line = (text, className = "") => html("p", { class: className }, detailBody, text);
    const act = () => html("div", { class: "sg-act" }, detailBody);
    const clear = (box) => html("button", { type: "button", onclick: () => choose(null) }, box, "Clear selection");
    const edge = get("selected_edge");
    const au = get("selected_au");
    const region = get("selected_region");
    if (edge.target) {
      const value = edgeValue(edge.graph, edge.target, edge.source);
      const text = edgeText({ ...edge, value });
      detail.note.textContent = `${edge.graph === "au" ? "AU" : "region"} edge, target ← source`;
      line(text.title, "sg-title");
      line(text.value);
      if (value !== null)
        spark(detailBody, clip.times.map((_, t) => edgeValue(edge.graph, edge.target, edge.source, t)));
      line(`other way round: ${short(edgeValue(edge.graph, edge.source, edge.target))}`, "sg-note");
      if (edge.graph === "region") line(text.reason ? `Anatomical edge: ${text.reason}.` : "Not an anatomical edge: learned or AU-guided.");
      line(text.definition, "sg-note");
      const box = act();
      const reason = get("_cut_reason");
      html(
        "button",
        { type: "button", "data-act": "cut", disabled: !!reason, title: reason || "take this edge out of the network and recompute", onclick: () => toggleCut(edge) },
        box,
        isCut(edge) ? "Restore edge" : "✂ Cut edge",
      );
      clear(box);
      if (reason) line(reason, "sg-note");
    } else if (au) {
      const k = names.au.indexOf(au);
      const unit = unitOf(au);
      detail.note.textContent = unit.group;
      line(`${au} ${unit.name}`, "sg-title");
      line(`${unit.muscles.join(", ")}; ${unit.sided ? "left and right can act alone" : "both sides together"}`, "sg-note");
      const series = clip.times.map((_, t) => evidence(k, t));
      line(`evidence ${short(series[get("frame")])} now, ${short(Math.max(...series))} at most`);
      spark(detailBody, series);
      line(`moves ${[...new Set(movedBy(au).map(([name]) => name.replace(/_[LR]$/, "").replaceAll("_", " ")))].join(", ")}`);
      const partners = [];
      if (clip.au)
        names.au.forEach((other) => {
          if (other === au) return;
          for (const [target, source] of [[au, other], [other, au]]) partners.push({ graph: "au", target, source, value: edgeValue("au", target, source) });
        });
      edgeList("strongest AU edges now", partners.sort((a, b) => b.value - a.value).slice(0, 4), detailBody);
      clear(act());
    } else if (region) {
      detail.note.textContent = "region";
      const r = names.region.indexOf(region);
      const [u, v] = flowOf(r);
      line(words(region), "sg-title");
      line(`motion ${short(Math.hypot(u, v))} ${scene.unit} (${short(u)} right, ${short(v)} down)`);
      line(movers(region).length ? `moved by ${movers(region).map((unit) => `${unit.label} ${unit.name}`).join(", ")}` : "moved by no AU: the reference for head motion", "sg-note");
      const partners = [];
      if (edgeValues("region"))
        names.region.forEach((other) => {
          if (other === region) return;
          for (const [target, source] of [[region, other], [other, region]]) partners.push({ graph: "region", target, source, value: edgeValue("region", target, source) });
        });
      edgeList("strongest edges now", partners.sort((a, b) => b.value - a.value).slice(0, 5), detailBody);
      clear(act());
    } else {
      detail.note.textContent = "touch a node or an edge";
      if (get("view") !== "au") edgeList("strongest region edges now", shown.region.slice(0, 3), detailBody);
      if (get("view") !== "region") edgeList("strongest AU edges now", shown.au.slice(0, 3), detailBody);
      const box = act();
      const button = html("button", { type: "button", title: "Python that opens what is shown now", onclick: () => copyCode(button) }, box, "Copy as Python");
    }
    if (focused) {
      const again = [...detailBody.querySelectorAll("button")].find((button) => button.textContent === focused);
      if (again) again.focus();
    }
  }

  async function copyCode(button) {
    const quote = (text) => JSON.stringify(text);
    const code =
      `view_au_graph(output, batch, clip=${quote(scene.clips[get("clip")].id)}, frame=${get("frame")}, view=${quote(get("view"))}, ` +
      `quantity=${quote(get("quantity"))}, head=${get("head")}, threshold=${get("threshold")}, edge_kind=${quote(get("edge_kind"))})`;
    try {
      await navigator.clipboard.writeText(code);
      button.textContent = "Copied";
    } catch {
      button.replaceWith(html("code", { style: "font-size:11px;user-select:all" }, null, code));
    }
  }

  function drawBar() {
    const filter = get("class_filter");
    const offered = scene.clips.map((entry, i) => [i, entry]).filter(([i, entry]) => !filter || scene.classes[entry.label] === filter || i === get("clip"));
    const key = offered.map(([i]) => i).join(",");
    if (clipBox.dataset.key !== key) {
      clipBox.dataset.key = key;
      clipBox.replaceChildren();
      for (const [i, entry] of offered)
        html("option", { value: i }, clipBox, `${entry.id} · ${entry.subject} · ${scene.classes[entry.label]}`);
    }
    clipBox.value = get("clip");
    classBox.value = filter;
    auBox.value = get("selected_au");
    quantityBox.value = get("quantity");
    kindBox.value = get("edge_kind");
    headBox.value = get("head");
    headBox.disabled = get("quantity") !== "attention";
    headBox.title = headBox.disabled ? "heads belong to attention: choose it beside" : "";
    thresholdBox.value = get("threshold");
    thresholdText.textContent = `${(100 * get("threshold")).toFixed(1)} %`;
    thresholdBox.setAttribute("aria-valuetext", `${thresholdText.textContent} hidden`);
    for (const button of viewButtons) button.setAttribute("aria-pressed", button.dataset.value === get("view"));
    for (const button of layoutButtons) button.setAttribute("aria-pressed", button.dataset.value === get("layout_name"));
    panels.dataset.view = get("view");
  }

  function draw() {
    queued = 0;
    if (!root.isConnected && drawn) return;
    load();
    if (clip.index !== get("clip")) {
      time.note.textContent = "loading this clip: needs a running kernel …";
      return;
    }
    if (get("frame") >= clip.times.length) return put({ frame: clip.times.length - 1 });
    const start = performance.now();
    const now = focus();
    for (const node of nodes.region) node.radius = 6;
    nodes.au.forEach((node, k) => (node.radius = 11 + 9 * evidence(k)));
    drawBar();
    placeUnits();
    const shown = { region: drawEdges("region", now), au: drawEdges("au", now) };
    drawRegions(now);
    drawUnits(now, shown.au);
    drawKeys(shown);
    drawHeat();
    drawClock();
    drawChances();
    drawDetails(shown);
    root.dataset.drawMs = (performance.now() - start).toFixed(1);
    root.dataset.frame = get("frame");
    drawn = true;
  }

  // Hovering changes what is emphasised, nothing else: the lower row stays.
  function drawEmphasis() {
    emphasisQueued = 0;
    if (!clip || clip.index !== get("clip") || queued) return;
    const now = focus();
    for (const graph of ["region", "au"])
      for (const group of layers[graph].edges.children) {
        const edge = { graph, target: group.dataset.target, source: group.dataset.source };
        const keep = edgeMatters(edge, now) || group.classList.contains("sg-on") || group.classList.contains("sg-gone");
        group.classList.toggle("sg-faded", !keep);
      }
    drawRegions(now);
    drawUnits(now, shownEdges("au"));
  }

  let [queued, emphasisQueued, drawn] = [0, 0, false];
  const schedule = () => { if (!queued) queued = requestAnimationFrame(draw); };
  const emphasise = () => { if (!emphasisQueued) emphasisQueued = requestAnimationFrame(drawEmphasis); };

  // the value of a selected edge follows the frame; Python computes the same number
  const follow = () => {
    const edge = get("selected_edge");
    if (edge.target && clip && clip.index === get("clip") && get("frame") < clip.times.length) {
      const next = described(edge);
      if (["value", "quantity", "clip", "frame"].some((name) => next[name] !== edge[name])) put({ selected_edge: next });
    }
  };
  const play = () => {
    const player = players.get(model);
    clearInterval(player.timer);
    player.timer = get("playing")
      ? setInterval(() => {
          const frames = get("_payload").times_ms.length;
          model.set("frame", (get("frame") + 1) % frames);
          model.save_changes();
        }, STEP_MS)
      : 0;
  };

  if (!players.has(model)) players.set(model, { timer: 0, views: 0 });
  players.get(model).views += 1;
  const heard = [];
  const on = (trait, callback) => {
    model.on(`change:${trait}`, callback);
    heard.push([`change:${trait}`, callback]);
  };
  for (const trait of ["frame", "quantity", "head", "clip", "_payload"]) on(trait, follow);
  for (const trait of [
    "clip", "frame", "view", "layout_name", "quantity", "head", "threshold", "edge_kind", "class_filter", "selected_au",
    "selected_region", "selected_edge", "cuts", "probabilities", "_payload", "_computed", "playing", "_cut_reason",
  ])
    on(trait, schedule);
  on("hovered", emphasise);
  on("playing", play);
  draw();
  if (get("playing")) play();
  const watch = new ResizeObserver(() => {
    const width = Math.max(160, Math.round(heatSvg.parentNode.clientWidth - 24) || 400);
    if (width === HEAT.width) return;
    [HEAT.width, HEAT.right] = [width, width - 2];
    schedule();
  });
  watch.observe(root);

  return () => {
    for (const [event, callback] of heard) model.off(event, callback);
    const player = players.get(model);
    player.views -= 1;
    if (!player.views) clearInterval(player.timer);
    watch.disconnect();
    cancelAnimationFrame(queued);
    cancelAnimationFrame(emphasisQueued);
    clearTimeout(hoverTimer);
    root.remove();
  };
}

export default { render };
