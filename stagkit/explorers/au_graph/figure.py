"""The AU-graph explorer as a static figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagkitError
from stagkit.explorers.au_graph.compare import check_compare, compute_side, load_scene
from stagkit.explorers.au_graph.scene import (
    DEFAULT_THRESHOLD,
    QUANTITIES,
    SIGNED,
    VIEWS,
    Edge,
    Scene,
    compute_cutoff,
    place_on_face,
)
from stagkit.explorers.sources import OWN_FOLD, Source, as_source, choose_scene
from stagkit.explorers.validation import check_choice, check_frame
from stagkit.plots.style import AGAINST, COLOURS, FAINT, FOR, INK, SOFT, draw_face, styled

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: Written below a graph of a network whose logits are no sum of edges.
NO_TERMS_SHORT = "no contributions: the logits of head='fused' are no sum of edges"

_DATA, _SELECTED, _MOTION = COLOURS[0], "#8a5a00", COLOURS[2]


@styled
def plot_au_graph(
    run_or_output: object,
    batch: Batch | None = None,
    *,
    clip: int | str = 0,
    frame: int | None = None,
    view: str = "both",
    quantity: str | None = None,
    head: int = -1,
    threshold: float = DEFAULT_THRESHOLD,
    au: str | None = None,
    target: str | None = None,
    seed: int | None = None,
    fold: int = OWN_FOLD,
    compare: Mapping | None = None,
    model: Stag | None = None,
    allow_trained: bool = False,
) -> Figure:
    """Draw one frame of the region and AU graphs (``view_au_graph`` is interactive).

    Args:
        run_or_output: a finished ``Run`` or its folder (every test clip with the network that was not trained on it,
            computed on demand), the network's output for ``batch``, or a ``Scene``.
        batch: the clips of an output.
        clip: index or id of the clip. ``frame``: index of its frame; the one with the highest AU activations where None.
        view: ``"au"``, ``"region"`` or ``"both"``.
        quantity: what edges are drawn by: ``"contribution"`` (terms in the logit of a class, of the whole clip; the first
            choice where the logits are a sum of edges), ``"effect"`` (fall of the logit when the edge is removed alone),
            ``"weight"`` (in one frame; no unit; with ``au``: terms of its region edges in its own logit) or
            ``"attention"`` (0..1, between regions, ``head="fused"``).
        head: attention head, -1 = mean over heads.
        threshold: share of the clip's edges that is hidden, 0..1.
        au: label of an AU to select, e.g. ``"AU12"``: the region graph is then its subgraph alone.
        target: class that contribution and effect are of; the predicted one where None.
        seed, fold: whose network of a run; the first seed where None; fold -1 = the one not trained on the clip.
        compare: ``{"clip": index or id}`` or ``{"classes": [one, other]}``: two AU graphs (region graphs where
            ``view="region"``) side by side, and their difference. Classes are means over frames and clips.
        model: the network of an output, in evaluation mode; needed (or a run) for interventions and effects.
        allow_trained: for a run, also use networks that were trained on the clip: their predictions are no test.

    Returns:
        A matplotlib Figure, 7.16 in wide (3.5 in for one graph), 8 pt, without a title inside.

    Raises:
        StagkitError: an argument that is out of range (the message lists what is possible), values that are NaN, or a
            network without a graph.
    """
    source = as_source(run_or_output, batch, model, allow_trained)
    clip, seed, scene, place = choose_scene(source, clip, seed, fold)
    frame = scene.peak_frame(place) if frame is None else frame
    check_frame(frame, source.clip_ids[clip], int(scene.n_frames[place]))
    check_choice("view", view, VIEWS)
    quantity = quantity or scene.quantity
    check_choice("quantity", quantity, QUANTITIES)
    check_choice("head", head, (-1, *range(scene.n_heads)))
    check_choice("au", au or "", ("", *AU_LABELS))
    check_choice("target", target, (None, *source.classes))
    wanted = source.classes.index(target) if target else None
    scene, place, explained = load_scene(source, clip, seed, fold, quantity, wanted)
    if compare:
        shown = {"graph": "region" if view == "region" else "au", "quantity": quantity, "head": head}
        sides = _gather_sides(source, clip, frame, seed, fold, check_compare(source, compare), wanted, shown)
        return _name_network(_draw_sides(scene, sides, threshold, shown), source, clip, seed, fold)
    how = {"quantity": quantity, "head": head, "threshold": threshold, "target": explained, "au": au or ""}
    edges = scene.shown_edges(place, frame, view=view, **how)
    graphs = ("region", "au") if view == "both" else (view,)
    figure = Figure(figsize=(7.16 if view == "both" else 3.5, 4.2), facecolor="white", layout="none")
    for ax, graph in zip(_make_axes(figure, len(graphs)), graphs, strict=True):
        shown = [edge for edge in edges if edge.graph == graph]
        of = scene.find_subgraph(graph, quantity, au or "")
        most, note = _describe_scale(scene, place, graph, quantity, head, explained, of)
        plus = FOR if quantity in SIGNED or of else _DATA
        if graph == "region":
            _draw_regions(ax, scene, place, frame, shown, au, most, plus)
        else:
            terms = scene.terms["aus"][place, explained] if quantity in SIGNED and scene.terms else None
            draw_aus(ax, scene.activation[place, frame], shown, au, most, plus, terms=terms)
            words = (
                "fill: AU activation, white 0, blue 1" if terms is None else "size: activation; fill: term of the AU"
            )
            ax.text(0.94, -0.81, words, fontsize=7, color=SOFT, va="top", ha="right")
        _finish(ax, note if shown else NO_TERMS_SHORT if scene.terms is None else "no such edges in this frame")
    return _name_network(figure, source, clip, seed, fold)


def _make_axes(figure: Figure, n: int) -> list[Axes]:
    full = {"left": 0, "right": 1, "bottom": 0, "top": 1, "wspace": 0}
    return figure.subplots(1, n, squeeze=False, gridspec_kw=full)[0]


def _finish(ax: Axes, note: str) -> None:
    """Limits of the axes, and below the face what an edge is."""
    bottom = 1.45 + 0.16 * note.count("\n")
    ax.text(0, bottom, note, fontsize=7, color=SOFT, ha="center", va="bottom")
    ax.set(xlim=(-0.98, 0.98), ylim=(bottom + 0.03, -0.84), aspect="equal")
    ax.axis("off")


def _describe_scale(
    scene: Scene, place: int, graph: str, quantity: str, head: int, target: int, au: str
) -> tuple[float, str]:
    """End of the scale of a graph, and one line that says what its edges are."""
    of = f"edges of {au}" if au else "AU edges" if graph == "au" else "region edges"
    if quantity in SIGNED or (au and quantity == "weight"):
        values = scene.values(place, graph, quantity, head, target, au)
        most = 0.0 if values is None else float(np.abs(values[:, scene.candidates(graph, quantity, au)]).max())
        to = au if quantity == "weight" else scene.classes[target]
        what = f"fall of the logit of {to} when removed" if quantity == "effect" else f"terms in the logit of {to}"
        return most, f"{of}: {what}\norange for, blue dashed against; at most {most:.2f}"
    most = scene.maxima["au" if graph == "au" else quantity]
    if graph == "au":
        return most, f"{of}: co-activation C\nat most {most:.2g}"
    what = f"attention {scene.attention_name}" if quantity == "attention" else "weight A"
    return most, f"{of}: {what}, source \u2192 target\nat most {most:.2g}"


def _name_network(figure: Figure, source: Source, clip: int, seed: int, fold: int) -> Figure:
    """Write at the foot of a figure of a run which network was used."""
    if source.folds:
        room, height = 0.16, figure.get_figheight()  # inches below the notes of the axes
        figure.set_figheight(height + room)
        for ax in figure.axes:
            x, y, wide, high = ax.get_position().bounds
            ax.set_position((x, (y * height + room) / (height + room), wide, high * height / (height + room)))
        text = source.describe_network(clip, seed, fold)
        figure.text(0.004, 0.004, text, ha="left", va="bottom", fontsize=5.5, color=SOFT)
    return figure


def _gather_sides(
    source: Source, clip: int, frame: int, seed: int, fold: int, compare: dict, target: int | None, shown: dict
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, activation "au" and edges "target source" of either side."""
    graph, sides = shown["graph"], []
    for name in compare.get("classes", ()):
        side = compute_side(source, name, shown["quantity"], shown["head"], target, seed)
        edges = side.edges[graph]
        sides.append((f"{name}, mean of {side.n_clips} clips", side.activation[0], None if edges is None else edges[0]))
    for index in (clip, compare["clip"]) if "clip" in compare else ():
        scene, place, explained = load_scene(source, index, seed, fold, shown["quantity"], target)
        values = scene.values(place, graph, shown["quantity"], shown["head"], explained)
        at = min(frame, int(scene.n_frames[place]) - 1)
        name = f"{source.clip_ids[index]}, {source.classes[source.label[index]]}"
        edges = None if values is None else values[min(at, len(values) - 1)]
        sides.append((name, scene.activation[place, at], edges))
    if any(edges is None for _, _, edges in sides):
        raise StagkitError(f"this network has no {graph} edges to compare.")
    return sides


