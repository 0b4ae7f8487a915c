// Below the graph: activation over time with the clock, class probabilities with the interventions, and the details.

const HEAT = { left: 26, top: 20, row: 9.2, bottom: 12 }; // px of the screen

function makeTime(ctx, parent) {
  const { scene, names, get, put, tip } = ctx;
  const out = panel("sg-time", "Activation over time", parent);
  const clock = html("div", { class: "sg-clock" }, out.box);
  const play = html("button", { type: "button", onclick: () => put({ playing: !get("playing") }) }, clock);
  const slider = html("input", { type: "range", min: 0, step: 1, "aria-label": "Frame", oninput: () => ctx.goTo(Number(slider.value)) }, clock);
  const text = html("output", { style: "min-width:58px;text-align:right" }, clock);
  const heat = make("svg", { class: "sg-heat", viewBox: "0 0 400 226", role: "img" }, html("div", { class: "sg-body" }, out.box));
  const foot = html("div", { class: "sg-clock" }, out.box);
  const remove = html("button", { type: "button", "data-act": "remove-frame", onclick: () => ctx.toggleRemoval(["frame", get("frame")]) }, foot);
  const still = html("button", { type: "button", title: "the frame stays, but nothing moves in it", onclick: () => ctx.clamp(["frame", get("frame")], 0) }, foot, "No motion");
  const motion = field("Motion drawn ×", foot);
  motion.classList.add("sg-push");
  const magnify = html("input", { type: "range", min: 0, max: 20, step: 1, style: "max-width:90px", "aria-label": "How much larger than measured the drawn face moves", oninput: () => put({ magnify: Number(magnify.value) }) }, motion);
  const magnifyText = html("output", { style: "min-width:22px" }, motion);
  let width = 400;
  out.resize = () => {
    const next = Math.max(160, Math.round(heat.parentNode.clientWidth - 24) || 400);
    const changed = next !== width;
    width = next;
    return changed;
  };
  const right = () => width - 2;

  out.draw = (side) => {
    const frame = get("frame");
    slider.max = side.frames - 1;
    slider.value = frame;
    slider.disabled = play.disabled = side.frames < 2;
    slider.setAttribute("aria-valuetext", `${side.times[frame]} ms, frame ${frame + 1} of ${side.frames}`);
    play.textContent = get("playing") ? "❚❚ Pause" : "▶ Play";
    play.setAttribute("aria-pressed", get("playing"));
    text.textContent = `${Math.round(side.times[frame])} ms`;
    out.note.textContent = `frame ${frame + 1} of ${side.frames}`;
    out.note.title = "times are milliseconds from the onset frame";
    magnify.value = get("magnify");
    magnifyText.textContent = short(get("magnify"));
    const change = ctx.changeOf(["frame", frame]);
    remove.textContent = change ? "Restore frame" : "✂ Remove frame";
    for (const [button, live] of [[remove, false], [still, true]]) {
      const reason = ctx.whyNot(live);
      button.disabled = !!reason || (live && !!change);
      button.title = reason || (live ? "the frame stays, but nothing moves in it" : "ask the network again without this frame");
    }
    drawHeat(side);
  };

  let drawn = []; // what the heat map was last made of: it is some 250 elements, and most redraws leave it as it is
  function drawHeat(side) {
    const frame = get("frame");
    const made = [side, frame, width, get("selected_au"), JSON.stringify(get("interventions").filter(([kind]) => kind === "frame"))];
    if (made.every((part, i) => part === drawn[i])) return;
    drawn = made;
    heat.replaceChildren();
    const n = names.au.length;
    const step = (right() - HEAT.left) / side.frames;
    const height = HEAT.row * n;
    heat.setAttribute("viewBox", `0 0 ${width} ${HEAT.top + height + HEAT.bottom + 2}`);
    heat.setAttribute("aria-label", `Activation of ${n} action units in ${side.frames} frames; click to go to a frame`);
    make("rect", { class: "sg-back", x: HEAT.left, y: HEAT.top, width: right() - HEAT.left, height }, heat);
    const chosen = get("selected_au");
    if (side.weights) {
      const most = Math.max(...side.weights, 1e-9);
      make("title", {}, make("text", { x: HEAT.left - 4, y: HEAT.top - 4, "text-anchor": "end" }, heat, "α(t)"), "temporal attention: how much each frame counts");
      side.weights.forEach((weight, t) => {
        const h = (14 * weight) / most;
        const bar = make("rect", { class: "sg-cell", x: HEAT.left + t * step + 1, y: HEAT.top - 3 - h, width: Math.max(step - 2, 0.5), height: h, "fill-opacity": 0.55 }, heat);
        make("title", {}, bar, `weight of frame ${t} (${side.times[t]} ms): ${short(weight)}`);
      });
    }
    scene.aus.forEach((unit, k) => {
      const y = HEAT.top + k * HEAT.row;
      make("text", { x: HEAT.left - 4, y: y + HEAT.row / 2 + 0.5, "text-anchor": "end", "dominant-baseline": "central", class: unit.label === chosen ? "sg-on" : "" }, heat, String(unit.number));
      for (let t = 0; t < side.frames; t++)
        make("rect", { class: "sg-cell", x: (HEAT.left + t * step).toFixed(2), y, width: (step - (step > 6 ? 0.8 : 0)).toFixed(2), height: HEAT.row - 0.8, "fill-opacity": side.activation(k, t).toFixed(3) }, heat);
      if (unit.label === chosen) make("rect", { class: "sg-row", x: HEAT.left, y: y - 0.6, width: right() - HEAT.left, height: HEAT.row }, heat);
    });
    const every = Math.ceil(side.frames / 7);
    for (let t = 0; t < side.frames; t += every)
      make("text", { x: HEAT.left + (t + 0.5) * step, y: HEAT.top + height + 10, "text-anchor": "middle" }, heat, `${Math.round(side.times[t])}`);
    make("text", { x: HEAT.left - 4, y: HEAT.top + height + 10, "text-anchor": "end" }, heat, "ms");
    for (const change of get("interventions").filter(([kind, t]) => kind === "frame" && t < side.frames)) {
      const x = HEAT.left + change[1] * step;
      make("rect", { class: "sg-frame-out", x, y: HEAT.top, width: step, height }, heat);
      if (ctx.isRemoved(change)) make("path", { class: "sg-cross", d: CROSS([x + step / 2, HEAT.top + height / 2]) }, heat);
    }
    make("rect", { class: "sg-now", x: HEAT.left + frame * step - 0.5, y: HEAT.top - 1, width: step, height: height + 2, rx: 2 }, heat);
  }
  const hit = (event) => {
    const box = heat.getBoundingClientRect();
    const side = ctx.here();
    const [x, y] = [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.width) * width];
    const frame = Math.floor(((x - HEAT.left) / (right() - HEAT.left)) * side.frames);
    const unit = Math.floor((y - HEAT.top) / HEAT.row);
    return { frame: x < HEAT.left ? null : Math.max(0, Math.min(side.frames - 1, frame)), unit: unit >= 0 && unit < names.au.length ? unit : null };
  };
  heat.addEventListener("click", (event) => {
    const { frame, unit } = hit(event);
    if (frame !== null) ctx.goTo(frame);
    else if (unit !== null) ctx.choose("selected_au", names.au[unit]);
  });
  heat.addEventListener("pointermove", (event) => {
    const { frame, unit } = hit(event);
    if (frame === null || unit === null) return tip.hide();
    const side = ctx.here();
    tip.show({ type: "pointermove", clientX: event.clientX, clientY: event.clientY, currentTarget: heat }, [
      `${names.au[unit]} ${scene.aus[unit].name}`,
      `activation ${short(side.activation(unit, frame))} at ${side.times[frame]} ms`,
    ]);
  });
  heat.addEventListener("pointerleave", tip.hide);
  return out;
}

