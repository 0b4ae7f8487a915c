// One drawing of a graph on a face: the regions and their motion, or the action units; of a clip, a mean or a difference.
// ctx: shared by all panels (see au_graph.js): scene, names, get, tip, actions, focus, reasons, changes.

// A region edge, from source to target, bent to its left, so that the two directions of a pair lie apart; one from a region
// to itself is a loop above it. An AU edge has no direction and no tip: it bends away from the midline, or, on the circle,
// towards the centre.
function wire(from, to, startGap, endGap, width, centre = null, directed = true) {
  if (from === to) {
    const [x, y] = [from[0], from[1] - startGap + 1];
    const [r, tip] = [9, [x + 3, y]];
    const neck = [tip[0] + 1.8, tip[1] - 5 - width];
    const spread = 1.6 + 0.9 * width;
    return { line: `M${at([x - 3, y])}C${at([x - 3 - 1.5 * r, y - 2 * r])} ${at([x + 3 + 1.5 * r, y - 2 * r])} ${at(neck)}`, tip: `M${at(tip)}L${at([neck[0] - spread, neck[1] - 1])}L${at([neck[0] + spread, neck[1] + 1])}Z`, middle: [x, y - 1.5 * r] };
  }
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const length = Math.hypot(dx, dy) || 1;
  const outwards = directed || dy === 0 ? 1 : Math.sign(dy) * Math.sign((from[0] + to[0]) / 2 - FACE.cx || 1);
  const bend = outwards * (centre ? 9 : directed ? Math.min(0.2 * length, 46) + 4 : Math.min(0.12 * length, 24));
  const control = [(from[0] + to[0]) / 2 + (dy / length) * bend, (from[1] + to[1]) / 2 - (dx / length) * bend];
  if (centre) for (const i of [0, 1]) control[i] += 0.55 * (centre[i] - (from[i] + to[i]) / 2);
  const toward = (a, b, gap) => {
    const d = Math.hypot(b[0] - a[0], b[1] - a[1]) || 1;
    return [a[0] + ((b[0] - a[0]) / d) * gap, a[1] + ((b[1] - a[1]) / d) * gap];
  };
  const tipLength = directed ? 5 + 1.7 * width : 0.01;
  const start = toward(from, control, Math.min(startGap, length / 3));
  const tip = toward(to, control, Math.min(endGap, length / 3));
  const neck = toward(to, control, Math.min(endGap, length / 3) + tipLength);
  const [ux, uy] = [(tip[0] - neck[0]) / tipLength, (tip[1] - neck[1]) / tipLength];
  const spread = 2 + 1.05 * width;
  const [one, other] = [[neck[0] - uy * spread, neck[1] + ux * spread], [neck[0] + uy * spread, neck[1] - ux * spread]];
  const middle = [0.25 * start[0] + 0.5 * control[0] + 0.25 * neck[0], 0.25 * start[1] + 0.5 * control[1] + 0.25 * neck[1]];
  return { line: `M${at(start)}Q${at(control)} ${at(neck)}`, tip: directed ? `M${[tip, one, other].map(at).join("L")}Z` : "", middle };
}

// against: not colour alone
const dash = (width) => `${(4 + 1.5 * width).toFixed(1)} ${(2.4 + 0.7 * width).toFixed(1)}`;

const CROSS = ([x, y], r = 5) => `M${x - r},${y - r}L${x + r},${y + r}M${x + r},${y - r}L${x - r},${y + r}`;

