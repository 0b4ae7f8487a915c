"""What is kept of an executed notebook: the same on every machine, small, with what it took in its head."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.course.execution import WIDGET, Outcome
from stagkit.course.notebooks import TAKES, compute_sources_digest, save_notebook

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: A PNG above this is reduced to 256 colours, bytes.
LARGE_PNG = 30_000
#: Largest change of a colour that counts as unseen (of 255), for 99 % of the pixels.
LARGEST_STEP = 10


def normalise(node: NotebookNode) -> NotebookNode:
    """Keep only what is the same on every machine: no widget state, no times, small pictures; counts from 1 on."""
    node.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        **({"stagkit": node.metadata["stagkit"]} if "stagkit" in node.metadata else {}),
    }
    count = 0
    for cell in node.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        kept = []
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = count
            data = output.get("data")
            if data is not None:
                if data.pop(WIDGET, None):
                    data["text/plain"] = "(interactive: run this cell to touch it)"
                if "image/png" in data:
                    data["image/png"] = shrink_png(data["image/png"])
            same = kept and output.output_type == "stream" == kept[-1].output_type and output.name == kept[-1].name
            if same:
                kept[-1].text += output.text
            elif data is None or data:
                kept.append(output)
        cell.outputs = kept
    return node


def shrink_png(encoded: str) -> str:
    """A PNG (base64) in 256 colours where it is large and the eye would not tell; others as they are."""
    import numpy as np
    from PIL import Image

    raw = base64.b64decode(encoded)
    if len(raw) <= LARGE_PNG:
        return encoded
    picture = Image.open(io.BytesIO(raw)).convert("RGB")
    reduced = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    off = np.abs(np.asarray(picture, int) - np.asarray(reduced.convert("RGB"), int)).max(-1)
    if np.percentile(off, 99) > LARGEST_STEP:
        reduced = picture
    out = io.BytesIO()
    reduced.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii") if out.tell() < len(raw) else encoded


def record(outcome: Outcome, path: Path) -> None:
    """Write an executed notebook in place: outputs, digest of its sources, and in its head what it took."""
    node = outcome.node
    for cell in node.cells:
        if cell.cell_type == "markdown" and TAKES.search(cell.source):
            cell.source = TAKES.sub(rf"\g<about>{_describe_cost(outcome)}", cell.source)
            break
    node.metadata["stagkit"] = {"sources": compute_sources_digest(node)}
    save_notebook(normalise(node), path)


def _describe_cost(outcome: Outcome) -> str:
    """Seconds, and gigabytes where they were measured: ``41 s and 0.9 GB of memory``."""
    seconds = f"{max(1, round(outcome.seconds))} s"
    if outcome.memory is None:
        return seconds
    return f"{seconds} and {max(0.1, outcome.memory / 1e9):.1f} GB of memory"


def normalise_twin(node: NotebookNode) -> NotebookNode:
    """A twin carries no outputs, so no counts either."""
    node = normalise(node)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
    return node
