// Flow explorer: a clip's frames, its motion, its motion curve. Stands after base, face, export and explorer.
// Flow is Int8 "time chan y x" on a grid over the cropped frame; times scale = px of the clip's frames.

const WHEEL = [[213, 94, 0], [240, 200, 20], [0, 114, 178], [112, 48, 148]]; // right, down, left, up
const VIRIDIS = [[68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140], [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37]];
const RULES = { magnitude: "largest motion", uniform: "evenly spread", apex: "apex only", all: "all frames" };
const NAMES = { dis: "DIS", tvl1: "TV-L1", farneback: "Farneback" };

// Direction as colour, length as opacity: the same rule as colour_wheel in Python.
function wheelColour(u, v, limit) {
  const turn = (((Math.atan2(v, u) / (2 * Math.PI)) % 1) + 1) % 1 * 4;
  const first = Math.floor(turn) % 4;
  const share = turn - Math.floor(turn);
  const [a, b] = [WHEEL[first], WHEEL[(first + 1) % 4]];
  return [0, 1, 2].map((i) => (1 - share) * a[i] + share * b[i]).concat(255 * clamp(Math.hypot(u, v) / limit, 0, 1));
}

function rampColour(value) {
  const place = clamp(value, 0, 1) * (VIRIDIS.length - 1);
  const first = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return [0, 1, 2].map((i) => VIRIDIS[first][i] + (place - first) * (VIRIDIS[first + 1][i] - VIRIDIS[first][i]));
}

