// The numbers of the AU-graph explorer: a side is one clip, or the mean of a class. Every edge table is (time, target,
// source), row-major: value = values[(time * n + target) * n + source].

function makeClipSide(payload, measured) {
  const [activation, flow, attention] = [unpack(payload.activation), unpack(payload.flow), unpack(payload.attention)];
  const [au, weight] = [unpack(payload.au), unpack(payload.weight)];
  const frames = payload.times_ms.length;
  const [nAus, nRois] = [activation.shape[1], flow.shape[1]];
  const cache = new Map();
  const side = {
    payload, index: payload.index, times: payload.times_ms, present: payload.present, frames, maxima: payload.maxima,
    weights: payload.time_weights, base: payload.probabilities, measured: {}, cache,
    activation: (k, t) => activation.values[Math.min(t, frames - 1) * nAus + k],
    flow: (r, t) => [0, 1].map((i) => flow.values[(Math.min(t, frames - 1) * nRois + r) * 2 + i]),
    measure(next) {
      if (side.measured === next || !same(next.key ?? null, payload.key)) return;
      side.measured = next;
      side.ablations = unpack(next.ablations) ?? (next.ablations === undefined ? side.ablations : null);
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

  // rows of the table of ablations: region edges, AU edges, regions, AUs, frames
  function effects(graph, target) {
    if (!side.ablations || !(graph === "au" ? au : weight)) return null;
    const key = `effect ${graph} ${target}`;
    if (!cache.has(key)) {
      const [size, start, classes] = graph === "region" ? [nRois, 0, side.logits.length] : [nAus, nRois * nRois, side.logits.length];
      const out = new Float64Array(size * size);
      for (let c = 0; c < out.length; c++) {
        const fall = side.logits[target] - side.ablations.values[(start + c) * classes + target];
        out[c] = Math.abs(fall) < 2e-6 ? 0 : fall; // float32 noise
      }
      cache.set(key, { values: out, frames: 1 });
    }
    return cache.get(key);
  }

  // logits after one removal [kind, target, source], or null where it is not in the table
  side.after = ([kind, target, source, level], names) => {
    if (!side.ablations || typeof source === "number" || level !== undefined) return null;
    const of = { region: nRois, au: nAus };
    let row = null;
    if (kind === "frame") row = nRois * nRois + nAus * nAus + nRois + nAus + target;
    else {
      const [i, j] = [names[kind].indexOf(target), source === undefined ? null : names[kind].indexOf(source)];
      if (j === null) row = nRois * nRois + nAus * nAus + (kind === "au" ? nRois : 0) + i;
      else row = (kind === "au" ? nRois * nRois : 0) + i * of[kind] + j;
    }
    const classes = side.logits.length;
    return Array.from(side.ablations.values.subarray(row * classes, (row + 1) * classes));
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