// two decimals, and more where a small number would read as none
const probabilityText = (value) => (value > 0 && value < 0.005 ? String(Number(value.toPrecision(1))) : value > 0.995 && value < 1 ? String(Math.floor(value * 1e4) / 1e4) : value.toFixed(2));

function makeProbabilities(ctx, parent) {
  const { scene, get, put } = ctx;
  const out = panel("sg-probability", "Class probabilities", parent);
  const body = html("div", { class: "sg-body" }, out.box);
  out.draw = (side) => {
    const focused = body.contains(document.activeElement) ? document.activeElement.textContent : null;
    body.replaceChildren();
    const [now, computed, interventions] = [get("probabilities"), get("_computed"), get("interventions")];
    const label = scene.clips[get("clip")].label;
    const valid = computed.clip === get("clip") && same(computed.interventions, interventions);
    const compare = interventions.length > 0 && valid && !computed.error && !get("_disabled");
    const shown = scene.classes.map((name) => now[name] ?? 0);
    const guess = shown.indexOf(Math.max(...shown));
    out.note.textContent = guess === label ? "✓ correct" : "✗ wrong";
    scene.classes.forEach((name, c) => {
      const before = side.base[c];
      const row = html("div", { class: `sg-prob${c === label ? " sg-true" : ""}`, "data-class": name, "data-value": shown[c] }, body);
      html("span", { class: "sg-name", title: name }, row, (c === label ? "◆ " : "") + name);
      const track = html("span", { class: "sg-track", role: "img", "aria-label": `${name}: ${short(shown[c])}${compare ? `, was ${short(before)}` : ""}${c === label ? ", the true class" : ""}` }, row);
      html("span", { class: "sg-value", style: `width:${100 * shown[c]}%` }, track);
      if (compare) html("span", { class: "sg-before", style: `left:${100 * before}%`, title: `before: ${short(before)}` }, track);
      html("span", { class: "sg-number-cell" }, row, probabilityText(shown[c]));
      if (compare) {
        const change = shown[c] - before;
        html("span", { class: "sg-delta", title: `was ${short(before)}` }, row, `${change < 0 ? "−" : "+"}${Math.abs(change) < 0.00095 ? short(rounded(Math.abs(change))) : Math.abs(change).toFixed(3)}`);
      }
    });
    body.classList.toggle("sg-compare", compare);
    html("p", { class: "sg-note", style: "margin:4px 0" }, body, `◆ true class${compare ? "   ❘ before, ± change since" : ""}`);
    if (!interventions.length) {
      html("p", { class: "sg-note" }, body, get("_disabled") || "Select an edge, an action unit, a region or a frame and remove it: the new prediction appears here.");
      if (ctx.past.length) undo(html("div", { class: "sg-act" }, body));
    } else {
      const list = html("div", { class: "sg-interventions", role: "group", "aria-label": "interventions" }, body);
      for (const change of interventions)
        html("button", { type: "button", class: "sg-chip", title: "restore this", onclick: () => ctx.restore(change) }, list, ctx.changeText(change));
      const act = html("div", { class: "sg-act" }, body);
      undo(act);
      html("button", { type: "button", onclick: () => put({ interventions: [] }) }, act, "Restore all");
      const status = computed.error
        ? ["sg-error", computed.error]
        : get("_disabled")
          ? ["sg-note", get("_disabled")]
          : ["sg-note", valid ? (computed.ms === null ? "from the table of ablations in this page" : `recomputed in ${short(computed.ms)} ms`) : "recomputing …"];
      html("p", { class: status[0], role: "status" }, body, status[1]);
    }
    if (focused) [...body.querySelectorAll("button")].find((button) => button.textContent === focused)?.focus();
  };
  const undo = (act) => html("button", { type: "button", title: "Ctrl+Z", disabled: !ctx.past.length, onclick: ctx.undo }, act, "Undo");
  return out;
}

