// The puppet. Python moves the face and measures it; this module draws the result and sends what the user sets.
// Stands after base.js.
const SIDES = [["", "both", "both sides"], ["R", "R", "the subject's right: left in the image"],
  ["L", "L", "the subject's left: right in the image"]];

// Elements with their children in them; text as an attribute.
function build(tag, { text = null, ...attributes } = {}, ...children) {
  const node = html(tag, attributes, null, text);
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}, ...children) {
  const node = make(tag, attributes);
  node.append(...children);
  return node;
}

const percent = (value) => `${(100 * value).toFixed(0)} %`;

// Only the newest change waits while Python is busy, so that dragging does not queue up.
function makePost(model) {
  let waiting = null, busy = 0, timer = null;
  const send = (change) => {
    busy = performance.now();
    for (const [name, value] of Object.entries(change)) model.set(name, value);
    model.save_changes();
    clearTimeout(timer);
    timer = setTimeout(answered, 1000); // nothing changed, or no kernel
  };
  function answered() {
    const took = performance.now() - busy;
    clearTimeout(timer);
    busy = 0;
    if (waiting) { const next = waiting; waiting = null; send(next); }
    return took;
  }
  return { post: (change) => (busy ? (waiting = { ...waiting, ...change }) : send(change)), answered,
    get busy() { return busy > 0; } };
}

function makeMuscles(model, scene, post) {
  const live = model.get("_live");
  const rows = new Map();
  const read = () => {
    const aus = {};
    for (const [label, row] of rows) {
      const peak = Number(row.slider.value);
      if (peak > 0) aus[label + row.side] = peak;
    }
    return aus;
  };
  const describe = (row) => {
    row.value.textContent = `${Number(row.slider.value).toFixed(1)} %`;
    row.node.classList.toggle("sp-on", Number(row.slider.value) > 0);
    for (const [side, button] of row.buttons) button.setAttribute("aria-pressed", String(side === row.side));
  };
  const moved = (row) => { describe(row); post.post({ aus: read() }); };
  const groups = [true, false].map((upper) => {
    const group = build("fieldset", { class: "sp-group", disabled: !live },
      build("legend", { text: upper ? "Upper face" : "Lower face" }));
    for (const unit of scene.aus.filter((u) => u.upper === upper)) {
      const row = { side: "", buttons: new Map() };
      row.slider = build("input", { type: "range", min: 0, max: scene.strength, step: 0.1, value: 0,
        "aria-label": `${unit.label} ${unit.name}, strength in per cent of the eye distance`, oninput: () => moved(row) });
      row.value = build("output", { class: "sp-value" });
      const sides = build("span", { class: "sp-sides", role: "group", "aria-label": `side of ${unit.label}` });
      for (const [side, text, title] of unit.sided ? SIDES : []) {
        const button = build("button", { type: "button", text, title, onclick: () => { row.side = side; moved(row); } });
        row.buttons.set(side, button);
        sides.append(button);
      }
      if (!unit.sided) sides.append(build("span", { class: "sp-soft", text: "midline" }));
      row.node = build("div", { class: "sp-row", title: unit.muscles, "data-au": unit.label },
        build("span", { class: "sp-name" }, build("b", { text: unit.label }), ` ${unit.name}`), row.slider, row.value, sides);
      rows.set(unit.label, row);
      group.append(row.node);
    }
    return group;
  });
  const follow = () => {
    const aus = model.get("aus");
    for (const [label, row] of rows) {
      const code = Object.keys(aus).find((c) => c.startsWith(label));
      if (code && !post.busy) row.side = code.slice(label.length);
      if (!post.busy) row.slider.value = code ? aus[code] : 0;
      describe(row);
    }
  };
  const rest = build("button", { type: "button", text: "Reset all", disabled: !live,
    onclick: () => post.post({ aus: {} }) });
  return { node: build("div", { class: "sp-muscles" }, ...groups, rest), follow };
}

