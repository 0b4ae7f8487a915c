// The numbers of the AU-graph explorer: a side is one clip, or the mean of a class. Every edge table is (time, target,
// source), row-major: value = values[(time * n + target) * n + source].

function makeClipSide(payload, measured) {
  const [evidence, flow, attention] = [unpack(payload.evidence), unpack(payload.flow), unpack(payload.attention)];
  const [au, weight] = [unpack(payload.au), unpack(payload.weight)];
  const frames = payload.times_ms.length;
  const [nAus, nRois] = [evidence.shape[1], flow.shape[1]];
  const cache = new Map();
  const side = {
    payload, index: payload.index, times: payload.times_ms, present: payload.present, frames, maxima: payload.maxima,
    weights: payload.time_weights, base: payload.probabilities, measured: {}, cache,
    evidence: (k, t) => evidence.values[Math.min(t, frames - 1) * nAus + k],
    flow: (r, t) => [0, 1].map((i) => flow.values[(Math.min(t, frames - 1) * nRois + r) * 2 + i]),
    measure(next) {
      if (side.measured === next || !same(next.key ?? null, payload.key)) return;
      side.measured = next;
      side.cuts = unpack(next.cuts) ?? (next.cuts === undefined ? side.cuts : null);
      side.logits = next.base ?? side.logits;
      for (const key of [...cache.keys()]) if (/effect|attribution/.test(key)) cache.delete(key);
    },
    // {values, frames} of a graph, or null
    table(graph, { quantity, head, target }) {
      if (quantity === "effect") return effects(graph, target);
      if (quantity === "attribution") {
        const packed = side.measured.target === target ? side.measured[`${graph}_attribution`] : null;
        if (!packed) return null;
        const key = `attribution ${graph} ${target}`;
        if (!cache.has(key)) cache.set(key, { values: unpack(packed).values, frames: packed.shape[0] });
        return cache.get(key);
      }
      if (graph === "au") return au && { values: au.values, frames };
      if (quantity === "weight") return weight && { values: weight.values, frames };
      return attention && meanHeads(head);
    },
  };

  function meanHeads(head) {
    const key = `attention ${head}`;
    if (!cache.has(key)) {
      const [time, heads, size] = attention.shape;
      const cells = size * size;
      const out = new Float64Array(time * cells);
      for (let t = 0; t < time; t++)
        for (let h = 0; h < heads; h++)
          if (head < 0 || h === head)
            for (let c = 0; c < cells; c++) out[t * cells + c] += attention.values[(t * heads + h) * cells + c] / (head < 0 ? heads : 1);
      cache.set(key, { values: out, frames: time });
    }
    return cache.get(key);
  }

  // rows of the table of single cuts: region edges, AU edges, regions, AUs, frames
  function effects(graph, target) {
    if (!side.cuts || !(graph === "au" ? au : weight)) return null;
    const key = `effect ${graph} ${target}`;
    if (!cache.has(key)) {
      const [size, start, classes] = graph === "region" ? [nRois, 0, side.logits.length] : [nAus, nRois * nRois, side.logits.length];
      const out = new Float64Array(size * size);
      for (let c = 0; c < out.length; c++) {
        const fall = side.logits[target] - side.cuts.values[(start + c) * classes + target];
        out[c] = Math.abs(fall) < 2e-6 ? 0 : fall; // float32 noise
      }
      cache.set(key, { values: out, frames: 1 });
    }
    return cache.get(key);
  }

  // logits after one cut [kind, target, source], or null where the table does not hold it
  side.after = ([kind, target, source, level], names) => {
    if (!side.cuts || typeof source === "number" || level !== undefined) return null;
    const of = { region: nRois, au: nAus };
    let row = null;
    if (kind === "frame") row = nRois * nRois + nAus * nAus + nRois + nAus + target;
    else {
      const [i, j] = [names[kind].indexOf(target), source === undefined ? null : names[kind].indexOf(source)];
      if (j === null) row = nRois * nRois + nAus * nAus + (kind === "au" ? nRois : 0) + i;
      else row = (kind === "au" ? nRois * nRois : 0) + i * of[kind] + j;
    }
    const classes = side.logits.length;
    return Array.from(side.cuts.values.subarray(row * classes, (row + 1) * classes));
  };
  side.measure(measured ?? {});
  return side;
}

// "3 target source" = mean, low, high
function makeGroupTable({ shape, values }) {
  const cells = shape[1] * shape[2];
  const part = (i) => values.slice(i * cells, (i + 1) * cells);
  return { values: part(0), low: part(1), high: part(2), frames: 1 };
}

function makeGroupSide(told) {
  const [evidence, flow] = [unpack(told.evidence), unpack(told.flow)];
  const n = evidence.shape[1];
  const tables = {};
  for (const graph of ["au", "region"]) {
    if (told[graph]) tables[graph] = makeGroupTable(unpack(told[graph]));
  }
  return {
    group: true, name: told.name, clips: told.n_clips, subjects: told.n_subjects, caveat: told.caveat, frames: 1, times: [0], cache: new Map(),
    evidence: (k) => evidence.values[k],
    evidenceRange: (k) => [evidence.values[n + k], evidence.values[2 * n + k]],
    flow: (r) => [flow.values[2 * r], flow.values[2 * r + 1]],
    table: (graph) => tables[graph] ?? null,
  };
}

// Other minus one, as a side of its own. told: mean, low and high of the difference of two classes, from Python.
function makeDifference(one, other, how, graph, t, told) {
  const [a, b] = [one.table(graph, how(one)), other.table(graph, how(other))];
  let table = null;
  if (told) table = makeGroupTable(unpack(told));
  else if (a && b) {
    const cells = a.values.length / a.frames;
    const from = (x) => Math.min(t, x.frames - 1) * cells;
    const values = Float64Array.from({ length: cells }, (_, c) => b.values[from(b) + c] - a.values[from(a) + c]);
    table = { values, frames: 1 };
  }
  return {
    difference: true, frames: 1, times: [0], cache: new Map(),
    evidence: (k) => other.evidence(k, t) - one.evidence(k, t),
    flow: (r) => { const [p, q] = [one.flow(r, t), other.flow(r, t)]; return [q[0] - p[0], q[1] - p[1]]; },
    table: (wanted) => (wanted === graph ? table : null),
  };
}
