// AU-graph explorer: puts the parts together. State lives in the model's traits; the same module runs in a notebook
// (anywidget) and in a saved page, where `_live` is false: there graph_sums.js computes what cuts of edges and AUs do.

const STEP_MS = 420; // a frame's time on screen while playing
const players = new WeakMap(); // model -> {timer, views}: two views of one widget share one clock
const QUANTITY_TEXT = {
  contribution: ["Contribution", "what each edge adds to the logit of a class; all terms together are the logit"],
  weight: ["In this frame", "how strong each edge is in the frame shown; with an action unit selected: what makes it active"],
  effect: ["If removed", "how far the logit of a class falls when the edge is removed alone"],
  attention: ["Attention", "graph attention between regions"],
};

function render({ model, el }) {
  const get = (name) => model.get(name);
  const put = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  };
  const scene = get("_scene");
  const names = { au: scene.aus.map((unit) => unit.label), region: scene.rois };
  const reasons = new Map();
  for (const [a, b, why] of scene.reasons) {
    reasons.set(`${a}|${b}`, why);
    reasons.set(`${b}|${a}`, why);
  }
  const root = html("div", { class: "stag stag-au", role: "group", "aria-label": "Action-unit graph explorer" }, el);
  keepKeys(root);
  const tip = makeTip(root);
  let side = null; // the clip shown
  let other = null; // what it is compared with: {key, sides: [one, other], difference}
  const past = []; // earlier lists of interventions, for undo

  // ------------------------------------------------------------------------------------------ data
  function load() {
    const payload = get("_payload");
    if (!side || side.payload !== payload) side = makeClipSide(payload, names, scene.least);
    side.change(get("interventions"));
    const sent = get("_other");
    if (!sent.compare) other = null;
    else if (!other || other.sent !== sent || other.first !== side) {
      const sides = sent.reason ? null : sent.payload ? [side, makeClipSide(sent.payload, names, scene.least)] : sent.sides.map(makeGroupSide);
      other = { sent, first: side, sides };
    }
  }
  const loaded = () => side && same(side.payload.key, [get("clip"), get("seed"), get("fold")]);
  const comparing = () => Boolean(get("compare").clip !== undefined || get("compare").classes);
  const ofClass = () => ["contribution", "effect"].includes(get("quantity")); // in logits of a class
  // the action unit whose subgraph of region edges is shown, "" = all together
  const shownAu = () => (comparing() || get("_fused") ? "" : get("selected_au") || get("selected_edge").au || "");
  const signed = (graph) => ofClass() || (graph === "region" && get("quantity") === "weight" && Boolean(shownAu()));
  const targetOf = (of) => {
    const chosen = scene.classes.indexOf(get("target_class"));
    return chosen >= 0 || !of.base ? chosen : of.base.indexOf(Math.max(...of.base));
  };
  const how = (of) => ({ quantity: get("quantity"), head: get("head"), target: targetOf(of), au: get("quantity") === "attention" ? "" : shownAu() });
  const place1 = (graph, table, target, source, t) => (Math.min(t, table.frames - 1) * names[graph].length + names[graph].indexOf(target)) * names[graph].length + names[graph].indexOf(source);

  function valueOf(of, graph, target, source, t = get("frame")) {
    const table = of && of.table(graph, how(of));
    if (!table) return { value: null };
    const c = place1(graph, table, target, source, t);
    return table.low ? { value: table.values[c], low: table.low[c], high: table.high[c] } : { value: table.values[c] };
  }
  function series(of, graph, target, source) {
    const table = of.table(graph, how(of));
    return table && table.frames > 1 ? Array.from({ length: table.frames }, (_, t) => table.values[place1(graph, table, target, source, t)]) : null;
  }
  function allowed(graph, target, source) {
    if (graph === "au") return target < source; // no direction: listed once
    const exist = get("quantity") === "attention" ? null : side.exists(comparing() ? "" : shownAu());
    return exist ? exist.has(target * names.region.length + source) : target !== source;
  }

  // Sizes of all candidates in ascending order: the threshold is a position in this list.
  function ordered(of, graph) {
    const key = `order ${graph} ${JSON.stringify([how(of), get("interventions")])}`;
    const table = of.table(graph, how(of));
    if (!of.cache.has(key)) {
      const size = names[graph].length;
      const found = [];
      for (let t = 0; t < table.frames; t++)
        for (let i = 0; i < size; i++)
          for (let j = 0; j < size; j++) if (allowed(graph, i, j)) found.push(Math.abs(table.values[(t * size + i) * size + j]));
      of.cache.set(key, Float64Array.from(found).sort());
    }
    return of.cache.get(key);
  }
  function cutoffOf(list, graph) {
    const share = graph === "region" && how(side).au ? Math.min(get("threshold"), scene.most_hidden) : get("threshold");
    return list.length ? list[Math.min(Math.floor(share * list.length), list.length - 1)] : 0;
  }

  function edgesOf(of, graph, limit) {
    const table = of.table(graph, how(of));
    if (!table) return [];
    const size = names[graph].length;
    const t = Math.min(get("frame"), table.frames - 1);
    const found = [];
    const add = (i, j) => {
      const c = (t * size + i) * size + j;
      const edge = { graph, target: names[graph][i], source: names[graph][j], au: graph === "region" ? how(of).au : "", value: table.values[c] };
      found.push(table.low ? { ...edge, low: table.low[c], high: table.high[c] } : edge);
    };
    for (let i = 0; i < size; i++)
      for (let j = 0; j < size; j++) {
        const value = Math.abs(table.values[(t * size + i) * size + j]);
        if (value > 0 && value >= limit && allowed(graph, i, j)) add(i, j);
      }
    // what is selected or changed is shown whatever the threshold
    const extra = of.group || of.difference ? [] : get("interventions").map(wordsOf).filter(([kind, , source]) => kind === graph && source !== undefined);
    const chosen = get("selected_edge");
    const mine = extra.filter(([, , , unit]) => !unit || !shownAu() || unit === shownAu()).map(([, a, b]) => [a, b]);
    for (const [target, source] of [...mine, ...(chosen.graph === graph ? [[chosen.target, chosen.source]] : [])])
      if (!found.some((e) => e.target === target && e.source === source)) add(names[graph].indexOf(target), names[graph].indexOf(source));
    return found.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  }

  // ------------------------------------------------------------------------------------------ what panels share
  const meaningOf = (graph) => scene.meaning[`${graph === "region" && get("quantity") === "weight" && shownAu() ? "subgraph" : graph}.${graph === "au" && get("quantity") === "attention" ? "weight" : get("quantity")}`];
  const numberOf = (graph) => (signed(graph) ? logitText : (value) => (value === null ? "–" : value.toFixed(2)));
  const movers = (region) => scene.aus.filter((_, k) => scene.incidence[k][scene.rois.indexOf(region)] > 0);
  const movedBy = (label) => scene.incidence[names.au.indexOf(label)].map((v, i) => [scene.rois[i], v]).filter(([, v]) => v > 0);
  const sameEdge = (a, b) => a.graph === b.graph && ((a.target === b.target && a.source === b.source) || (a.graph === "au" && a.target === b.source && a.source === b.target));
  const inOrder = (words) => (words[0] === "au" && words.length > 2 ? [words[0], ...words.slice(1).sort((a, b) => names.au.indexOf(a) - names.au.indexOf(b))] : words);
  const keyOf = (change) => JSON.stringify(inOrder(wordsOf(change)));
  const linked = (graph, target, source) => `${brief(target)} ${graph === "au" ? "–" : "←"} ${target === source ? "itself" : brief(source)}`;
  const ctx = {
    scene, names, get, put, tip, past, reasons, sameEdge, valueOf, series, movers, movedBy,
    unitOf: (label) => scene.aus[names.au.indexOf(label)],
    here: () => side,
    visible: (of, r, t) => !of.present || of.present[Math.min(t, of.frames - 1)][r] === "1",
    flowMost: () => Math.max(side.maxima.flow, other && other.sides && other.sides[1].maxima ? other.sides[1].maxima.flow : 0) || 1,
    weightMost: (graph) => side.maxima[graph === "au" ? "au" : "weight"],
    symbolOf: (graph) => meaningOf(graph)[0],
    numberOf, linked, shownAu, ofClass,
    target: () => targetOf(side),
    targetOf,
    className: () => scene.classes[targetOf(side)],
    // removal of an edge as it is shown: of one action unit's subgraph, or of all
    cutOf: ({ graph, target, source, au }) => inOrder([graph, target, source, ...(graph === "region" && au ? [au] : [])]),
    pair: () => (comparing() && other && other.sides ? [[nameOf(other.sides[0]), other.sides[0]], [nameOf(other.sides[1]), other.sides[1]], ["difference", difference()]] : null),
    changeOf: (what) => get("interventions").find((change) => keyOf(change) === keyOf(what)) ?? (what.length === 4 ? get("interventions").find((change) => keyOf(change) === keyOf(what.slice(0, 3))) : undefined),
    isRemoved: (change) => levelOf(change) === null,
    changeText(change) {
      const [kind, target, source, unit] = wordsOf(change);
      const edge = source !== undefined;
      const what = kind === "frame" ? `frame ${target + 1}` : edge ? `${unit ? `${unit}: ` : ""}${linked(kind, target, source)}` : brief(target);
      const level = levelOf(change);
      if (level === null) return kind === "au" && !edge ? `${what} held at 0` : `✕ ${what}`;
      return edge ? `${what} × ${short(level)}` : kind === "au" ? `${what} held at ${short(level)}` : `${what}: motion × ${short(level)}`;
    },
    // whether an end of a region edge is hidden where its value is from, so that its motion was estimated
    isGuessed(of, edge) {
      if (edge.graph !== "region" || !of.imputed) return false;
      const t = get("quantity") === "weight" ? get("frame") : null;
      return [edge.target, edge.source].some((name) => of.imputed(scene.rois.indexOf(name), t));
    },
    // whether an edge shown for all action units together is changed in some of them
    isPartly: (edge) => edge.graph === "region" && !edge.au && get("interventions").some((change) => wordsOf(change).length === 4 && change[1] === edge.target && change[2] === edge.source),
    // why something cannot be changed, "" where it can
    whyNot(what, holding) {
      if (get("_disabled")) return get("_disabled");
      if (get("_live") || (side.sums && isCut(what))) return "";
      if (holding || !side.without(what)) return "This needs the network: open it in a notebook.";
      return "";
    },
    edgeText(of, { graph, target, source, value, low, high }) {
      const [symbol, definition] = meaningOf(of.graph ?? graph);
      return {
        title: `${shownAu() && (of.graph ?? graph) === "region" ? `${shownAu()}: ` : ""}${linked(of.graph ?? graph, target, source)}`,
        value: valueText(of.graph ?? graph, symbol, value, of.side),
        range: low === undefined ? "" : `95 % over subjects: ${short(low)} … ${short(high)}`,
        definition,
        reason: (of.graph ?? graph) === "region" ? reasons.get(`${target}|${source}`) : undefined,
      };
    },
    nodeText(of, k) {
      const t = of.frame;
      if (of.graph === "au") {
        const unit = scene.aus[k];
        const range = of.side.activationRange ? `, 95 % ${of.side.activationRange(k).map(short).join(" … ")}` : "";
        const text = of.side.difference ? `activation differs by ${signedText(of.side.activation(k, t))}` : `activation ${of.side.activation(k, t).toFixed(2)}${range} (0 = none, 1 = certain)`;
        const term = of.side.nodeTerm?.(k, targetOf(of.side));
        return [`${unit.label} ${unit.name}`, unit.muscles.join(", "), text, ...(term === null || term === undefined ? [] : [`adds ${logitText(term)} to the logit of ${scene.classes[targetOf(of.side)]}`])];
      }
      const [u, v] = of.side.flow(k, t);
      const name = scene.rois[k];
      return [
        words(name),
        ctx.visible(of.side, k, t) ? `motion ${short(Math.hypot(u, v))} ${scene.unit}: ${short(Math.abs(u))} ${u < 0 ? "left" : "right"}, ${short(Math.abs(v))} ${v < 0 ? "up" : "down"}` : of.side.imputed?.(k, t) ? "hidden in this frame: its motion is estimated from its neighbours" : "not visible in this frame",
        movers(name).length ? `moved by ${movers(name).map((unit) => unit.label).join(", ")}` : "moved by no AU (reference)",
      ];
    },
    edgeMatters(edge, now) {
      if (!now) return true;
      if (now.edge && now.edge.graph === edge.graph) return sameEdge(edge, now.edge);
      if (edge.graph === "au") return now.au ? edge.target === now.au || edge.source === now.au : now.units.has(edge.target) && now.units.has(edge.source);
      if (now.au || now.edge) return now.regions.has(edge.target) && now.regions.has(edge.source);
      return edge.target === now.region || edge.source === now.region;
    },

    // ---------------------------------------------------------------------------------------- actions
    choose(what, name) {
      const next = { selected_au: "", selected_region: "", selected_edge: {} };
      if (what) next[what] = get(what) === name && !get("selected_edge").target ? "" : name;
      put(next);
    },
    chooseEdge(edge) {
      const chosen = get("selected_edge");
      put({ selected_au: "", selected_region: "", selected_edge: chosen.target && sameEdge(chosen, edge) ? {} : described(edge) });
    },
    toggleRemoval(what) {
      if (ctx.whyNot(what, false)) return;
      const there = ctx.changeOf(what);
      const rest = get("interventions").filter((change) => change !== there);
      put({ interventions: there ? rest : alone(what) ? [what] : [...rest, what] });
    },
    clamp(what, level) {
      if (ctx.whyNot(what, true)) return;
      put({ interventions: [...get("interventions").filter((change) => keyOf(change) !== keyOf(what)), [...what, rounded(level)]] });
    },
    restore: (change) => put({ interventions: get("interventions").filter((c) => !same(c, change)) }),
    undo() {
      if (!past.length) return;
      undoing = true;
      put({ interventions: past.pop() });
      undoing = false;
      schedule();
    },
    goTo: (frame) => put({ frame: Math.max(0, Math.min(side.frames - 1, frame)) }),
    hover(what) {
      clearTimeout(hoverTimer);
      hoverTimer = setTimeout(() => { if (!same(get("hovered"), what)) put({ hovered: what }); }, 40);
    },
  };
  let hoverTimer = 0;
  let undoing = false;
  let lastInterventions = get("interventions");

  // A page without Python has what the network says without a region or a frame for each alone.
  const alone = (what) => !get("_live") && (!side.sums || !isCut(what));
  const logitWords = () => (get("quantity") === "weight" ? `to the logit of ${shownAu()}` : `to the logit of ${scene.classes[targetOf(side)]}`);
  function valueText(graph, symbol, value, of) {
    if (of?.difference) return `${signedText(value ?? 0)}, second minus first`;
    if (!signed(graph)) return `${symbol} = ${short(value)}`;
    if (get("quantity") === "effect") return `removed alone: logit of ${scene.classes[targetOf(of?.base ? of : side)]} ${logitText(-(value ?? 0))}`;
    return `adds ${logitText(value ?? 0)} ${logitWords()}`;
  }
  function described({ graph, target, source, au }) {
    const { value } = valueOf(side, graph, target, source);
    return {
      graph, target, source, au: graph === "region" ? au ?? shownAu() : "",
      value: value === null ? null : rounded(value),
      quantity: graph === "au" && get("quantity") === "attention" ? "weight" : get("quantity"),
      clip: get("clip"),
      frame: get("frame"),
    };
  }
  const goToClip = (index) => { if (scene.clips[index] && index !== get("clip")) put({ clip: index }); };
  const nameOf = (of) => (of.group ? of.name : scene.clips[of.index].id);

  // A page without Python computes cuts of edges and action units itself; what a hidden region or frame does it has read.
  function predictInPage() {
    const interventions = get("interventions");
    if (get("_live") || !loaded()) return;
    side.change(interventions);
    const computed = { clip: get("clip"), interventions, ms: null, error: "" };
    let logits = null;
    if (interventions.length && side.sums && interventions.every(isCut)) logits = side.state().logits;
    else if (interventions.length === 1 && levelOf(interventions[0]) === null) logits = side.without(interventions[0]);
    if (interventions.length && !logits) computed.error = side.sums ? "This page has a region or frame removed alone only; edges and action units go together." : "This page has one removal at a time; more at once need the network in a notebook.";
    const probabilities = logits ? softmax(logits) : side.base;
    put({ probabilities: Object.fromEntries(scene.classes.map((name, c) => [name, Number(probabilities[c].toFixed(5))])), _computed: computed });
  }

  // ------------------------------------------------------------------------------------------ the bars
  const bar = html("div", { class: "sg-bar" }, root);
  const counts = scene.classes.map((_, c) => scene.clips.filter((entry) => entry.label === c).length);
  const classBox = select(bar, "Class", "Class", [["", "all classes"], ...scene.classes.map((name, c) => [name, `${name} (${counts[c]})`])], (value) => {
    put({ class_filter: value });
    const label = scene.classes.indexOf(value);
    if (value && scene.clips[get("clip")].label !== label) {
      const first = scene.clips.findIndex((entry) => entry.label === label);
      if (first >= 0) goToClip(first);
    }
  });
  const clipBox = select(bar, "Clip", "Clip", [], (value) => goToClip(Number(value)));
  clipBox.style.maxWidth = "240px";
  const seedBox = select(bar, "Seed", "Seed of the network", scene.seeds.map((seed) => [seed, seed]), (value) => put({ seed: Number(value) }));
  const foldBox = select(bar, "Fold", "Fold whose network is used", [["-1", "tested on the clip"], ...scene.folds.map((name, k) => [k, `${k}: ${name}`])], (value) => put({ fold: Number(value) }));
  seedBox.field.hidden = !get("_live") || scene.seeds.length < 2;
  foldBox.field.hidden = !get("_live") || !scene.folds.length;
  const fusedNote = html("p", { class: "sg-note sg-fused" }, root);
  const networkNote = html("span", { class: "sg-note" }, bar);
  makeSearch(html("span", { class: "sg-search" }, bar));
  const viewButtons = segments(
    html("span", { class: "sg-field sg-push" }, bar), "View",
    [["both", "Both", "regions and action units"], ["region", "Regions", "region graph only"], ["au", "AUs", "action-unit graph only"]],
    (value) => put({ view: value }),
  );

  const tools = html("div", { class: "sg-bar" }, root);
  const quantityField = html("span", { class: "sg-field" }, tools);
  html("span", {}, quantityField, "Edges by");
  const quantityButtons = segments(quantityField, "What edges are drawn by", scene.quantities.map((value) => [value, ...QUANTITY_TEXT[value]]), (value) => put({ quantity: value }));
  const targetBox = select(tools, "for", "Class that is explained", [["", "predicted class"], ...scene.classes.map((name) => [name, name])], (value) => put({ target_class: value }));
  const headBox = select(tools, "Head", "Attention head", [["-1", "mean"], ...Array.from({ length: scene.n_heads }, (_, h) => [String(h), String(h)])], (value) => put({ head: Number(value) }));
  const hide = field("Hide", tools);
  hide.title = "share of the clip's edges, weakest first, that is hidden";
  const thresholdBox = html("input", { type: "range", min: 0, max: 1, step: 0.005, style: "width:84px", "aria-label": "Share of edges that is hidden", oninput: () => put({ threshold: Number(thresholdBox.value) }) }, hide);
  const thresholdText = html("output", { style: "min-width:44px" }, hide);
  const layoutButtons = segments(
    html("span", { class: "sg-push" }, tools), "Layout of the action units",
    [["face", "At muscles", "action units at their muscles, on both sides where each side can act alone"], ["circle", "Circle", "upper face above, lower face below"]],
    (value) => put({ layout_name: value }),
  );
  const compareButton = html("button", { type: "button", title: "two clips or two classes side by side", onclick: startComparing }, viewButtons[0].parentNode.parentNode, "Compare");
  const out = html("span", { class: "sg-out" }, viewButtons[0].parentNode.parentNode);
  menu(out, "Export", "Save or copy what is shown", [
    ["Copy as Python", "the lines that recompute the selection", () => copyText(asCode(), out.querySelector("summary"))],
    ["Image, PNG", "", async () => save(root, `${fileName()}.png`, await toPng(asSvg()))],
    ["Image, SVG", "", () => save(root, `${fileName()}.svg`, asSvg(), "image/svg+xml")],
    ["Edges, CSV", "the edges that are shown", () => save(root, `${fileName()}.csv`, asCsv(), "text/csv")],
    ["Graph, GraphML", "for Gephi, yEd, igraph", () => save(root, `${fileName()}.graphml`, asGraphml(), "application/xml")],
  ]);

  // Search an action unit by number, name or muscle: arrows move in the list, Enter selects.
  function makeSearch(box) {
    const id = `sg-found-${Math.random().toString(36).slice(2)}`;
    const input = html("input", {
      type: "search", placeholder: "Find an AU: 12, cheek, zygomaticus …", "aria-label": "Find an action unit by number, name or muscle", role: "combobox",
      "aria-expanded": "false", "aria-controls": id, autocomplete: "off",
    }, box);
    const list = html("div", { class: "sg-found", id, role: "listbox", "aria-label": "action units found" }, box);
    let [found, active] = [[], 0];
    const choose = (unit) => { close(); input.value = ""; put({ selected_au: unit.label, selected_region: "", selected_edge: {} }); };
    const close = () => { list.replaceChildren(); list.classList.remove("sg-open"); input.setAttribute("aria-expanded", "false"); };
    function show() {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      found = words.length ? scene.aus.filter((unit) => words.every((word) => {
        const number = word.replace(/^au0*/, "");
        return /^\d+$/.test(number) ? String(unit.number).startsWith(String(Number(number))) : `${unit.label} ${unit.name} ${unit.muscles.join(" ")}`.toLowerCase().includes(word);
      })) : [];
      list.replaceChildren();
      list.classList.toggle("sg-open", words.length > 0);
      input.setAttribute("aria-expanded", String(words.length > 0));
      if (words.length && !found.length) html("div", { class: "sg-note" }, list, "no such action unit here");
      found.slice(0, 8).forEach((unit, i) => {
        const option = html("div", { role: "option", id: `${id}-${i}`, "aria-selected": String(i === active), onpointerdown: (event) => { event.preventDefault(); choose(unit); } }, list);
        html("b", {}, option, unit.label);
        html("span", {}, option, ` ${unit.name}`);
        html("span", { class: "sg-note" }, option, unit.muscles.join(", "));
      });
      if (found.length) input.setAttribute("aria-activedescendant", `${id}-${active}`);
    }
    input.addEventListener("input", () => { active = 0; show(); });
    input.addEventListener("blur", close);
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && found.length) choose(found[active]);
      else if (event.key === "Escape") { input.value = ""; close(); }
      else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        active = Math.max(0, Math.min(Math.min(found.length, 8) - 1, active + (event.key === "ArrowDown" ? 1 : -1)));
        show();
        event.preventDefault();
      }
      event.stopPropagation();
    });
    ctx.search = input;
  }

  // ------------------------------------------------------------------------------------------ comparing
  const compareBar = html("div", { class: "sg-bar sg-compare-bar" }, root);
  const modeBox = select(compareBar, "Compare", "What is compared", [["clip", "with another clip"], ["classes", "two classes"]], (value) => startComparing(value));
  const otherBox = select(compareBar, "", "The other clip", scene.clips.map((entry, i) => [i, `${entry.id} · ${entry.subject} · ${scene.classes[entry.label]}`]), (value) => put({ compare: { clip: Number(value) } }));
  otherBox.style.maxWidth = "260px";
  const compared = get("_other").sides?.map((group) => group.name) ?? [];
  const groups = scene.classes.filter((name, c) => counts[c] || compared.includes(name)).map((name) => [name, name]);
  const firstBox = select(compareBar, "", "One class", groups, () => put({ compare: { classes: [firstBox.value, secondBox.value] } }));
  const secondBox = select(compareBar, "and", "The other class", groups, () => put({ compare: { classes: [firstBox.value, secondBox.value] } }));
  html("button", { type: "button", onclick: () => put({ compare: {} }) }, compareBar, "End comparison");
  const compareNote = html("span", { class: "sg-note", role: "status" }, compareBar);
  if (groups.length < 2 || !get("_live")) modeBox.options[1].disabled = true;
  if (!get("_live") && get("_other").sides) modeBox.options[1].disabled = modeBox.disabled = firstBox.disabled = secondBox.disabled = true;

  function startComparing(mode) {
    if (comparing() && typeof mode !== "string") return put({ compare: {} });
    if (mode === "classes" || (scene.clips.length < 2 && groups.length > 1 && get("_live"))) {
      const mine = scene.classes[scene.clips[get("clip")].label];
      return put({ compare: { classes: [mine, groups.find(([name]) => name !== mine)[0]] } });
    }
    const label = scene.clips[get("clip")].label;
    const next = scene.clips.findIndex((entry, i) => i !== get("clip") && entry.label !== label);
    put({ compare: { clip: next >= 0 ? next : (get("clip") + 1) % scene.clips.length } });
  }
  // a saved page contains its other clips
  function followCompare() {
    if (get("_live")) return;
    const { clip } = get("compare");
    if (clip === undefined) return get("compare").classes ? null : model.set("_other", {});
    const kept = get("_follow")?.clip;
    if (kept?._payload[clip]) model.set("_other", { compare: { clip }, payload: kept._payload[clip] });
  }
  const difference = () => {
    if (!other || !other.sides) return null;
    const graph = get("view") === "region" ? "region" : "au";
    return makeDifference(...other.sides, how, graph, get("frame"), other.sent.difference?.[graph]);
  };

  // ------------------------------------------------------------------------------------------ panels
  const panels = html("div", { class: "sg-panels" }, root);
  const left = makeGraphPanel(ctx, "region", "Regions and their motion", panels);
  const right = makeGraphPanel(ctx, "au", "Action units", panels);
  const thirds = html("div", { class: "sg-thirds" }, root);
  const trios = {}; // graph -> three panels, made when first compared
  const trio = (graph) => (trios[graph] ??= ["one", "other", "difference"].map((title) => makeGraphPanel(ctx, graph, title, thirds, `sg-${title}`)));
  const lower = html("div", { class: "sg-lower" }, root);
  const time = makeTime(ctx, lower);
  const probabilities = makeProbabilities(ctx, lower);
  const details = makeDetails(ctx, lower);

  // ------------------------------------------------------------------------------------------ what is in focus
  // Hovering has priority over the selection; returns the names in focus, or null.
  function focus() {
    const hovered = get("hovered");
    const edge = hovered.kind === "edge" ? hovered : get("selected_edge").target && !hovered.kind ? get("selected_edge") : null;
    const au = hovered.kind === "au" ? hovered.name : hovered.kind ? "" : get("selected_au");
    const region = hovered.kind === "region" ? hovered.name : hovered.kind ? "" : get("selected_region");
    if (au) return { au, units: new Set([au]), regions: new Set(movedBy(au).map(([name]) => name)) };
    if (region) return { region, units: new Set(movers(region).map((unit) => unit.label)), regions: new Set([region]) };
    if (!edge) return null;
    const ends = [edge.target, edge.source];
    return edge.graph === "au"
      ? { edge, units: new Set(ends), regions: new Set(ends.flatMap((name) => movedBy(name).map(([r]) => r))) }
      : { edge, units: joint(...ends), regions: new Set(ends) };
  }
  // The AUs that move both regions, or either where none moves both.
  function joint(a, b) {
    const [one, two] = [a, b].map((region) => movers(region).map((unit) => unit.label));
    const both = one.filter((label) => two.includes(label));
    return new Set(both.length ? both : [...one, ...two]);
  }

  // ------------------------------------------------------------------------------------------ drawing
  function missing(graph) {
    if (get("_fused") && (graph === "au" || ofClass())) return get("_fused");
    if (graph === "au") return "This output has no AU edges.";
    return `This output has no ${get("quantity") === "attention" ? "attention" : "edges"} between regions.`;
  }

  function showOf(of, graph, title) {
    const table = of.table(graph, how(of));
    if (!table) return { side: of, frame: get("frame"), edges: [], most: 0, cutoff: 0, missing: missing(graph) };
    const list = ordered(of, graph);
    const scale = signed(graph) || of.group || of.difference ? list[list.length - 1] : of.maxima[graph === "au" ? "au" : get("quantity")];
    const cutoff = cutoffOf(list, graph);
    return { side: of, frame: get("frame"), edges: edgesOf(of, graph, cutoff), most: scale || 1, cutoff, title, signed: signed(graph) || !!of.difference };
  }

  function drawKey(panelOf) {
    const { key, graph } = panelOf;
    key.replaceChildren();
    const item = (draw, text, title) => {
      const span = html("span", title ? { title } : {}, key);
      if (draw) draw(make("svg", { viewBox: "0 0 34 12", "aria-hidden": "true" }, span));
      html("span", {}, span, text);
    };
    if (panelOf.missing) {
      panelOf.note.textContent = "";
      return item(null, panelOf.missing);
    }
    const arrow = (kind, dashed) => (svg) => {
      const group = make("g", { class: `sg-edge ${kind}` }, svg);
      make("path", { class: "sg-wire", d: graph === "au" ? "M2,6L32,6" : "M2,6L24,6", "stroke-width": 2.4, "stroke-opacity": 0.85, ...(dashed ? { "stroke-dasharray": dashed } : {}) }, group);
      if (graph === "region") make("path", { class: "sg-tip", d: "M33,6L23,1.6L23,10.4Z" }, group);
    };
    const [symbol, definition] = meaningOf(graph);
    const most = Number(panelOf.most.toPrecision(2));
    if (panelOf.side.difference) {
      item(arrow("sg-for"), `more in the second, ≤ ${most}`, definition);
      item(arrow("sg-against", dash(2.4)), "less");
      if (panelOf.side.table(graph, how(panelOf.side)).low) item(arrow("sg-unsure", "1 3"), "interval spans 0");
    } else if (signed(graph)) {
      const what = get("quantity") === "weight" ? shownAu() : targetOf(panelOf.side) < 0 ? "its class" : scene.classes[targetOf(panelOf.side)];
      item(arrow("sg-for"), `for ${what}, ≤ ${logitText(panelOf.most).replace("+", "")} logits`, definition);
      item(arrow("sg-against", dash(2.4)), "against");
    } else item(arrow(""), `${symbol}${graph === "au" ? "" : " (source → target)"} ≤ ${most}`, definition);
    if (graph === "region") {
      if (panelOf.edges.some((edge) => ctx.isGuessed(panelOf.side, edge))) item(arrow("", "1.5 3"), "a hidden end, estimated");
      if (!panelOf.side.difference)
        item((svg) => {
          make("path", { class: "sg-arrow", d: "M3,6L24,6" }, svg);
          make("path", { class: "sg-arrow-tip", d: "M32,6L24,2L24,10Z" }, svg);
        }, `motion ${Number(((ctx.flowMost() * 26) / 46).toPrecision(2))} ${scene.unit}`);
    } else if (!panelOf.side.difference)
      item((svg) => {
        for (const [x, r, o] of [[5, 3.4, 0.1], [16, 4.4, 0.5], [28, 5.4, 1]]) {
          make("circle", { class: "sg-base", cx: x, cy: 6, r }, svg);
          make("circle", { class: "sg-fill", cx: x, cy: 6, r, "fill-opacity": o }, svg);
          make("circle", { class: "sg-ring", cx: x, cy: 6, r }, svg);
        }
      }, "activation 0 … 1");
    panelOf.note.textContent = `${graph === "region" && shownAu() ? `subgraph of ${shownAu()}: ` : ""}${panelOf.edges.length} edge${panelOf.edges.length === 1 ? "" : "s"}`;
    panelOf.note.title = `the strongest ${short(100 * (1 - get("threshold")))} % of all edges; ${definition}`;
  }

  function drawThirds(now) {
    const graph = get("view") === "region" ? "region" : "au";
    const three = trio(graph);
    for (const [g, list] of Object.entries(trios)) for (const one of list) one.box.hidden = g !== graph;
    const sent = get("_other");
    const fits = same(sent.compare, get("compare")) && (sent.payload || (sent.quantity === get("quantity") && sent.head === get("head") && sent.target_class === get("target_class") && sent.seed === get("seed")));
    compareNote.textContent = sent.reason ?? (fits || !get("_live") ? "" : "computing …");
    if (!other || !other.sides) return [];
    const title = (of) => (of.group ? `${of.name}: mean of ${of.clips} clips, ${of.subjects} subjects${of.caveat ? ` (caution: ${of.caveat})` : ""}` : `${scene.clips[of.index].id} · ${scene.classes[scene.clips[of.index].label]} · ${Math.round(of.times[Math.min(get("frame"), of.frames - 1)])} ms`);
    const [one, two] = other.sides;
    const shown = [showOf(one, graph, title(one)), showOf(two, graph, title(two)), showOf(difference(), graph, "Second minus first")];
    const most = Math.max(shown[0].most, shown[1].most); // one scale for both
    shown[0].most = shown[1].most = most;
    three.forEach((panelOf, i) => {
      panelOf.missing = undefined;
      panelOf.name.textContent = shown[i].title ?? "";
      panelOf.draw(shown[i], now);
      drawKey(panelOf);
    });
    return three;
  }

  function drawBar() {
    const filter = get("class_filter");
    const offered = scene.clips.map((entry, i) => [i, entry]).filter(([i, entry]) => !filter || scene.classes[entry.label] === filter || i === get("clip"));
    const key = offered.map(([i]) => i).join(",");
    if (clipBox.dataset.key !== key) {
      clipBox.dataset.key = key;
      clipBox.replaceChildren();
      for (const [i, entry] of offered) html("option", { value: i }, clipBox, `${entry.id} · ${entry.subject} · ${scene.classes[entry.label]}`);
    }
    clipBox.value = get("clip");
    classBox.value = filter;
    seedBox.value = get("seed");
    foldBox.value = get("fold");
    const trained = side.payload.trained;
    foldBox.field.classList.toggle("sg-warn", trained);
    foldBox.title = trained ? "this network was trained on this clip: its prediction is no test" : "";
    for (const option of foldBox.options) option.disabled = side.payload.allowed[Number(option.value)] === false;
    networkNote.textContent = scene.folds.length ? side.payload.network : "";
    headBox.value = get("head");
    headBox.field.hidden = get("quantity") !== "attention";
    targetBox.value = get("target_class");
    targetBox.field.hidden = !ofClass();
    thresholdBox.value = get("threshold");
    thresholdText.textContent = `${(100 * get("threshold")).toFixed(1)} %`;
    const pressed = (list, trait) => { for (const button of list) button.setAttribute("aria-pressed", button.dataset.value === get(trait)); };
    pressed(viewButtons, "view");
    pressed(layoutButtons, "layout_name");
    pressed(quantityButtons, "quantity");
    fusedNote.textContent = get("_fused");
    compareButton.setAttribute("aria-pressed", comparing());
    compareButton.disabled = scene.clips.length < 2;
    compareBar.hidden = !comparing();
    const classes = get("compare").classes;
    modeBox.value = classes ? "classes" : "clip";
    otherBox.field.hidden = Boolean(classes);
    firstBox.field.hidden = secondBox.field.hidden = !classes;
    if (classes) [firstBox.value, secondBox.value] = classes;
    else otherBox.value = get("compare").clip;
    panels.hidden = comparing();
    thirds.hidden = !comparing();
    panels.dataset.view = get("view");
  }

  let [queued, emphasisQueued, predictionQueued] = [0, 0, 0];
  let drawnPanels = [];
  function draw() {
    queued = 0;
    load();
    if (!loaded() || get("frame") >= side.frames) return; // its data have not arrived
    const start = performance.now();
    const now = focus();
    drawBar();
    if (comparing()) drawnPanels = drawThirds(now);
    else {
      drawnPanels = [left, right].filter((one) => get("view") === "both" || get("view") === one.graph);
      for (const one of drawnPanels) {
        one.missing = undefined;
        one.draw(showOf(side, one.graph), now);
        drawKey(one);
      }
    }
    time.draw(side);
    probabilities.draw(side);
    details.draw(drawnPanels);
    root.dataset.drawMs = (performance.now() - start).toFixed(1);
    root.dataset.frame = get("frame");
    root.dataset.clip = get("clip");
  }
  function drawEmphasis() {
    emphasisQueued = 0;
    if (!loaded() || queued) return;
    const now = focus();
    for (const one of drawnPanels) one.emphasise(now);
  }
  // A new prediction changes one panel: the graphs stay as they are.
  function drawPrediction() {
    predictionQueued = 0;
    if (loaded() && !queued) probabilities.draw(side);
  }
  const schedule = () => { if (!queued) queued = requestAnimationFrame(draw); };
  const predicted = () => { if (!predictionQueued) predictionQueued = requestAnimationFrame(drawPrediction); };
  const emphasise = () => { if (!emphasisQueued) emphasisQueued = requestAnimationFrame(drawEmphasis); };

  // ------------------------------------------------------------------------------------------ export
  const fileName = () => `au_graph_${scene.clips[get("clip")].id}_frame${get("frame")}`.replace(/[^\w.-]+/g, "_");
  const shownEdges = () => drawnPanels.flatMap((one) => one.edges.map((edge) => [one.side.difference ? "difference" : nameOf(one.side), one.side, edge]));
  const asSvg = () => joinDrawings(root, drawnPanels.map((one) => ({ svg: one.svg, title: one.name.textContent })), drawnPanels.map((one) => `${one.name.textContent}: ${one.key.innerText.replace(/\s+/g, " ")}`));
  const asCsv = () => toCsv(
    ["of", "time_ms", "graph", "quantity", "class", "au", "target", "source", "value", "low", "high"],
    shownEdges().map(([name, of, e]) => [name, of.group || of.difference ? "" : of.times[Math.min(get("frame"), of.frames - 1)], e.graph, get("quantity"), ofClass() ? scene.classes[targetOf(of)] ?? "predicted" : "", e.au ?? "", e.target, e.source, e.value, e.low ?? "", e.high ?? ""]),
  );
  function asGraphml() {
    const nodes = [];
    for (const graph of new Set(drawnPanels.map((one) => one.graph)))
      names[graph].forEach((id, k) => {
        const [x, y] = graph === "au" ? scene.au_face.find(([of]) => of === k)[2] : scene.centres[k];
        nodes.push(graph === "au" ? { id, kind: graph, title: scene.aus[k].name, muscles: scene.aus[k].muscles.join("; "), x, y, activation: side.activation(k, get("frame")) } : { id, kind: graph, x, y });
      });
    const edges = shownEdges().map(([name, , e]) => ({ source: e.source, target: e.target, weight: e.value, kind: e.graph, direction: e.graph === "au" ? "none" : "source to target", of: name }));
    return toGraphml(nodes, edges, get("view") !== "au");
  }
  function asCode() {
    const quote = (value) => (typeof value === "string" ? JSON.stringify(value) : String(value));
    const run = scene.opening.startsWith("run");
    const compare = get("compare");
    const given = [
      run ? "run" : "output, batch, model=model",
      `clip=${quote(scene.clips[get("clip")].id)}`, `frame=${get("frame")}`, `view=${quote(get("view"))}`, `quantity=${quote(get("quantity"))}`,
      `threshold=${get("threshold")}`,
      get("head") >= 0 && `head=${get("head")}`, get("target_class") && `target=${quote(get("target_class"))}`,
      run && `seed=${get("seed")}`, run && get("fold") >= 0 && `fold=${get("fold")}`,
      compare.classes && `compare={"classes": ${JSON.stringify(compare.classes)}}`,
      compare.clip !== undefined && `compare={"clip": ${quote(scene.clips[compare.clip].id)}}`,
    ].filter(Boolean);
    const lines = ["import stagkit", scene.opening, `w = stagkit.view_au_graph(${given.join(", ")})`];
    const { graph, target, source, au } = get("selected_edge");
    if (target) lines.push(`w.selected_edge = {"graph": ${quote(graph)}, "target": ${quote(target)}, "source": ${quote(source)}, "au": ${quote(au ?? "")}}`);
    if (get("selected_au")) lines.push(`w.selected_au = ${quote(get("selected_au"))}`);
    if (get("selected_region")) lines.push(`w.selected_region = ${quote(get("selected_region"))}`);
    if (get("interventions").length) lines.push(`w.interventions = ${JSON.stringify(get("interventions"))}`);
    lines.push("w.probabilities, w.selected_edge, w.edges_table()");
    return lines.join("\n") + "\n";
  }
  root.stagCode = asCode; // for tests
  root.stagState = () => {
    const state = side.state();
    return { logits: state.logits, active: [...state.active], regionEdges: scene.classes.map((_, c) => [...state.regionEdges(c)]) };
  };

  // ------------------------------------------------------------------------------------------ what follows from what
  // the value of a selected edge follows the frame; Python computes the same number
  const follow = () => {
    load();
    const edge = get("selected_edge");
    if (!edge.target || !loaded() || get("frame") >= side.frames) return;
    const next = described(edge);
    if (["value", "quantity", "clip", "frame"].some((name) => next[name] !== edge[name])) put({ selected_edge: next });
  };
  const calm = window.matchMedia?.("(prefers-reduced-motion: reduce)").matches;
  let [since, smoothing] = [0, 0];
  function glide() {
    const part = Math.min(1, (performance.now() - since) / STEP_MS);
    if (loaded() && !queued && get("frame") < side.frames - 1 && !calm) for (const one of drawnPanels) if (!one.side.group) one.drawMotion(get("frame"), part);
    smoothing = get("playing") ? requestAnimationFrame(glide) : 0;
  }
  const play = () => {
    const player = players.get(model);
    clearInterval(player.timer);
    cancelAnimationFrame(smoothing);
    player.timer = get("playing")
      ? setInterval(() => {
          model.set("frame", (get("frame") + 1) % get("_payload").times_ms.length);
          model.save_changes();
        }, STEP_MS)
      : 0;
    since = performance.now();
    if (get("playing")) smoothing = requestAnimationFrame(glide);
  };

  if (!players.has(model)) players.set(model, { timer: 0, views: 0 });
  players.get(model).views += 1;
  const heard = [];
  const on = (trait, callback) => {
    model.on(`change:${trait}`, callback);
    heard.push([`change:${trait}`, callback]);
  };
  on("interventions", () => {
    if (!undoing && !same(lastInterventions, get("interventions"))) past.push(lastInterventions);
    lastInterventions = get("interventions");
    predictInPage();
  });
  on("clip", () => {
    load();
    if (!get("_live") && get("frame") >= side.frames) put({ frame: side.frames - 1 }); // a shorter clip
    if (get("interventions").length) predictInPage();
  });
  on("_payload", () => load());
  on("compare", followCompare);
  on("frame", () => { since = performance.now(); });
  for (const trait of ["frame", "quantity", "head", "clip", "_payload", "target_class", "interventions"]) on(trait, follow);
  for (const trait of [
    "clip", "frame", "seed", "fold", "view", "layout_name", "quantity", "target_class", "head", "threshold", "class_filter",
    "compare", "selected_au", "selected_region", "selected_edge", "interventions", "magnify", "_payload", "_other", "playing", "_disabled", "_fused",
  ])
    on(trait, schedule);
  for (const trait of ["probabilities", "_computed"]) on(trait, predicted);
  on("hovered", emphasise);
  on("playing", play);
  root.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "range";
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) ctx.undo();
    else if (event.key === "/" && !typing) ctx.search.focus();
    else if (event.key === "Escape" && !typing) ctx.choose(null);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  draw();
  if (get("playing")) play();
  const watch = new ResizeObserver(() => { if (time.resize()) schedule(); });
  watch.observe(root);

  return () => {
    for (const [event, callback] of heard) model.off(event, callback);
    const player = players.get(model);
    player.views -= 1;
    if (!player.views) clearInterval(player.timer);
    watch.disconnect();
    for (const frame of [queued, emphasisQueued, predictionQueued, smoothing]) cancelAnimationFrame(frame);
    clearTimeout(hoverTimer);
    root.remove();
  };
}

export default { render };
