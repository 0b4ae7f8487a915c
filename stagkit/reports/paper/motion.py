"""Figures 2 and 3: motion of a clip, and the regions that each muscle moves."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stagkit.core.facs import ACTION_UNITS, AU_LABELS
from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.core.types import Clip
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import FlowClip, compute_flow
from stagkit.plots.clips import draw_arrows, draw_motion, show_image
from stagkit.plots.style import COLOURS, INK, PAGE, add_colour_bar, draw_face, hide_frame, nice_limit, styled
from stagkit.reports.paper.inputs import Inputs, MissingInput, note
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource, find_phantoms

#: Places of the regions, each once, in the order of the atlas.
PLACES = tuple(dict.fromkeys(roi.place for roi in ATLAS.rois))


def _choose_clip(inputs: Inputs) -> str:
    """The correctly recognised clip with most motion; without explanations the one with the highest probability."""
    try:
        _, batch = inputs.graphs
    except MissingInput:
        table = inputs.run.predictions
        table = table[table["label"] == table["prediction"]]
        sure = table[[c for c in table if c.startswith("p_")]].max(axis=1)
        return "" if table.empty else str(table.loc[sure.idxmax(), "clip"])
    right = inputs.find_right(batch.clip_ids, batch.subjects)
    size = np.linalg.norm(batch.x.numpy()[:, :, :, :2, 0, 0], axis=-1).mean(2).max(1)
    return batch.clip_ids[int((size * right).argmax())] if right.any() else ""


def make_example(inputs: Inputs) -> tuple[Clip, FlowClip, bool]:
    """A phantom clip from the settings in the run record, its motion measured as in the run, and True if the run tested it.

    No licensed face is ever drawn: if the run is of other data, another phantom is shown.
    """
    phantoms = find_phantoms(inputs.run.request["data"])
    clip_id = _choose_clip(inputs) if phantoms else ""
    source = phantoms or PhantomSource(PhantomConfig(subjects=1, clips=1))
    clip = source.read(clip_id or source.keys[0])
    settings = inputs.run.request["data"].get("flow")
    return clip, compute_flow(clip, FlowConfig.from_dict(settings) if settings else FlowConfig()), bool(clip_id)


@styled
def fig_02_motion(inputs: Inputs, width: float = PAGE) -> Figure:
    """Flow of discriminative frames, and how they are chosen by the motion score."""
    clip, motion, own = make_example(inputs)
    n = min(6 if width > 5 else 4, len(motion.selected))
    shown = motion.selected[np.linspace(0, len(motion.selected) - 1, n).round().astype(int)]
    figure = plt.figure(figsize=(width, 2.75 if width > 5 else 2.5))
    grid = figure.add_gridspec(2, n, height_ratios=(1.0, 0.95 if width > 5 else 1.5))
    scale, face = 100 / motion.iod, compute_face_mask(motion.landmarks, motion.flow.shape[2:])
    speeds = np.linalg.norm(motion.flow[shown], axis=1) * scale
    limit = nice_limit(speeds[:, face])
    strip = [figure.add_subplot(grid[0, k]) for k in range(n)]
    for axes, t, speed in zip(strip, shown, speeds, strict=True):
        _draw_flow(axes, clip, motion, int(t), np.ma.masked_where(~face, speed), limit)
        axes.set_xlabel(f"{clip.times_ms[t]:.0f} ms", labelpad=2)
    shade = ScalarMappable(Normalize(0, limit), "viridis")
    add_colour_bar(figure, shade, strip, "motion (% IOD)" if width > 5 else "% IOD", aspect=14, pad=0.01)
    _draw_score(figure.add_subplot(grid[1, :]), clip, motion, shown)
    n = {"clips": 1, "frames": len(motion.times_ms), "kept": len(motion.selected)}
    curve = {"times_ms": np.round(motion.times_ms, 3).tolist(), "score": np.round(motion.scores, 5).tolist()}
    note(figure, [inputs.run], n, clip=clip.clip_id, of_the_run=own, **curve, selected=motion.selected.tolist())
    figure.stagkit_source["phantom"] = True  # also if the run is of recordings
    return figure


def _draw_flow(axes: Axes, clip: Clip, motion: FlowClip, t: int, speed: np.ndarray, limit: float) -> None:
    show_image(axes, clip.frames[clip.onset or 0])
    visible = np.clip(1.5 * speed.filled(0) / limit, 0.0, 0.85)  # where nothing moves, the face shows
    axes.imshow(speed, cmap="viridis", vmin=0, vmax=limit, alpha=visible)
    height, wide = speed.shape
    step = max(4, wide // 18)
    moving = (speed.filled(0) > 0.15 * limit) & ~np.ma.getmaskarray(speed)
    draw_arrows(axes, motion.flow[t] * (100 / motion.iod), moving, step, limit, scale=limit / (2.4 * step), width=0.011,
                headwidth=3.2, headlength=3.6, headaxislength=3.2)  # fmt: skip
    axes.set(xlim=(-0.5, wide - 0.5), ylim=(height - 0.5, -0.5))


def _draw_score(axes: Axes, clip: Clip, motion: FlowClip, shown: np.ndarray) -> None:
    draw_motion(axes, motion, clip)
    axes.plot(motion.times_ms[shown], motion.scores[shown], "o", ms=6.5, mfc="none", mec=COLOURS[1], mew=0.8, zorder=3,
              label="shown above")  # fmt: skip
    axes.set(ylabel="motion (% IOD)", ylim=(0, 1.32 * motion.scores.max()))
    axes.margins(x=0.02)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[1:], labels[1:], loc="upper right", ncols=2, handletextpad=0.1, columnspacing=1.0,
                borderaxespad=0.1)  # fmt: skip


@styled
def fig_03_regions_and_muscles(inputs: Inputs, width: float = PAGE) -> Figure:
    """Regions of the face, and which of them each action unit moves, how strongly and in which direction."""
    wide = width > 5
    figure = plt.figure(figsize=(width, 3.5 if wide else 5.7))
    if wide:
        grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.5), height_ratios=(1, 0.035))
        face, scale, table = (figure.add_subplot(cell) for cell in (grid[0, 0], grid[1, 0], grid[:, 1]))
    else:
        grid = figure.add_gridspec(3, 1, height_ratios=(1, 0.03, 1.75))
        face, scale, table = (figure.add_subplot(grid[k]) for k in range(3))
    _draw_regions(face)
    left = [next(i for i, r in enumerate(ATLAS.rois) if r.place == p and r.side != "R") for p in PLACES]
    look = {"orientation": "horizontal", "ticks": [0, 0.5, 1], "boundaries": np.linspace(0, 1, 64)}
    bar = figure.colorbar(_draw_incidence(table, left, wide), cax=scale, **look)
    bar.set_label("incidence (share of the strongest)")
    bar.outline.set_linewidth(0.4)
    return note(figure, [], {"regions": len(ATLAS.names), "action units": len(AU_LABELS)}, places=list(PLACES),
                incidence=np.round(ATLAS.incidence[:, left].astype(float), 4).tolist())  # fmt: skip


def _draw_regions(axes: Axes) -> None:
    draw_face(axes)
    half = ATLAS.radius
    for (x, y), roi in zip(ATLAS.mean_centres, ATLAS.rois, strict=True):
        colour = {"L": COLOURS[0], "R": COLOURS[1], "": COLOURS[2]}[roi.side]
        look = {"fc": colour, "ec": colour, "lw": 0.8, "alpha": 0.16, "zorder": 2}
        axes.add_patch(Rectangle((x - half, y - half), 2 * half, 2 * half, **look))
        number = str(PLACES.index(roi.place) + 1)
        axes.text(x, y, number, ha="center", va="center_baseline", fontsize=6, color=colour, weight="bold")
    words = (("subject's right", COLOURS[1], 0.16), ("midline", COLOURS[2], 0.5), ("subject's left", COLOURS[0], 0.84))
    for k, (text, colour, x) in enumerate(words):
        y = -0.03 if k != 1 else -0.1
        axes.text(x, y, text, transform=axes.transAxes, ha="center", va="top", fontsize=6.5, color=colour)


def shorten_muscles(muscles: Sequence[str]) -> str:
    """Names of an action unit's muscles, short enough for an axis.

    Example:
        >>> shorten_muscles(["frontalis, pars medialis"])
        'frontalis, medial'
    """
    text = muscles[0].replace(", relaxed", "").replace("levator labii superioris alaeque", "lev. labii sup. alaeque")
    for long, short in (("pars orbitalis", "orbital"), ("pars palpebralis", "palpebral"), ("pars medialis", "medial"),
                        ("pars lateralis", "lateral"), ("palpebrae superioris", "palpebrae sup.")):  # fmt: skip
        text = text.replace(long, short)
    return text


def _draw_incidence(axes: Axes, left: list[int], wide: bool):
    strength, way = ATLAS.incidence[:, left], ATLAS.directions[:, left]
    image = axes.imshow(np.ma.masked_equal(strength, 0), cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
    axes.set_facecolor("#FAFBFC")
    rows, columns = np.nonzero(strength)
    axes.quiver(columns, rows, way[rows, columns, 0], -way[rows, columns, 1], pivot="middle", units="inches",
                scale=8, width=0.010, color=INK, headwidth=3.4, headlength=3.6, headaxislength=3.2,
                minlength=0.1)  # fmt: skip
    units = list(ACTION_UNITS.values())
    muscles = [shorten_muscles(u.muscles) for u in units]
    names = [f"{u.name if wide else m}  {u.number}" for u, m in zip(units, muscles, strict=True)]
    axes.set_yticks(range(len(units)), names, fontsize=6.5)
    if wide:
        other = axes.secondary_yaxis("right")
        other.set_yticks(range(len(units)), muscles, fontsize=6.5, style="italic")
        other.tick_params(length=0)
        other.spines["right"].set_visible(False)
    names = [f"{place.replace('_', ' ')}  {k}" for k, place in enumerate(PLACES, 1)]
    axes.set_xticks(range(len(PLACES)), names, rotation=90, fontsize=6.5)
    axes.set_xticks(np.arange(len(PLACES) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(units) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=0.8)
    hide_frame(axes, ticks=True)
    return image
