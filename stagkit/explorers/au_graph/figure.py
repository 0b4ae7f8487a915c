"""The still twin of the AU-graph explorer: the same scene, the same arguments, a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.types import Batch, StagkitError
from stagkit.explorers.au_graph.compare import check_compare, compute_side, ensure_measured
from stagkit.explorers.au_graph.scene import (
    DEFAULT_THRESHOLD,
    EDGE_KINDS,
    QUANTITIES,
    SIGNED,
    VIEWS,
    Edge,
    Scene,
    check_frame,
    compute_cutoff,
)
from stagkit.explorers.sources import OWN_FOLD, Source, as_source, check_edges
from stagkit.explorers.validation import check_choice
from stagkit.plots.style import AGAINST, FOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagkit.network.model import Stag

_TEXT, _SOFT, _LINE, _FACE = "#1d2329", "#5b6670", "#aeb9c4", "#eef2f5"
_DATA, _SELECT, _MOTION = "#14599d", "#8a5a00", "#0a7d5b"

_WHOLE = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0}

#: Parts of the 68 landmarks that are drawn as lines: (first, last, closed).
_LINES = ((36, 41, True), (42, 47, True), (27, 30, False), (31, 35, False), (48, 59, True), (60, 67, True))


def plot_au_graph(
    run_or_output: object,
    batch: Batch | None = None,
    *,
    clip: int | str = 0,
    frame: int | None = None,
    view: str = "both",
    quantity: str = "weight",
    head: int = -1,
    threshold: float = DEFAULT_THRESHOLD,
    edge_kind: str = "all",
    au: str | None = None,
    target: str | None = None,
    seed: int | None = None,
    fold: int = OWN_FOLD,
    compare: Mapping | None = None,
    model: Stag | None = None,
    recompute: Callable[[list[list], int], object] | None = None,
    allow_trained: bool = False,
) -> Figure:
    """Draw one frame of the region and AU graphs (``view_au_graph`` opens the same for touching).

    Args:
        run_or_output: a finished ``Run`` or its folder, the network's output for ``batch``, or a ``Scene``.
        batch: the clips of an output.
        clip: index or id of the clip.
        frame: index of its frame; the one with the most AU evidence where None.
        view: ``"au"``, ``"region"`` or ``"both"``.
        quantity: what edges are drawn by: ``"weight"`` (A between regions, C between AUs; no unit), ``"attention"`` (0..1,
            between regions; AU edges stay C), ``"attribution"`` or ``"effect"`` (of cutting; logits, with a sign).
        head: attention head, -1 = mean over heads.
        threshold: share of the clip's edges that is hidden, 0..1.
        edge_kind: region edges of ``"all"`` kinds, the ``"anatomical"`` ones, or those ``"learned"`` beside anatomy.
        au: label of an AU to single out, e.g. ``"AU12"``.
        target: class that attribution and effect explain; the predicted one where None.
        seed: whose networks of a run; its first seed where None.
        fold: whose network of a run; -1 = the one that never saw the clip.
        compare: ``{"clip": index or id}`` or ``{"classes": [one, other]}``: two AU graphs (region graphs where
            ``view="region"``) side by side, and their difference. Classes are means over frames and clips.
        model: the network of an output; attribution and effect need it, or a run.
        recompute: accepted so that both functions take the same arguments; a still figure cannot be cut.
        allow_trained: of a run, also ask networks that were trained on the clip: their predictions are no test.

    Returns:
        A matplotlib Figure, 7.16 in wide (3.5 in for one graph), 8 pt, without a title inside.

    Raises:
        StagkitError: an argument that is out of range (the message lists what is possible), values that are NaN, or a
            network without a graph.
    """
    from matplotlib.figure import Figure

    source = as_source(run_or_output, batch, model, allow_trained)
    clip = source.clip_index(clip)
    seed = source.seeds[0] if seed is None else seed
    check_choice("seed", seed, source.seeds)
    check_choice("fold", fold, (OWN_FOLD, *range(len(source.folds))))
    scene, place = source.scene(clip, seed, fold)
    check_edges(scene)
    frame = scene.peak_frame(place) if frame is None else check_frame(scene, place, frame)
    check_choice("view", view, VIEWS)
    check_choice("quantity", quantity, QUANTITIES)
    check_choice("head", head, (-1, *range(scene.n_heads)))
    check_choice("edge_kind", edge_kind, EDGE_KINDS)
    check_choice("au", au or "", ("", *scene.au_labels))
    check_choice("target", target, (None, *source.classes))
    explained = source.classes.index(target) if target else int(scene.probabilities[place].argmax())
    if not ensure_measured(source, clip, seed, fold, quantity, explained):
        raise StagkitError(
            f"`quantity` {quantity!r} needs the network: give it as model=... beside the output, or a run."
        )
    if compare:
        wanted = {"graph": "region" if view == "region" else "au", "quantity": quantity, "head": head}
        asked = source.classes.index(target) if target else None
        sides = _gather_sides(source, clip, frame, seed, fold, check_compare(source, compare), asked, wanted)
        return _name_network(_draw_sides(scene, sides, threshold, wanted), source, clip, seed, fold)
    edges = scene.shown_edges(
        place,
        frame,
        view=view,
        quantity=quantity,
        head=head,
        threshold=threshold,
        edge_kind=edge_kind,
        target=explained,
    )
    graphs = ("region", "au") if view == "both" else (view,)
    plus = FOR if quantity in SIGNED else _DATA
    fig = Figure(figsize=(7.16 if view == "both" else 3.5, 3.9), facecolor="white")
    axes = fig.subplots(1, len(graphs), squeeze=False, gridspec_kw=_WHOLE)[0]
    for ax, graph in zip(axes, graphs, strict=True):
        shown = [edge for edge in edges if edge.graph == graph]
        _draw_face(ax, scene.face, faint=graph == "au")
        most, note = _describe_scale(scene, place, graph, quantity, head, explained)
        if graph == "region":
            _draw_regions(ax, scene, place, frame, shown, au, most, note, plus)
        else:
            _draw_units(ax, scene, scene.evidence[place, frame], shown, au, most, note, plus)
        _finish(ax)
    return _name_network(fig, source, clip, seed, fold)


def _finish(ax: Axes, lines: int = 1) -> None:
    """Room for the face, and below it for a note of so many lines."""
    ax.set(xlim=(-0.98, 0.98), ylim=(1.48 + 0.16 * (lines - 1), -0.68), aspect="equal")
    ax.axis("off")


def _describe_scale(scene: Scene, place: int, graph: str, quantity: str, head: int, target: int) -> tuple[float, str]:
    """End of the scale of a graph, and one line that says what its edges are."""
    if quantity in SIGNED:
        values = scene.values(place, graph, quantity, head, target)
        most = 0.0 if values is None else float(np.abs(values[:, scene.candidates(graph)]).max())
        what = "fall of the logit when cut" if quantity == "effect" else "attribution, logits"
        return most, f"{what}, {scene.classes[target]}; orange for, blue against; at most {most:.2g}"
    most = scene.maxima["au" if graph == "au" else quantity]
    symbol = "co-activation C" if graph == "au" else "edge weight A"
    if graph == "region" and quantity == "attention":
        symbol = f"attention {scene.attention_name}"
    return most, f"{symbol}, source \u2192 target, at most {most:.2g}"


def _name_network(figure: Figure, source: Source, clip: int, seed: int, fold: int) -> Figure:
    """Write at the foot of a figure of a run which network was asked."""
    if source.folds:
        text, room = source.describe_network(clip, seed, fold), 0.16  # inches below the notes of the axes
        height = figure.get_figheight()
        figure.set_figheight(height + room)
        for ax in figure.axes:
            x, y, wide, high = ax.get_position().bounds
            ax.set_position((x, (y * height + room) / (height + room), wide, high * height / (height + room)))
        figure.text(0.004, 0.004, text, ha="left", va="bottom", fontsize=5.5, color=_SOFT)
    return figure


def _gather_sides(
    source: Source, clip: int, frame: int, seed: int, fold: int, compare: dict, target: int | None, wanted: dict
) -> list[tuple[str, np.ndarray, np.ndarray | None]]:
    """Name, evidence "au" and edges "target source" of either side."""
    if "classes" in compare:
        told = [
            compute_side(source, name, wanted["quantity"], wanted["head"], target, seed) for name in compare["classes"]
        ]
        return [
            (
                f"{side.name}, mean of {side.n_clips} clips",
                side.evidence[0],
                None if side.edges[wanted["graph"]] is None else side.edges[wanted["graph"]][0],
            )
            for side in told
        ]
    sides = []
    for index in (clip, compare["clip"]):
        scene, place = source.scene(index, seed, fold)
        explained = int(scene.probabilities[place].argmax()) if target is None else target
        ensure_measured(source, index, seed, fold, wanted["quantity"], explained)
        values = scene.values(place, wanted["graph"], wanted["quantity"], wanted["head"], explained)
        at = min(frame, int(scene.n_frames[place]) - 1)
        name = f"{source.clip_ids[index]}, {source.classes[source.label[index]]}"
        sides.append((name, scene.evidence[place, at], None if values is None else values[min(at, len(values) - 1)]))
    return sides


def _draw_sides(scene: Scene, sides: list, threshold: float, wanted: dict) -> Figure:
    """One, other, and other minus one on a common scale."""
    from matplotlib.figure import Figure

    graph = wanted["graph"]
    if any(side[2] is None for side in sides):
        raise StagkitError(f"this network has no {graph} edges to compare.")
    allowed = scene.candidates(graph)
    names = scene.au_labels if graph == "au" else scene.roi_names
    (one, evidence, first), (other, evidence_b, second) = sides
    panels = [
        (one, evidence, first),
        (other, evidence_b, second),
        ("difference", evidence_b - evidence, second - first),
    ]
    fig = Figure(figsize=(7.16, 2.9), facecolor="white")
    axes = fig.subplots(1, 3, gridspec_kw=_WHOLE)
    both = np.abs(np.stack([first, second]))[:, allowed]
    for ax, (title, shown, values) in zip(axes, panels, strict=True):
        size = np.abs(values)
        most = float(both.max()) if title != "difference" else float(size[allowed].max())
        cutoff = compute_cutoff(both if title != "difference" else size[allowed], threshold)
        edges = [
            Edge(graph, names[t], names[s], float(values[t, s]))
            for t, s in np.argwhere(allowed & (size >= cutoff) & (size > 0))
        ]
        edges.sort(key=lambda edge: -abs(edge.value))
        _draw_face(ax, scene.face, faint=True)
        plus = FOR if title == "difference" or wanted["quantity"] in SIGNED else _DATA
        note = f"{title}\nat most {most:.2g}" + ("; orange more, blue less" if title == "difference" else "")
        if graph == "au":
            _draw_units(ax, scene, np.abs(shown), edges, None, most, note, plus, small=True)
        else:
            spots = dict(zip(scene.roi_names, scene.centres, strict=True))
            _draw_edges(ax, edges, spots, most, set(), set(), {}, plus)
            ax.plot(*scene.centres.T, "o", ms=3.4, mfc="white", mec=_SOFT, mew=0.7, zorder=4)
            _draw_note(ax, note, False)
        _finish(ax, lines=2)
    return fig


def _draw_face(ax: Axes, face: np.ndarray, faint: bool) -> None:
    """Outline, brows, eyes, nose and lips from the 68 landmarks."""
    from scipy.interpolate import splev, splprep

    def curve(points, closed):
        points = np.vstack([points, points[:1]]) if closed else points
        knots, _ = splprep(points.T, s=0, per=closed, k=min(3, len(points) - 1))
        return np.stack(splev(np.linspace(0, 1, 120), knots), 1)

    angle = np.linspace(0, np.pi, 12)[1:-1]
    half, middle = (face[16] - face[0]) / 2, (face[16] + face[0]) / 2
    forehead = middle + np.cos(angle)[:, None] * half - np.sin(angle)[:, None] ** 0.94 * [0, 0.52]
    alpha = 0.45 if faint else 1.0
    ax.fill(*curve(np.vstack([face[:17], forehead]), True).T, fc=_FACE, ec=_LINE, lw=0.9, alpha=alpha, zorder=0)
    for start, stop in ((17, 21), (22, 26)):
        ax.plot(*curve(face[start : stop + 1], False).T, color=_LINE, lw=2.6, alpha=0.8 * alpha, zorder=1)
    for start, stop, closed in _LINES:
        ax.plot(*curve(face[start : stop + 1], closed).T, color=_LINE, lw=0.9, alpha=alpha, zorder=1)


def _draw_edges(
    ax: Axes,
    edges: list[Edge],
    places: dict[str, np.ndarray],
    most: float,
    dashed: set,
    faded: set,
    gaps: dict,
    plus: str,
) -> None:
    """Curved arrows, width and opacity by value; from source to target; above 0 in the colour ``plus``."""
    from matplotlib.patches import FancyArrowPatch

    for edge in reversed(edges):  # strong ones on top
        strength = min(abs(edge.value) / most, 1.0) if most else 0.0
        key = (edge.target, edge.source)
        width = 0.4 + 1.9 * strength**1.3
        ax.add_patch(
            FancyArrowPatch(
                places[edge.source],
                places[edge.target],
                connectionstyle="arc3,rad=-0.2",
                arrowstyle=f"-|>,head_length={2.6 + 1.6 * strength:.2f},head_width={1.1 + 0.9 * strength:.2f}"
                if edge.value >= 0
                else f"|-|,widthA=0,widthB={1.6 + 1.2 * strength:.2f}",
                shrinkA=gaps.get(edge.source, 3.2),
                shrinkB=gaps.get(edge.target, 3.2) + 0.6,
                lw=width,
                linestyle=(0, (4, 1.6)) if key in dashed else "-",
                color=AGAINST if edge.value < 0 else plus,
                alpha=(0.25 + 0.7 * strength) * (0.18 if key in faded else 1.0),
                zorder=2,
            )
        )


def _draw_regions(
    ax: Axes, scene: Scene, clip: int, frame: int, edges: list[Edge], au: str | None, most: float, note: str, plus: str
) -> None:
    """Regions on the face, their motion, and the region edges."""
    places = dict(zip(scene.roi_names, scene.centres, strict=True))
    anatomical = {(a, b) for a, b, _ in scene.reasons} | {(b, a) for a, b, _ in scene.reasons}
    keys = [(edge.target, edge.source) for edge in edges]
    moved = set(scene.roi_names)
    if au:
        moved = {n for n, v in zip(scene.roi_names, scene.incidence[scene.au_labels.index(au)], strict=True) if v > 0}
    dashed = {key for key in keys if key not in anatomical}
    _draw_edges(ax, edges, places, most, dashed, {key for key in keys if not set(key) <= moved}, {}, plus)
    size = np.linalg.norm(scene.flow, axis=-1).max() or 1.0
    for name, spot, move, seen in zip(
        scene.roi_names, scene.centres, scene.flow[clip, frame], scene.present[clip, frame], strict=True
    ):
        chosen = bool(au) and name in moved
        ax.plot(
            *spot,
            "o",
            ms=5.4 if chosen else 4.6,
            mfc="white" if seen else "none",
            mec=_SELECT if chosen else _SOFT,
            mew=1.5 if chosen else 0.7,
            alpha=1.0 if name in moved else 0.4,
            zorder=4,
        )
        if seen and np.linalg.norm(move) > 0.06 * size:
            ax.annotate(
                "",
                spot + move * (0.32 / size),
                spot,
                arrowprops={
                    "arrowstyle": "-|>,head_length=.28,head_width=.14",
                    "color": _MOTION,
                    "lw": 1.2,
                    "shrinkA": 2.4,
                },
                zorder=5,
            )
    ax.text(-0.94, 1.26, "subject's right", fontsize=7, color=_SOFT)
    ax.text(0.94, 1.26, "subject's left", fontsize=7, color=_SOFT, ha="right")
    _draw_note(ax, note if edges else "no such edges in this network or frame", bool(dashed))
    ax.text(-0.94, -0.65, f"{scene.times_ms[clip, frame]:.0f} ms", fontsize=8, color=_TEXT, va="top")
    ax.text(0.94, -0.65, f"motion: longest {size:.2g} {scene.unit}", fontsize=7, color=_MOTION, va="top", ha="right")


def _draw_units(
    ax: Axes,
    scene: Scene,
    evidence: np.ndarray,
    edges: list[Edge],
    au: str | None,
    most: float,
    note: str,
    plus: str,
    small: bool = False,
) -> None:
    """Action units, filled and sized by evidence, and the AU edges."""
    from matplotlib.colors import LinearSegmentedColormap

    shade = LinearSegmentedColormap.from_list("evidence", ["#ffffff", _DATA])
    spots = scene.au_positions["face"]
    radius = (4.2 + 2.4 * evidence) if small else (5.6 + 3.6 * evidence)  # pt
    keys = [(edge.target, edge.source) for edge in edges]
    partners = {name for key in keys if au in key for name in key} | ({au} if au else set())
    _draw_edges(
        ax,
        edges,
        dict(zip(scene.au_labels, spots, strict=True)),
        most,
        set(),
        {key for key in keys if au and au not in key},
        dict(zip(scene.au_labels, radius, strict=True)),
        plus,
    )
    named = sorted(range(len(evidence)), key=lambda k: -evidence[k])[:4]
    for k, (spot, number) in enumerate(zip(spots, AU_NUMBERS, strict=True)):
        label = scene.au_labels[k]
        alpha = 0.35 if au and label not in partners else 1.0
        ax.plot(
            *spot,
            "o",
            ms=2 * radius[k],
            mfc=shade(evidence[k]),
            mec=_SELECT if label == au else _SOFT,
            mew=1.8 if label == au else 0.7,
            alpha=alpha,
            zorder=4,
        )
        ax.text(
            *spot,
            str(number),
            fontsize=(5.2 if small else 6.6) + 1.6 * evidence[k],
            ha="center",
            va="center_baseline",
            color="white" if evidence[k] > 0.5 else _TEXT,
            alpha=alpha,
            weight="bold",
            zorder=5,
        )
    if small:
        _draw_note(ax, note, False)
        return
    shown = [k for k in named if evidence[k] > 0.25 or scene.au_labels[k] == au]
    _draw_names(ax, spots, radius, [k for k, label in enumerate(scene.au_labels) if label == au or k in shown], au)
    _draw_note(ax, note if edges else "no AU edges in this network or frame", False)
    ax.text(0.94, -0.65, "fill: AU evidence, white 0, blue 1", fontsize=7, color=_DATA, va="top", ha="right")


def _draw_names(ax: Axes, spots: np.ndarray, radius: np.ndarray, chosen: list[int], au: str | None) -> None:
    """Names of some AUs, each below, above or beside its node, where it covers least."""
    unit = 1 / 131  # one pt in IOD: 1.96 IOD are 3.58 in wide
    r = radius[:, None] * unit
    taken = list(np.hstack([spots - r, spots + r]))
    for k in chosen:
        name = ACTION_UNITS[AU_NUMBERS[k]].name
        width, height = (len(name) * 3.9 + 2) * unit, 8 * unit
        (x, y), away = spots[k], radius[k] * unit + 2 * unit
        starts = (
            (x - width / 2, y + away),
            (x - width / 2, y - away - height),
            (x + away, y - height / 2),
            (x - away - width, y - height / 2),
        )
        boxes = [np.array([a, b, a + width, b + height]) for a, b in starts]

        def covered(box):
            return sum(
                max(0, min(box[2], t[2]) - max(box[0], t[0])) * max(0, min(box[3], t[3]) - max(box[1], t[1]))
                for t in taken
            ) + max(0, abs(box[[0, 2]]).max() - 0.96)

        best = min(boxes, key=covered)
        taken.append(best)
        ax.text(
            *(best[:2] + best[2:]) / 2,
            name,
            fontsize=7,
            ha="center",
            va="center",
            color=_SELECT if AU_LABELS[k] == au else _TEXT,
            bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.4},
            zorder=6,
        )


def _draw_note(ax: Axes, text: str, dashed: bool) -> None:
    """Under the graph, what an edge is; further down where it takes two lines."""
    ax.text(
        0,
        1.45 + 0.16 * text.count("\n"),
        text + ("; dashed: not anatomical" if dashed else ""),
        fontsize=7,
        color=_SOFT,
        ha="center",
        va="bottom",
    )
