// The face of the explorers: drawn from 68 landmarks (iBUG order, unit = distance of the outer eye corners), with
// muscles, and moved by the measured flow. Never an image of a subject.

const FACE = { width: 520, height: 386, cx: 260, cy: 119, scale: 204 }; // px of the drawing; scale = px per IOD
const place = ([x, y]) => [FACE.cx + x * FACE.scale, FACE.cy + y * FACE.scale];
const mean = (points) => [0, 1].map((i) => points.reduce((sum, p) => sum + p[i], 0) / points.length);

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

// The outlines of a face as path data, in the order in which makeFace draws them.
function facePaths(landmarks) {
  const p = landmarks.map(place);
  const slice = (from, to) => p.slice(from, to + 1);
  const [left, right] = [p[0], p[16]];
  const half = (right[0] - left[0]) / 2;
  const forehead = []; // half an ellipse above the temples
  for (let k = 1; k < 10; k++) {
    const angle = (Math.PI * k) / 10;
    const x = left[0] + half + half * Math.cos(angle) * (1 + 0.03 * Math.sin(angle));
    forehead.push([x, right[1] + (left[1] - right[1]) * (k / 10) - 0.52 * FACE.scale * Math.sin(angle) ** 0.94]);
  }
  const brows = [slice(17, 21), slice(22, 26)].map((brow, side) => {
    const below = brow.map((q, i) => [q[0], q[1] + [0.5, 5, 7, 6, 2.5][side ? 4 - i : i]]);
    return smooth(brow) + smooth(below.reverse(), false, "L") + "Z";
  });
  const eyes = [slice(36, 41), slice(42, 47)].map((eye) => {
    const upper = smooth(eye.slice(0, 4));
    const lower = smooth([eye[3], eye[4], eye[5], eye[0]]);
    return { upper, lower, whole: upper + lower.replace("M", "L") + "Z", middle: mean([eye[0], eye[3]]) };
  });
  const lips = [
    [slice(48, 54), [...slice(60, 64)].reverse()],
    [[p[54], ...slice(55, 59), p[48]], [p[60], p[67], p[66], p[65], p[64]]],
  ].map(([outer, inner]) => smooth(outer) + smooth(inner, false, "L") + "Z");
  return { skin: smooth([...slice(0, 16), ...forehead], true), brows, eyes, bridge: smooth(slice(27, 30)), nose: smooth(slice(31, 35)), lips };
}

let faces = 0; // ids of clip paths must differ between faces of a page

// Draws a face; ``move(landmarks)`` redraws it elsewhere without new elements.
function makeFace(parent, landmarks, className = "") {
  const group = make("g", { "aria-hidden": "true", class: className }, parent);
  const path = (name, style = "") => make("path", { class: name, style }, group);
  const skin = path("sg-skin");
  const brows = [path("sg-brow"), path("sg-brow")];
  const eyes = [0, 1].map(() => {
    const id = `sg-eye-${faces++}`;
    const lid = make("path", {}, make("clipPath", { id }, group));
    const white = path("sg-white");
    const iris = make("circle", { class: "sg-iris", r: 10.5, "clip-path": `url(#${id})` }, group);
    return { lid, white, iris, upper: path("sg-trait", "stroke-width:2.4"), lower: path("sg-trait", "opacity:.7") };
  });
  const bridge = path("sg-trait", "opacity:.55");
  const nose = path("sg-trait");
  const lips = [path("sg-lip"), path("sg-lip")];
  const rest = facePaths(landmarks);
  function move(points) {
    const now = facePaths(points);
    skin.setAttribute("d", now.skin);
    brows.forEach((node, i) => node.setAttribute("d", now.brows[i]));
    eyes.forEach((eye, i) => {
      for (const node of [eye.lid, eye.white]) node.setAttribute("d", now.eyes[i].whole);
      eye.iris.setAttribute("cx", rest.eyes[i].middle[0]); // the eyeball stays, the lids move
      eye.iris.setAttribute("cy", rest.eyes[i].middle[1] - 1);
      eye.upper.setAttribute("d", now.eyes[i].upper);
      eye.lower.setAttribute("d", now.eyes[i].lower);
    });
    bridge.setAttribute("d", now.bridge);
    nose.setAttribute("d", now.nose);
    lips.forEach((node, i) => node.setAttribute("d", now.lips[i]));
  }
  move(landmarks);
  return { group, move };
}

// How far each landmark goes with its regions: Gaussian weights of the distance, 0.2 IOD wide.
function landmarkWeights(landmarks, centres) {
  return landmarks.map(([x, y]) => {
    const weights = centres.map(([a, b]) => Math.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * 0.2 ** 2)));
    const sum = Math.max(1, weights.reduce((p, q) => p + q, 0));
    return weights.map((w) => w / sum);
  });
}

const moveLandmarks = (landmarks, weights, flow) =>
  landmarks.map(([x, y], k) => weights[k].reduce(([p, q], w, r) => [p + w * flow[r][0], q + w * flow[r][1]], [x, y]));

// Fibres of every muscle; ``show(names, faint)`` lights some of them up.
function makeMuscles(parent, muscles) {
  const group = make("g", { class: "sg-muscles", "aria-hidden": "true" }, parent);
  const bands = Object.entries(muscles).map(([name, fibres]) => {
    const band = make("g", { class: "sg-muscle", "data-muscle": name }, group);
    for (const fibre of fibres) make("path", { d: smooth(fibre.map(place)) }, band);
    return [name, band];
  });
  return {
    group,
    show(names) {
      for (const [name, band] of bands) band.classList.toggle("sg-on", names.has(name));
    },
  };
}
