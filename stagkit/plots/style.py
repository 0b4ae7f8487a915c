"""What every stagkit picture shares: the style, the colours, the schematic face, writing a figure with its sources."""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.core.files import shorten, write_aside, write_json
from stagkit.core.regions import ATLAS, RoiAtlas, compute_face_mask, load_mean_face

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagkit.core.types import FlowClip

#: Widths of one and two columns, inches.
COLUMN, PAGE = 3.5, 7.16

#: Okabe and Ito's colours, distinguishable without colour vision (jfly.uni-koeln.de/color).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")

#: What speaks for a class and what against it, in every figure; ``base.css`` gives the explorers the same two.
FOR, AGAINST = COLOURS[1], COLOURS[0]

#: The scale of signed values, centred at 0, whose ends have the hues of ``FOR`` (above 0) and ``AGAINST`` (below).
SIGNED_SCALE = "RdBu_r"

INK, SOFT, FAINT = "#22262B", "#7A838C", "#D5DADF"

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
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


#: Fonts that hold what matplotlib's own lacks, as systems ship them: Chinese, Japanese, Korean, then other scripts.
FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Noto Sans CJK TC",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans SC",
    "Source Han Sans",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti SC",
    "Heiti TC",
    "SimHei",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Yu Gothic",
    "Hiragino Sans",
    "MS Gothic",
    "IPAexGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "NanumGothic",
    "Arial Unicode MS",
    "Noto Sans",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "Noto Sans Symbols",
    "Noto Sans Symbols 2",
    "Segoe UI Symbol",
    "Symbola",
    "Unifont",
)


def find_fonts() -> list[str]:
    """Families for text, in the order in which a glyph is looked for: matplotlib's own, then those installed here."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in FALLBACK_FONTS if name in installed)]


@contextmanager
def style() -> Iterator[None]:
    """The look of all stagkit figures; everything is as before afterwards."""
    import matplotlib as mpl

    with mpl.rc_context({**STYLE, "font.family": find_fonts(), "axes.prop_cycle": mpl.cycler(color=COLOURS)}):
        yield


def styled(function):
    """Draw with the stagkit style."""
    from functools import wraps

    @wraps(function)
    def drawn(*args, **kwargs):
        with style():
            return function(*args, **kwargs)

    return drawn


#: Strokes of the schematic face: (iBUG landmarks, closed).
_STROKES = (
    (tuple(range(17)), False),
    (tuple(range(17, 22)), False),
    (tuple(range(22, 27)), False),
    ((27, 28, 29, 30), False),
    ((31, 32, 33, 34, 35), False),
    (tuple(range(36, 42)), True),
    (tuple(range(42, 48)), True),
    (tuple(range(48, 60)), True),
    (tuple(range(60, 68)), True),
)


def smooth_curve(points: np.ndarray, closed: bool, n: int = 60) -> np.ndarray:
    """A smooth curve through points "k 2": float "n 2" (cubic spline)."""
    from scipy.interpolate import CubicSpline

    path = np.vstack([points, points[:1]]) if closed else points
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    return CubicSpline(at, path, bc_type="periodic" if closed else "natural")(np.linspace(0, at[-1], n))


def draw_face(axes: Axes, landmarks: np.ndarray | None = None, colour: str = SOFT, width: float = 1.0) -> None:
    """Draw a schematic face (never a picture of a person): the mean face, IOD, unless landmarks "68 2" are given."""
    face = load_mean_face()[0] if landmarks is None else landmarks
    for points, closed in _STROKES:
        curve = smooth_curve(face[list(points)], closed)
        axes.plot(*curve.T, color=colour, lw=width, solid_capstyle="round", zorder=1)
    jaw, brow = face[[0, 16]], face[[18, 25]]
    top = brow.mean(0) - 1.15 * (face[8] - face[27]) * 0.35
    crown = np.stack(
        [
            jaw[0],
            brow[0] + (brow[0] - face[27]) * [0.12, 0.9],
            top,
            brow[1] + (brow[1] - face[27]) * [0.12, 0.9],
            jaw[1],
        ]
    )
    axes.plot(*smooth_curve(crown, False).T, color=colour, lw=width, alpha=0.5, zorder=1)
    axes.set_aspect("equal")
    axes.axis("off")
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


def draw_region_values(
    axes: Axes, values: np.ndarray, limit: float, atlas: RoiAtlas = ATLAS, cmap: str = SIGNED_SCALE, size: float = 150.0
):
    """Regions on the schematic face, coloured from -limit to limit; area grows with |value|. Returns the scatter.

    Args:
        values: float "roi".
        limit: > 0, shared by all faces of a figure.
    """
    draw_face(axes)
    strength = np.clip(np.abs(values) / limit, 0, 1)
    x, y = atlas.mean_centres.T
    return axes.scatter(
        x, y, c=values, s=size * (0.15 + 0.85 * strength), cmap=cmap, vmin=-limit, vmax=limit, lw=0.5, ec=INK, zorder=3
    )


def magnify_motion(picture: np.ndarray, motion: FlowClip, frame: int, times: float) -> np.ndarray:
    """The onset frame with its measured motion enlarged: the same face, its movement exaggerated.

    The flow is inverted by fixed point; outside the face (softened by 0.04 IOD) nothing moves.

    Args:
        picture: uint8 "y x" or "y x chan", the onset frame.
        frame: whose motion.
        times: how many times larger; 1 = as measured.

    Returns:
        uint8, shaped like ``picture``.
    """
    import cv2

    face = compute_face_mask(motion.landmarks, motion.flow.shape[2:]).astype(np.float32)
    flow = motion.flow[frame] * np.float32(times) * cv2.GaussianBlur(face, (0, 0), 0.04 * motion.iod)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in picture.shape[1::-1]), indexing="xy")).astype(np.float32)
    back = grid - flow
    for _ in range(12):
        at = [cv2.remap(c, back[0], back[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for c in flow]
        back = grid - np.stack(at)
    return cv2.remap(picture, back[0], back[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def nice_limit(values: np.ndarray) -> float:
    """A round number just above the largest magnitude, for a scale centred at zero."""
    peak = float(np.nanmax(np.abs(values))) if np.size(values) else 0.0
    if peak <= 0:
        return 1.0
    step = 10 ** np.floor(np.log10(peak))
    return float(np.ceil(peak / step * 2) / 2 * step)


def render(figure: Figure, target: str | Path | BinaryIO, name: str, **options: object) -> None:
    """Draw a figure into a file: the one place where stagkit's pictures become bytes.

    Characters that no font of this machine has are drawn as boxes; a warning names them.

    Args:
        figure: stays open.
        target: path or open file.
        name: of the file or picture, for messages.
        **options: of matplotlib's ``savefig``.

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
    import matplotlib.pyplot as plt

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
    with write_aside(path) as aside:
        render(figure, aside, str(path), **options)


def save_figure(
    figure: Figure, folder: str | Path, name: str, source: Mapping[str, object], sidecar: bool = True
) -> list[Path]:
    """Write ``name.pdf``, ``name.png`` and, where wanted, ``name.json`` (its sources): the same bytes every time."""
    import matplotlib.pyplot as plt

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
