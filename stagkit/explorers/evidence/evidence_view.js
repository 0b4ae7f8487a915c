// Evidence explorer: the attribution of a prediction with its controls. Stands after base, face, export and explorer.
// All values are signed logits: orange and + are for the class, blue and − against it.

const ORDERS = [["map", "sg-map", "the map's order"], ["flow magnitude", "sg-flow", "flow magnitude"], ["random", "sg-random", "random order"]];

function render(context) {
  const view = explorer(context, "evidence", "Evidence explorer");
  const { get, put, root } = view;
  const scene = get("_scene");
  const units = new Map(scene.aus.map((unit) => [unit.label, unit]));
  const saved = get("_saved");

  // a payload by clip, method and class; class −1 is the one that was explained first
  function find(clip = get("clip"), method = get("method"), target = get("target")) {
    const fits = (key) => key && key.startsWith(`${clip}|${method}|`) && (target < 0 || key.endsWith(`|${target}`));
    if (fits(get("_payload").key)) return get("_payload");
    return saved[Object.keys(saved).find(fits)];
  }
  const can = (clip, method, target) => get("_live") || !!find(clip, method, target);

  // ---------------------------------------------------------------------------------------- controls
  const bar = html("div", { class: "sg-bar" }, root);
  view.tiedSelect(bar, "Clip", scene.clips.map((name, i) => [i, name || "(not in this page)"]), "clip", { change: (value) => put({ clip: Number(value), frame: -1, ...(get("_live") ? {} : { selected: {} }) }), usable: (value) => scene.clips[value] !== "" });
  view.tiedSelect(bar, "Method", get("_methods").map((name) => [name, name]), "method", { usable: (value) => can(get("clip"), value, -1) });
  view.tiedSelect(bar, "Class", [[-1, "as explained first"], ...scene.classes.map((name, i) => [i, name])], "target", { spoken: "Class explained", change: (value) => put({ target: Number(value) }), usable: (value) => can(get("clip"), get("method"), Number(value)) });
  const groupButtons = html("span", { class: "sg-push" }, bar);
  view.tiedSegments(groupButtons, "Bars per", [["region", "Regions", ""], ["muscle", "Muscles", ""], ["au", "AUs", "action units"], ["side", "Sides", "the subject's"]], "grouping", (value) => !!(find()?.bars ?? {})[value]);
  const sentence = html("div", { class: "sg-sentence", role: "status" }, root);

  const top = html("div", { class: "sg-row sg-faces" }, root);
  function facePanel(className, title) {
    const made = panel(className, title, top);
    const box = html("div", { class: "sg-face-box" }, made.box);
    made.svg = make("svg", { viewBox: `0 0 ${FACE.width} ${FACE.height}`, role: "group", "aria-label": title }, box);
    made.face = makeFace(made.svg, scene.face);
    make("text", { class: "sg-side", x: 12, y: FACE.height - 10 }, made.svg, "subject's right");
    make("text", { class: "sg-side", x: FACE.width - 12, y: FACE.height - 10, "text-anchor": "end" }, made.svg, "subject's left");
    made.dots = make("g", {}, made.svg);
    made.key = html("div", { class: "sg-key" }, made.box);
    return made;
  }
  const left = facePanel("sg-map-panel", "The map");
  const stamp = make("text", { class: "sg-stamp", x: FACE.width / 2, y: FACE.height / 2, transform: `rotate(-22 ${FACE.width / 2} ${FACE.height / 2})` }, left.svg, "no control");
  const right = facePanel("sg-control-panel", "Control");
  const controlBox = html("span", { class: "sg-push" }, right.head);
  view.tiedSegments(controlBox, "Control map", [["flow magnitude", "Motion", "how much each region moves: a map that does not depend on the network"], ["random weights", "Random weights", "the map of a network whose weights are random"]], "control", (value) => value === "flow magnitude" || !!find()?.random);
  const bars = panel("sg-bars", "Attribution", top);
  const barList = html("div", { class: "sg-bar-list", role: "group" }, bars.box);

  const lower = html("div", { class: "sg-row sg-lower" }, root);
  const frames = panel("sg-frames", "Frames", lower);
  const frameChart = html("div", { class: "sg-chart" }, frames.box);
  const frameSvg = make("svg", { viewBox: "0 0 420 170", role: "img" }, frameChart);
  const steps = () => [-1, ...(find()?.times ?? []).keys()];
  view.clock(frames.box, { frames: steps, label: () => (get("frame") < 0 ? "all frames" : `${Math.round(find()?.times?.[get("frame")] ?? 0)} ms`), step: 500 });
  const orders = panel("sg-orders", "Deletion and insertion", lower);
  const orderChart = html("div", { class: "sg-chart" }, orders.box);
  const orderSvg = make("svg", { viewBox: "0 0 420 190", role: "img" }, orderChart);
  const orderKey = html("div", { class: "sg-key" }, orders.box);
  const checks = panel("sg-checks", "Controls", lower);
  const checkList = html("div", { class: "sg-body" }, checks.box);
  const status = html("div", { class: "sg-status", role: "status" }, root);

  // ---------------------------------------------------------------------------------------- drawing
  const total = (rows) => scene.rois.map((_, r) => (get("frame") < 0 ? rows.reduce((sum, row) => sum + row[r], 0) : rows[get("frame")][r]));
  const sided = (value) => (value >= 0 ? "sg-for" : "sg-against");
  const title = (name) => (units.has(name) ? `${name} ${units.get(name).name}` : name === "none" ? "no action unit" : words(name));

  // regions that a selection highlights
  function highlighted() {
    const { kind, name } = get("selected");
    if (!kind) return new Set();
    if (kind === "region") return new Set([name]);
    const of = (test) => new Set(scene.rois.filter((_, r) => scene.aus.some((unit) => test(unit) && unit.moves[r] > 0)));
    if (kind === "au") return of((unit) => unit.label === name);
    if (kind === "side") return new Set(scene.rois.filter((roi) => (name.endsWith("left") ? roi.endsWith("_L") : name.endsWith("right") ? roi.endsWith("_R") : !/_[LR]$/.test(roi))));
    const side = name.startsWith("left ") ? "_R" : name.startsWith("right ") ? "_L" : "-";
    const bare = name.replace(/^(left|right) /, "");
    return new Set([...of((unit) => unit.muscles.join(" and ") === bare)].filter((roi) => !roi.endsWith(side)));
  }

  function drawDots(made, values, signedMap, on) {
    const most = Math.max(...values.map(Math.abs), 1e-9);
    const focused = made.dots.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    made.dots.replaceChildren();
    scene.rois.forEach((name, r) => {
      const [x, y] = place(scene.centres[r]);
      const share = Math.abs(values[r]) / most;
      const text = signedMap ? `${signedText(values[r])} logits` : `${short(values[r])}`;
      const dot = make("circle", {
        class: `sg-dot ${signedMap ? sided(values[r]) : "sg-plain"}${on.has(name) ? " sg-on" : ""}`,
        cx: x, cy: y, r: 4 + 15 * Math.sqrt(share), "fill-opacity": 0.3 + 0.65 * share,
        tabindex: made === left ? 0 : -1, role: "button", "aria-label": `${words(name)}: ${text}`, "aria-pressed": on.has(name), "data-name": name, "data-value": values[r],
      }, made.dots);
      make("title", {}, dot, `${words(name)}: ${text}`);
      if (signedMap && share > 0.25) make("text", { class: "sg-sign", x, y }, made.dots, values[r] >= 0 ? "+" : "−");
      const pick = () => choose("region", name);
      dot.addEventListener("click", pick);
      dot.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        pick();
      });
      if (focused === name) dot.focus();
    });
    return most;
  }

  function choose(kind, name) {
    const chosen = get("selected");
    if (chosen.kind === kind && chosen.name === name) return put({ selected: {} });
    const row = (find().bars[kind] ?? []).find(([n]) => n === name);
    put({ ...(row ? { grouping: kind } : {}), selected: row ? { kind, name, value: row[1] } : {} });
  }

  function drawBars(data) {
    const rows = [...(data.bars[get("grouping")] ?? [])].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
    const most = Math.max(...rows.map(([, v]) => Math.abs(v)), 1e-9);
    const focused = barList.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    barList.replaceChildren();
    barList.setAttribute("aria-label", `${scene.groupings[get("grouping")]}, strongest first`);
    for (const [name, value] of rows) {
      if (Math.abs(value) < 0.004 * most) continue;
      const on = get("selected").kind === get("grouping") && get("selected").name === name;
      const button = html("button", { type: "button", "data-name": name, "data-value": value, "aria-pressed": String(on), "aria-label": `${title(name)}: ${signedText(value)} logits`, onclick: () => choose(get("grouping"), name) }, barList);
      html("span", { class: "sg-name", title: title(name) }, button, get("grouping") === "region" ? brief(name) : title(name));
      html("span", { class: `sg-fill ${sided(value)}`, style: `width:${(50 * Math.abs(value)) / most}%` }, html("span", { class: "sg-track" }, button));
      html("span", { class: "sg-number" }, button, signedText(value));
      if (focused === name) button.focus();
    }
    bars.note.textContent = `${scene.groupings[get("grouping")]}, logits`;
  }

  function axes(svg, box, [low, high], label) {
    svg.replaceChildren();
    const y = (value) => box.bottom - ((box.bottom - box.top) * (value - low)) / (high - low || 1);
    for (const value of ticks(low, high, 4)) {
      make("path", { class: Math.abs(value) < 1e-9 ? "sg-axis" : "sg-grid", d: `M${box.left},${y(value)}H${box.right}` }, svg);
      make("text", { class: "sg-tick", x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, svg, short(value));
    }
    make("text", { class: "sg-tick", x: (box.left + box.right) / 2, y: svg.viewBox.baseVal.height - 3, "text-anchor": "middle" }, svg, label);
    return y;
  }

  function drawFrames(data) {
    const values = data.map.map((row) => row.reduce((a, b) => a + b, 0));
    const box = { left: 44, right: 402, top: 10, bottom: 132 };
    const y = axes(frameSvg, box, [Math.min(0, ...values), Math.max(0, ...values) || 1], "time from onset (ms)");
    const wide = (box.right - box.left) / values.length;
    values.forEach((value, t) => {
      const mark = make("rect", { class: `sg-frame-bar ${sided(value)}${t === get("frame") ? " sg-on" : ""}`, x: box.left + t * wide + 0.12 * wide, width: 0.76 * wide, y: Math.min(y(0), y(value)), height: Math.abs(y(value) - y(0)) + 0.5, "data-frame": t, "data-value": value }, frameSvg);
      make("title", {}, mark, `${short(data.times[t])} ms: ${signedText(value)} logits`);
      mark.addEventListener("click", () => put({ frame: get("frame") === t ? -1 : t }));
      if (values.length <= 8 || t % Math.ceil(values.length / 6) === 0) make("text", { class: "sg-tick", x: box.left + (t + 0.5) * wide, y: 147, "text-anchor": "middle" }, frameSvg, String(Math.round(data.times[t])));
    });
    frameSvg.setAttribute("aria-label", `logits of each frame; largest ${signedText(values.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0))}`);
    frames.note.textContent = values.length > 1 ? "sum over regions, logits" : "one frame (a flow map)";
  }

  function drawOrders(data) {
    orderKey.replaceChildren();
    const entry = (name, text) => {
      const item = html("span", {}, orderKey);
      html("b", { class: name }, item);
      item.append(text);
    };
    if (data.curves) {
      const values = Object.values(data.curves).flatMap((curve) => [...curve.deletion, ...curve.insertion]);
      const box = { left: 44, right: 402, top: 10, bottom: 150 };
      const y = axes(orderSvg, box, [Math.min(0, ...values), Math.max(0, ...values)], "cells deleted (—) or inserted (- -), most important first, %");
      const x = (share) => box.left + (box.right - box.left) * share;
      for (const value of [0, 0.25, 0.5, 0.75, 1]) make("text", { class: "sg-tick", x: x(value), y: 165, "text-anchor": "middle" }, orderSvg, 100 * value);
      for (const [name, kind, text] of [...ORDERS].reverse()) {
        for (const [way, dash] of [["deletion", "none"], ["insertion", "5 4"]])
          make("path", { class: `sg-order ${kind}`, "stroke-dasharray": dash, "data-order": name, "data-way": way, d: "M" + data.curves[name][way].map((v, i) => at([x(data.share[i]), y(v)])).join("L") }, orderSvg);
      }
      for (const [, kind, text] of ORDERS) entry(kind, text);
      orderSvg.setAttribute("aria-label", "logit above no motion while cells are deleted or inserted, in three orders");
    } else if (data.areas) {
      const values = Object.values(data.areas).flatMap((area) => [area.deletion, area.insertion]);
      const box = { left: 44, right: 402, top: 10, bottom: 150 };
      const y = axes(orderSvg, box, [Math.min(0, ...values), Math.max(0, ...values)], "area under the curve, logits");
      ["deletion", "insertion"].forEach((way, k) => {
        ORDERS.forEach(([name, kind], i) => {
          const value = data.areas[name][way];
          make("rect", { class: `sg-block ${kind}`, x: 70 + 180 * k + 42 * i, width: 34, y: Math.min(y(0), y(value)), height: Math.abs(y(value) - y(0)) + 0.5, "data-order": name, "data-way": way }, orderSvg);
        });
        make("text", { class: "sg-tick", x: 129 + 180 * k, y: 165, "text-anchor": "middle" }, orderSvg, k ? "insertion: high is good" : "deletion: low is good");
      });
      for (const [, kind, text] of ORDERS) entry(kind, text);
      orderSvg.setAttribute("aria-label", `areas: map deletion ${short(data.areas.map.deletion)}, insertion ${short(data.areas.map.insertion)}`);
    } else {
      orderSvg.replaceChildren();
      make("text", { class: "sg-tick", x: 210, y: 90, "text-anchor": "middle" }, orderSvg, "not measured");
      orderSvg.setAttribute("aria-label", "deletion and insertion were not measured");
    }
    orders.note.textContent = data.curves ? "logit above no motion" : data.areas ? "areas" : "";
  }

  function drawChecks(data) {
    checkList.replaceChildren();
    for (const [name, ok, text] of data.checks) {
      const row = html("div", { class: `sg-check ${ok ? "sg-holds" : "sg-fails"}` }, checkList);
      html("b", {}, row, ok ? "✓ holds" : "✗ fails");
      html("span", {}, row, name);
      html("span", { class: "sg-note" }, row, text);
    }
    const failed = data.checks.filter(([, ok]) => !ok).length;
    checks.note.textContent = data.checks.length ? `${data.checks.length - failed} of ${data.checks.length} hold` : "none";
    if (!data.checks.length) html("p", { class: "sg-note" }, checkList, "No control was run on this map, so it has not been tested: make_evidence(model, batch) runs them.");
    html("p", { class: "sg-note" }, checkList, `${data.method} against ${data.baseline}; the sum misses ${(100 * data.missed).toFixed(1)} % of the ${signedText(data.logit_difference)} logits.`);
    const button = html("button", { type: "button", title: "Python that opens what is shown now", onclick: () => copyText(code(), button) }, checkList, "Copy as Python");
  }

  function code() {
    const quote = (text) => JSON.stringify(text);
    return `view_evidence(evidence, clip=${quote(scene.clips[get("clip")])}, frame=${get("frame")}, method=${quote(get("method"))}, target=${get("target") < 0 ? "None" : quote(scene.classes[get("target")])}, grouping=${quote(get("grouping"))}, control=${quote(get("control"))})`;
  }

  function draw() {
    const data = find();
    const wrong = get("_problem") || (data ? data.refused : get("_live") ? "" : "This is not in the page: open it in Python, view_evidence(...).");
    status.className = `sg-status${wrong ? " sg-wrong" : ""}`;
    status.textContent = wrong || (data ? "" : "computing the explanation and its controls in Python …");
    for (const part of [top, lower]) part.hidden = !data || !!data.refused;
    sentence.textContent = data && !data.refused ? `${scene.clips[get("clip")]}, ${scene.classes[data.target]}: ${data.sentence || "the values add up to " + signedText(data.logit_difference) + " logits."}` : scene.clips[get("clip")];
    root.dataset.key = data ? data.key : "";
    if (!data || data.refused) return;
    if (get("frame") >= data.times.length) return put({ frame: -1 });
    const on = highlighted();
    const most = drawDots(left, total(data.map), true, on);
    stamp.style.display = data.checks.length ? "none" : "";
    left.note.textContent = get("frame") < 0 ? "all frames" : `${Math.round(data.times[get("frame")])} ms`;
    left.key.replaceChildren();
    for (const [name, text] of [["sg-for", `+ for ${scene.classes[data.target]}`], ["sg-against", "− against it"]]) {
      const item = html("span", {}, left.key);
      html("i", { class: name }, item);
      item.append(text);
    }
    html("span", {}, left.key, `largest dot ${short(most)} logits`);
    const random = get("control") === "random weights" && data.random;
    const biggest = drawDots(right, total(random ? data.random : data.flow), !!random, on);
    right.note.textContent = "";
    right.key.textContent = random ? `a network with random weights; largest dot ${short(biggest)} logits` : `how much each region moves; largest dot ${short(biggest)}, in the unit of the data`;
    drawBars(data);
    drawFrames(data);
    drawOrders(data);
    drawChecks(data);
    root.dataset.frame = get("frame");
  }

  view.start(["clip", "frame", "method", "target", "grouping", "control", "selected", "playing", "_payload", "_problem"], draw);
  return view.stop;
}

export default { render };
