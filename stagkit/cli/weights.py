"""``stagkit weights``: look at trained networks, pack a run into one file, make the shipped ones anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli.options import Workers, say
from stagkit.core.errors import StagkitError


def weights(
    source: Annotated[str, typer.Argument(help="phantom (shipped), a finished run, or a .safetensors file.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the networks into this .safetensors file; with --rebuild: a folder.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Make the shipped weights anew: draw, measure, train, test; some minutes.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Say what trained networks learned and how well; pack a run into one file; rebuild the shipped ones."""
    from stagkit.cli.progress import show
    from stagkit.inference.pretrained import SHIPPED, load_card, load_weights, save_weights

    if rebuild:
        from stagkit.inference.build_pretrained import make_phantom_weights

        if source not in SHIPPED or out is None:
            raise StagkitError(
                "--rebuild makes the shipped weights anew: stagkit weights phantom --rebuild --out FOLDER."
            )
        path = make_phantom_weights(out, workers=workers, progress=show)
        say(f"weights in {path}, model card in {path.with_suffix('.md')}")
        return
    known = load_weights(source)
    if out is not None:
        save_weights(known, out)
        say(f"{len(known.networks)} networks in {out}; next: stagkit analyze VIDEO --weights {out} --out DIR")
        return
    n_parameters = sum(p.numel() for p in known.networks[0].parameters())
    say(
        load_card(source)
        if source in SHIPPED
        else f"{known.name}: {len(known.networks)} networks of {n_parameters:,} parameters; classes "
        f"{', '.join(known.classes)}.\n{known.learned}"
    )
