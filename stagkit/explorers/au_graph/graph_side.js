// Below the graph: activation over time with the clock, class probabilities with the interventions, and the details.

const HEAT = { left: 26, top: 20, row: 10.4, bottom: 12 }; // px of the screen

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
      const reason = ctx.whyNot(["frame", frame], live);
      button.disabled = !!reason || (live && !!change);
      button.title = reason || (live ? "the frame stays, but nothing moves in it" : "ask the network again without this frame");
    }
    drawHeat(side);
  };

  let drawn = []; // what the heat map was last made of: it is some 250 elements, and most redraws leave it as it is
  function drawHeat(side) {
    const frame = get("frame");
    const made = [side, frame, width, get("selected_au"), JSON.stringify(get("interventions"))];
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
      `activation ${side.activation(unit, frame).toFixed(2)} at ${side.times[frame]} ms`,
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
    const first = side.base.indexOf(Math.max(...side.base));
    out.note.textContent = `${compare && guess !== first ? "prediction changed: " : ""}${guess === label ? "✓ correct" : "✗ wrong"}`;
    out.note.classList.toggle("sg-flipped", compare && guess !== first);
    const logits = interventions.every(isCut) && (!interventions.length || valid) ? side.logits() : null;
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
        html("span", { class: "sg-delta", title: `was ${short(before)}` }, row, logitText(change));
      }
      if (logits) html("span", { class: "sg-logit", title: "logit: the sum of all terms" }, row, logitText(logits[c]));
    });
    body.classList.toggle("sg-compare", compare);
    body.classList.toggle("sg-logits", Boolean(logits));
    html("p", { class: "sg-note", style: "margin:4px 0" }, body, ["◆ true class", compare && "❘ before, ± change since", logits && "right: logit"].filter(Boolean).join(" · "));
    if (!interventions.length) {
      html("p", { class: "sg-note" }, body, get("_disabled") || "Select an edge, an action unit, a region or a frame and remove it: the new prediction appears here.");
      const act = html("div", { class: "sg-act" }, body);
      if (ctx.past.length) undo(act);
      flip(act, side);
    } else {
      const list = html("div", { class: "sg-interventions", role: "group", "aria-label": "interventions" }, body);
      for (const change of interventions)
        html("button", { type: "button", class: "sg-chip", title: "restore this", onclick: () => ctx.restore(change) }, list, ctx.changeText(change));
      const act = html("div", { class: "sg-act" }, body);
      undo(act);
      if (guess === first) flip(act, side);
      html("button", { type: "button", onclick: () => put({ interventions: [] }) }, act, "Restore all");
      const status = computed.error
        ? ["sg-error", computed.error]
        : get("_disabled")
          ? ["sg-note", get("_disabled")]
          : ["sg-note", valid ? (computed.ms === null ? "computed in this page" : `recomputed in ${short(computed.ms)} ms`) : "recomputing …"];
      html("p", { class: status[0], role: "status" }, body, status[1]);
      if (side.sums && !interventions.every(isCut)) html("p", { class: "sg-note" }, body, "The graphs and their numbers are those of the clip with all its regions and frames.");
    }
    if (focused) [...body.querySelectorAll("button")].find((button) => button.textContent === focused)?.focus();
  };
  // removes the fewest edges that change the prediction, each the one that brings it closest
  function flip(act, side) {
    if (!side.sums || get("_disabled") || get("interventions").some((change) => !isCut(change))) return;
    const button = html("button", { type: "button", "data-act": "flip", title: "removes, one after another, the edges that bring the prediction closest to another class", onclick: () => {
      const found = side.sums.findFlip(get("interventions"), ctx.shownAu());
      if (found) put({ interventions: [...get("interventions"), ...found] });
      else button.textContent = "12 edges do not change it";
    } }, act, "Find the cuts that change it");
  }
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
      const button = html("button", { type: "button", "data-edge": `${edge.graph}|${edge.target}|${edge.source}${edge.au ? `|${edge.au}` : ""}`, onclick: () => ctx.chooseEdge(edge) }, list);
      html("span", {}, button, ctx.linked(edge.graph, edge.target, edge.source));
      html("span", { class: `sg-number-cell${ctx.ofClass() ? (edge.value < 0 ? " sg-against" : " sg-for") : ""}` }, button, `${ctx.symbolOf(edge.graph)} ${ctx.numberOf(edge.graph)(edge.value)}`);
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
    line(`over the clip: ${least.toFixed(2)} … ${most.toFixed(2)}`.replaceAll("-", "−"), "sg-note");
  }

  // remove, or weigh / hold at a level
  function changes(what, verb, levels) {
    const act = html("div", { class: "sg-act" }, body);
    const change = ctx.changeOf(what);
    const reason = ctx.whyNot(what, false);
    html("button", { type: "button", "data-act": "remove", disabled: !!reason, title: reason || "and compute the prediction again", onclick: () => ctx.toggleRemoval(what) }, act, change ? "Restore" : `✂ ${verb}`);
    const why = ctx.whyNot(what, true);
    const box = html("span", { class: "sg-clamp" }, act);
    const slider = html("input", { type: "range", min: 0, max: levels.max, step: levels.max / 20, value: change && !ctx.isRemoved(change) ? change.at(-1) : levels.start, disabled: !!why, title: why, "aria-label": levels.label, oninput: () => (text.textContent = short(Number(slider.value))) }, box);
    const text = html("output", {}, box, short(Number(slider.value)));
    html("button", { type: "button", "data-act": "clamp", disabled: !!why, title: why || levels.label, onclick: () => ctx.clamp(what, Number(slider.value)) }, box, levels.verb);
    html("button", { type: "button", onclick: () => ctx.choose(null) }, act, "Clear");
    if (reason) line(reason, "sg-note");
  }

  function together(a, b) {
    const [i, j] = [names.au.indexOf(a), names.au.indexOf(b)];
    const both = scene.aus[i].emotions.filter((name) => scene.aus[j].emotions.includes(name));
    heading("Literature");
    line(`Annotated together in ${Math.round(100 * scene.together[i][j])} % of the clips of CASME II, SAMM and CAS(ME)³ that have either.`);
    line(both.length ? `EMFACS names both for ${both.join(", ")}.` : "EMFACS names no emotion with both.", "sg-note");
  }

  // What a logit is the sum of, as bars from the middle.
  function termBars(rows) {
    const most = Math.max(...rows.map(([, value]) => Math.abs(value)), 0.01);
    const list = html("div", { class: "sg-terms" }, body);
    for (const [name, value, choose] of rows) {
      const row = html(choose ? "button" : "div", { class: "sg-term-row", ...(choose ? { type: "button", onclick: choose } : {}) }, list);
      html("span", { class: "sg-name" }, row, name);
      const track = html("span", { class: "sg-axis", "aria-hidden": "true" }, row);
      const size = (50 * Math.abs(value)) / most;
      html("span", { class: value < 0 ? "sg-against" : "sg-for", style: `width:${size}%;left:${value < 0 ? 50 - size : 50}%` }, track);
      html("span", { class: "sg-number-cell" }, row, logitText(value));
    }
  }

  // The logit of the class explained as a sum, and its largest terms.
  function drawSum() {
    const of = side();
    const [c, logits] = [ctx.target(), of.logits()];
    const edges = of.table("au", { quantity: "contribution", head: -1, target: c, au: "" });
    if (!logits || !edges) return false;
    const n = names.au.length;
    const nodes = names.au.map((name, k) => [name, of.nodeTerm(k, c), () => ctx.choose("selected_au", name)]);
    const pairs = [];
    // as they are now: the graph still draws a removed edge with its old term
    const now = (k, l) => of.parts(names.au[k], names.au[l], c)?.reduce((a, b) => a + b) ?? edges.values[k * n + l];
    for (let k = 0; k < n; k++)
      for (let l = k + 1; l < n; l++) pairs.push([`${names.au[k]} – ${names.au[l]}`, now(k, l), () => ctx.chooseEdge({ graph: "au", target: names.au[k], source: names.au[l] })]);
    const sum = (rows) => rows.reduce((total, [, value]) => total + value, 0);
    line(`Why ${ctx.className()}: logit ${logitText(logits[c])}`, "sg-title");
    const bias = logits[c] - sum(nodes) - sum(pairs);
    line(`= ${logitText(bias)} bias  ${logitText(sum(nodes))} AUs  ${logitText(sum(pairs))} AU edges`, "sg-sum");
    termBars([...nodes, ...pairs].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 7));
    return true;
  }

  function drawEdge(edge) {
    const now = ctx.valueOf(side(), edge.graph, edge.target, edge.source);
    const text = ctx.edgeText({ side: side(), graph: edge.graph }, { ...edge, ...now });
    out.note.textContent = edge.graph === "au" ? "AU edge, no direction" : "region edge, target ← source";
    line(text.title, "sg-title");
    if (edge.graph === "au") line(`${ctx.unitOf(edge.target).name} – ${ctx.unitOf(edge.source).name}`, "sg-note");
    const pair = ctx.pair();
    if (pair) {
      const table = html("table", { class: "sg-table" }, body);
      for (const [name, of] of pair) {
        const found = ctx.valueOf(of, edge.graph, edge.target, edge.source);
        const row = html("tr", {}, table);
        html("th", { scope: "row" }, row, name);
        html("td", {}, row, found.value === null ? "–" : ctx.numberOf(edge.graph)(found.value));
        html("td", { class: "sg-note" }, row, found.low === undefined ? "" : `${short(found.low)} … ${short(found.high)}`);
      }
    } else {
      line(text.value);
      const parts = edge.graph === "au" && ctx.ofClass() ? side().parts(edge.target, edge.source, ctx.target()) : null;
      if (parts) termBars(scene.relations.map((name, r) => [name, parts[r]]));
      const series = ctx.series(side(), edge.graph, edge.target, edge.source);
      if (series) spark(series);
      if (edge.graph === "region" && edge.target !== edge.source) line(`other way round: ${ctx.numberOf("region")(ctx.valueOf(side(), edge.graph, edge.source, edge.target).value)}`, "sg-note");
    }
    if (edge.graph === "region" && text.reason) line(`Joined by ${text.reason}.`);
    changes(ctx.cutOf(edge), "Remove edge", { max: 2, start: 0.5, verb: "Weigh", label: "multiply the edge's term by" });
    if (edge.graph === "au" && edge.target !== edge.source) together(edge.target, edge.source);
    line(text.definition, "sg-note");
  }

  function drawUnit(au) {
    const k = names.au.indexOf(au);
    const unit = ctx.unitOf(au);
    out.note.textContent = unit.group;
    line(`${au} ${unit.name}`, "sg-title");
    const series = Array.from({ length: side().frames }, (_, t) => side().activation(k, t));
    line(`activation ${series[get("frame")].toFixed(2)} now, ${Math.max(...series).toFixed(2)} at most`);
    const term = side().nodeTerm(k, ctx.target());
    if (term !== null) line(`adds ${logitText(term)} to the logit of ${ctx.className()}, besides its AU edges`);
    spark(series);
    changes(["au", au], "Hold at 0", { max: 1, start: 0.9, verb: "Hold", label: "hold the activation at" });
    subgraph(au);
    heading("Muscle and movement");
    line(`${unit.muscles.join(", ")}; ${unit.sided ? "left and right can act alone" : "both sides together"}.`);
    line(unit.moves.join("; ") + ".");
    heading("Literature");
    line(unit.emotions.length ? `EMFACS names it for ${unit.emotions.join(", ")}.` : "EMFACS names it for no basic emotion.");
    const mates = scene.together[k].map((v, j) => [names.au[j], v]).filter(([name, v]) => name !== au && v > 0).sort((a, b) => b[1] - a[1]).slice(0, 3);
    if (mates.length) line(`Most often annotated with ${mates.map(([name, v]) => `${name} (${Math.round(100 * v)} %)`).join(", ")} in CASME II, SAMM, CAS(ME)³.`, "sg-note");
    partners("au", au, "strongest AU edges", 4);
  }

  // the region edges that make an action unit active
  function subgraph(au) {
    const found = [];
    for (const target of names.region)
      for (const source of names.region) {
        const { value } = ctx.valueOf(side(), "region", target, source);
        if (value) found.push({ graph: "region", target, source, au, value });
      }
    edgeList("its strongest region edges", found.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, 4));
  }

  function partners(graph, name, title, most) {
    const found = [];
    for (const other of names[graph])
      for (const [target, source] of graph === "au" || other === name ? [[name, other]] : [[name, other], [other, name]]) {
        const { value } = graph === "au" && other === name ? { value: null } : ctx.valueOf(side(), graph, target, source);
        if (value) found.push({ graph, target, source, value });
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
    changes(["region", region], "Remove", { max: 3, start: 0, verb: "Multiply", label: "multiply its motion by (0 = still)" });
    line(movers.length ? `moved by ${movers.map((unit) => `${unit.label} ${unit.name}`).join(", ")}` : "moved by no AU: the reference for head motion", "sg-note");
    partners("region", region, "its strongest edges", 5);
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
      const summed = !ctx.pair() && drawSum();
      if (!summed || shown.length > 2) for (const one of shown) edgeList(`strongest ${one.graph === "au" ? "AU" : "region"} edges${shown.length > 2 ? ", " + one.title : ""}`, one.edges.slice(0, shown.length > 2 ? 2 : 3));
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
