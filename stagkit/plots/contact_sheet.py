"""Sheets of many small images, and synthetic subjects for one."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from stagkit.plots.clips import show_image
from stagkit.plots.style import PAGE, styled
from stagkit.synthetic.identity import make_subject
from stagkit.synthetic.render.face import render_neutral

#: Subjects of the sheet, 0 to 23, and the size of each, px.
N_SUBJECTS, SIZE = 24, 160


@styled
def plot_contact_sheet(images: Sequence[np.ndarray], labels: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Many images in rows, close together if they have no labels."""
    rows, below = -(-len(images) // columns), 0.12 if labels else 0.0
    size = (PAGE, rows * (PAGE / columns + below))
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained" if labels else "none")
    if not labels:
        figure.subplots_adjust(0, 0, 1, 1, wspace=0.02, hspace=0.02)
    for axes, image, label in zip(grid.flat, images, labels or [""] * len(images), strict=False):
        show_image(axes, image)
        axes.set_xlabel(label, fontsize=6)
    for axes in grid.flat[len(images) :]:
        axes.axis("off")
    return figure


def draw_subjects(n_subjects: int = N_SUBJECTS, first: int = 0, size: int = SIZE) -> list[np.ndarray]:
    """Synthetic subjects at rest with the seeds from ``first`` on, ``size`` px (48 to 1024) high and wide: uint8 "y x 3".

    Raises:
        StagkitError: a size outside that range, or a negative seed.
    """
    faces = (render_neutral(make_subject(first + i), size)[0] for i in range(n_subjects))
    return [np.round(face).astype(np.uint8) for face in faces]
