// Run browser: confusion matrix, subjects, clips. Stands after base, face, export and explorer.

const STEP = 60; // clips listed at once; more on demand
const OPENERS = [["au graph", "AU graph", "edges between action units and between regions; remove or clamp them"], ["evidence", "Evidence", "attribution of the prediction, with its controls"], ["flow", "Flow", "the frames and their motion"]];

function render(context) {
  const view = explorer(context, "run", "Run browser");
  const { get, put, root } = view;
  const scene = get("_scene");
  const key = () => String(get("seed"));
  const percent = (share) => `${Math.round(100 * share)} %`;
  let listed = STEP;

  // ---------------------------------------------------------------------------------------- controls
  const scores = html("div", { class: "sg-scores" }, root);
  const titles = { uf1: "UF1", uar: "UAR", acc: "accuracy" };
  for (const [name, score] of Object.entries(scene.scores)) {
    const item = html("span", {}, scores, `${titles[name]} `);
    html("b", {}, item, score.mean.toFixed(3));
    if (score.ci95) html("span", { class: "sg-note" }, item, ` ${score.ci95.map((v) => v.toFixed(2)).join(" to ")}`);
  }
  const others = Object.entries(scene.baselines).filter(([, v]) => v !== null && v !== undefined);
  html("span", { class: "sg-note" }, scores, `${scene.model}, ${scene.protocol}, ${scene.seeds.length} seed${scene.seeds.length > 1 ? "s" : ""}, intervals over subjects${scene.caveat ? ` (caution: ${scene.caveat})` : ""}${others.length ? `; UF1 of baselines: ${others.map(([n, v]) => `${n} ${v.toFixed(2)}`).join(", ")}` : ""}`);
  if (scene.warning) html("div", { class: "sg-warning", role: "alert" }, root, `This run ${scene.warning}: it says nothing about unseen subjects.`);
  const bar = html("div", { class: "sg-bar" }, root);
  view.tiedSelect(bar, "Predictions of", [[-1, scene.seeds.length > 1 ? `all ${scene.seeds.length} seeds` : "the seed"], ...scene.seeds.map((s) => [s, `seed ${s}`])], "seed", { spoken: "Seed", change: (value) => put({ seed: Number(value) }) });
  view.tiedSegments(bar, "Order of the clips", [["worst", "Worst", scene.orders.worst], ["surprising", "Most surprising", scene.orders.surprising], ["name", "By name", scene.orders.name]], "order");

  const tables = html("div", { class: "sg-row sg-tables" }, root);
  const matrix = panel("sg-matrix", "True against predicted", tables);
  const matrixBox = html("div", { class: "sg-scroll" }, matrix.box);
  const subjects = panel("sg-subjects", "Subjects", tables);
  const subjectHead = html("div", { class: "sg-list-head sg-subject-list-head", style: "margin:0 12px" }, subjects.box);
  for (const [text, name] of [["subject", ""], ["clips", "sg-num"], ["accuracy", ""], ["", ""]]) html("span", { class: name }, subjectHead, text);
  const subjectBox = html("div", { class: "sg-scroll sg-list sg-subject-list", role: "group", "aria-label": "subjects, worst first" }, subjects.box);
  const clips = panel("sg-clips", "Clips", tables);
  const chips = html("div", { class: "sg-chips" }, clips.box);
  const clipHead = html("div", { class: "sg-list-head sg-clip-head", style: "margin:0 12px" }, clips.box);
  for (const [text, name, title] of [["clip", ""], ["true → predicted", ""], ["p(true)", "sg-num", "probability of the true class"], ["surpr.", "sg-num", "p(true) minus its mean over the other clips of this subject and class"]]) html("span", { class: name, title }, clipHead, text);
  const clipBox = html("div", { class: "sg-scroll sg-list sg-clip-list", role: "group" }, clips.box);
  const detail = panel("sg-detail", "Clip", root);
  const detailBox = html("div", { class: "sg-detail-row", "aria-live": "polite" }, detail.box);
  const status = html("div", { class: "sg-status", role: "status" }, root);

  // ---------------------------------------------------------------------------------------- data
  const rows = () => (get("seed") < 0 ? scene.seeds.map((_, k) => k) : [scene.seeds.indexOf(get("seed"))]);
  const predicted = (i) => rows().map((k) => scene.predicted[k][i]).filter((c) => c >= 0);
  const probability = (i, c) => {
    const known = rows().map((k) => scene.probabilities[k][i][c]).filter((v) => v !== null);
    return known.reduce((a, b) => a + b, 0) / (known.length || 1);
  };
  const inCell = (i, [t, p]) => scene.clips[i].label === scene.classes.indexOf(t) && predicted(i).includes(scene.classes.indexOf(p));
  const shown = () => scene.order[key()][get("order")].filter((i) => (!get("cell").length || inCell(i, get("cell"))) && (!get("subject") || scene.clips[i].subject === get("subject")));
  const describe = (i) => {
    const names = [...new Set(predicted(i))].map((c) => scene.classes[c]).join("/");
    return `${scene.classes[scene.clips[i].label]} → ${names}`;
  };
  const keep = (box, draw) => {
    const focused = box.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    draw();
    if (focused !== null && focused !== undefined) [...box.querySelectorAll("button")].find((b) => b.dataset.name === focused)?.focus();
  };

  // ---------------------------------------------------------------------------------------- drawing
  function drawMatrix() {
    matrixBox.replaceChildren();
    const counts = scene.confusion[key()];
    const table = html("table", { "aria-label": "confusion matrix, rows true, columns predicted" }, matrixBox);
    const head = html("tr", {}, html("thead", {}, table));
    html("th", { scope: "col" }, head, "true ↓ pred. →");
    for (const name of scene.classes) html("th", { scope: "col" }, head, name);
    const body = html("tbody", {}, table);
    counts.forEach((row, t) => {
      const line = html("tr", {}, body);
      html("th", { scope: "row" }, line, scene.classes[t]);
      const sum = row.reduce((a, b) => a + b, 0);
      row.forEach((count, p) => {
        const cell = [scene.classes[t], scene.classes[p]];
        const share = sum ? count / sum : 0;
        const box = html("td", { class: t === p ? "" : "sg-wrong-cell" }, line);
        const button = html("button", { type: "button", "data-name": cell.join("|"), disabled: !count, "aria-pressed": String(same(get("cell"), cell)), "aria-label": `true ${cell[0]}, predicted ${cell[1]}: ${count} of ${sum}`, onclick: () => { listed = STEP; put({ cell: same(get("cell"), cell) ? [] : cell }); } }, box);
        html("i", { style: `height:${100 * share}%` }, button);
        html("span", {}, button, count);
        if (count) html("small", {}, button, percent(share));
      });
    });
    matrix.note.textContent = "a cell lists its clips";
  }

  function drawSubjects() {
    subjectBox.replaceChildren();
    for (const row of scene.by_subject[key()]) {
      const on = get("subject") === row.name;
      const button = html("button", { type: "button", "data-name": row.name, "aria-pressed": String(on), "aria-label": `${row.name}: ${row.clips} clips, accuracy ${percent(row.accuracy)}`, onclick: () => { listed = STEP; put({ subject: on ? "" : row.name }); } }, subjectBox);
      html("span", { title: row.name }, button, row.name);
      html("span", { class: "sg-num" }, button, row.clips);
      html("i", { style: `width:${100 * row.accuracy}%` }, html("span", { class: "sg-track" }, button));
      html("span", { class: "sg-num" }, button, percent(row.accuracy));
    }
    subjects.note.textContent = `${scene.by_subject[key()].length}, worst first`;
  }

  function drawClips() {
    const list = shown();
    clipBox.replaceChildren();
    clipBox.setAttribute("aria-label", scene.orders[get("order")]);
    chips.replaceChildren();
    if (get("cell").length) html("button", { type: "button", "data-name": "cell", onclick: () => put({ cell: [] }) }, chips, `✕ ${get("cell").join(" → ")}`);
    if (get("subject")) html("button", { type: "button", "data-name": "subject", onclick: () => put({ subject: "" }) }, chips, `✕ ${get("subject")}`);
    for (const i of list.slice(0, listed)) {
      const { id, subject, label } = scene.clips[i];
      const right = predicted(i).every((c) => c === label);
      const button = html("button", { type: "button", "data-name": String(i), "data-clip": i, "aria-pressed": String(get("clip") === i), title: `${subject} ${id}`, "aria-label": `${id} of ${subject}, true then predicted: ${describe(i)}, probability of the true class ${scene.true[key()][i]}`, onclick: () => put({ clip: get("clip") === i ? -1 : i }) }, clipBox);
      html("span", {}, button, id);
      html("span", {}, button, `${right ? "✓" : "✗"} ${describe(i)}`);
      html("span", { class: "sg-num" }, button, scene.true[key()][i].toFixed(2));
      html("span", { class: "sg-num" }, button, signed(scene.surprise[key()][i]));
    }
    if (list.length > listed) html("button", { type: "button", "data-name": "more", style: "display:block", onclick: () => { listed += STEP; drawn.clips = ""; view.schedule(); } }, clipBox, `${list.length - listed} more …`);
    if (!list.length) html("p", { class: "sg-note" }, clipBox, "No clips.");
    clips.note.textContent = `${list.length} of ${scene.clips.length}`;
  }

  function drawDetail() {
    detailBox.replaceChildren();
    const i = get("clip");
    detail.note.textContent = i < 0 ? "none selected" : scene.clips[i].id;
    if (i < 0) {
      html("p", { class: "sg-note" }, detailBox, "Select a clip above to see its predictions and to open it in an explorer.");
      return;
    }
    const { id, subject, label } = scene.clips[i];
    const about = html("div", {}, detailBox);
    html("p", { class: "sg-title" }, about, id);
    html("p", { class: "sg-note" }, about, subject);
    html("p", {}, about, `true: ${scene.classes[label]}`);
    scene.seeds.forEach((seed, k) => {
      if (scene.predicted[k][i] >= 0) html("p", { class: "sg-note" }, about, `seed ${seed}, fold ${scene.folds[k][i]}: ${scene.classes[scene.predicted[k][i]]} (${scene.probabilities[k][i][scene.predicted[k][i]].toFixed(2)})`);
    });
    const bars = html("div", {}, detailBox);
    scene.classes.forEach((name, c) => {
      const row = html("div", { class: `sg-prob${c === label ? " sg-true" : ""}` }, bars);
      html("span", {}, row, (c === label ? "◆ " : "") + name);
      html("i", { style: `width:${100 * probability(i, c)}%` }, html("span", { class: "sg-track", role: "img", "aria-label": `${name}: ${probability(i, c).toFixed(2)}` }, row));
      html("span", { class: "sg-num" }, row, probability(i, c).toFixed(2));
    });
    html("p", { class: "sg-note" }, bars, `◆ true class; probabilities ${get("seed") < 0 && scene.seeds.length > 1 ? "are means over seeds" : "of one seed"}. Expected for the true class: ${(scene.true[key()][i] - scene.surprise[key()][i]).toFixed(2)}.`);
    const open = html("div", { class: "sg-open" }, detailBox);
    for (const [what, text, title] of OPENERS)
      html("button", { type: "button", "data-name": what, title: get("_live") ? title : "needs Python: this is a saved page", disabled: !get("_live"), onclick: () => put({ request: { what, clip: i, count: (get("request").count ?? 0) + 1 } }) }, open, `Open ${text}`);
    const button = html("button", { type: "button", title: "Python that opens this clip", onclick: () => copyText(`browser = view_run(${JSON.stringify(scene.name)}, clip=${i})\nbrowser.explore("evidence")`, button) }, open, "Copy as Python");
  }

  const drawn = {};
  function once(part, box, state, work) {
    if (drawn[part] === state) return;
    drawn[part] = state;
    keep(box, work);
  }

  function draw() {
    const request = get("request").what ? get("request") : null;
    const opened = get("_opened");
    status.className = `sg-status${get("_problem") ? " sg-wrong" : ""}`;
    status.textContent = get("_problem") || (request && (request.what !== opened.what || request.clip !== opened.clip) ? "opening …" : opened.what ? `${scene.clips[opened.clip].id} is open in the ${opened.what} explorer below${opened.network ? `: ${opened.network}` : ""} (in Python: browser.explorer)` : "");
    once("matrix", matrixBox, `${key()}|${get("cell")}`, drawMatrix);
    once("subjects", subjectBox, `${key()}|${get("subject")}`, drawSubjects);
    once("clips", clips.box, `${key()}|${get("cell")}|${get("subject")}|${get("order")}|${get("clip")}`, drawClips);
    once("detail", detailBox, `${key()}|${get("clip")}`, drawDetail);
  }

  view.start(["seed", "order", "cell", "subject", "clip", "request", "_opened", "_problem"], draw);
  return view.stop;
}

export default { render };