function makeImage(scene, words) {
  const image = build("img", { alt: words, width: scene.size, height: scene.size, decoding: "sync" });
  const over = draw("svg", { viewBox: `-0.5 -0.5 ${scene.size} ${scene.size}`, "aria-hidden": "true" });
  const mark = draw("rect", { class: "sp-mark", width: 2 * scene.half, height: 2 * scene.half, visibility: "hidden" });
  const arrows = draw("path", { class: "sp-arrows" });
  over.append(arrows, mark);
  const caption = build("figcaption");
  return { node: build("figure", { class: "sp-image" }, build("div", { class: "sp-frame" }, image, over), caption),
    image, arrows, caption,
    point(name) {
      mark.setAttribute("visibility", name ? "visible" : "hidden");
      if (!name) return;
      mark.setAttribute("x", scene.regions[name][0] - scene.half);
      mark.setAttribute("y", scene.regions[name][1] - scene.half);
    } };
}

function traceArrows(flat, strength) {
  const long = 20 / strength; // px of the image per per cent
  let path = "";
  for (let i = 0; i < flat.length; i += 4) {
    const [x, y, u, v] = flat.slice(i, i + 4);
    const [dx, dy] = [u * long, v * long];
    const [tx, ty] = [x + dx, y + dy];
    path += `M${x} ${y}L${tx} ${ty}M${tx - 0.35 * dx - 0.2 * dy} ${ty - 0.35 * dy + 0.2 * dx}L${tx} ${ty}` +
      `L${tx - 0.35 * dx + 0.2 * dy} ${ty - 0.35 * dy - 0.2 * dx}`;
  }
  return path;
}

function makeBars(scene, point) {
  const bars = new Map();
  const side = (name, kind, title) => {
    const bar = build("span", { class: `sp-bar sp-${kind}` });
    bars.set(name, { bar, kind });
    const cell = build("span", { class: `sp-cell sp-${kind}`, title, tabindex: "0", role: "img" }, bar);
    cell.addEventListener("pointerenter", () => point(name));
    cell.addEventListener("pointerleave", () => point(""));
    cell.addEventListener("focus", () => point(name));
    cell.addEventListener("blur", () => point(""));
    bars.get(name).cell = cell;
    return cell;
  };
  const rows = scene.places.map(([place, sides]) => build("div", { class: "sp-region", "data-place": place },
    build("span", { class: "sp-place", text: brief(place) }),
    ...(sides ? [side(`${place}_R`, "right", `${brief(place)}, subject's right`),
      side(`${place}_L`, "left", `${brief(place)}, subject's left`)] : [side(place, "middle", brief(place))])));
  const head = build("div", { class: "sp-region sp-soft" }, build("span", { class: "sp-place", text: "regions" }),
    build("span", { class: "sp-ends", text: "subject's right" }), build("span", { text: "subject's left" }));
  const foot = build("p", { class: "sp-soft sp-foot" });
  return { node: build("div", { class: "sp-regions" }, head, ...rows, foot),
    show(view) {
      for (const [name, { bar, kind, cell }] of bars) {
        const value = view.speeds[name];
        bar.style.width = `${Math.min(100, ((kind === "middle" ? 50 : 100) * value) / scene.strength)}%`;
        cell.setAttribute("aria-label", `${brief(name)}: ${value.toFixed(1)} per cent of the eye distance`);
      }
      foot.textContent = view.fastest ? `fastest: ${view.fastest}; full width: ${scene.strength} % of the eye distance`
        : "nothing moves";
    } };
}

function makePrediction(scene) {
  const rows = build("div");
  const node = build("div", { class: "sp-prediction", role: "status" },
    build("div", { class: "sp-soft", text: "prediction for the whole movement" }), rows,
    build("p", { class: "sp-soft sp-training", text: scene.training }));
  node.hidden = !scene.has_networks;
  return { node, show(probabilities) {
    rows.replaceChildren(...Object.entries(probabilities).map(([name, p]) => build("div", { class: "sp-class" },
      build("span", { class: "sp-place", text: name }),
      build("span", { class: "sp-cell" }, Object.assign(build("span", { class: "sp-bar" }), { style: `width:${100 * p}%` })),
      build("output", { text: percent(p) }))));
  } };
}