def _draw_sides(scene: Scene, sides: list, threshold: float, shown: dict) -> Figure:
    """One, other, and other minus one."""
    graph = shown["graph"]
    allowed, names = scene.candidates(graph, shown["quantity"]), scene.names(graph)
    (_, activation, first), (_, other_activation, second) = sides
    both = np.abs(np.stack([first, second]))[:, allowed]
    figure = Figure(figsize=(7.16, 3.1), facecolor="white", layout="none")
    panels = [*sides, ("difference", other_activation - activation, second - first)]
    for ax, (title, active, values) in zip(_make_axes(figure, 3), panels, strict=True):
        difference = title == "difference"
        size = np.abs(values)
        scale = size[allowed] if difference else both
        at = np.argwhere(allowed & (size >= compute_cutoff(scale, threshold)) & (size > 0))
        edges = [Edge(graph, names[t], names[s], float(values[t, s])) for t, s in at]
        edges.sort(key=lambda edge: -abs(edge.value))
        plus, most = FOR if difference or shown["quantity"] in SIGNED else _DATA, float(scale.max())
        if graph == "au":
            draw_aus(ax, np.abs(active), edges, None, most, plus, small=True)
        else:
            draw_face(ax, colour=FAINT)
            _draw_region_edges(ax, edges, most, plus)
            ax.plot(*ATLAS.mean_centres.T, "o", ms=3.4, mfc="white", mec=SOFT, mew=0.7, zorder=4)
        _finish(ax, f"{title}\nat most {most:.2g}" + ("; orange more, blue less" if difference else ""))
    return figure


