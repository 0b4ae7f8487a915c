"""Find the sizes of phantom flow maps (``stagkit.phantom_map_sizes``) beside published maps of half of the subjects.

    python benchmarks/fit_phantom_maps.py MAPS.npz [--rounds 3] [--phantoms 1600] [--start FILE] [--out FILE]

The search compares moments of real and phantom maps: means and squares by place, products of neighbours, of mirrored places
and of channels, of 24 principal components, and the numbers of ``benchmarks/phantoms.py MAPS --statistics``. It is a damped
Gauss-Newton search with a Gaussian prior around the sizes it starts from; derivatives come from phantoms of the same seed.
**No label and no action unit of a real clip is read, but for how many clips each class has.** The other half of the subjects
only takes part in what is printed. It starts from the sizes in the module; those were found once, by three rounds with
``--start benchmarks/phantom_sizes_by_hand.json``, and rounded.
"""

from __future__ import annotations

import argparse
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import phantoms as measure

from stagkit import phantom_map_sizes as sizes
from stagkit.datasets.flow_maps import CLASSES, read_maps
from stagkit.files import read_json, write_json
from stagkit.phantom_map_face import draw_map_face

N_FACES = 48  # faces that take part
N_COMPONENTS = 24
PRIOR = 20.0  # how strongly the sizes are held where they start
LARGEST = 6.0  # standard errors: what is further off counts as if it were so far
DAMPING = (3.0, 10.0, 40.0, 160.0)
WEIGHTS = {"mean": 1.4, "component": 1.0, "square": 0.7, "mirror": 0.7, "neighbour": 0.6, "channel": 0.6, "number": 2.0}


@dataclass(frozen=True)
class Size:
    """One number of ``phantom_map_sizes``: where it stands, on which scale it is moved, how far it may go."""

    table: str
    key: object = None
    part: int | None = None
    scale: str = "plain"
    prior: float = 0.5
    step: float = 0.15

    def read(self) -> float:
        value = getattr(sizes, self.table)
        for key in (self.key, self.part):
            value = value if key is None else value[key]
        if self.scale == "plain":
            return value
        return np.log(value) if self.scale == "log" else np.log(value) - np.log1p(-value)

    def write(self, value: float) -> None:
        if self.scale != "plain":
            value = np.exp(value) if self.scale == "log" else 1 / (1 + np.exp(-value))
        table = getattr(sizes, self.table)
        if self.part is not None:
            whole = list(table if self.key is None else table[self.key])
            whole[self.part] = float(value)
            value = sizes.Skin(*whole) if self.table == "SKIN" else tuple(whole)
        if self.key is None:
            setattr(sizes, self.table, value if isinstance(value, tuple) else float(value))
        else:
            table[self.key] = value if isinstance(value, tuple) else float(value)


def list_sizes() -> list[Size]:
    """Every number that is searched: 128."""
    found = [Size("SKIN", k, i, "plain", 0.6, 0.2) for k in sizes.SKIN for i in range(4)]
    found += [Size("CARRIED", k, None, "plain", 0.4, 0.2) for k in sizes.CARRIED]
    found += [Size("STRENGTH", k, None, "log", 0.4, 0.2) for k in sizes.STRENGTH]
    found += [Size(k, None, 0, "log", 0.7) for k in ("ELASTIC", "TRACE", "LIDS", "GLANCE")]
    found += [
        Size(k, None, None, "log") for k in ("TURN", "ROLL", "NEAR", "PEAK_SPREAD", "LATE_ERROR", "GRAIN", "V_OVER_U")
    ]
    for table, part in (
        ("ERRORS", 0),
        ("ERRORS", 1),
        ("UNEVEN", 0),
        ("SHRINK", 0),
        ("SHRINK", 2),
        ("SOFT", 0),
        ("SOFT", 1),
    ):
        found.append(Size(table, None, part, "log"))
    found.append(Size("FLOOR", None, 0, "log"))
    for table, part in (("ELASTIC_SYMMETRY", None), ("UNEVEN_SYMMETRY", None), ("LIDS", 2), ("LIDS", 3)):
        found.append(Size(table, None, part, "logit", 0.7, 0.25))
    return [*found, Size("LIDS_BELOW", None, None, "plain", 0.04, 0.02)]


