"""Style, colours and writing of all figures, and the marks that they share: face, regions, intervals, named rows."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.core.files import shorten, write_atomically, write_json
from stagkit.core.regions import ATLAS, compute_face_mask, load_mean_face

if TYPE_CHECKING:
    from stagkit.motion.optical_flow import FlowClip

#: Widths of one and two columns, inches.
COLUMN, PAGE = 3.5, 7.16

#: Okabe and Ito's colours, distinguishable without colour vision (jfly.uni-koeln.de/color).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

#: Colours of what speaks for a class and against it, in every figure; ``base.css`` gives the explorers the same two.
FOR, AGAINST = COLOURS[1], COLOURS[0]

#: Colour map of signed values, centred at 0, whose ends have the hues of ``FOR`` (above 0) and ``AGAINST`` (below).
SIGNED_SCALE = "RdBu_r"

INK, SOFT, FAINT = "#22262B", "#7A838C", "#D5DADF"

STYLE = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), 8),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 7),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), SOFT),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    "lines.linewidth": 1.3,
    "figure.dpi": 110,
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names of classes, data sets, clips are text, also with a $ in them
    "text.usetex": False,
    "figure.constrained_layout.use": True,
    "image.interpolation": "nearest",
}

#: Fonts with characters that matplotlib's own lacks, as systems ship them: Chinese, Japanese, Korean, then other scripts.
FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans CJK TC", "Noto Sans SC", "Noto Sans JP",
    "Noto Sans KR", "Source Han Sans SC", "Source Han Sans", "Microsoft YaHei", "PingFang SC", "Hiragino Sans GB",
    "Heiti SC", "Heiti TC", "SimHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback", "Yu Gothic",
    "Hiragino Sans", "MS Gothic", "IPAexGothic", "Malgun Gothic", "Apple SD Gothic Neo", "NanumGothic",
    "Arial Unicode MS", "Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai",
    "Noto Sans Symbols", "Noto Sans Symbols 2", "Segoe UI Symbol", "Symbola", "Unifont",
)  # fmt: skip


def find_fonts() -> list[str]:
    """Font families in the order in which a glyph is looked for: matplotlib's own, then the installed fallbacks."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]


@contextmanager
def style() -> Iterator[None]:
    """The style of all stagkit figures; the settings from before return afterwards."""
    with plt.rc_context({**STYLE, "font.family": find_fonts(), "axes.prop_cycle": plt.cycler(color=COLOURS)}):
        yield


def styled(function):
    """Run a drawing function with the stagkit style."""

    @wraps(function)
    def drawn(*args, **kwargs):
        with style():
            return function(*args, **kwargs)

    return drawn


def draw_interval(
    axes: Axes,
    y: float,
    value: float,
    interval: Sequence[float | None],
    colour: str = COLOURS[0],
    text: str = "",
    **dot,
) -> None:
    """A value as a dot (``dot``: options of ``plot``) on its interval, which is left out if unknown; ``text`` above it."""
    if interval[0] is not None and interval[1] is not None:
        axes.plot(interval, [y, y], color=colour, lw=2.5, alpha=0.35, solid_capstyle="round")
    axes.plot(value, y, "o", **{"ms": 4.2, "color": colour, **dot})
    if text:
        axes.annotate(text.replace("-", "\N{MINUS SIGN}"), (value, y), (0, 5), textcoords="offset points", ha="center",
                      fontsize=6.5, bbox={"fc": "white", "ec": "none", "pad": 0.2})  # fmt: skip


def name_rows(axes: Axes, names: Sequence[str], top: float = 0.6, **text) -> None:
    """Name rows 0, 1, ... from the top, with a grid along the values; ``text``: options of the names."""
    axes.set_yticks(range(len(names)), names, **text)
    axes.set_ylim(len(names) - 0.5, -top)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)


def hide_frame(axes: Axes, ticks: bool = False) -> None:
    """Take away the spines and tick marks; the labels too unless ``ticks``."""
    axes.spines[:].set_visible(False)
    axes.tick_params(which="both", length=0)
    if not ticks:
        axes.set(xticks=[], yticks=[])


def add_colour_bar(figure: Figure, shade, axes, label: str, **options) -> None:
    """A colour bar with a thin outline next to ``axes``; ``options`` are ``colorbar``'s."""
    options = {"shrink": 0.85, "aspect": 18, "pad": 0.015, **options}
    figure.colorbar(shade, ax=axes, label=label, **options).outline.set_linewidth(0.4)


#: Where the strokes of the schematic face begin among the iBUG landmarks; eyes and lips, from 36 on, are closed.
_STROKES = (0, 17, 22, 27, 31, 36, 42, 48, 60, 68)


def smooth_curve(points: np.ndarray, closed: bool, n: int = 60) -> np.ndarray:
    """A smooth curve through points "k 2": float "n 2" (cubic spline)."""
    from scipy.interpolate import CubicSpline

    path = np.vstack([points, points[:1]]) if closed else points
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    return CubicSpline(at, path, bc_type="periodic" if closed else "natural")(np.linspace(0, at[-1], n))


