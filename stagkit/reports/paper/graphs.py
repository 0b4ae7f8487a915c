"""Figures 1 and 4 to 6: parts of the network, and over test clips its AU graphs, temporal and cross-attention."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from stagkit.core.facs import AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagOutput
from stagkit.evaluation.bootstrap import compute_mean
from stagkit.explorers.au_graph.figure import draw_aus
from stagkit.explorers.au_graph.scene import Edge
from stagkit.plots.network import describe_parts, draw_network
from stagkit.plots.style import (
    AGAINST,
    COLOURS,
    FAINT,
    FOR,
    PAGE,
    SIGNED_SCALE,
    SOFT,
    add_colour_bar,
    draw_interval,
    hide_frame,
    name_rows,
    styled,
)
from stagkit.reports.paper.inputs import Inputs, MissingInput, note
from stagkit.reports.paper.motion import PLACES
from stagkit.synthetic.dataset import find_phantoms

_TERMS_SHOWN, _LEAST_SHARE, _QUIET = 6, 0.04, 0.08
_TERM_SCALE = LinearSegmentedColormap.from_list("terms", [AGAINST, "#FFFFFF", FOR])
_N_AUS = len(AU_LABELS)
_PAIRS = tuple((k, m) for k in range(_N_AUS) for m in range(k + 1, _N_AUS))
_MOST_CLASSES = 4


@styled
def fig_01_pipeline(inputs: Inputs, width: float = PAGE) -> Figure:
    """The parts of the network and what flows between them, with the sizes of the first run."""
    config, wide = inputs.run.stag_config, width > 5
    frames = (inputs.run.request["data"].get("flow") or {}).get("n_frames", 1)
    figure = plt.figure(figsize=(width, 4.2 if wide else 7.15))
    figure.set_layout_engine("none")
    lines = describe_parts(config, frames, len(inputs.run.request["classes"]))
    draw_network(figure.add_axes((0, 0, 1, 1)), config, lines, high=1.1 if wide else 0.98, icons=True, tall=not wide)
    note(figure, [inputs.run], stag=config.to_dict(), frames=frames)
    figure.stagkit_source["phantom"] = False  # a drawing of settings: it shows no data
    return figure


def choose_classes(run: str, classes: Sequence[str], right: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """The classes shown, those with most correctly recognised clips -> which clips these are: bool "clip"."""
    groups = {name: right & (label == k) for k, name in enumerate(classes)}
    most = sorted(groups, key=lambda name: -groups[name].sum())[:_MOST_CLASSES]
    groups = {name: group for name, group in groups.items() if name in most and group.any()}
    if not groups:
        raise MissingInput(f"no explained test clip of {run} was recognised correctly")
    return groups


def _choose_groups(inputs: Inputs) -> dict[str, np.ndarray]:
    _, batch = inputs.graphs
    right = inputs.find_right(batch.clip_ids, batch.subjects)
    return choose_classes(inputs.run.name, batch.classes, right, batch.label.numpy())


def make_pairs(n: int, width: float) -> tuple[Figure, list[Axes], list[Axes]]:
    """Axes for ``n`` faces and a chart for each: below them on a wide figure, else to their right."""
    wide = width > 5
    figure = plt.figure(figsize=(width, 3.4 if wide else 0.65 + 1.45 * n))
    grid = (
        figure.add_gridspec(2, n, height_ratios=(1.6, 1)) if wide else figure.add_gridspec(n, 2, width_ratios=(1.25, 1))
    )
    faces = [figure.add_subplot(grid[0, k] if wide else grid[k, 0]) for k in range(n)]
    bars: list[Axes] = []
    for k in range(n):
        bars.append(figure.add_subplot(grid[1, k] if wide else grid[k, 1], sharex=bars[0] if bars else None))
    return figure, faces, bars


def add_scale(figure: Figure, shade, faces: list[Axes], bars: list[Axes], label: str, width: float) -> None:
    """The colour bar of all faces; charts get the same label, once if they stand below each other."""
    if width > 5:
        for axes in bars:
            axes.set_xlabel(label)
        add_colour_bar(figure, shade, faces, label, shrink=0.8, pad=0.01)
    else:
        bars[-1].set_xlabel(label.replace(" (", "\n("))
        for axes in bars[:-1]:
            axes.tick_params(labelbottom=False)
        add_colour_bar(figure, shade, faces, label, location="bottom", aspect=20)


def describe_mean(mean) -> dict[str, object]:
    """A mean with its interval, for a side-car."""
    return {"mean": round(mean.mean, 5), "ci95": [mean.low, mean.high], "n_subjects": mean.n_subjects}


@styled
def fig_04_au_graphs(inputs: Inputs, width: float = PAGE) -> Figure:
    """The AU graph that makes each class: mean terms of AUs and AU edges in its logit, over correctly recognised clips."""
    output, batch = inputs.graphs
    if output.terms is None:
        raise MissingInput(f"the network of {inputs.run.name} (head='fused') has no AU graph that makes the class")
    groups, subjects = _choose_groups(inputs), np.asarray(batch.subjects)
    visible = batch.mask.any(2).numpy()
    activation = np.where(visible[:, :, None], output.au_logits.sigmoid().numpy(), 0).max(1)
    terms = {name: _list_terms(output, batch.classes.index(name), group) for name, group in groups.items()}
    limit = max(float(np.abs(values.mean(0)).max()) for values in terms.values())
    figure, faces, bars = make_pairs(len(groups), width)
    shown = {}
    for face, axes, (name, group) in zip(faces, bars, groups.items(), strict=True):
        mean = terms[name].mean(0)
        edges = [Edge("au", AU_LABELS[k], AU_LABELS[m], v) for (k, m), v in zip(_PAIRS, mean[_N_AUS:], strict=True)]
        edges = sorted((e for e in edges if abs(e.value) >= _LEAST_SHARE * limit), key=lambda e: -abs(e.value))
        draw_aus(face, activation[group].mean(0), edges, None, limit, FOR, True, mean[:_N_AUS], limit, _QUIET)
        face.set(xlim=(-0.9, 0.9), ylim=(1.32, -0.84))
        hide_frame(face)
        face.text(0.5, 1.0, f"{name} (n = {group.sum()})", transform=face.transAxes, ha="center", va="bottom")
        shown[name] = _draw_strongest(axes, terms[name], subjects[group])
    for axes in bars:
        axes.axvline(0, color=SOFT, lw=0.6, zorder=0)
    add_scale(figure, ScalarMappable(Normalize(-limit, limit), _TERM_SCALE), faces, bars, "mean term (logits)", width)
    return note(figure, [inputs.run], {name: int(g.sum()) for name, g in groups.items()}, terms=shown)


def _list_terms(output: StagOutput, target: int, group: np.ndarray) -> np.ndarray:
    """Terms of the AUs and of the AU edges in the logit of a class, for some clips: "clip au+pair"."""
    first, second = zip(*_PAIRS, strict=True)
    edges = output.terms.au_edges.numpy()[group, target][:, first, second]
    return np.concatenate([output.terms.aus.numpy()[group, target], edges], axis=1)


def _draw_strongest(axes: Axes, values: np.ndarray, subjects: np.ndarray) -> list[dict]:
    rows, names = [], []
    for y, at in enumerate(np.argsort(-np.abs(values.mean(0)), kind="stable")[:_TERMS_SHOWN]):
        units = (int(at),) if at < _N_AUS else _PAIRS[at - _N_AUS]
        mean = compute_mean(values[:, at], subjects)
        draw_interval(axes, y, mean.mean, (mean.low, mean.high), AGAINST if mean.mean < 0 else FOR, ms=3.6)
        rows.append({"aus": [AU_LABELS[k] for k in units], **describe_mean(mean)})
        names.append("\u2013".join(str(AU_NUMBERS[k]) for k in units))
    name_rows(axes, names)
    return rows


@styled
def fig_05_temporal_attention(inputs: Inputs, width: float = PAGE) -> Figure:
    """AU activation over time and weight of each frame: in the most confident clip of each class, and over all clips."""
    output, batch = inputs.graphs
    if output.time_weights is None:
        raise MissingInput(f"the network of {inputs.run.name} has no temporal attention")
    if batch.mask.shape[1] < 2:
        raise MissingInput(f"the clips of {inputs.run.name} have one frame each: there is no time axis")
    groups, wide = _choose_groups(inputs), width > 5
    columns = min(len(groups), 3 if wide else 2)
    figure = plt.figure(figsize=(width, 2.7 if wide else 4.4))
    outer = figure.add_gridspec(*((1, columns + 1) if wide else (2, 2)))
    sure = output.logits.softmax(-1).amax(1).numpy()
    shown, first, second = {}, None, None
    cells = [outer[0, k] if wide else outer[k // 2, k % 2] for k in range(columns + 1 if wide else 4)]
    clips = [int(np.flatnonzero(g)[sure[g].argmax()]) for g in groups.values()][: len(cells) - 1]
    for cell, name, clip in zip(cells, groups, clips, strict=False):
        inner = cell.subgridspec(2, 1, height_ratios=(1.6, 1), hspace=0.05)
        top = figure.add_subplot(inner[0], sharey=first)
        low = figure.add_subplot(inner[1], sharex=top, sharey=second)
        shown[name] = _draw_clip_in_time(inputs, top, low, clip, len(shown) % 2 == 0 if not wide else not shown)
        top.text(0.02, 1.02, name, transform=top.transAxes, va="bottom", fontsize=8)
        first, second = first or top, second or low
    if find_phantoms(inputs.run.request["data"]) is not None:
        figure.text(1.0, 0.0, "dotted: true intensity ", ha="right", va="bottom", fontsize=5.5, color=SOFT)
    course = _compute_course(inputs)
    _draw_course(figure.add_subplot(cells[len(clips)]), course)
    return note(figure, [inputs.run], {"clips": course["n_clips"]}, clips=shown, course=course)


def _draw_clip_in_time(inputs: Inputs, top: Axes, low: Axes, clip: int, labelled: bool) -> dict:
    output, batch = inputs.graphs
    visible = batch.mask[clip].any(1).numpy()
    times = batch.times_ms[clip].numpy()[visible]
    activation, weights = output.au_logits.sigmoid()[clip].numpy()[visible], output.time_weights[clip].numpy()[visible]
    strongest = np.argsort(-activation.max(0))[:2]
    for row, (k, colour) in enumerate(zip(strongest, COLOURS, strict=False)):
        top.plot(times, activation[:, k], "-", color=colour)
        top.text(0.99, 1.1 - 0.15 * row, f"AU {AU_NUMBERS[k]}", transform=top.transAxes, ha="right", va="top",
                 fontsize=6.5, color=colour)  # fmt: skip
    for colour, at, level in _read_true_intensity(inputs, batch.clip_ids[clip], strongest):
        top.plot(at, level, ":", lw=1, color=colour, zorder=1)
    width = 0.72 * (np.diff(times).min() if len(times) > 1 else 10.0)
    low.bar(times, weights * visible.sum(), width=width, color=COLOURS[4])
    low.axhline(1, color=SOFT, lw=0.6, ls=(0, (3, 2)))
    top.set_ylim(0, 1.06)
    top.tick_params(labelbottom=False)
    low.set_xlabel("time from onset (ms)")
    if labelled:
        top.set_ylabel("AU activation")
        low.set_ylabel("weight")
        top.get_figure().align_ylabels([top, low])
    return {"clip": batch.clip_ids[clip], "aus": [AU_LABELS[k] for k in strongest],
            "weights": np.round(weights.astype(float), 4).tolist()}  # fmt: skip


def _read_true_intensity(inputs: Inputs, clip_id: str, units: np.ndarray):
    """True intensity of these AUs over time, if the clip is a phantom that can be drawn again from the record."""
    phantoms = find_phantoms(inputs.run.request["data"])
    if phantoms is None:
        return
    clip = phantoms.read(clip_id)
    for k, colour in zip(units, COLOURS, strict=False):
        columns = [i for i, code in enumerate(clip.truth.codes) if int(code[2:4]) == AU_NUMBERS[k]]
        if columns:
            kept = clip.times_ms >= 0
            yield colour, clip.times_ms[kept], clip.truth.au_intensity[kept][:, columns].max(1)


def _compute_course(inputs: Inputs) -> dict:
    """Mean frame weight by the frame's place from the peak of AU activation, intervals over subjects."""
    output, batch = inputs.graphs
    visible = batch.mask.any(2).numpy()
    activation = np.where(visible[:, :, None], output.au_logits.sigmoid().numpy(), -1)
    relative = output.time_weights.numpy() * visible.sum(1, keepdims=True)
    times = batch.times_ms.numpy()
    best = activation.max(1).argmax(1)
    peak = times[np.arange(len(times)), activation[np.arange(len(times)), :, best].argmax(1)]
    away = times - peak[:, None]
    reach = float(np.percentile(np.abs(away[visible]), 90))
    bounds = np.linspace(-reach, reach, 10)
    subjects = np.asarray(batch.subjects)
    rows = []
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        inside = visible & (away >= low) & (away < high)
        some = inside.any(1)
        if some.sum() < 3:
            continue
        each = np.array([relative[i][inside[i]].mean() for i in np.flatnonzero(some)])
        mean = compute_mean(each, subjects[some])
        rows.append({"ms": round(float((low + high) / 2), 3), "weight": mean.mean, "ci95": [mean.low, mean.high],
                     "n_subjects": mean.n_subjects})  # fmt: skip
    if len(rows) < 2:
        raise MissingInput("too few clips were explained for a mean over time: explain more of the run")
    return {"n_clips": len(times), "n_subjects": len(set(batch.subjects)), "bins": rows}


