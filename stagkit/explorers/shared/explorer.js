// What the flow, evidence and run explorers share: traits, a clock, payloads. Stands after base.js and face.js.

const clocks = new WeakMap(); // model -> {timer, views}: two views of one widget share one clock

const signed = (value, digits = 2) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// Compressed bytes as Python's zlib writes them, base64.
async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// The face of face.js in other coordinates: landmarks in px of an image instead of eye distances.
function makeFaceAt(parent, landmarks, iod) {
  const origin = landmarks[27];
  const scale = iod / FACE.scale;
  const inFace = (points) => points.map(([x, y]) => [(x - origin[0]) / iod, (y - origin[1]) / iod]);
  const box = make("g", { transform: `translate(${origin[0] - FACE.cx * scale} ${origin[1] - FACE.cy * scale}) scale(${scale})` }, parent);
  const face = makeFace(box, inFace(landmarks));
  return { group: box, move: (points) => face.move(inFace(points)) };
}

// Round ticks of an axis from low to high.
function ticks(low, high, most = 5) {
  const step = 10 ** Math.floor(Math.log10((high - low || 1) / most));
  const wide = [1, 2, 5, 10].map((k) => k * step).find((s) => (high - low) / s <= most) ?? 10 * step;
  const out = [];
  for (let value = Math.ceil(low / wide - 1e-9) * wide; value <= high + 1e-9 * wide; value += wide) out.push(Number(value.toPrecision(12)));
  return out;
}

// The frame that every explorer stands in: its root, controls tied to traits, redrawing once per frame, a clock.
function explorer({ model, el }, name, label) {
  const get = (trait) => model.get(trait);
  const put = (values) => {
    for (const [trait, value] of Object.entries(values)) model.set(trait, value);
    model.save_changes();
  };
  const root = html("div", { class: `stag stag-x stag-${name}`, role: "group", "aria-label": label }, el);
  keepKeys(root);
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

  // controls of base.js, tied to a trait
  function tiedSelect(parent, text, options, trait, { spoken = text, change = (value) => put({ [trait]: value }), usable = null } = {}) {
    const node = select(parent, text, spoken, options, change);
    ties.push(() => {
      if (usable) for (const option of node.options) option.disabled = !usable(option.value);
      node.value = get(trait);
    });
    return node;
  }
  function tiedSegments(parent, spoken, options, trait, usable = null) {
    const buttons = segments(parent, spoken, options, (value) => put({ [trait]: value }));
    ties.push(() => {
      for (const button of buttons) {
        button.setAttribute("aria-pressed", button.dataset.value === String(get(trait)));
        if (usable) button.disabled = !usable(button.dataset.value);
      }
    });
    return buttons;
  }

  // play, a slider over frames, and the time of the frame shown
  function clock(parent, { frames, label, step = 120 }) {
    const bar = html("div", { class: "sg-clock" }, parent);
    const play = html("button", { type: "button", onclick: () => put({ playing: !get("playing") }) }, bar);
    const slider = html("input", { type: "range", min: 0, step: 1, "aria-label": "Frame", oninput: () => put({ frame: frames()[Number(slider.value)] }) }, bar);
    const text = html("output", {}, bar);
    ties.push(() => {
      const list = frames();
      slider.max = Math.max(list.length - 1, 0);
      slider.value = Math.max(0, list.findIndex((f) => f >= get("frame")));
      slider.setAttribute("aria-valuetext", label());
      text.textContent = label();
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

  let [queued, draw] = [0, () => {}];
  const redraw = () => {
    queued = 0;
    const start = performance.now();
    for (const tie of ties) tie();
    draw();
    root.dataset.drawMs = (performance.now() - start).toFixed(1);
  };
  const schedule = () => {
    if (!queued) queued = requestAnimationFrame(redraw);
  };
  return {
    get, put, root, on, payload, tiedSelect, tiedSegments, clock, schedule,
    // call last: draw now, and again whenever one of these traits changes
    start(traits, drawing) {
      draw = drawing;
      on(traits, schedule);
      redraw();
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