def draw_face(axes: Axes, landmarks: np.ndarray | None = None, colour: str = SOFT, width: float = 1.0) -> None:
    """Draw a schematic face, never an image of a person: the mean face, IOD, unless landmarks "68 2" are given."""
    face = load_mean_face()[0] if landmarks is None else landmarks
    for first, end in pairwise(_STROKES):
        curve = smooth_curve(face[first:end], closed=first >= 36)
        axes.plot(*curve.T, color=colour, lw=width, solid_capstyle="round", zorder=1)
    jaw, brow = face[[0, 16]], face[[18, 25]]
    top = brow.mean(0) - 1.15 * (face[8] - face[27]) * 0.35
    sides = brow + (brow - face[27]) * [0.12, 0.9]
    crown = np.stack([jaw[0], sides[0], top, sides[1], jaw[1]])
    axes.plot(*smooth_curve(crown, False).T, color=colour, lw=width, alpha=0.5, zorder=1)
    axes.set_aspect("equal")
    axes.axis("off")
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


def draw_region_values(
    axes: Axes, values: np.ndarray, limit: float, cmap: str = SIGNED_SCALE, size: float = 150, low: float | None = None
):
    """Values "roi" on the schematic face, coloured from ``low`` (-limit if None) to ``limit``; returns the scatter.

    The area grows with |value| up to ``size`` pt²; all faces of a figure share one ``limit`` > 0.
    """
    draw_face(axes)
    area = size * (0.15 + 0.85 * np.clip(np.abs(values) / limit, 0, 1))
    scale = {"cmap": cmap, "vmin": -limit if low is None else low, "vmax": limit}
    return axes.scatter(*ATLAS.mean_centres.T, c=values, s=area, lw=0.5, ec=INK, zorder=3, **scale)


def magnify_motion(image: np.ndarray, motion: FlowClip, frame: int, times: float) -> np.ndarray:
    """The onset frame (uint8 "y x" or "y x chan") with the motion of ``frame`` enlarged so many ``times``; same shape.

    The flow is inverted by fixed point; outside the face (softened by 0.04 IOD) nothing moves.
    """
    import cv2

    face = compute_face_mask(motion.landmarks, motion.flow.shape[2:]).astype(np.float32)
    flow = motion.flow[frame] * np.float32(times) * cv2.GaussianBlur(face, (0, 0), 0.04 * motion.iod)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in image.shape[1::-1]), indexing="xy")).astype(np.float32)
    back = grid - flow
    for _ in range(12):
        at = [cv2.remap(c, back[0], back[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for c in flow]
        back = grid - np.stack(at)
    return cv2.remap(image, back[0], back[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def nice_limit(values: np.ndarray) -> float:
    """A round number just above the largest magnitude, for a scale centred at zero."""
    peak = float(np.nanmax(np.abs(values))) if np.size(values) else 0.0
    if peak <= 0:
        return 1.0
    step = 10 ** np.floor(np.log10(peak))
    return float(np.ceil(peak / step * 2) / 2 * step)


def render(figure: Figure, target: str | Path | BinaryIO, name: str, **options: object) -> None:
    """Draw a figure into a path or open file; all files of figures are written here.

    Characters that no font of this machine has are drawn as boxes; a warning names them. ``name`` is for messages,
    ``options`` are ``savefig``'s.

    Raises:
        StagkitError: matplotlib cannot draw it.
    """
    missing: dict[int, None] = {}
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message, category, *where, **more) -> None:
            glyph = re.match(r"Glyph (\d+) ", str(message))
            if glyph:
                missing[int(glyph[1])] = None
            else:
                show(message, category, *where, **more)

        warnings.filterwarnings("always", message="Glyph ")
        warnings.showwarning = note
        try:
            with style():
                if figure.get_layout_engine() is not None:  # laid out once, not again for every format
                    figure.get_layout_engine().execute(figure)
                    figure.set_layout_engine("none")
                figure.savefig(target, **options)
        except (ValueError, RuntimeError, OverflowError, MemoryError) as error:
            raise StagkitError(f"{name} cannot be drawn: {shorten(str(error))}.") from error
    if missing:
        characters = " ".join(f"{shorten(chr(code), 12)[1:-1]} (U+{code:04X})" for code in list(missing)[:12])
        more = f" and {len(missing) - 12} more" if len(missing) > 12 else ""
        warnings.warn(
            f"no font of this machine has the characters {characters}{more}: they are drawn as boxes. Install a font that "
            "has them, e.g. Noto Sans CJK, and draw again.",
            StagkitWarning,
            stacklevel=2,
        )


def render_png(figure: Figure, name: str, **options: object) -> bytes:
    """A figure as the bytes of a PNG, closed afterwards; ``name`` is for messages, ``options`` are ``savefig``'s."""
    file = io.BytesIO()
    try:
        render(figure, file, name, format="png", **options)
    finally:
        plt.close(figure)
    return file.getvalue()


def write_figure(figure: Figure, path: str | Path, **options: object) -> None:
    """Draw a figure into a file, whole or not at all.

    Raises:
        StagkitError: it cannot be drawn or written.
    """
    with write_atomically(path) as aside:
        render(figure, aside, str(path), **options)


def save_figure(
    figure: Figure, folder: str | Path, name: str, source: Mapping[str, object], sidecar: bool = True
) -> list[Path]:
    """Write ``name.pdf``, ``name.png`` and, with ``sidecar``, ``name.json`` (its sources): the same bytes every time."""
    folder, paths = Path(folder), []
    for ending, extra in (("pdf", {"metadata": {"CreationDate": None}}), ("png", {"metadata": {"Software": None}})):
        path = folder / f"{name}.{ending}"
        write_figure(figure, path, **extra)
        paths.append(path)
    if sidecar:
        write_json(folder / f"{name}.json", json.loads(json.dumps(source)))
        paths.append(folder / f"{name}.json")
    plt.close(figure)
    return paths