def _draw_course(axes: Axes, course: dict) -> None:
    at = [r["ms"] for r in course["bins"]]
    low, high = np.array([r["ci95"] for r in course["bins"]], float).T
    axes.fill_between(at, low, high, color=COLOURS[4], alpha=0.3, lw=0)
    axes.plot(at, [r["weight"] for r in course["bins"]], "o-", ms=3, color=COLOURS[4])
    axes.axhline(1, color=SOFT, lw=0.6, ls=(0, (3, 2)))
    axes.axvline(0, color=FAINT, lw=0.8, zorder=0)
    axes.set(xlabel="time from peak of\nAU activation (ms)", ylim=(0, None))
    axes.set_ylabel("weight (1 = equal)")
    axes.text(0.02, 1.01, f"all clips (n = {course['n_clips']})", transform=axes.transAxes, va="bottom", fontsize=8)


_DIRECTIONS = {"cross.0.roi_from_frame": "regions query frames", "cross.0.frame_from_roi": "frames query regions"}


@styled
def fig_06_cross_attention(inputs: Inputs, width: float = PAGE) -> Figure:
    """Cross-attention in both directions for each class, as a multiple of even attention."""
    output, batch = inputs.graphs
    shown = [w for w in _DIRECTIONS if w in output.attention]
    if not shown:
        raise MissingInput(f"{inputs.run.name} keeps no cross-attention: it has none, or an older stagkit explained it")
    groups, visible = _choose_groups(inputs), batch.mask.any(2).numpy()
    maps = [[_fold_attention(output.attention[w].numpy(), w, visible, g) for g in groups.values()] for w in shown]
    limit = float(np.ceil(10 * max(np.abs(m).max() for row in maps for m in row)) / 10)
    figure, rows = plt.subplots(len(shown), len(groups), figsize=(width, 0.8 + 1.75 * len(shown) if width > 5 else 4.5),
                                squeeze=False, sharex=True, sharey=True)  # fmt: skip
    for row, name, each in zip(rows, shown, maps, strict=True):
        for axes, values in zip(row, each, strict=True):
            image = axes.imshow(values, cmap=SIGNED_SCALE, vmin=-limit, vmax=limit, aspect="auto")
        row[0].set_ylabel(_DIRECTIONS[name])
    for top, low, (name, group) in zip(rows[0], rows[-1], groups.items(), strict=True):
        top.set_title(f"{name} (n = {group.sum()})" if width > 5 else f"{name}\n(n = {group.sum()})")
        low.set_xlabel("frame, in time order" if width > 5 else "frame")
    for axes in rows[:, 0]:
        axes.set_yticks(range(len(PLACES)), [p.replace("_", " ") for p in PLACES], fontsize=6.2)
    n_frames = maps[0][0].shape[1]
    ticks = np.arange(0, n_frames, max(1, n_frames // 4))
    for axes in rows.flat:
        axes.set_xticks(ticks, ticks + 1)
        hide_frame(axes, ticks=True)
    add_colour_bar(figure, image, rows.ravel().tolist(), "attention / even attention (log₂)", shrink=0.6, aspect=24)
    values = {w: {c: np.round(m, 4).tolist() for c, m in zip(groups, each, strict=True)}
              for w, each in zip(shown, maps, strict=True)}  # fmt: skip
    n = {name: int(g.sum()) for name, g in groups.items()}
    return note(figure, [inputs.run], n, log2_ratio=values, places=list(PLACES))


def _fold_attention(attention: np.ndarray, name: str, visible: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean over heads, clips of a group and the two sides of the face, log2 of its multiple of even: "place time"."""
    mean = attention.mean(1)  # "clip target source"
    if name.endswith("roi_from_frame"):
        ratio = mean * visible.sum(1)[:, None, None]  # regions x frames: 1 = even over frames
    else:
        ratio = np.swapaxes(mean, 1, 2) * attention.shape[-1]  # regions x frames: 1 = even over regions
    some = group[:, None] & visible
    total = np.einsum("crt,ct->rt", ratio, some.astype(float)) / np.maximum(some.sum(0), 1)
    rows = [[i for i, r in enumerate(ATLAS.rois) if r.place == p] for p in PLACES]
    kept = some.any(0)
    return np.log2(np.maximum(np.stack([total[r].mean(0) for r in rows])[:, kept], 1e-3))