function makeDetails(ctx, parent) {
  const { scene, names, get } = ctx;
  const out = panel("sg-detail", "Details", parent);
  const body = html("div", { class: "sg-body sg-details", "aria-live": "polite" }, out.box);
  const line = (text, className = "") => html("p", { class: className }, body, text);
  const heading = (text) => html("p", { class: "sg-sub" }, body, text);
  const side = () => ctx.here();

  function edgeList(title, edges) {
    if (!edges.length) return;
    line(title, "sg-note");
    const list = html("div", { class: "sg-list" }, body);
    for (const edge of edges) {
      const button = html("button", { type: "button", "data-edge": `${edge.graph}|${edge.target}|${edge.source}`, onclick: () => ctx.chooseEdge(edge) }, list);
      html("span", {}, button, `${brief(edge.target)} ← ${brief(edge.source)}`);
      html("span", { class: "sg-number-cell" }, button, `${ctx.symbolOf(edge.graph)} ${short(edge.value)}`);
    }
  }

  function spark(series) {
    if (series.length < 2) return;
    const svg = make("svg", { class: "sg-spark", viewBox: "0 0 300 34", preserveAspectRatio: "none", role: "img", "aria-label": "value over time" }, body);
    const [most, least] = [Math.max(...series), Math.min(...series)];
    const spot = (value, t) => [4 + (292 * t) / Math.max(series.length - 1, 1), 30 - (26 * (value - least)) / (most - least || 1)];
    make("path", { class: "sg-line", d: "M" + series.map((value, t) => at(spot(value, t))).join("L"), "vector-effect": "non-scaling-stroke" }, svg);
    const [x, y] = spot(series[get("frame")], get("frame"));
    make("ellipse", { class: "sg-dot", cx: x, cy: y, rx: 3.4, ry: 3.4 }, svg);
    line(`over the clip: ${short(least)} … ${short(most)}`, "sg-note");
  }

  // remove, or clamp to a level
  function changes(what, verb, levels) {
    const act = html("div", { class: "sg-act" }, body);
    const change = ctx.changeOf(what);
    const reason = ctx.whyNot(false);
    html("button", { type: "button", "data-act": "remove", disabled: !!reason, title: reason || "and compute the prediction again", onclick: () => ctx.toggleRemoval(what) }, act, change ? "Restore" : `✂ ${verb}`);
    const why = ctx.whyNot(true);
    const box = html("span", { class: "sg-clamp" }, act);
    const slider = html("input", { type: "range", min: 0, max: levels.max, step: levels.max / 20, value: change && !ctx.isRemoved(change) ? change.at(-1) : levels.start, disabled: !!why, title: why, "aria-label": levels.label, oninput: () => (text.textContent = short(Number(slider.value))) }, box);
    const text = html("output", {}, box, short(Number(slider.value)));
    html("button", { type: "button", "data-act": "clamp", disabled: !!why, title: why || levels.label, onclick: () => ctx.clamp(what, Number(slider.value)) }, box, "Clamp");
    html("button", { type: "button", onclick: () => ctx.choose(null) }, act, "Clear");
    if (reason) line(reason, "sg-note");
  }

  function together(a, b) {
    const [i, j] = [names.au.indexOf(a), names.au.indexOf(b)];
    const both = scene.aus[i].emotions.filter((name) => scene.aus[j].emotions.includes(name));
    heading("Literature");
    line(`Annotated together in ${short(100 * scene.together[i][j])} % of the clips of CASME II, SAMM and CAS(ME)³ that have either.`);
    line(both.length ? `EMFACS names both for ${both.join(", ")}.` : "EMFACS names no emotion with both.", "sg-note");
  }

  function drawEdge(edge) {
    const now = ctx.valueOf(side(), edge.graph, edge.target, edge.source);
    const text = ctx.edgeText({ side: side(), graph: edge.graph }, { ...edge, ...now });
    out.note.textContent = `${edge.graph === "au" ? "AU" : "region"} edge, target ← source`;
    line(text.title, "sg-title");
    if (edge.graph === "au") line(`${ctx.unitOf(edge.target).name} ← ${ctx.unitOf(edge.source).name}`, "sg-note");
    const pair = ctx.pair();
    if (pair) {
      const table = html("table", { class: "sg-table" }, body);
      for (const [name, of] of pair) {
        const found = ctx.valueOf(of, edge.graph, edge.target, edge.source);
        const row = html("tr", {}, table);
        html("th", { scope: "row" }, row, name);
        html("td", {}, row, found.value === null ? "–" : short(found.value));
        html("td", { class: "sg-note" }, row, found.low === undefined ? "" : `${short(found.low)} … ${short(found.high)}`);
      }
    } else {
      line(text.value);
      const series = ctx.series(side(), edge.graph, edge.target, edge.source);
      if (series) spark(series);
      line(`other way round: ${short(ctx.valueOf(side(), edge.graph, edge.source, edge.target).value)}`, "sg-note");
    }
    if (edge.graph === "region") line(text.reason ? `Anatomical edge: ${text.reason}.` : "Not an anatomical edge: learned or AU-guided.");
    changes([edge.graph, edge.target, edge.source], "Remove edge", { max: 2 * ctx.weightMost(edge.graph) || 1, start: ctx.weightMost(edge.graph) || 1, label: "clamp the edge's weight to" });
    if (edge.graph === "au" && edge.target !== edge.source) together(edge.target, edge.source);
    line(text.definition, "sg-note");
  }

  function drawUnit(au) {
    const k = names.au.indexOf(au);
    const unit = ctx.unitOf(au);
    out.note.textContent = unit.group;
    line(`${au} ${unit.name}`, "sg-title");
    const series = Array.from({ length: side().frames }, (_, t) => side().activation(k, t));
    line(`activation ${short(series[get("frame")])} now, ${short(Math.max(...series))} at most`);
    spark(series);
    changes(["au", au], "Set to zero", { max: 1, start: 0.9, label: "clamp the activation to" });
    heading("Muscle and movement");
    line(`${unit.muscles.join(", ")}; ${unit.sided ? "left and right can act alone" : "both sides together"}.`);
    line(unit.moves.join("; ") + ".");
    heading("Literature");
    line(unit.emotions.length ? `EMFACS names it for ${unit.emotions.join(", ")}.` : "EMFACS names it for no basic emotion.");
    const mates = scene.together[k].map((v, j) => [names.au[j], v]).filter(([name, v]) => name !== au && v > 0).sort((a, b) => b[1] - a[1]).slice(0, 3);
    if (mates.length) line(`Most often annotated with ${mates.map(([name, v]) => `${name} (${short(100 * v)} %)`).join(", ")} in CASME II, SAMM, CAS(ME)³.`, "sg-note");
    partners("au", au, "strongest AU edges now", 4);
  }

  function partners(graph, name, title, most) {
    const found = [];
    for (const other of names[graph])
      if (other !== name)
        for (const [target, source] of [[name, other], [other, name]]) {
          const { value } = ctx.valueOf(side(), graph, target, source);
          if (value !== null) found.push({ graph, target, source, value });
        }
    edgeList(title, found.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, most));
  }

  function drawRegion(region) {
    const r = names.region.indexOf(region);
    const [u, v] = side().flow(r, get("frame"));
    const movers = ctx.movers(region);
    out.note.textContent = "region";
    line(words(region), "sg-title");
    line(`motion ${short(Math.hypot(u, v))} ${scene.unit}: ${short(Math.abs(u))} ${u < 0 ? "to the image's left" : "to the image's right"}, ${short(Math.abs(v))} ${v < 0 ? "up" : "down"}`);
    changes(["region", region], "Remove", { max: 3, start: 0, label: "multiply its motion by (0 = still)" });
    line(movers.length ? `moved by ${movers.map((unit) => `${unit.label} ${unit.name}`).join(", ")}` : "moved by no AU: the reference for head motion", "sg-note");
    partners("region", region, "strongest edges now", 5);
  }

  out.draw = (shown) => {
    const focused = body.contains(document.activeElement) ? document.activeElement : null;
    const again = focused && [focused.dataset.act, focused.dataset.edge, focused.textContent];
    body.replaceChildren();
    body.setAttribute("aria-live", get("playing") ? "off" : "polite");
    const [edge, au, region] = [get("selected_edge"), get("selected_au"), get("selected_region")];
    if (edge.target) drawEdge(edge);
    else if (au) drawUnit(au);
    else if (region) drawRegion(region);
    else {
      out.note.textContent = "select a node or an edge";
      for (const one of shown) edgeList(`strongest ${one.graph === "au" ? "AU" : "region"} edges${shown.length > 2 ? ", " + one.title : " now"}`, one.edges.slice(0, shown.length > 2 ? 2 : 3));
      const help = html("details", { class: "sg-help" }, body);
      html("summary", {}, help, "Keys and signs");
      for (const [keys, what] of [["/", "search"], ["Tab, arrows", "move between nodes and edges"], ["Enter", "select"], ["Delete", "remove what is focused"], ["Ctrl+Z", "undo"], ["Esc", "clear"]]) {
        const row = html("p", {}, help);
        html("kbd", {}, row, keys);
        row.append(" " + what);
      }
    }
    if (again) [...body.querySelectorAll("button")].find((b) => (again[0] ? b.dataset.act === again[0] : again[1] ? b.dataset.edge === again[1] : b.textContent === again[2]))?.focus();
  };
  return out;
}
