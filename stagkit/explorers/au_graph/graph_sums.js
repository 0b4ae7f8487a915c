// The sums that a prediction is made of, for any combination of cuts: the arithmetic of sums.py and of
// stagkit/network/action_units.py, in the page. Terms of region edges -> AU logits -> activations -> terms of AUs and AU edges.

// a signed number of logits, two decimals
const logitText = (value) => (value === null || value === undefined ? "–" : `${Math.abs(value) < 0.005 ? "" : value < 0 ? "−" : "+"}${Math.abs(value).toFixed(2)}`);

// How an intervention is read: its words, and its number (null: removed).
const levelOf = (change) => (change.length > 2 && typeof change.at(-1) === "number" ? change.at(-1) : null);
const wordsOf = (change) => (levelOf(change) === null ? change : change.slice(0, -1));
// On an edge or an action unit: the rest of the network stays as it is.
const isCut = (change) => change[0] === "au" || wordsOf(change).length > 2;

// packed: {side, au_bias, bias, nodes, pairs, affinity}; terms: {shape: [time, edge], values}; valid: [bool]
function makeSums(packed, index, terms, valid, names, least) {
  const [time, nEdges] = terms.shape;
  const net = Object.fromEntries(Object.entries(packed).map(([name, array]) => [name, unpack(array).values]));
  const [nAus, nClasses] = [names.au.length, net.bias.length];
  const count = Math.max(valid.filter(Boolean).length, 1);
  const pairs = []; // [k, l], k < l, in the order of net.pairs "cls relation pair"
  for (let k = 0; k < nAus; k++) for (let l = k + 1; l < nAus; l++) pairs.push([k, l]);
  const weight = (c, r, p) => net.pairs[(c * 3 + r) * pairs.length + p];

  function readCuts(changes) {
    const cuts = { edges: new Float64Array(nEdges).fill(1), pairs: new Float64Array(pairs.length).fill(1), held: new Map() };
    for (const change of changes.filter(isCut)) {
      const [kind, a, b, au] = wordsOf(change);
      const level = levelOf(change) ?? 0;
      if (kind === "region") {
        for (const e of edgesBetween(a, b, au)) cuts.edges[e] = level;
      } else if (b === undefined) cuts.held.set(names.au.indexOf(a), level);
      else {
        const [k, l] = [names.au.indexOf(a), names.au.indexOf(b)].sort((x, y) => x - y);
        cuts.pairs[pairs.findIndex(([i, j]) => i === k && j === l)] = level;
      }
    }
    return cuts;
  }
  function edgesBetween(target, source, au = "") {
    const [i, j, k] = [names.region.indexOf(target), names.region.indexOf(source), names.au.indexOf(au)];
    const found = [];
    index.forEach(([of, to, from], e) => { if (to === i && from === j && (k < 0 || of === k)) found.push(e); });
    return found;
  }

  // activations "time au", and signed by the balance of left and right
  function activate(weights, held) {
    const [active, sided] = [new Float64Array(time * nAus), new Float64Array(time * nAus)];
    const [total, balance] = [new Float64Array(time * nAus), new Float64Array(time * nAus)];
    for (let t = 0; t < time; t++) {
      for (let e = 0; e < nEdges; e++) {
        const term = weights[e] * terms.values[t * nEdges + e];
        total[t * nAus + index[e][0]] += term;
        balance[t * nAus + index[e][0]] += term * net.side[e];
      }
      for (let k = 0; k < nAus; k++) {
        const c = t * nAus + k;
        const level = held.has(k) ? Math.min(Math.max(held.get(k), least), 1 - least) : 1 / (1 + Math.exp(-(net.au_bias[k] + total[c])));
        active[c] = valid[t] ? level : 0;
        sided[c] = active[c] * Math.tanh(balance[c]);
      }
    }
    return { active, sided, total, balance };
  }

  // terms of AUs "cls au", of AU edges "cls relation pair", and the logits
  function read({ active, sided }, cut) {
    const relations = new Float64Array(3 * pairs.length);
    pairs.forEach(([k, l], p) => {
      for (let t = 0; t < time; t++) {
        const [a, b] = [t * nAus + k, t * nAus + l];
        relations[p] += (active[a] * active[b]) / count;
        if (t + 1 < time) relations[pairs.length + p] += active[a] * active[b + nAus] - active[a + nAus] * active[b];
        relations[2 * pairs.length + p] += (sided[a] * sided[b]) / count;
      }
    });
    const [nodes, parts] = [new Float64Array(nClasses * nAus), new Float64Array(nClasses * 3 * pairs.length)];
    const logits = Array.from(net.bias);
    for (let c = 0; c < nClasses; c++) {
      for (let k = 0; k < nAus; k++) {
        let sum = 0;
        for (let t = 0; t < time; t++) sum += active[t * nAus + k];
        logits[c] += nodes[c * nAus + k] = (net.nodes[c * nAus + k] * sum) / count;
      }
      for (let r = 0; r < 3; r++)
        for (let p = 0; p < pairs.length; p++) logits[c] += parts[(c * 3 + r) * pairs.length + p] = weight(c, r, p) * cut[p] * relations[r * pairs.length + p];
    }
    return { nodes, parts, logits };
  }

  // terms of the region edges in the logit of a class, summed over the clip: as GraphHead.trace_edges
  function trace(state, c) {
    const { active, sided, total, balance, cuts } = state;
    const out = new Float64Array(nEdges);
    const rest = Array.from({ length: nAus }, (_, k) => 1 / (1 + Math.exp(-net.au_bias[k])));
    const start = (t, k) => (cuts.held.has(k) ? active[t * nAus + k] : valid[t] ? rest[k] : 0);
    const middle = (t, k) => (t < 0 || t >= time ? 0 : (active[t * nAus + k] + start(t, k)) / 2);
    for (let t = 0; t < time; t++) {
      const slope = Float64Array.from({ length: nAus }, (_, k) => net.nodes[c * nAus + k] / count);
      const slopeSide = new Float64Array(nAus);
      const around = Float64Array.from({ length: nAus }, (_, k) => middle(t + 1, k) - middle(t - 1, k));
      pairs.forEach(([k, l], p) => {
        const [both, order, same] = [0, 1, 2].map((r) => weight(c, r, p) * cuts.pairs[p]);
        slope[k] += (both * middle(t, l)) / count + order * around[l];
        slope[l] += (both * middle(t, k)) / count - order * around[k];
        slopeSide[k] += (same * sided[t * nAus + l]) / 2 / count;
        slopeSide[l] += (same * sided[t * nAus + k]) / 2 / count;
      });
      for (let k = 0; k < nAus; k++) {
        const i = t * nAus + k;
        const small = cuts.held.has(k) ? 0 : active[i] * (1 - active[i]);
        slope[k] *= Math.abs(total[i]) > 1e-4 ? (active[i] - start(t, k)) / total[i] : small;
        slopeSide[k] *= Math.abs(balance[i]) > 1e-4 ? sided[i] / balance[i] : active[i];
      }
      for (let e = 0; e < nEdges; e++) {
        const k = index[e][0];
        out[e] += (slope[k] + slopeSide[k] * net.side[e]) * cuts.edges[e] * terms.values[t * nEdges + e];
      }
    }
    return out;
  }

  const states = new Map();
  const sums = {
    pairs, edgesBetween, time, affinity: net.affinity, bias: net.bias,
    // everything under some interventions; those on regions and frames are not read
    state(changes) {
      const key = JSON.stringify(changes.filter(isCut));
      if (states.has(key)) return states.get(key);
      const cuts = readCuts(changes);
      const activations = activate(cuts.edges, cuts.held);
      const state = { cuts, ...activations, ...read(activations, cuts.pairs), traced: new Map() };
      state.regionEdges = (c) => {
        if (!state.traced.has(c)) state.traced.set(c, trace(state, c));
        return state.traced.get(c);
      };
      state.pairTerm = (c, p) => [0, 1, 2].map((r) => state.parts[(c * 3 + r) * pairs.length + p]);
      if (states.size > 60) states.clear();
      states.set(key, state);
      return state;
    },
    // logits when these region edges are removed too
    logitsWithout(state, edges) {
      const weights = state.cuts.edges.slice();
      for (const e of edges) weights[e] = 0;
      return read(activate(weights, state.cuts.held), state.cuts.pairs).logits;
    },
    term: (state, t, e) => state.cuts.edges[e] * terms.values[t * nEdges + e],
    // The fewest edges whose removal changes the prediction, found one by one; null where 12 do not.
    findFlip(changes, unit = "") {
      const [found, first] = [[...changes], sums.state(changes).logits];
      const winner = first.indexOf(Math.max(...first));
      const margin = (logits) => logits[winner] - Math.max(...logits.filter((_, c) => c !== winner));
      for (let step = 0; step < 12; step++) {
        const state = sums.state(found);
        if (margin(state.logits) < 0) return found.slice(changes.length);
        let best = { margin: margin(state.logits) - 1e-6, change: null };
        const offer = (change, logits) => { if (margin(logits) < best.margin) best = { margin: margin(logits), change }; };
        pairs.forEach(([k, l], p) => offer(["au", names.au[k], names.au[l]], state.logits.map((value, c) => value - state.pairTerm(c, p).reduce((a, b) => a + b))));
        index.forEach(([k, to, from], e) => { if (!unit || names.au[k] === unit) offer(["region", names.region[to], names.region[from], names.au[k]], sums.logitsWithout(state, [e])); });
        if (!best.change) return null;
        found.push(best.change);
      }
      return null;
    },
  };
  return sums;
}
