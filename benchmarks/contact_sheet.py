"""The sheet of synthetic subjects of the README, and a JSON file with its sources.

python benchmarks/contact_sheet.py figures/phantoms.png
"""

import argparse
from pathlib import Path

import matplotlib

from stagkit.core.files import write_json
from stagkit.plots.contact_sheet import N_SUBJECTS, SIZE, draw_subjects, plot_contact_sheet
from stagkit.plots.style import write_figure


def main(arguments: list[str] | None = None) -> None:
    """Write the sheet and the JSON file with its sources."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="PNG to write")
    out = parser.parse_args(arguments).out
    if out.suffix != ".png":
        parser.error(f"{out} has the ending {out.suffix!r}, expected .png")
    matplotlib.use("Agg")
    write_figure(plot_contact_sheet(draw_subjects()), out, dpi=140)
    sources = {"function": "plot_contact_sheet", "drawn_from": "phantoms", "subjects": list(range(N_SUBJECTS))}
    command = "python benchmarks/contact_sheet.py"
    write_json(out.with_suffix(".json"), {**sources, "size_px": SIZE, "command": command})


if __name__ == "__main__":
    main()