def _style_line(edge: Edge, strength: float, plus: str, faded: bool) -> dict:
    """Width and opacity by value; above 0 in the colour ``plus``, below 0 dashed."""
    return {
        "lw": 0.5 + 2.1 * strength**1.3,
        "linestyle": (0, (4, 1.6)) if edge.value < 0 else "-",
        "color": AGAINST if edge.value < 0 else plus,
        "alpha": (0.3 + 0.65 * strength) * (0.18 if faded else 1.0),
        "zorder": 2,
    }


def _draw_region_edges(ax: Axes, edges: list[Edge], most: float, plus: str) -> None:
    """Curved arrows from source to target; one from a region to itself is a loop above it."""
    places = dict(zip(ATLAS.names, ATLAS.mean_centres, strict=True))
    for edge in reversed(edges):  # strong ones on top
        strength = min(abs(edge.value) / most, 1.0) if most else 0.0
        tip = f"-|>,head_length={2.6 + 1.6 * strength:.2f},head_width={1.1 + 0.9 * strength:.2f}"
        start, end, bend, shrink = places[edge.source], places[edge.target], "arc3,rad=-0.2", 3.2
        if edge.source == edge.target:
            x, y = start
            start, end, bend, shrink = (x - 0.02, y - 0.02), (x + 0.02, y - 0.02), "arc3,rad=-2.6", 0.0
        line = _style_line(edge, strength, plus, faded=False)
        ax.add_patch(
            FancyArrowPatch(start, end, connectionstyle=bend, arrowstyle=tip, shrinkA=shrink, shrinkB=shrink, **line)
        )


def _draw_au_edges(ax: Axes, edges: list[Edge], nodes: list, most: float, plus: str, au: str | None) -> None:
    """Lines without direction between AUs, on each side of the face."""
    for edge in reversed(edges):
        strength = min(abs(edge.value) / most, 1.0) if most else 0.0
        line = _style_line(edge, strength, plus, bool(au) and au not in (edge.target, edge.source))
        ends = [{side: spot for k, side, spot in nodes if AU_LABELS[k] == name} for name in (edge.target, edge.source)]
        sides = ("R", "L") if any(len(places) > 1 for places in ends) else ("",)
        for side in sides:
            one, other = (places.get(side, places.get("")) for places in ends)
            outwards = np.sign(other[1] - one[1]) * (np.sign(one[0] + other[0]) or 1)
            bend = f"arc3,rad={-0.1 * outwards:.2f}"
            ax.add_patch(
                FancyArrowPatch(one, other, connectionstyle=bend, arrowstyle="-", shrinkA=4, shrinkB=4, **line)
            )