function makeGraphPanel(ctx, graph, title, parent, className = "") {
  const { scene, names, get, tip } = ctx;
  const isAu = graph === "au";
  const box = panel(`${isAu ? "sg-au-panel" : "sg-face-panel"} ${className}`, title, parent);
  const svg = make("svg", { viewBox: `0 0 ${FACE.width} ${FACE.height}`, role: "group", "aria-label": title }, box.box);
  svg.addEventListener("click", (event) => event.target === svg && ctx.choose(null));
  const face = makeFace(svg, scene.face, isAu ? "sg-ghost" : "");
  const muscles = makeMuscles(svg, scene.muscles);
  const sides = make("g", {}, svg);
  for (const [text, x, anchor] of [["subject's right", 12, "start"], ["subject's left", FACE.width - 12, "end"]])
    make("text", { class: "sg-side", x, y: FACE.height - 12, "text-anchor": anchor }, sides, text);
  const groupLabels = make("g", {}, svg);
  const edgeLayer = make("g", { role: "group", "aria-label": `${isAu ? "AU" : "region"} edges, strongest first` }, svg);
  const nodeLayer = make("g", { role: "group", "aria-label": isAu ? "action units" : "regions" }, svg);
  const labelLayer = make("g", { "aria-hidden": "true" }, svg);
  const key = html("div", { class: "sg-key" }, box.box);
  const out = { ...box, svg, key, face, nodes: [], edges: [], graph, side: null, frame: 0, title };
  const value = (k) => Math.max(0, Math.min(1, Math.abs(out.side.activation(k, out.frame))));
  // activation of one side of the face: less where the other side does it
  function sideValue(node) {
    const balance = out.side.balance?.(node.index, out.frame) ?? 0;
    return value(node.index) * Math.min(1, node.side === "R" ? 1 - balance : node.side === "L" ? 1 + balance : 1);
  }

  // ---------------------------------------------------------------------------------------------- nodes, made once
  function touchable(node, what, lines) {
    const enter = (event) => { ctx.hover(what); tip.show(event, lines()); };
    const leave = () => { ctx.hover({}); tip.hide(); };
    node.addEventListener("pointerenter", enter);
    node.addEventListener("pointermove", (event) => tip.show(event, lines()));
    node.addEventListener("pointerleave", leave);
    node.addEventListener("focus", (event) => node.matches(":focus-visible") && enter(event));
    node.addEventListener("blur", leave);
  }

  // an action unit that can act on one side alone has a node on both
  const spots = isAu ? scene.au_face : scene.centres.map((_, r) => [r, ""]);
  spots.forEach(([index, side, spot], order) => {
    const name = names[graph][index];
    const radius = isAu ? 13 : 6;
    const trait = isAu ? "selected_au" : "selected_region";
    const group = make("g", { class: "sg-node", role: "button", tabindex: order ? -1 : 0, "data-name": name, "data-side": side, "aria-pressed": "false" }, nodeLayer);
    const node = {
      group, name, radius, index, side, spot,
      halo: make("circle", { class: "sg-halo", r: radius + 4 }, group),
      base: make("circle", { class: "sg-base", r: radius }, group),
      fill: make("circle", { class: "sg-fill", r: radius, "fill-opacity": 0 }, group),
      ring: make("circle", { class: "sg-ring", r: radius }, group),
      text: isAu ? make("text", { class: "sg-number" }, group, String(scene.aus[index].number)) : null,
      arrow: isAu ? null : make("path", { class: "sg-arrow" }, group),
      arrowTip: isAu ? null : make("path", { class: "sg-arrow-tip" }, group),
      term: isAu ? make("text", { class: "sg-term", "aria-hidden": "true" }, group) : null,
      cross: make("path", { class: "sg-cross" }, group),
      at: [0, 0],
    };
    group.addEventListener("click", () => ctx.choose(trait, name));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") ctx.choose(trait, name);
      else if (event.key === "Delete") ctx.toggleRemoval([graph, name]);
      else if (event.key === "Escape") ctx.choose(null);
      else if (event.key.startsWith("Arrow")) walk(node, event.key);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    touchable(group, { kind: graph, name }, () => ctx.nodeText(out, index));
    out.nodes.push(node);
    if (!isAu) setPlace(node, place(scene.centres[index]));
  });

  function setPlace(node, spot) {
    node.at = spot;
    node.group.setAttribute("transform", `translate(${at(spot)})`);
  }

  // Arrow keys go to the nearest node in that direction; one node at a time is a stop of the Tab key.
  function walk(from, arrow) {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[arrow];
    let best = null;
    for (const node of out.nodes) {
      const [x, y] = [node.at[0] - from.at[0], node.at[1] - from.at[1]];
      const ahead = x * dx + y * dy;
      const cost = ahead > 1 ? ahead + 2.2 * Math.abs(x * dy - y * dx) : Infinity;
      if (cost < (best ? best.cost : Infinity)) best = { node, cost };
    }
    if (!best) return;
    for (const node of out.nodes) node.group.setAttribute("tabindex", node === best.node ? 0 : -1);
    best.node.group.focus();
  }

  function placeUnits() {
    const circle = get("layout_name") === "circle";
    const positions = scene.au_circle.map(([x, y]) => [FACE.width / 2 + 150 * x, FACE.height / 2 + 156 * y]);
    for (const node of out.nodes) {
      setPlace(node, circle ? positions[node.index] : place(node.spot));
      node.hidden = circle && node.side === "L"; // once on the circle
      node.group.style.display = node.hidden ? "none" : "";
    }
    for (const node of [face.group, muscles.group, sides]) node.style.display = circle ? "none" : "";
    groupLabels.replaceChildren();
    if (!circle) return;
    for (const [text, y] of [["upper face", 18], ["lower face", FACE.height - 12]]) make("text", { class: "sg-side", x: 12, y }, groupLabels, text);
    const upper = scene.aus.flatMap((unit, k) => (unit.group === "upper face" ? [positions[k]] : []));
    for (const [side, k] of [[-1, 0], [1, upper.length - 1]]) {
      const y = upper[k][1] + 25;
      make("path", { class: "sg-divide", d: `M${FACE.width / 2 + side * 122},${y}H${FACE.width / 2 + side * 252}` }, groupLabels);
    }
  }

  // ---------------------------------------------------------------------------------------------- edges
  // The nodes that an edge joins: those of the same side; an edge between midline and sides is drawn to both.
  function endsOf(target, source) {
    const [to, from] = [target, source].map((name) => out.nodes.filter((node) => node.name === name && !node.hidden));
    if (!isAu || (to.length === 1 && from.length === 1)) return [[to[0], from[0]]];
    return ["R", "L"].map((side) => [to, from].map((nodes) => nodes.find((node) => node.side === side) ?? nodes[0]));
  }

  function drawEdges(now) {
    const focused = edgeLayer.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    edgeLayer.replaceChildren();
    const chosen = get("selected_edge");
    const centre = isAu && get("layout_name") === "circle" ? [FACE.width / 2, FACE.height / 2] : null;
    // weak ones first, so that strong ones lie on top; in the tab order the strongest comes first
    out.edges.forEach((edge, rank) => {
      const strength = Math.max(0, Math.min(1, Math.abs(edge.value) / (out.most || 1)));
      const on = chosen.target && ctx.sameEdge(chosen, edge);
      const change = ctx.changeOf(ctx.cutOf(edge));
      const removed = change && ctx.isRemoved(change);
      const guessed = ctx.isGuessed(out.side, edge);
      const partly = !change && ctx.isPartly(edge);
      const against = edge.value < 0;
      const width = 0.7 + 3.4 * strength ** 1.3;
      const pens = endsOf(edge.target, edge.source).map(([to, from]) => wire(from.at, to.at, from.radius + (isAu ? 0 : 2), to.radius + (isAu ? 0 : 3), width, centre, !isAu));
      const text = ctx.edgeText(out, edge);
      const classes = ["sg-edge", on && "sg-on", removed && "sg-removed", change && !removed && "sg-clamped", against ? "sg-against" : out.signed && "sg-for"];
      if (edge.low !== undefined && edge.low < 0 && edge.high > 0 && out.side.difference) classes.push("sg-unsure");
      if (!ctx.edgeMatters(edge, now) && !on && !change) classes.push("sg-faded");
      const group = make("g", {
        class: classes.filter(Boolean).join(" "),
        role: "button",
        tabindex: rank ? -1 : 0,
        "data-key": `${edge.target}|${edge.source}`,
        "data-target": edge.target,
        "data-source": edge.source,
        "data-value": edge.value === null ? "" : rounded(edge.value),
        "data-graph": graph,
        "data-au": edge.au ?? "",
        "aria-label": `${text.title}: ${text.value}${text.reason ? `; joined by ${text.reason}` : ""}${removed ? "; removed" : change ? `; times ${change.at(-1)}` : ""}`,
        "aria-pressed": on ? "true" : "false",
      });
      edgeLayer.prepend(group);
      for (const pen of pens) {
        if (on) make("path", { class: "sg-halo", d: pen.line, "stroke-width": (width + 8).toFixed(1) }, group);
        make("path", { class: "sg-hit", d: pen.line }, group);
        const line = { class: "sg-wire", d: pen.line, "stroke-width": width.toFixed(2), "stroke-opacity": (0.25 + 0.7 * strength).toFixed(2) };
        if (guessed && !removed) line["stroke-dasharray"] = `${width.toFixed(1)} ${(1.5 * width + 1.5).toFixed(1)}`;
        else if (against && !removed) line["stroke-dasharray"] = dash(width);
        make("path", line, group);
        if (pen.tip) make("path", { class: "sg-tip", d: pen.tip, "fill-opacity": (0.35 + 0.6 * strength).toFixed(2) }, group);
        if (removed) make("path", { class: "sg-cross", d: CROSS(pen.middle) }, group);
        else if (partly) make("path", { class: "sg-cross sg-partly", d: CROSS(pen.middle, 3.4) }, group);
        else if (change) make("text", { class: "sg-level", x: pen.middle[0], y: pen.middle[1] }, group, `× ${short(change.at(-1))}`);
      }
    });
    if (focused) {
      const again = [...edgeLayer.children].find((child) => child.dataset.key === focused);
      if (again) again.focus();
    }
  }

  // One listener per layer instead of four per edge.
  const read = (event) => {
    const group = event.target.closest && event.target.closest(".sg-edge");
    return group && { graph, target: group.dataset.target, source: group.dataset.source, au: group.dataset.au, value: Number(group.dataset.value), group };
  };
  const leave = () => { ctx.hover({}); tip.hide(); };
  edgeLayer.addEventListener("pointermove", (event) => {
    const edge = read(event);
    if (!edge) return;
    const text = ctx.edgeText(out, out.edges.find((e) => ctx.sameEdge(e, edge)) ?? edge);
    const lines = [text.title, text.value];
    if (text.range) lines.push(text.range);
    if (ctx.isGuessed(out.side, edge)) lines.push("an end is hidden: its motion is estimated from its neighbours");
    lines.push(text.reason ? `joined by ${text.reason}` : text.definition);
    tip.show({ type: event.type, clientX: event.clientX, clientY: event.clientY, currentTarget: edge.group }, lines);
    ctx.hover({ kind: "edge", graph, target: edge.target, source: edge.source });
  });
  edgeLayer.addEventListener("pointerleave", leave);
  edgeLayer.addEventListener("pointerout", (event) => { if (!event.relatedTarget || !edgeLayer.contains(event.relatedTarget)) leave(); });
  edgeLayer.addEventListener("click", (event) => { const edge = read(event); if (edge) ctx.chooseEdge(edge); });
  edgeLayer.addEventListener("keydown", (event) => {
    const edge = read(event);
    if (!edge) return;
    if (event.key === "Enter" || event.key === " ") ctx.chooseEdge(edge);
    else if (event.key === "Delete") ctx.toggleRemoval(ctx.cutOf(edge));
    else if (event.key === "Escape") ctx.choose(null);
    else if (event.key.startsWith("Arrow")) {
      const stronger = event.key === "ArrowUp" || event.key === "ArrowLeft";
      const next = stronger ? edge.group.nextElementSibling : edge.group.previousElementSibling;
      if (next) {
        for (const child of edgeLayer.children) child.setAttribute("tabindex", child === next ? 0 : -1);
        next.focus();
      }
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // ---------------------------------------------------------------------------------------------- labels
  // Puts each label where it covers least: below, above, right or left of its node.
  function drawLabels(wanted) {
    labelLayer.replaceChildren();
    const taken = out.nodes.map(({ at: [x, y], radius: r }) => [x - r - 1, y - r - 1, x + r + 1, y + r + 1]);
    const overlap = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
    for (const { text, node } of wanted) {
      const [x, y] = node.at;
      const r = node.radius;
      const w = text.length * 6.1;
      const spots = [
        ["middle", x, y + r + 13], ["middle", x, y - r - 6], ["start", x + r + 5, y + 4], ["end", x - r - 5, y + 4],
        ["start", x + r - 2, y + r + 9], ["end", x - r + 2, y + r + 9], ["start", x + r - 2, y - r - 2], ["end", x - r + 2, y - r - 2],
      ].map(([anchor, tx, ty], i) => {
        const x0 = anchor === "middle" ? tx - w / 2 : anchor === "start" ? tx : tx - w;
        const label = [x0, ty - 10, x0 + w, ty + 3];
        const outside = Math.max(0, 4 - x0) + Math.max(0, x0 + w - FACE.width + 4) + Math.max(0, label[3] - FACE.height + 2);
        return { anchor, tx, ty, label, cost: taken.reduce((sum, t) => sum + overlap(label, t), 0) + 60 * outside + 6 * i };
      });
      const best = spots.reduce((a, b) => (b.cost < a.cost ? b : a));
      taken.push(best.label);
      const label = make("text", { class: "sg-label", x: best.tx.toFixed(1), y: best.ty.toFixed(1) }, labelLayer, text);
      label.style.textAnchor = best.anchor;
    }
  }

  // ---------------------------------------------------------------------------------------------- motion
  const weights = isAu ? null : landmarkWeights(scene.face, scene.centres);
  // part: position between two frames, for smooth playback
  out.drawMotion = (frame, part = 0) => {
    if (isAu || !out.side) return;
    const most = ctx.flowMost();
    const flows = names.region.map((_, r) => {
      const [a, b] = [out.side.flow(r, frame), out.side.flow(r, Math.min(frame + 1, out.side.frames - 1))];
      return [a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1])];
    });
    out.nodes.forEach((node, r) => {
      const [u, v] = flows[r];
      const size = Math.hypot(u, v);
      const length = ctx.visible(out.side, r, frame) ? (46 * size) / most : 0;
      if (length <= 3) {
        node.arrow.removeAttribute("d");
        node.arrowTip.removeAttribute("d");
        return;
      }
      const [ux, uy] = [u / size, v / size];
      const end = [ux * (6 + length), uy * (6 + length)];
      node.arrow.setAttribute("d", `M${at([ux * 6, uy * 6])}L${at([end[0] - ux, end[1] - uy])}`);
      const head = [end[0] + ux * 5, end[1] + uy * 5];
      node.arrowTip.setAttribute("d", `M${at(head)}L${at([end[0] - uy * 4 - ux * 2, end[1] + ux * 4 - uy * 2])}L${at([end[0] + uy * 4 - ux * 2, end[1] - ux * 4 - uy * 2])}Z`);
    });
    const factor = get("magnify") / 100; // the flow is in % IOD
    face.move(moveLandmarks(scene.face, weights, flows.map(([u, v]) => [u * factor, v * factor])));
  };

  // ---------------------------------------------------------------------------------------------- nodes, each time
  function drawNodes(now) {
    const chosen = get(isAu ? "selected_au" : "selected_region");
    const circle = isAu && get("layout_name") === "circle";
    const partners = new Set(); // strongest first, as the edges are
    const middle = now && (isAu ? now.au : now.region);
    if (middle)
      for (const edge of out.edges) {
        if (edge.target === middle) partners.add(edge.source);
        if (edge.source === middle) partners.add(edge.target);
      }
    const close = new Set([...partners].slice(0, 5));
    const strongest = isAu ? names.au.map((_, k) => k).sort((a, b) => value(b) - value(a)).slice(0, 4) : [];
    const terms = isAu && ctx.ofClass() && !out.side.difference && out.side.nodeTerm ? names.au.map((_, k) => out.side.nodeTerm(k, out.side.base ? ctx.targetOf(out.side) : ctx.target())) : null;
    const mostTerm = terms ? Math.max(...terms.map(Math.abs), 0.01) : 1;
    const wanted = [];
    if (circle) labelLayer.replaceChildren();
    out.nodes.forEach((node) => {
      const k = node.index;
      const on = node.name === chosen || (now && (isAu ? now.units : now.regions).has(node.name));
      const visible = isAu || ctx.visible(out.side, k, out.frame);
      const change = ctx.changeOf([graph, node.name]);
      const classes = ["sg-node", on && "sg-on", partners.has(node.name) && "sg-partner", !visible && "sg-absent", change && (ctx.isRemoved(change) ? "sg-removed" : "sg-clamped"), now && !on && !partners.has(node.name) && !change && "sg-faded"];
      const term = terms?.[k] ?? null;
      if (isAu && out.side.difference) classes.push(out.side.activation(k, 0) < 0 ? "sg-against" : "sg-for");
      else if (term !== null) classes.push("sg-signed", term < 0 ? "sg-against" : "sg-for");
      node.group.setAttribute("class", classes.filter(Boolean).join(" "));
      node.group.setAttribute("aria-pressed", node.name === chosen);
      node.group.setAttribute("aria-label", ctx.nodeText(out, k).join(", ") + (change ? `, ${ctx.changeText(change)}` : ""));
      if (change && ctx.isRemoved(change)) node.cross.setAttribute("d", CROSS([0, 0], node.radius + 2));
      else node.cross.removeAttribute("d");
      if (!isAu) {
        if (on) wanted.push({ text: brief(node.name), node });
        return;
      }
      for (const ring of [node.base, node.fill, node.ring]) ring.setAttribute("r", node.radius.toFixed(1));
      node.halo.setAttribute("r", (node.radius + 4).toFixed(1));
      const filled = term === null ? sideValue(node) : Math.abs(term) / mostTerm;
      node.fill.setAttribute("fill-opacity", filled.toFixed(3));
      node.text.style.fontSize = `${(10.5 + 2.5 * value(k)).toFixed(1)}px`;
      node.text.classList.toggle("sg-inverse", filled > 0.5);
      node.text.setAttribute("y", 0);
      node.term.textContent = !circle && term !== null && Math.abs(term) >= 0.05 && Math.abs(term) > 0.15 * mostTerm ? logitText(term) : "";
      const outside = node.side === "R" ? -1 : 1;
      node.term.setAttribute("x", outside * (node.radius + 3));
      node.term.setAttribute("y", 3.5);
      node.term.style.textAnchor = outside < 0 ? "end" : "start";
      const named = on || close.has(node.name) || (!now && value(k) > 0.25 && strongest.includes(k));
      if (circle) {
        if (node.hidden) return;
        const [x, y] = scene.au_circle[k];
        const centred = Math.abs(x) < 0.06;
        const gap = node.radius + 7;
        const spot = [node.at[0] + (centred ? 0 : x * gap), node.at[1] + y * (centred ? gap + 5 : gap) + 4];
        const label = make("text", { class: "sg-label", x: spot[0].toFixed(1), y: spot[1].toFixed(1) }, labelLayer, scene.aus[k].name);
        label.style.textAnchor = centred ? "middle" : x > 0 ? "start" : "end";
        if (now && !on && !partners.has(node.name)) label.style.opacity = 0.35;
      } else if (named && node.side !== "L") wanted.push({ text: scene.aus[k].name, node, first: on ? 1 : 0, value: value(k) });
    });
    if (!circle) drawLabels(isAu ? wanted.sort((a, b) => b.first - a.first || b.value - a.value) : wanted);
    const highlighted = now ? [...(now.au ? [now.au] : isAu || now.region ? now.units : [])] : [];
    muscles.group.style.visibility = get("layout_name") === "circle" && isAu ? "hidden" : "";
    muscles.show(new Set(highlighted.flatMap((name) => ctx.unitOf(name).muscles.map((m) => m.replace(/, relaxed$/, "")))));
  }

  // ---------------------------------------------------------------------------------------------- whole
  // show: {side, frame, edges, most, note}
  out.draw = (shown, now) => {
    Object.assign(out, shown);
    if (isAu) {
      const circle = get("layout_name") === "circle";
      for (const node of out.nodes) node.radius = circle ? 11 + 9 * value(node.index) : 9.5 + 5.5 * value(node.index);
      placeUnits();
    }
    drawEdges(now);
    drawNodes(now);
    out.drawMotion(out.frame);
  };

  // Hovering changes what is emphasised, nothing else.
  out.emphasise = (now) => {
    for (const group of edgeLayer.children) {
      const edge = { graph, target: group.dataset.target, source: group.dataset.source };
      const keep = ctx.edgeMatters(edge, now) || /sg-(on|removed|clamped)/.test(group.getAttribute("class"));
      group.classList.toggle("sg-faded", !keep);
    }
    drawNodes(now);
  };
  return out;
}
