"""Displacement fields side by side: what each method measured beside what was planted, in px on one scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.types import ShapeError, StagkitError
from stagkit.plots.style import COLOURS, PAGE, SOFT, nice_limit, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _check_alike(fields: Mapping[str, np.ndarray], axes: str) -> tuple[int, ...]:
    """The shape that all fields have.

    Raises:
        ShapeError: none was given, or they differ.
    """
    shapes = {np.shape(field) for field in fields.values()}
    n_axes = len(axes.split())
    if len(shapes) != 1 or len(next(iter(shapes))) != n_axes or (n_axes == 3 and next(iter(shapes))[0] != 2):
        raise ShapeError(f"the fields have shapes {sorted(shapes)}, expected one shape '{axes}' for all.")
    return next(iter(shapes))


def _make_row(n: int, shape: tuple[int, int]):
    """A row of pictures without ticks, as wide as a page at most."""
    import matplotlib.pyplot as plt

    width = min(PAGE, 1.75 * n + 0.7)
    figure, row = plt.subplots(1, n, figsize=(width, 0.35 + (width - 0.7) / n * shape[0] / shape[1]), squeeze=False)
    for axes in row[0]:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure, row[0]


@styled
def plot_fields(fields: Mapping[str, np.ndarray], step: int = 6, limit: float | None = None) -> Figure:
    """Displacement fields side by side: length as colour, direction as arrows, one scale for all.

    Args:
        fields: name -> float "2 y x" px, chan = (u right, v down).
        step: distance of two arrows, px.
        limit: top of the scale, px; just above the longest displacement where None.

    Raises:
        ShapeError: fields of different shapes, or none.
    """
    shape = _check_alike(fields, "2 y x")[1:]
    lengths = {name: np.linalg.norm(field, axis=0) for name, field in fields.items()}
    limit = limit or nice_limit(np.array([length.max() for length in lengths.values()]))
    figure, row = _make_row(len(fields), shape)
    for axes, (name, field) in zip(row, fields.items(), strict=True):
        image = axes.imshow(lengths[name], cmap="viridis", vmin=0, vmax=limit)
        ys, xs = np.mgrid[step // 2 : shape[0] : step, step // 2 : shape[1] : step]
        keep = lengths[name][ys, xs] > 0.1 * limit
        arrows = np.asarray(field)[:, ys, xs][:, keep]
        axes.quiver(
            xs[keep], ys[keep], *arrows, angles="xy", scale_units="xy", scale=limit / (1.8 * step), color="white",
            width=0.008,
        )  # fmt: skip
        axes.set_xlabel(name)
    figure.colorbar(image, ax=list(row), label="displacement (px)", shrink=0.85)
    return figure


@styled
def plot_amounts(amounts: Mapping[str, np.ndarray], label: str, limit: float | None = None) -> Figure:
    """Pictures of an amount, 0 or more, side by side on one scale, e.g. strain or error.

    Args:
        amounts: name -> float "y x", all in one unit.
        label: what the colour means, with its unit.
        limit: top of the scale; just above the 99.5th percentile of all where None.

    Raises:
        ShapeError: pictures of different shapes, or none.
    """
    shape = _check_alike(amounts, "y x")
    limit = limit or nice_limit(np.array([np.percentile(a, 99.5) for a in amounts.values()]))
    figure, row = _make_row(len(amounts), shape)
    for axes, (name, amount) in zip(row, amounts.items(), strict=True):
        image = axes.imshow(amount, cmap="magma", vmin=0, vmax=limit)
        axes.set_xlabel(name)
    figure.colorbar(image, ax=list(row), label=label, shrink=0.85)
    return figure


def compute_lengths(
    measured: np.ndarray, planted: np.ndarray, where: np.ndarray, n_bins: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Median measured length along the planted direction, for bins of the planted length.

    Args:
        measured: float "2 y x" px.
        planted: float "2 y x" px.
        where: bool "y x", the pixels that count; those that were not moved at all never do.
        n_bins: bins with equally many pixels.

    Returns:
        float "bin" planted length (mean of the bin), float "bin" measured length, both px; negative = the other way.

    Raises:
        StagkitError: fewer pixels than bins.

    Example:
        >>> planted = np.stack([np.tile(np.linspace(0.5, 2, 16), (4, 1)), np.zeros((4, 16))])
        >>> x, y = compute_lengths(planted / 2, planted, np.ones((4, 16), bool), n_bins=4)
        >>> bool(np.allclose(y, x / 2, atol=0.02))
        True
    """
    length = np.linalg.norm(planted, axis=0)
    use = where & (length > 0)
    if use.sum() < n_bins:
        raise StagkitError(f"{use.sum()} pixels moved, expected at least one for each of the {n_bins} bins.")
    along = (measured * planted).sum(0)[use] / length[use]
    parts = np.array_split(np.argsort(length[use], kind="stable"), n_bins)
    return np.array([length[use][p].mean() for p in parts]), np.array([np.median(along[p]) for p in parts])


@styled
def plot_lengths(fields: Mapping[str, np.ndarray], planted: np.ndarray, where: np.ndarray) -> Figure:
    """How long each method makes a displacement whose true length is known (``compute_lengths``).

    Args:
        fields: method -> float "2 y x" px, measured.
        planted: float "2 y x" px.
        where: bool "y x", the pixels that count.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(PAGE * 0.6, 2.5))
    top = 0.0
    for (name, field), colour, mark in zip(fields.items(), COLOURS, "osD^vP*X", strict=False):
        x, y = compute_lengths(field, planted, where)
        axes.plot(x, y, mark, ls="-", ms=4, color=colour, label=name)
        top = max(top, x.max())
    axes.plot([0, top], [0, top], "--", color=SOFT, lw=1, label="exact")
    axes.set_xlabel("planted length (px)")
    axes.set_ylabel("measured along it (px)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    figure.legend(loc="outside right upper")
    return figure
