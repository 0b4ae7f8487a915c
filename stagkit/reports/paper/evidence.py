"""Figures 11 and 12: attribution to muscles for each class, and the sanity checks of the explanations."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.transforms import Affine2D

from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS
from stagkit.evaluation.bootstrap import Mean, compute_mean
from stagkit.explain.aggregate import by_muscle
from stagkit.explain.evidence import MAX_CHANGE, MAX_SIMILARITY, RULES
from stagkit.explain.motion_decomposition import MUSCLES
from stagkit.plots.attributions import SHORT_NAMES
from stagkit.plots.style import (
    AGAINST,
    COLOURS,
    FOR,
    INK,
    PAGE,
    SIGNED_SCALE,
    SOFT,
    draw_face,
    draw_interval,
    name_rows,
    nice_limit,
    styled,
)
from stagkit.reports.paper.graphs import add_scale, choose_classes, describe_mean, make_pairs
from stagkit.reports.paper.inputs import Inputs, MissingInput, note
from stagkit.reports.paper.motion import shorten_muscles

_MUSCLES_SHOWN = 4
#: Name of the muscles, as in ``MUSCLES`` without a side -> their action unit (the first of those that share them).
_UNITS = {" and ".join(unit.muscles): unit for unit in reversed(ACTION_UNITS.values())}


def _drop_side(muscle: str) -> str:
    return muscle.removeprefix("left ").removeprefix("right ")


@styled
def fig_11_muscles(inputs: Inputs, width: float = PAGE) -> Figure:
    """Attribution on the muscles of the face for each class: mean over correctly recognised test clips."""
    attribution = inputs.evidence.attribution
    values = by_muscle(attribution)
    right = inputs.find_right(attribution.clip_ids, inputs.subjects)
    groups = choose_classes(inputs.run.name, attribution.classes, right, attribution.target)
    means = {name: values[g].mean(0) for name, g in groups.items()}
    limit = nice_limit(np.array([m[:-1] for m in means.values()]))
    figure, faces, bars = make_pairs(len(groups), width)
    rows, subjects = {}, np.asarray(inputs.subjects)
    for face, axes, (name, group) in zip(faces, bars, groups.items(), strict=True):
        _draw_muscles(face, means[name], limit)
        face.text(0.5, 1.0, f"{name} (n = {group.sum()})", transform=face.transAxes, ha="center", va="bottom")
        rows[name] = _draw_strongest(axes, values[group], subjects[group])
    shade = ScalarMappable(Normalize(-limit, limit), SIGNED_SCALE)
    add_scale(figure, shade, faces, bars, "mean attribution (logits)", width)
    n = {name: int(g.sum()) for name, g in groups.items()}
    return note(figure, [inputs.run], n, method=attribution.method, strongest=rows)


def _strokes() -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(muscle, place it moves most, direction of its pull): drawn as a band along the pull, face frame (IOD)."""
    out = []
    for m, name in enumerate(MUSCLES[:-1]):
        side = {"left": "L", "right": "R"}.get(name.split(" ")[0], "")
        unit = _UNITS[_drop_side(name)]
        main = max(unit.moves, key=lambda move: np.hypot(move.lateral, move.up))
        for i, roi in enumerate(ATLAS.rois):
            if roi.place == main.place and (not side or roi.side == side):
                outward = {"R": -1.0, "L": 1.0, "": 0.0}[roi.side]
                way = np.array([main.lateral * outward, -main.up])
                out.append((m, ATLAS.mean_centres[i], way / max(np.linalg.norm(way), 1e-9)))
    return out


def _draw_muscles(axes: Axes, mean: np.ndarray, limit: float) -> None:
    """Each muscle a band from where it moves the skin along its pull; several that share a place lie side by side."""
    draw_face(axes, colour="#B4BBC2", width=0.8)
    cmap, used = colormaps[SIGNED_SCALE], {}
    for m, place, way in sorted(_strokes(), key=lambda s: abs(mean[s[0]])):
        key = tuple(np.round(np.concatenate([place, way]), 2))
        shift = 0.05 * used.get(key, 0)
        used[key] = used.get(key, 0) + 1
        strength = min(abs(mean[m]) / limit, 1.0)
        thick = 0.035 + 0.05 * strength
        band = FancyBboxPatch(
            (-0.06, -thick / 2 + shift), 0.26, thick, boxstyle=f"round,pad=0,rounding_size={thick / 2:.3f}",
            fc=cmap(0.5 + 0.5 * np.clip(mean[m] / limit, -1, 1)), ec=INK if strength > 0.08 else "#C6CCD2",
            lw=0.5 if strength > 0.08 else 0.4, zorder=2 + strength,
        )  # fmt: skip
        band.set_transform(Affine2D().rotate(np.arctan2(way[1], way[0])).translate(*place) + axes.transData)
        axes.add_patch(band)


