// The numbers of the AU-graph explorer: a side is one clip, or the mean of a class. Every edge table is (time, target,
// source), row-major: value = values[(time * n + target) * n + source]. AU edges are symmetric and read with target < source.

function makeClipSide(payload, names, least) {
  const [activation, flow, attention, sided] = [payload.activation, payload.flow, payload.attention, payload.sided].map(unpack);
  const [au, weight, terms] = [payload.au, payload.weight, payload.terms ?? null].map(unpack);
  const frames = payload.times_ms.length;
  const [nAus, nRois] = [activation.shape[1], flow.shape[1]];
  const valid = payload.present.map((row) => row.includes("1"));
  const cache = new Map();
  const index = payload.index_of;
  const sums = payload.readout ? makeSums(payload.readout, index, terms, valid, names, least) : null;
  const fixed = payload.fixed ? Object.fromEntries(["aus", "au_edges", "region_edges"].map((name) => [name, unpack(payload.fixed[name])])) : null;
  let changes = []; // interventions on edges and AUs: what is shown is what they leave
  const at = (t) => Math.min(t, frames - 1);
  const state = (of = changes) => (sums ? sums.state(of) : null);
  const side = {
    payload, index: payload.index, times: payload.times_ms, present: payload.present, frames, maxima: payload.maxima, sums,
    weights: payload.time_weights, base: payload.probabilities, cache, state,
    logits: () => (sums ? state().logits : payload.fixed?.logits ?? null),
    change(next) {
      changes = next.filter(isCut);
    },
    activation: (k, t) => (sums ? state().active : activation.values)[at(t) * nAus + k],
    // -1 (subject's right) .. 1 (left): on which side the AU acts
    balance(k, t) {
      const from = sums ? state().sided : sided?.values;
      const level = side.activation(k, t);
      return from && level > 0 ? from[at(t) * nAus + k] / level : 0;
    },
    // whether a hidden region was estimated from others: in a frame, or in all of them
    imputed: (r, t = null) => Boolean(payload.imputed) && (t === null ? payload.imputed.every((row) => row[r] === "1") : payload.imputed[at(t)][r] === "1"),
    flow: (r, t) => [0, 1].map((i) => flow.values[(at(t) * nRois + r) * 2 + i]),
    // term of an AU in the logit of a class, or null
    nodeTerm: (k, c) => (sums ? state().nodes[c * nAus + k] : fixed ? fixed.aus.values[c * nAus + k] : null),
    // the three relations of an AU edge, in logits, or null
    parts(a, b, c) {
      if (!sums) return null;
      const [k, l] = [names.au.indexOf(a), names.au.indexOf(b)].sort((x, y) => x - y);
      return state().pairTerm(c, sums.pairs.findIndex(([i, j]) => i === k && j === l));
    },
    // {values, frames} of a graph, or null; region edges of one AU alone where ``au`` is given
    table(graph, how) {
      const { quantity, head, target, au: unit } = how;
      const key = JSON.stringify([graph, quantity, head, target, graph === "region" ? unit : "", changes]);
      if (!cache.has(key)) {
        if (cache.size > 80) cache.clear();
        cache.set(key, keepChanged(graph, how, make(graph, how, state())));
      }
      return cache.get(key);
    },
    // region edges that exist, "target source" -> true
    exists(unit) {
      const key = `exists ${unit}`;
      if (!index) return null;
      if (!cache.has(key)) cache.set(key, new Set(index.filter(([k]) => !unit || names.au[k] === unit).map(([, i, j]) => i * nRois + j)));
      return cache.get(key);
    },
    // logits without a region, a frame or an AU, as the network computed them, or null where that is not in the page
    without([kind, name]) {
      const list = payload.removals?.[kind];
      return list ? list[kind === "frame" ? name : names[kind].indexOf(name)] ?? null : null;
    },
  };

  // an edge that is changed keeps the value it had, and is marked
  function keepChanged(graph, how, table) {
    const mine = changes.map(wordsOf).filter(([kind, , source, unit]) => kind === graph && source !== undefined && (!unit || unit === how.au));
    if (!table || !sums || !mine.length) return table;
    const before = make(graph, how, state([]));
    const n = names[graph].length;
    for (const [, a, b] of mine) {
      const [i, j] = [names[graph].indexOf(a), names[graph].indexOf(b)];
      for (let t = 0; t < table.frames; t++)
        for (const c of graph === "au" ? [i * n + j, j * n + i] : [i * n + j]) table.values[t * n * n + c] = before.values[t * n * n + c];
    }
    return table;
  }

  function make(graph, { quantity, head, target, au: unit }, now) {
    if (quantity === "attention") return graph === "au" || !attention ? null : meanHeads(head);
    if (graph === "au") return quantity === "weight" ? coactivation(now) : auTerms(target, now);
    if (quantity === "weight" && !unit) return weight && { values: weight.values.slice(), frames };
    if (quantity === "weight") return terms && placed(frames, unit, (t, e) => (now ? sums.term(now, t, e) : terms.values[t * terms.shape[1] + e]));
    if (quantity === "contribution") {
      if (!now && !fixed) return null;
      const values = now ? now.regionEdges(target) : fixed.region_edges.values.slice(target * index.length, (target + 1) * index.length);
      return placed(1, unit, (_, e) => values[e]);
    }
    return now && removals(unit, target, now);
  }

  function placed(length, unit, value) {
    const out = new Float64Array(length * nRois * nRois);
    index.forEach(([k, i, j], e) => {
      if (unit && names.au[k] !== unit) return;
      for (let t = 0; t < length; t++) out[(t * nRois + i) * nRois + j] += value(t, e);
    });
    return { values: out, frames: length };
  }

  function coactivation(now) {
    if (!now) return au && { values: au.values.slice(), frames };
    const out = new Float64Array(frames * nAus * nAus);
    for (let t = 0; t < frames; t++)
      for (let k = 0; k < nAus; k++)
        for (let l = 0; l < nAus; l++) out[(t * nAus + k) * nAus + l] = now.active[t * nAus + k] * now.active[t * nAus + l] * sums.affinity[k * nAus + l];
    return { values: out, frames };
  }

  function auTerms(target, now) {
    if (!now && !fixed) return null;
    const out = new Float64Array(nAus * nAus);
    for (let k = 0, p = 0; k < nAus; k++)
      for (let l = k + 1; l < nAus; l++, p++)
        out[k * nAus + l] = out[l * nAus + k] = now ? now.pairTerm(target, p).reduce((a, b) => a + b) : fixed.au_edges.values[(target * nAus + k) * nAus + l];
    return { values: out, frames: 1 };
  }

  // fall of the logit when an edge is removed alone
  function removals(unit, target, now) {
    const out = new Float64Array(nRois * nRois);
    for (const c of side.exists(unit)) {
      const edges = sums.edgesBetween(names.region[Math.floor(c / nRois)], names.region[c % nRois], unit);
      const fall = now.logits[target] - sums.logitsWithout(now, edges)[target];
      out[c] = Math.abs(fall) < 1e-9 ? 0 : fall;
    }
    return { values: out, frames: 1 };
  }

  function meanHeads(head) {
    const [time, heads, size] = attention.shape;
    const cells = size * size;
    const out = new Float64Array(time * cells);
    for (let t = 0; t < time; t++)
      for (let h = 0; h < heads; h++)
        if (head < 0 || h === head)
          for (let c = 0; c < cells; c++) out[t * cells + c] += attention.values[(t * heads + h) * cells + c] / (head < 0 ? heads : 1);
    return { values: out, frames: time };
  }
  return side;
}
// "3 target source" = mean, low, high
function makeGroupTable({ shape, values }) {
  const cells = shape[1] * shape[2];
  const part = (i) => values.slice(i * cells, (i + 1) * cells);
  return { values: part(0), low: part(1), high: part(2), frames: 1 };
}