function render({ model, el }) {
  const scene = model.get("_scene");
  const post = makePost(model);
  const live = model.get("_live");
  const muscles = makeMuscles(model, scene, post);
  const face = makeImage(scene, `${scene.name}, posed`);
  const flow = makeImage(scene, "measured flow: speed in colour, arrows in its direction");
  const bars = makeBars(scene, (name) => { face.point(name); flow.point(name); });
  const prediction = makePrediction(scene);

  const time = build("input", { type: "range", min: 0, max: scene.frames - 1, step: 1, "aria-label": "time",
    oninput: () => post.post({ frame: Number(time.value) }) });
  const clock = build("output", { class: "sp-value" });
  const play = build("button", { type: "button", onclick: () => { model.set("playing", !model.get("playing")); model.save_changes(); } });
  const larger = build("input", { type: "range", min: 1, max: scene.enlarge, step: 0.5, disabled: !live,
    "aria-label": "factor by which the motion in the image is enlarged", oninput: () => post.post({ enlarge: Number(larger.value) }) });
  const times = build("output", { class: "sp-value" });
  const status = build("span", { class: "sp-soft sp-status" });
  const controls = build("div", { class: "sp-time" }, play, build("label", {}, "time ", time), clock,
    build("label", {}, "motion enlarged ", larger), times, status);

  let timer = null;
  const run = () => {
    clearInterval(timer);
    const playing = model.get("playing");
    play.textContent = playing ? "stop" : "play";
    if (playing) timer = setInterval(() => { if (!post.busy) post.post({ frame: (model.get("frame") + 1) % scene.frames }); }, 90);
  };
  const follow = () => {
    if (!post.busy) { time.value = model.get("frame"); larger.value = model.get("enlarge"); }
    clock.textContent = `${Math.round((1000 * model.get("frame")) / scene.fps)} ms`;
    times.textContent = `${model.get("enlarge")} x`;
  };
  const show = async () => {
    const view = model.get("_view");
    face.image.src = view.face;
    flow.image.src = view.flow;
    flow.arrows.setAttribute("d", traceArrows(view.arrows, scene.strength));
    face.caption.textContent = model.get("enlarge") > 1 ? `skin, its motion enlarged ${model.get("enlarge")} times` : "skin";
    flow.caption.textContent = "measured flow, at its real size";
    bars.show(view);
    root.dataset.serial = view.serial;
    const limited = view.peak_fraction < 1 ? `; limited to ${percent(view.peak_fraction)}: more would fold the skin` : "";
    await Promise.all([face.image, flow.image].map((image) => image.decode().catch(() => {})));
    const took = post.busy ? post.answered() : null;
    if (took !== null) root.dataset.took = took.toFixed(1);
    status.textContent = view.words + limited + (took === null || !live ? "" : `; updated in ${took.toFixed(0)} ms`);
    follow();
    muscles.follow();
  };
  const predict = () => prediction.show(model.get("probabilities"));
  const note = build("p", { class: "sp-soft", text: "A saved page: its frames can be played, its action units are fixed. Open the notebook to change them." });
  note.hidden = live;

  const root = build("div", { class: "stag stag-puppet", role: "group", "aria-label": "Puppet" }, note,
    build("div", { class: "sp-stage" }, muscles.node,
      build("div", { class: "sp-result" }, build("div", { class: "sp-images" }, face.node, flow.node), controls,
        build("div", { class: "sp-measured" }, bars.node, prediction.node))));
  el.append(root);
  keepKeys(root);
  const heard = [["change:_view", show], ["change:aus", () => muscles.follow()], ["change:frame", follow],
    ["change:enlarge", follow], ["change:probabilities", predict], ["change:playing", run]];
  for (const [event, callback] of heard) model.on(event, callback);
  show();
  predict();
  run();
  return () => { clearInterval(timer); for (const [event, callback] of heard) model.off(event, callback); };
}

export default { render };