def cut(flow: np.ndarray, cells: int) -> np.ndarray:
    """Means over a grid of median-centred maps, in fifties of grey levels: "clip y x chan"."""
    return measure.make_grid(flow, cells).reshape(len(flow), cells, cells, 3) / 50


class Moments:
    """Moments of maps, of each data set by itself, in the basis and the ranges of the real ones."""

    def __init__(self, real: dict):
        self.names, grids = list(np.unique(real["dataset"])), []
        self.range = {}
        for name in self.names:
            mine = real["flow"][real["dataset"] == name]
            grid = cut(mine, 7).reshape(len(mine), -1)
            grids.append(grid / np.sqrt((grid**2).sum(1).mean()))
            for key, values in measure.compute_statistics(mine).items():
                low, high = np.quantile(values, [0.03, 0.97])
                self.range[name, key] = low - 0.5 * (high - low), high + 0.5 * (high - low)
        self.basis = np.linalg.svd(np.concatenate(grids), full_matrices=False)[2][:N_COMPONENTS].T

    def compute(self, maps: dict, weight: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """(kind, moments, their variances), maps weighed by ``weight`` "clip"."""
        found = []
        pairs = np.triu_indices(self.basis.shape[1])
        for name in self.names:
            mine = maps["dataset"] == name
            flow, w = maps["flow"][mine], weight[mine] / weight[mine].sum()

            def add(kind: str, values: np.ndarray, least: float = 1e-4, w=w) -> None:
                values = values.reshape(len(values), -1)
                mean = w @ values
                found.append((kind, mean, w @ (values - mean) ** 2 * (w**2).sum() + least))

            grid, fine = cut(flow, 7), cut(flow, 14)
            scores = grid.reshape(len(grid), -1) @ self.basis
            add("mean", grid)
            add("component", scores[:, pairs[0]] * scores[:, pairs[1]])
            add("square", fine**2)
            _, square, variance = found.pop()
            found.append(("square", np.log(square + 0.01), variance / (square + 0.01) ** 2 + 1e-3))
            add("mirror", (grid * grid[:, :, ::-1] * np.float32([-1, 1, 1]))[:, :, :4])
            add("neighbour", grid[:, 1:] * grid[:, :-1])
            add("neighbour", grid[:, :, 1:] * grid[:, :, :-1])
            add("channel", grid * np.roll(grid, 1, -1))
            for key, values in measure.compute_statistics(flow).items():
                values = np.clip(values, *self.range[name, key])
                mean = w @ values
                square = w @ (values - mean) ** 2
                error = square * (w**2).sum()
                found.append(
                    (
                        "number",
                        np.array([mean, np.log(np.maximum(square, 1e-9)) * np.sqrt(square) / 2]),
                        np.array([error, error]),
                    )
                )
        return found


class Distance:
    """How far phantom maps lie from real ones, in standard errors."""

    def __init__(self, real: dict, moments: Moments, n_phantoms: int):
        self.real, self.moments, self.n = real, moments, n_phantoms
        self.aim = moments.compute(real, np.ones(len(real["label"])))

    def __call__(self, x: np.ndarray, seed: int, n: int | None = None) -> np.ndarray:
        put(x)
        made = measure.make_phantoms(self.moments.names, n or self.n, seed, estimated=True)
        weight = np.zeros(len(made["label"]))
        for name in self.moments.names:
            for k in range(len(CLASSES)):
                ours, theirs = ((d["dataset"] == name) & (d["label"] == k) for d in (made, self.real))
                weight[ours] = theirs.sum() / max(1, ours.sum())
        rows = zip(self.aim, self.moments.compute(made, weight), strict=True)
        return np.concatenate([WEIGHTS[k] * (a - b) / np.sqrt(va + 0.3 * vb) for (k, a, va), (_, b, vb) in rows])

    def price(self, x: np.ndarray, residual: np.ndarray, start: np.ndarray, prior: np.ndarray) -> float:
        return float((np.clip(residual, -LARGEST, LARGEST) ** 2).sum() + PRIOR * (((x - start) / prior) ** 2).sum())


SIZES = list_sizes()
DISTANCE: Distance | None = None  # of this process: workers are forked with it


def put(x: np.ndarray) -> None:
    draw_map_face.cache_clear()
    for size, value in zip(SIZES, x, strict=True):
        size.write(value)


def describe() -> dict:
    """The tables as they stand; keys that are not text are written as Python writes them."""
    tables = {size.table: getattr(sizes, size.table) for size in SIZES}
    for name, table in tables.items():
        if isinstance(table, dict):
            tables[name] = {k if isinstance(k, str) else repr(k): v for k, v in table.items()}
    return tables


def restore(tables: dict) -> None:
    """Put sizes as ``describe`` wrote them."""
    for name, values in tables.items():
        if not isinstance(values, dict):
            setattr(sizes, name, tuple(values) if isinstance(values, list) else values)
            continue
        table = getattr(sizes, name)
        for key in table:
            value = values[str(key) if isinstance(key, (str, int)) and str(key) in values else repr(key)]
            table[key] = sizes.Skin(*value) if isinstance(value, list) else value


def look(task: tuple) -> np.ndarray:
    return DISTANCE(*task)


def improve(x: np.ndarray, start: np.ndarray, seed: int, pool) -> tuple[np.ndarray, float, float]:
    """One round: the derivative by every size, then the best of several damped steps, on other phantoms."""
    step, prior = (np.array([getattr(size, k) for size in SIZES]) for k in ("step", "prior"))
    rows = pool.map(look, [(x, seed)] + [(x + step * one, seed) for one in np.eye(len(x))], chunksize=3)
    residual, change = rows[0], np.stack([row - rows[0] for row in rows[1:]], 1) / step
    robust = np.sqrt(3 / np.maximum(np.abs(residual), 3))
    change, residual = change * robust[:, None], residual * robust
    square = prior[:, None] * (change.T @ change) * prior
    slope, held = prior * (change.T @ residual), PRIOR * (x - start) / prior
    tried = [x]
    for damping in DAMPING:
        matrix = square + 0.05 * damping * np.diag(np.diag(square)) + (PRIOR + damping) * np.eye(len(x))
        move = np.clip(-np.linalg.solve(matrix, slope + held) * prior, -2 * step, 2 * step)
        tried += [x + move, x + move / 2]
    prices = [
        DISTANCE.price(z, r, start, prior)
        for z, r in zip(tried, pool.map(look, [(z, seed + 500) for z in tried]), strict=True)
    ]
    return tried[int(np.argmin(prices))], prices[0], min(prices)


def main(arguments: list[str] | None = None) -> None:
    global DISTANCE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", help=".npz or folder of flow maps of CASME II and SMIC")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--phantoms", type=int, default=1600, help="phantom maps a look")
    parser.add_argument("--start", type=Path, help="sizes to start from, as --out writes them")
    parser.add_argument("--out", type=Path, help="write the sizes there")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    real = {k: v for k, v in read_maps(given.maps).items() if k != "aus"}
    real = {**real, "dataset": np.char.lower(real["dataset"].astype(str)), "subject": real["subject"].astype(str)}
    fitted = measure.split_subjects(real)
    halves = [{k: v[mine] for k, v in real.items()} for mine in (fitted, ~fitted)]
    moments = Moments(halves[0])
    distances = [Distance(half, moments, given.phantoms) for half in halves]
    DISTANCE = distances[0]
    sizes.N_FACES = N_FACES
    if given.start:
        restore(read_json(given.start))
    x = start = np.array([size.read() for size in SIZES])

    def report(name: str) -> None:
        for which, half, distance in zip(("fitted", "other"), halves, distances, strict=True):
            residual = np.clip(distance(x, 99, 2400), -LARGEST, LARGEST)
            made = measure.make_phantoms(moments.names, 2400, 98, estimated=True)
            apart = np.mean([list(measure.tell_apart(half, made, s).values()) for s in (0, 1)], 0)
            print(f"{name}, {which} half: distance {(residual**2).mean():.2f}, told apart {apart.round(3)}", flush=True)

    report("start")
    with multiprocessing.get_context("fork").Pool(given.workers) as pool:
        for turn in range(given.rounds):
            x, before, after = improve(x, start, 11 + turn, pool)
            put(x)
            print(f"round {turn + 1}: {before:.0f} -> {after:.0f}", flush=True)
            report(f"round {turn + 1}")
            if given.out:
                write_json(given.out, describe())


if __name__ == "__main__":
    main()