def _draw_regions(
    ax: Axes, scene: Scene, clip: int, frame: int, edges: list[Edge], au: str | None, most: float, plus: str
) -> None:
    """Regions on the face, their motion, and the region edges."""
    draw_face(ax, colour=FAINT)
    moved = set(ATLAS.names)
    if au:
        moved = {n for n, v in zip(ATLAS.names, ATLAS.incidence[AU_LABELS.index(au)], strict=True) if v > 0}
    _draw_region_edges(ax, edges, most, plus)
    longest = np.linalg.norm(scene.flow, axis=-1).max() or 1.0
    for name, spot, move, present in zip(
        ATLAS.names, ATLAS.mean_centres, scene.flow[clip, frame], scene.present[clip, frame], strict=True
    ):
        chosen = bool(au) and name in moved
        ax.plot(
            *spot, "o", ms=5.4 if chosen else 4.6, mfc="white" if present else "none", mec=_SELECTED if chosen else SOFT,
            mew=1.5 if chosen else 0.7, alpha=1.0 if name in moved else 0.4, zorder=4,
        )  # fmt: skip
        if present and np.linalg.norm(move) > 0.06 * longest:
            arrow = {"arrowstyle": "-|>,head_length=.28,head_width=.14", "color": _MOTION, "lw": 1.2, "shrinkA": 2.4}
            ax.annotate("", spot + move * (0.32 / longest), spot, arrowprops=arrow, zorder=5)
    ax.text(-0.94, 1.26, "subject's right", fontsize=7, color=SOFT)
    ax.text(0.94, 1.26, "subject's left", fontsize=7, color=SOFT, ha="right")
    ax.text(-0.94, -0.81, f"{scene.times_ms[clip, frame]:.0f} ms", fontsize=8, color=INK, va="top")
    ax.text(0.94, -0.81, f"motion: longest {longest:.2g} {scene.unit}", fontsize=7, color=_MOTION, va="top", ha="right")


def draw_aus(
    ax: Axes,
    activation: np.ndarray,
    edges: list[Edge],
    au: str | None,
    most: float,
    plus: str,
    small: bool = False,
    terms: np.ndarray | None = None,
    most_term: float = 0.0,
    quiet: float = 0.0,
) -> None:
    """Action units, sized by activation, filled by it or by their term in a logit, and the AU edges; the strongest named.

    Args:
        activation: float "au", 0..1. ``edges``: of the AU graph. ``au``: label of an AU that is selected.
        most, plus: value of the widest edge, colour of values above 0. ``small``: without names.
        terms: float "au", logits; ``most_term``: the term that is filled darkest, the largest where 0.
        quiet: nodes filled less than this, 0..1, are dots without a number.
    """
    draw_face(ax, colour=FAINT)
    nodes = place_on_face()
    radius = (3.0 + 1.3 * activation) if small else (4.6 + 2.6 * activation)  # pt
    partners = {name for e in edges if au in (e.target, e.source) for name in (e.target, e.source)} | {au}
    _draw_au_edges(ax, edges, nodes, most, plus, au)
    strongest = np.argsort(-activation, kind="stable")[:4]
    share = activation if terms is None else np.abs(terms) / max(most_term or float(np.abs(terms).max()), 1e-9)
    for k, side, spot in nodes:
        label = AU_LABELS[k]
        alpha, value = 0.35 if au and label not in partners else 1.0, float(share[k])
        colour = _DATA if terms is None else AGAINST if terms[k] < 0 else FOR
        if value < quiet:
            ax.plot(*spot, "o", ms=2.6, mfc="white", mec=SOFT, mew=0.5, zorder=3)
            continue
        shade = LinearSegmentedColormap.from_list("share", ["#ffffff", colour])
        ax.plot(
            *spot, "o", ms=2 * radius[k], mfc=shade(value), mec=_SELECTED if label == au else SOFT,
            mew=1.8 if label == au else 0.7, alpha=alpha, zorder=4,
        )  # fmt: skip
        ax.text(
            *spot, str(AU_NUMBERS[k]), fontsize=(4.6 if small else 5.6) + 1.2 * activation[k], ha="center",
            va="center_baseline", color="white" if value > 0.5 else INK, alpha=alpha, weight="bold", zorder=5,
        )  # fmt: skip
        if not small and side != "L" and (label == au or (k in strongest and activation[k] > 0.25)):
            ax.annotate(
                ACTION_UNITS[AU_NUMBERS[k]].name, spot, (-radius[k] - 1.5, 0), textcoords="offset points", fontsize=6.5,
                ha="right", va="center", color=_SELECTED if label == au else INK, zorder=6,
                bbox={"fc": "white", "ec": "none", "alpha": 0.7, "pad": 0.3},
            )  # fmt: skip
