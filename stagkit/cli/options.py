"""What several commands of ``stagkit`` are told alike: options, seeds, settings. Light, as the command has to be."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stagkit.core.errors import StagkitError

Preset = StrEnum("Preset", {name: name for name in ("casme2", "samm", "smic", "4dme", "dfme")})
Cover = StrEnum("Cover", {name: name for name in ("none", "glasses", "fringe")})
#: Coded data sets; a test keeps them equal to ``datasets.NAMES``, which is heavier to import.
DATASETS = ("casme2", "samm", "smic", "4dme", "dfme", "casme-squared", "casme3", "casme3c", "mmew")
Layout = StrEnum("Layout", {name: name for name in ("prepared", "frames", *DATASETS)})
ProtocolName = StrEnum(
    "ProtocolName", {name: name for name in ("loso", "groupkfold", "stratifiedkfold", "cde", "cross", "official")}
)
EpochChoice = StrEnum("EpochChoice", {name: name for name in ("fixed", "inner")})
Data = Annotated[
    list[Path],
    typer.Argument(help="Prepared folders, .npz of flow maps, or folders of PNG flow maps; several are joined."),
]
Protocol = Annotated[
    ProtocolName,
    typer.Option(
        help="loso: one subject left out at a time; groupkfold: groups of subjects; cde: loso over several data sets "
        "(MEGC2019); cross: train on one set, test on another; official: the parts the data names; stratifiedkfold: not "
        "subject-disjoint, shown beside groupkfold only."
    ),
]
#: Most seeds of one command (stagkit's choice).
MAX_SEEDS = 1000
Folds = Annotated[int, typer.Option(min=2, max=100_000, help="Folds of groupkfold and stratifiedkfold.")]
Seeds = Annotated[str, typer.Option(help="How many random seeds (5), or which (0,3,7).")]
Epochs = Annotated[int | None, typer.Option(min=1, max=100_000, help="Fixed beforehand; never chosen on test clips.")]
Choice = Annotated[
    EpochChoice | None,
    typer.Option(help="inner: held-out training subjects choose the epoch, at most --epochs; then all are trained on."),
]
Mapping = Annotated[str, typer.Option("--mapping", help="Class mapping: 3-class, 4-class, 5-class, 7-class, megc2019.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, e.g. stag.width=32 or train.lr=0.001; repeatable.")
]
ConfigFile = Annotated[Path | None, typer.Option(help="YAML with 'stag:' and 'train:' (a run's config.yaml).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
BackendName = StrEnum("BackendName", {name: name for name in ("auto", "sequential", "processes", "stacked")})
Backend = Annotated[
    BackendName,
    typer.Option(help="Folds one after the other, in processes (auto on a CPU), or all at once (auto on a GPU)."),
]
Gpus = Annotated[int, typer.Option(min=1, max=64, help="GPUs of this machine that share the folds.")]
Cluster = Annotated[
    str,
    typer.Option(
        help="local:N starts N workers here, which talk over TLS; or a Dask scheduler, e.g. tcp://host:8786: without TLS "
        "everyone who reaches its port can run code as you."
    ),
]
Workers = Annotated[
    int | None, typer.Option(help="Processes of one thread each; all cores if not given.", min=1, max=1024)
]


Difficulty = Annotated[str, typer.Option(help="0 to 1, or clean (0), default (0.4), real (1: as hard as real data).")]


def clean(text: object) -> str:
    """Text for a terminal: control characters are escaped, so that no name can run a command of the terminal.

    Example:
        >>> clean("a\\x1b[31mb")
        'a\\\\x1b[31mb'
    """
    return "".join(
        c if c.isprintable() or c in "\n\t\u00a0\u200d\u3000" else c.encode("unicode_escape").decode()
        for c in str(text)
    )


def say(text: object, error: bool = False) -> None:
    """Print text: the one place where the commands write to the screen.

    Args:
        text: one line or several.
        error: a message, on the error stream and on one line, after the name of the command.
    """
    if error:
        text = f"stagkit: {' '.join(str(text).splitlines())}"
    typer.echo(clean(text), err=error)


def prepare_streams() -> None:
    """Characters that the screen's encoding lacks are printed as escapes, not as a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def read_difficulty(text: str) -> float | str:
    """``0.7`` is a number; words are left to ``PhantomConfig``, which knows them."""
    try:
        return float(text)
    except ValueError:
        return text


def read_seeds(text: str) -> int | list[int]:
    """``5`` is five seeds; ``0,3,7`` are these three."""
    from stagkit.core.files import shorten

    try:
        seeds = [int(t) for t in text.split(",") if t.strip()] if "," in text else int(text)
    except ValueError as error:
        raise StagkitError(f"--seeds {shorten(text)}: expected how many, e.g. 5, or which, e.g. 0,3,7.") from error
    n_seeds = len(set(seeds)) if isinstance(seeds, list) else seeds
    if not 1 <= n_seeds <= MAX_SEEDS or (isinstance(seeds, list) and not all(0 <= s < 2**31 for s in seeds)):
        raise StagkitError(f"--seeds {shorten(text)}: expected 1 to {MAX_SEEDS} seeds, each 0 to {2**31 - 1}.")
    return seeds


def read_settings(
    path: Path | None,
    changes: list[str],
    epochs: int | None,
    epoch_choice: str | None,
    data=None,
    protocol: str = "",
):
    """Settings of the network and the training: what suits ``data``, or a file's; then ``--set``; then options.

    What suits the clips and the protocol (``defaults.choose_settings``) is said on the screen; a file is taken as it is.
    """
    from stagkit.core.config import ConfigError, StagConfig, TrainConfig, read_yaml
    from stagkit.core.files import shorten

    values: dict[str, dict] = {"stag": {}, "train": {}}
    if path is None and data is not None:
        from stagkit.evaluation.defaults import choose_settings

        defaults = choose_settings(data, protocol)
        values = {"stag": defaults.stag.to_dict(), "train": defaults.train.to_dict()}
        for line in defaults.reasons:
            say(f"taken for these clips: {line}; --set changes it")
    if path is not None:
        loaded = read_yaml(path)
        for part in values:
            given = loaded.get(part) or {}
            if not isinstance(given, dict):
                raise ConfigError(f"{path}: '{part}:' is {shorten(given)}, expected lines 'name: value' below it.")
            values[part].update(given)
    for change in changes:
        name, equals, text = change.partition("=")
        part, dot, key = name.partition(".")
        if not equals or not dot or part not in values:
            raise ConfigError(f"--set {shorten(change)}: expected stag.NAME=VALUE or train.NAME=VALUE.")
        try:
            values[part][key] = _read_value(text)
        except ConfigError as error:
            raise ConfigError(f"--set {shorten(change)}: {error}") from error
    if epochs is not None:
        values["train"]["epochs"] = epochs
    if epoch_choice is not None:
        values["train"]["epoch_choice"] = str(epoch_choice)
    return StagConfig.from_dict(values["stag"]), TrainConfig.from_dict(values["train"])


def _read_value(text: str):
    """A number as Python writes it (YAML reads 1e-3 as text), else what YAML makes of it."""
    from stagkit.core.config import parse_yaml

    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return parse_yaml(text)
