"""The sheet of phantom people that README shows: who is seen where the course and the tests show a face.

    python -m stagkit.plots.contact_sheet figures/phantoms.png

writes the picture, and a JSON beside it with its sources. Nobody real is on it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from stagkit.core.files import write_json

#: How many people, 0 to 23, and how large each is drawn, px.
N_SUBJECTS, SIZE = 24, 160


def draw_people(n_subjects: int = N_SUBJECTS, first: int = 0, size: int = SIZE) -> list[np.ndarray]:
    """Phantom people at rest: uint8 "y x 3" each.

    Args:
        n_subjects: how many.
        first: seed of the first; the others follow.
        size: side of each picture, px, 48 to 1024.

    Raises:
        StagkitError: a size outside that range, or a negative seed.
    """
    from stagkit.synthetic.identity import make_subject
    from stagkit.synthetic.render.face import render_neutral

    people = (render_neutral(make_subject(first + i), size)[0] for i in range(n_subjects))
    return [np.round(picture).astype(np.uint8) for picture in people]


def main(arguments: list[str] | None = None) -> None:
    """Write the sheet and the JSON beside it."""
    import matplotlib

    from stagkit.plots.clips import plot_contact_sheet
    from stagkit.plots.style import write_figure

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="PNG to write")
    out = parser.parse_args(arguments).out
    if out.suffix != ".png":
        parser.error(f"{out} has the ending {out.suffix!r}, expected .png")
    matplotlib.use("Agg")
    figure = plot_contact_sheet(draw_people())
    write_figure(figure, out, dpi=140)
    sources = {"function": "plot_contact_sheet", "drawn_from": "phantoms", "subjects": list(range(N_SUBJECTS))}
    write_json(
        out.with_suffix(".json"), {**sources, "size_px": SIZE, "command": "python -m stagkit.plots.contact_sheet"}
    )


if __name__ == "__main__":
    main()