function paint(canvas, width, height, colour) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let y = 0, k = 0; y < height; y++)
    for (let x = 0; x < width; x++, k += 4) {
      const rgba = colour(x, y);
      for (let c = 0; c < 4; c++) pixels.data[k + c] = rgba[c];
    }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function render(context) {
  const view = explorer(context, "flow", "Flow explorer");
  const { get, put, root } = view;
  let clip = null; // header of the clip shown
  let motion = null; // its motion by the method shown, unpacked
  let strip = null; // its frames stacked in one Image
  let start = null; // pixels of the onset frame
  let loading = "";

  // ---------------------------------------------------------------------------------------- controls
  const bar = html("div", { class: "sg-bar" }, root);
  const names = get("_clips");
  const clipBox = view.tiedSelect(bar, "Clip", names.map((name, i) => [i, name || "(not in this page)"]), "clip", { change: (value) => put({ clip: Number(value) }), usable: (value) => names[value] !== "" });
  const has = (method) => get("_live") || Object.keys(get("_saved")).some((key) => key.endsWith(`|${method}`));
  const methodBox = view.tiedSelect(bar, "Flow", Object.entries(NAMES), "method", { usable: has, spoken: "Flow method" });
  if (!get("_live")) methodBox.title = "this saved page contains what was computed; the rest needs Python: view_flow(...)";
  view.tiedSelect(bar, "Frames", Object.entries(RULES), "selection", { spoken: "Selection rule" });
  const layers = [["wheel", "Direction", "direction as colour, length as opacity"], ["speed", "Speed", "length of the flow"], ["strain", "Strain", "optical strain"]];
  view.tiedSegments(bar, "Layer", layers, "layer");
  const arrowField = field("", bar);
  const arrowBox = html("input", { type: "checkbox", onchange: () => put({ arrows: arrowBox.checked }) }, arrowField);
  html("span", {}, arrowField, "arrows");
  const magnifyField = field("Magnify", bar);
  magnifyField.classList.add("sg-push");
  const magnifyBox = html("input", { type: "range", min: 1, max: 20, step: 0.5, "aria-label": "Times the motion is magnified", oninput: () => put({ magnify: Number(magnifyBox.value) }) }, magnifyField);
  const magnifyText = html("output", { style: "min-width:38px" }, magnifyField);

  const top = html("div", { class: "sg-row sg-top" }, root);
  function stage(className, title) {
    const made = panel(className, title, top);
    const box = html("div", { class: "sg-stage" }, made.box);
    made.canvas = html("canvas", { "aria-hidden": "true" }, box);
    made.svg = make("svg", { tabindex: 0, role: "application", "aria-roledescription": "image with a place to follow" }, box);
    made.svg.addEventListener("click", (event) => {
      const area = made.svg.getBoundingClientRect();
      follow([((event.clientX - area.left) / area.width) * clip.crop[2], ((event.clientY - area.top) / area.height) * clip.crop[3]]);
    });
    made.svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === "Escape") put({ point: [] });
      else if (event.key === "Enter" || (step && !get("point").length)) follow([clip.crop[2] / 2, clip.crop[3] / 2]);
      else if (step) follow(local(get("point")).map((c, i) => c + (step[i] * clip.crop[2 + i]) / motion.grid[i]));
      else return;
      event.preventDefault();
    });
    return made;
  }
  const face = stage("sg-face", "Frame");
  const flow = stage("sg-flow", "Motion from the onset frame");
  const faceNote = html("div", { class: "sg-key" }, face.box);
  const key = html("div", { class: "sg-key" }, flow.box);
  const details = panel("sg-details", "This frame", top);
  const list = html("div", { class: "sg-body", "aria-live": "polite" }, details.box);

  const curve = panel("sg-time", "Motion curve", root);
  const legend = html("div", { class: "sg-legend" }, curve.box);
  const plot = html("div", { class: "sg-plot" }, curve.box);
  const svg = make("svg", { role: "img" }, plot);
  view.clock(curve.box, { frames: () => get("_clip").kept, label: () => `${Math.round(get("_clip").times[get("frame")])} ms`, step: 110 });
  const status = html("div", { class: "sg-status", role: "status" }, root);

  // ---------------------------------------------------------------------------------------- data
  const wanted = () => `${get("clip")}|${get("method")}`;
  async function load() {
    const header = get("_clip");
    if (!clip || clip.index !== header.index) {
      [clip, strip, start] = [header, null, null];
      if (header.strip) {
        const image = new Image();
        image.onload = () => {
          if (clip !== header) return;
          strip = image;
          start = pixels(clip.kept.indexOf(clip.start));
          view.schedule();
        };
        image.src = header.strip.src;
      }
    }
    const packed = view.payload(wanted());
    if (!packed || loading === packed.key || motion?.source === packed) return;
    loading = packed.key;
    const [bytes, strain, mask] = await Promise.all([packed.flow, packed.strain, packed.mask].map(inflate));
    loading = "";
    motion = { ...packed, source: packed, flow: new Int8Array(bytes.buffer), strain, mask };
    root.dataset.key = packed.key;
    view.schedule();
  }
  const nearest = () => clip.kept.reduce((best, f, i) => (Math.abs(f - get("frame")) < Math.abs(clip.kept[best] - get("frame")) ? i : best), 0);
  function pixels(i) {
    const [width, height] = clip.strip.size;
    const canvas = html("canvas", { width, height });
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    pen.drawImage(strip, 0, i * height, width, height, 0, 0, width, height);
    return pen.getImageData(0, 0, width, height);
  }
  // u, v in px of the clip at a cell of the grid
  const cell = (k, channel, x, y) => {
    const [width, height] = motion.grid;
    return motion.flow[((k * 2 + channel) * height + y) * width + x] * motion.scale;
  };
  function between(get2, x, y) {
    const [width, height] = motion.grid;
    const [cx, cy] = [clamp(x, 0, width - 1), clamp(y, 0, height - 1)];
    const [x0, y0] = [Math.min(Math.floor(cx), width - 2), Math.min(Math.floor(cy), height - 2)];
    const [fx, fy] = [cx - x0, cy - y0];
    return (1 - fy) * ((1 - fx) * get2(x0, y0) + fx * get2(x0 + 1, y0)) + fy * ((1 - fx) * get2(x0, y0 + 1) + fx * get2(x0 + 1, y0 + 1));
  }
  const toGrid = ([x, y]) => [(x / clip.crop[2]) * motion.grid[0] - 0.5, (y / clip.crop[3]) * motion.grid[1] - 0.5];
  const flowAt = (k, place) => [0, 1].map((c) => between((x, y) => cell(k, c, x, y), ...toGrid(place)));
  const local = ([x, y]) => [x - clip.crop[0] + 0.5, y - clip.crop[1] + 0.5];
  const percent = (px) => (100 * px) / clip.iod;

  function follow([x, y]) {
    const [left, above, width, height] = clip.crop;
    put({ point: [left + clamp(x - 0.5, 0, width - 1), above + clamp(y - 0.5, 0, height - 1)].map((v) => Math.round(v * 10) / 10) });
  }

  // ---------------------------------------------------------------------------------------- drawing
  // The onset frame with its motion enlarged: looked up backwards, the flow inverted by fixed point.
  function magnified(k, times) {
    const { width, height, data } = start;
    const out = new ImageData(width, height);
    const [gx, gy] = [motion.grid[0] / width, motion.grid[1] / height];
    const toStrip = (times * width) / clip.crop[2];
    const [gw, gh] = motion.grid;
    const [u, v] = [0, 1].map((c) => Float32Array.from({ length: gw * gh }, (_, i) => (motion.flow[(k * 2 + c) * gw * gh + i] * motion.scale * toStrip * motion.mask[i]) / 255));
    const look = (field, x, y) => {
      const cx = clamp(x * gx + 0.5 * gx - 0.5, 0, gw - 1.001);
      const cy = clamp(y * gy + 0.5 * gy - 0.5, 0, gh - 1.001);
      const [x0, y0] = [cx | 0, cy | 0];
      const [fx, fy, i] = [cx - x0, cy - y0, (cy | 0) * gw + (cx | 0)];
      return (1 - fy) * ((1 - fx) * field[i] + fx * field[i + 1]) + fy * ((1 - fx) * field[i + gw] + fx * field[i + gw + 1]);
    };
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        let [bx, by] = [x - look(u, x, y), y - look(v, x, y)];
        for (let round = 0; round < 3; round++) [bx, by] = [x - look(u, bx, by), y - look(v, bx, by)];
        const [cx, cy] = [clamp(bx, 0, width - 1.001), clamp(by, 0, height - 1.001)];
        const [x0, y0] = [cx | 0, cy | 0];
        const [fx, fy, i, o] = [cx - x0, cy - y0, 4 * (y0 * width + x0), 4 * (y * width + x)];
        for (let c = 0; c < 3; c++)
          out.data[o + c] = (1 - fy) * ((1 - fx) * data[i + c] + fx * data[i + 4 + c]) + fy * ((1 - fx) * data[i + 4 * width + c] + fx * data[i + 4 * width + 4 + c]);
        out.data[o + 3] = 255;
      }
    return out;
  }

  function carried(k, times) {
    return clip.landmarks.map((p) => {
      const [u, v] = flowAt(k, p);
      return [p[0] + times * u, p[1] + times * v];
    });
  }

  function pin(svgNode) {
    if (!get("point").length) return;
    const [x, y] = local(get("point"));
    const size = clip.crop[2] / 32;
    for (const name of ["sg-pin-back", "sg-pin"])
      make("path", { class: name, d: `M${x - size},${y}h${2 * size}M${x},${y - size}v${2 * size}` }, svgNode);
  }

  function drawFrame(k) {
    const times = get("magnify");
    face.svg.replaceChildren();
    const box = `0 0 ${clip.crop[2]} ${clip.crop[3]}`;
    for (const made of [face, flow]) made.svg.setAttribute("viewBox", box);
    if (clip.strip) {
      [face.canvas.width, face.canvas.height] = clip.strip.size;
      if (strip) face.canvas.getContext("2d").putImageData(times > 1 && start ? magnified(k, times) : pixels(k), 0, 0);
    } else {
      [face.canvas.width, face.canvas.height] = [clip.crop[2], clip.crop[3]];
      makeFaceAt(face.svg, clip.landmarks, clip.iod).move(carried(k, times));
    }
    pin(face.svg);
    face.svg.setAttribute("aria-label", `frame ${get("frame")}${times > 1 ? `, motion ${times} times` : ""}; Enter sets a place to follow, arrow keys move it`);
    face.note.textContent = times > 1 ? `onset frame, motion × ${short(times)}` : `frame ${get("frame")} of ${clip.times.length}`;
    faceNote.textContent = clip.hidden || (times > 1 ? "Made by warping the onset frame along its measured motion: exaggerated, not recorded." : "Click the face to follow a place over time.");
  }

  const scratch = html("canvas");
  function drawFlow(k) {
    const layer = get("layer");
    const [width, height] = motion.grid;
    const limit = layer === "strain" ? motion.limits.strain : motion.limits.speed;
    paint(scratch, width, height, (x, y) => {
      const i = y * width + x;
      if (layer === "strain") return [...rampColour((100 * motion.strain[k * width * height + i] * motion.strain_scale) / limit), motion.mask[i] * 0.85];
      const [u, v] = [percent(cell(k, 0, x, y)), percent(cell(k, 1, x, y))];
      if (layer === "speed") return [...rampColour(Math.hypot(u, v) / limit), motion.mask[i] * 0.85];
      const colour = wheelColour(u, v, limit);
      colour[3] *= motion.mask[i] / 255;
      return colour;
    });
    const wide = 480;
    const high = Math.round((wide * clip.crop[3]) / clip.crop[2]);
    [flow.canvas.width, flow.canvas.height] = [wide, high];
    const pen = flow.canvas.getContext("2d");
    pen.imageSmoothingQuality = "high";
    flow.svg.replaceChildren();
    if (strip) {
      const [w, h] = clip.strip.size;
      pen.globalAlpha = layer === "wheel" ? 0.4 : 0.5;
      pen.filter = "grayscale(1)";
      pen.drawImage(strip, 0, clip.kept.indexOf(clip.start) * h, w, h, 0, 0, wide, high);
      pen.filter = "none";
      pen.globalAlpha = 1;
    } else if (!clip.strip) makeFaceAt(flow.svg, clip.landmarks, clip.iod).group.setAttribute("opacity", layer === "wheel" ? 1 : 0.4);
    pen.drawImage(scratch, 0, 0, wide, high);
    flow.svg.dataset.layer = layer;
    if (get("arrows")) {
      const gap = Math.max(2, Math.round(width / 20));
      const long = (2.3 * gap * clip.crop[2]) / width / motion.limits.speed;
      const wires = [];
      for (let y = gap >> 1; y < height; y += gap)
        for (let x = gap >> 1; x < width; x += gap) {
          const [u, v] = [percent(cell(k, 0, x, y)), percent(cell(k, 1, x, y))];
          if (motion.mask[y * width + x] < 128 || Math.hypot(u, v) < 0.08 * motion.limits.speed) continue;
          const from = [((x + 0.5) / width) * clip.crop[2], ((y + 0.5) / height) * clip.crop[3]];
          const [dx, dy] = [u * long, v * long];
          const tip = [from[0] + dx, from[1] + dy];
          wires.push(`M${at(from)}L${at(tip)}M${at([tip[0] - 0.3 * dx - 0.2 * dy, tip[1] - 0.3 * dy + 0.2 * dx])}L${at(tip)}L${at([tip[0] - 0.3 * dx + 0.2 * dy, tip[1] - 0.3 * dy - 0.2 * dx])}`);
        }
      make("path", { class: "sg-arrow", d: wires.join("") || "M0,0" }, flow.svg);
    }
    pin(flow.svg);
    const [name, speed] = motion.regions[k];
    flow.note.textContent = `${NAMES[motion.method]}, head motion ${motion.stabilise ? "removed" : "kept"}`;
    flow.svg.setAttribute("aria-label", `flow of frame ${get("frame")}: most in ${words(name)}, ${short(speed)} % of IOD; Enter sets a place to follow, arrow keys move it`);
    drawKey(layer, limit);
  }

  function drawKey(layer, limit) {
    const state = `${layer}|${limit}`;
    if (key.dataset.state === state) return;
    key.dataset.state = state;
    key.replaceChildren();
    if (layer === "wheel") {
      const disc = html("canvas", { class: "sg-disc", role: "img", "aria-label": "colour of each direction: orange right, yellow down, blue left, violet up" }, key);
      paint(disc, 88, 88, (x, y) => wheelColour((x - 43.5) / 44, (y - 43.5) / 44, 1));
      html("span", {}, key, `orange right, yellow down, blue left, violet up; rim = ${short(limit)} % of the eye distance (IOD)`);
    } else {
      html("span", {}, key, "0");
      paint(html("canvas", { class: "sg-ramp", "aria-hidden": "true" }, key), 110, 1, (x) => [...rampColour(x / 109), 255]);
      html("span", {}, key, `${short(limit)} % ${layer === "speed" ? "of the eye distance (IOD)" : "stretch"}`);
    }
  }

  const CURVE = { width: 900, height: 190, left: 46, right: 12, top: 18, bottom: 34 };
  let scale = null;
  function drawCurve() {
    const { width, height, left, right, top: above, bottom } = CURVE;
    const chosen = motion.selections[get("selection")];
    const point = get("point").length ? clip.kept.map((_, k) => percent(Math.hypot(...flowAt(k, local(get("point")))))) : null;
    const most = 1.12 * Math.max(...motion.scores, ...(point ?? []), 1e-6);
    const [first, last] = [clip.times[0], clip.times.at(-1)];
    const x = (time) => left + ((width - left - right) * (time - first)) / (last - first || 1);
    const y = (value) => height - bottom - ((height - above - bottom) * value) / most;
    scale = { x, first, last };
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    for (const value of ticks(0, most, 4)) {
      make("path", { class: "sg-grid", d: `M${left},${y(value)}H${width - right}` }, svg);
      make("text", { class: "sg-tick", x: left - 7, y: y(value) + 4, "text-anchor": "end" }, svg, short(value));
    }
    for (const value of ticks(first, last, 8)) make("text", { class: "sg-tick", x: x(value), y: height - bottom + 15, "text-anchor": "middle" }, svg, short(value));
    make("text", { class: "sg-tick", x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" }, svg, "time from onset (ms)");
    make("text", { class: "sg-tick", x: 4, y: 11 }, svg, "% of IOD");
    for (const [name, frame] of Object.entries(clip.marks))
      if (frame !== null) {
        make("path", { class: "sg-mark", d: `M${x(clip.times[frame])},${above}V${height - bottom}` }, svg);
        make("text", { class: "sg-tick", x: x(clip.times[frame]) + 4, y: above + 9 }, svg, name);
      }
    if (point) make("path", { class: "sg-place", d: "M" + point.map((value, k) => at([x(clip.times[clip.kept[k]]), y(value)])).join("L") }, svg);
    make("path", { class: "sg-curve", d: "M" + motion.scores.map((value, t) => at([x(clip.times[t]), y(value)])).join("L") }, svg);
    make("path", { class: "sg-now", d: `M${x(clip.times[get("frame")])},${above - 4}V${height - bottom}` }, svg);
    for (const t of chosen) make("circle", { class: "sg-chosen", cx: x(clip.times[t]), cy: y(motion.scores[t]), r: 5, "data-frame": t }, svg);
    svg.setAttribute("aria-label", `motion score over time, largest ${short(Math.max(...motion.scores))} % of IOD; selected frames ${chosen.join(", ")}`);
    legend.replaceChildren();
    for (const [mark, text] of [["", "motion score: mean over regions of the largest quarter"], ["sg-dot", `${chosen.length} selected: ${RULES[get("selection")]}`], ...(point ? [["sg-dash", "speed of the place followed"]] : [])]) {
      const item = html("span", {}, legend);
      html("i", { class: mark }, item);
      item.append(text);
    }
    curve.note.textContent = `${motion.scores.length} frames, ${short(clip.fps)} per second`;
  }

  function drawDetails(k) {
    const frame = get("frame");
    const chosen = motion.selections[get("selection")];
    const mark = Object.entries(clip.marks).filter(([, f]) => f === frame).map(([name]) => name);
    const [name, speed] = motion.regions[k];
    const rows = [
      ["time", `${short(clip.times[frame])} ms`],
      ["motion score", `${motion.scores[frame].toFixed(3)} % of IOD`],
      ["fastest region", brief(name)],
      ["its speed", `${short(speed)} % of IOD`],
      ["head moved", `${motion.head[frame].toFixed(2)} px`],
      ["frame is", [...mark, chosen.includes(frame) ? "selected" : "not selected"].join(", ")],
    ];
    if (get("point").length) {
      const [u, v] = flowAt(k, local(get("point")));
      rows.push(["place", `${get("point").map((c) => Math.round(c)).join(", ")} px`], ["right, down", `${signed(u)}, ${signed(v)} px`], ["its speed", `${percent(Math.hypot(u, v)).toFixed(2)} % of IOD`]);
    }
    const focused = list.contains(document.activeElement) ? document.activeElement.textContent : null;
    list.setAttribute("aria-live", get("playing") ? "off" : "polite");
    list.replaceChildren();
    const table = html("dl", {}, list);
    for (const [term, value] of rows) {
      html("dt", {}, table, term);
      html("dd", { "data-row": term }, table, value);
    }
    const act = html("div", { class: "sg-act" }, list);
    const jump = (to, text, label) => html("button", { type: "button", disabled: to === undefined, "aria-label": label, onclick: () => put({ frame: to }) }, act, text);
    jump(chosen.filter((f) => f < frame).at(-1), "◀ selected", "previous selected frame");
    jump(chosen.find((f) => f > frame), "selected ▶", "next selected frame");
    if (get("point").length) html("button", { type: "button", onclick: () => put({ point: [] }) }, act, "Clear place");
    const button = html("button", { type: "button", title: "Python that opens what is shown now", onclick: () => copyText(code(), button) }, act, "Copy as Python");
    details.note.textContent = clip.label;
    if (focused) [...list.querySelectorAll("button")].find((b) => b.textContent === focused && !b.disabled)?.focus();
  }

  function code() {
    const place = get("point").length ? `, point=[${get("point").join(", ")}]` : "";
    return (
      `view_flow(clips, clip=${JSON.stringify(clip.id)}, frame=${get("frame")}, config=FlowConfig(method=${JSON.stringify(get("method"))}, ` +
      `selection=${JSON.stringify(get("selection"))}${motion.settings}), layer=${JSON.stringify(get("layer"))}, ` +
      `arrows=${get("arrows") ? "True" : "False"}, magnify=${get("magnify")}${place})`
    );
  }

  // A part is drawn again only where something that it shows has changed: a slider moves at 60 frames a second.
  const drawn = {};
  function once(part, state, work) {
    if (drawn[part] === state) return;
    drawn[part] = state;
    work();
  }

  function draw() {
    load();
    arrowBox.checked = get("arrows");
    magnifyBox.value = get("magnify");
    magnifyText.textContent = `× ${short(get("magnify"))}`;
    magnifyBox.setAttribute("aria-valuetext", `${short(get("magnify"))} times`);
    clipBox.title = get("_clip").id;
    const ready = motion && clip && motion.key === `${clip.index}|${motion.method}`;
    const waits = !ready || motion.key !== wanted();
    status.className = `sg-status${get("_problem") ? " sg-wrong" : ""}`;
    status.textContent = get("_problem") || (waits ? (get("_live") ? "measuring the motion in Python …" : view.payload(wanted()) ? "" : "this is not in the page: open it in Python, view_flow(...)") : motion.ms && get("_live") ? `measured in ${motion.ms} ms` : "");
    if (!ready) return;
    const k = nearest();
    const shared = `${motion.key}|${get("point")}`;
    once("frame", `${shared}|${k}|${get("frame")}|${get("magnify")}|${!!strip}`, () => drawFrame(k));
    once("flow", `${shared}|${k}|${get("layer")}|${get("arrows")}|${!!strip}`, () => drawFlow(k));
    once("curve", `${shared}|${get("frame")}|${get("selection")}|${CURVE.width}`, drawCurve);
    once("details", `${shared}|${get("frame")}|${get("selection")}|${get("playing")}`, () => drawDetails(k));
    root.dataset.frame = get("frame");
    if (!get("_live") && JSON.stringify(get("selected")) !== JSON.stringify(motion.selections[get("selection")])) put({ selected: motion.selections[get("selection")] });
  }

  // ---------------------------------------------------------------------------------------- touching the curve
  const toFrame = (event) => {
    const area = svg.getBoundingClientRect();
    const place = ((event.clientX - area.left) / area.width) * CURVE.width;
    return clip.times.reduce((best, time, t) => (Math.abs(scale.x(time) - place) < Math.abs(scale.x(clip.times[best]) - place) ? t : best), 0);
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    put({ frame: toFrame(event) });
  });
  svg.addEventListener("pointermove", (event) => event.buttons && toFrame(event) !== get("frame") && put({ frame: toFrame(event) }));

  view.start(["clip", "frame", "method", "selection", "layer", "arrows", "magnify", "point", "playing", "_clip", "_payload", "_problem"], draw);
  const watch = new ResizeObserver(() => {
    const width = Math.max(260, Math.round(plot.clientWidth - 24) || 600);
    if (width === CURVE.width) return;
    CURVE.width = width;
    view.schedule();
  });
  watch.observe(plot);
  return () => {
    watch.disconnect();
    view.stop();
  };
}

export default { render };