def _draw_strongest(axes: Axes, values: np.ndarray, subjects: np.ndarray) -> list[dict]:
    """The muscles of the largest attribution, left and right together, with intervals over subjects."""
    both: dict[str, np.ndarray] = {}
    for m, name in enumerate(MUSCLES):
        both[_drop_side(name)] = both.get(_drop_side(name), 0) + values[:, m]
    best = sorted((n for n in both if n != "none"), key=lambda n: -abs(both[n].mean()))[:_MUSCLES_SHOWN]
    rows = []
    for y, name in enumerate([*best, "none"]):
        mean = compute_mean(both[name], subjects)
        colour = SOFT if name == "none" else FOR if mean.mean > 0 else AGAINST
        draw_interval(axes, y, mean.mean, (mean.low, mean.high), colour, ms=3.6)
        rows.append({"muscle": name, **describe_mean(mean)})
        axes.text(0.03, y - 0.2, _shorten(name), transform=axes.get_yaxis_transform(), fontsize=6, va="bottom",
                  bbox={"fc": "white", "ec": "none", "pad": 0.3}, zorder=3)  # fmt: skip
    name_rows(axes, [""] * len(rows), top=0.95)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.axvline(0, color=SOFT, lw=0.6)
    return rows


def _shorten(muscle: str) -> str:
    """A muscle's name that fits an axis."""
    if muscle == "none":
        return "no muscle"
    name = shorten_muscles(_UNITS[muscle].muscles)
    return name.replace("orbicularis oculi", "orb. oculi").replace("lev. labii sup. ", "levator ")


@styled
def fig_12_controls(inputs: Inputs, width: float = PAGE) -> Figure:
    """Scores of the explanations and of their controls, and the share of clips that pass each control."""
    evidence, subjects = inputs.evidence, inputs.subjects
    if not evidence.scores:
        raise MissingInput(f"the explanations of {inputs.run.name} were made without controls")
    wide = width > 5
    figure, row = plt.subplots(*((1, 3) if wide else (3, 1)), figsize=(width, 2.35 if wide else 4.9),
                               **{"width_ratios" if wide else "height_ratios": (1, 1.1, 1.15)})  # fmt: skip
    order = _draw_orders(row[0], evidence.scores, subjects)
    scores, passed = _draw_scores(row[1], evidence.scores, subjects), _draw_passed(row[2], evidence)
    n = {"clips": len(evidence), "subjects": len(set(subjects))}
    return note(figure, [inputs.run], n, order=order, scores=scores, passed=passed)


def _draw_dot(axes: Axes, y: float, mean, colour: str, text: str) -> dict:
    draw_interval(axes, y, mean.mean, (mean.low, mean.high), colour, text, ms=4)
    return {"mean": mean.mean, "ci95": [mean.low, mean.high], "n_subjects": mean.n_subjects, "n": mean.n}


def compute_gains(scores, subjects) -> dict[str, Mean]:
    """Insertion minus deletion (logits) of each order of the cells: mean over clips, interval over subjects."""
    orders = {"this map": "", "flow magnitude": "_flow", "random order": "_random"}
    gains = {name: np.subtract(scores[f"insertion{k}"], scores[f"deletion{k}"]) for name, k in orders.items()}
    return {name: compute_mean(gain, subjects) for name, gain in gains.items()}


def _draw_orders(axes: Axes, scores, subjects) -> dict:
    out = {}
    for y, (name, mean) in enumerate(compute_gains(scores, subjects).items()):
        out[name] = _draw_dot(axes, y, mean, COLOURS[0] if y == 0 else SOFT, f"{mean.mean:.1f}")
    name_rows(axes, list(out), top=0.75)
    axes.margins(x=0.16)
    axes.axvline(0, color=SOFT, lw=0.6)
    axes.set_xlabel("insertion − deletion (logits)")
    return out


#: score -> (words, chance level)
_SCALES = {
    "pointing": ("pointing game", None),
    "mass": ("share on what moved", None),
    "au_auroc": ("finds the AUs (AUROC)", 0.5),
    "edge_auroc": ("finds the AU edges (AUROC)", 0.5),
    "edge_agreement": ("edge and effect (ρ)", 0.0),
    "randomised": ("same with random weights (ρ)", 0.0),
}


def _draw_scores(axes: Axes, scores, subjects) -> dict:
    out, names = {}, []
    for name, (words, chance) in _SCALES.items():
        if name not in scores or np.isnan(scores[name]).all():
            continue
        y, mean = len(names), compute_mean(scores[name], subjects)
        if chance is not None:
            axes.plot(chance, y, "D", ms=3.4, color=SOFT)
        out[name] = _draw_dot(axes, y, mean, COLOURS[1] if name == "randomised" else COLOURS[0], f"{mean.mean:.2f}")
        names.append(words)
    name_rows(axes, names, top=0.75)
    low = min(0.0, *(o["ci95"][0] for o in out.values() if np.isfinite(o["ci95"][0])), 0.0)
    axes.set_xlim(np.floor(low * 10) / 10 - 0.02, 1.03)
    axes.set_xlabel("score (◆ chance level)")
    return out


def _draw_passed(axes: Axes, evidence) -> dict:
    passed = evidence.count_checks()
    names = [name for name, _, _ in RULES if name in passed]
    for y, name in enumerate(names):
        share = 100 * float(np.mean(passed[name]))
        axes.barh(y, 100, height=0.5, color="#EEF1F4")
        axes.barh(y, share, height=0.5, color=COLOURS[2])
        axes.text(102, y, f"{share:.0f}", va="center", fontsize=6.5)
    name_rows(axes, [SHORT_NAMES.get(n, n) for n in names], top=0.75)
    axes.grid(visible=False)
    axes.set(xlim=(0, 112), xlabel=f"passed (% of {len(evidence)} clips)", xticks=[0, 50, 100])
    return {n: float(np.mean(passed[n])) for n in names} | {"max_similarity": MAX_SIMILARITY, "max_change": MAX_CHANGE}