function makeGroupSide(sent) {
  const [activation, flow] = [unpack(sent.activation), unpack(sent.flow)];
  const n = activation.shape[1];
  const tables = {};
  for (const graph of ["au", "region"]) {
    if (sent[graph]) tables[graph] = makeGroupTable(unpack(sent[graph]));
  }
  return {
    group: true, name: sent.name, clips: sent.n_clips, subjects: sent.n_subjects, caveat: sent.caveat, frames: 1, times: [0], cache: new Map(),
    activation: (k) => activation.values[k],
    activationRange: (k) => [activation.values[n + k], activation.values[2 * n + k]],
    flow: (r) => [flow.values[2 * r], flow.values[2 * r + 1]],
    table: (graph) => tables[graph] ?? null,
  };
}

// Other minus one, as a side of its own. sent: mean, low and high of the difference of two classes, from Python.
function makeDifference(one, other, how, graph, t, sent) {
  const [a, b] = [one.table(graph, how(one)), other.table(graph, how(other))];
  let table = null;
  if (sent) table = makeGroupTable(unpack(sent));
  else if (a && b) {
    const cells = a.values.length / a.frames;
    const from = (x) => Math.min(t, x.frames - 1) * cells;
    const values = Float64Array.from({ length: cells }, (_, c) => b.values[from(b) + c] - a.values[from(a) + c]);
    table = { values, frames: 1 };
  }
  return {
    difference: true, frames: 1, times: [0], cache: new Map(),
    activation: (k) => other.activation(k, t) - one.activation(k, t),
    flow: (r) => { const [p, q] = [one.flow(r, t), other.flow(r, t)]; return [q[0] - p[0], q[1] - p[1]]; },
    table: (wanted) => (wanted === graph ? table : null),
  };
}
