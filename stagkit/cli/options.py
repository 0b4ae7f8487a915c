"""Options that several commands share, settings and seeds from text, and the one place that prints; quick to import."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from stagkit.core.errors import StagkitError

#: Data sets with annotated AUs; a test keeps them equal to ``datasets.NAMES``, which takes longer to import.
DATASETS = ("casme2", "samm", "smic", "4dme", "dfme", "casme-squared", "casme3", "casme3c", "mmew")
MAX_SEEDS = 1000  # of one command (stagkit's choice)

Data = Annotated[
    list[Path],
    typer.Argument(help="Prepared folders, .npz files of flow maps, or folders of PNG flow maps; several are joined."),
]
Protocol = Annotated[
    Literal["loso", "groupkfold", "stratifiedkfold", "cde", "cross", "official"],
    typer.Option(
        help="loso: leave one subject out; groupkfold: groups of subjects; cde: loso over several data sets (MEGC2019); "
        "cross: train on one data set, test on another; official: the parts named by the data set; stratifiedkfold: not "
        "subject-disjoint, reported next to groupkfold only.",
    ),
]
Folds = Annotated[int, typer.Option(min=2, max=100_000, help="Folds of groupkfold and stratifiedkfold.")]
Seeds = Annotated[str, typer.Option(help="Number of random seeds (5), or which seeds (0,3,7).")]
Epochs = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="Training epochs, fixed in advance; never chosen on test clips.")
]
EpochSelection = Annotated[
    Literal["fixed", "validation"] | None,
    typer.Option(
        help="validation: held-out training subjects select the epoch, at most --epochs; then all are trained on."
    ),
]
Mapping = Annotated[str, typer.Option("--mapping", help="Class mapping: 3-class, 4-class, 5-class, 7-class, megc2019.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", help="One setting, e.g. stag.width=32 or train.lr=0.001; repeatable.")
]
ConfigFile = Annotated[Path | None, typer.Option(help="YAML file with 'stag:' and 'train:', e.g. a run's config.yaml.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
Backend = Annotated[
    Literal["auto", "sequential", "processes", "stacked"],
    typer.Option(help="Train folds one after another, in processes (auto on a CPU), or all at once (auto on a GPU)."),
]
Gpus = Annotated[int, typer.Option(min=1, max=64, help="GPUs of this machine to share the folds among.")]
Cluster = Annotated[
    str,
    typer.Option(
        help="local:N starts N workers on this machine (TLS); or the address of a Dask scheduler, e.g. tcp://host:8786: "
        "without TLS, anyone who can reach its port can run code as you."
    ),
]
Workers = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Processes of one thread each; all cores by default.")
]
Landmarker = Annotated[
    Path | None, typer.Option(help="mediapipe's face_landmarker.task, for clips without stored landmarks.")
]


def clean(text: object) -> str:
    """Text for a terminal: control characters are escaped, so that no name can send commands to the terminal.

    Example:
        >>> clean("a\\x1b[31mb")
        'a\\\\x1b[31mb'
    """
    return "".join(
        c if c.isprintable() or c in "\n\t\u00a0\u200d\u3000" else c.encode("unicode_escape").decode()
        for c in str(text)
    )


def say(text: object, error: bool = False) -> None:
    """Print text: the one place where the commands write to the screen; an error is one line on the error stream."""
    if error:
        text = f"stagkit: {' '.join(str(text).splitlines())}"
    typer.echo(clean(text), err=error)


def prepare_streams() -> None:
    """Print characters that the terminal's encoding lacks as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def read_pairs(texts: list[str] | None, option: str, form: str) -> dict[str, str]:
    """Values of a repeatable option ``NAME=VALUE``: name -> value."""
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name or "/" in name:
            raise StagkitError(f"{option} {text!r}: expected {form}.")
        pairs[name] = value
    return pairs


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
    epoch_selection: str | None,
    data=None,
    protocol: str = "",
):
    """Settings of network and training: defaults for ``data`` (printed) or those of a file; then ``--set``; then options."""
    from stagkit.cli.settings import read_yaml
    from stagkit.core.config import ConfigError, StagConfig, TrainConfig
    from stagkit.core.files import shorten

    values: dict[str, dict] = {"stag": {}, "train": {}}
    if path is None and data is not None:
        from stagkit.evaluation.defaults import choose_settings

        defaults = choose_settings(data, protocol)
        values = {"stag": defaults.stag.to_dict(), "train": defaults.train.to_dict()}
        for line in defaults.reasons:
            say(f"chosen for these clips: {line}; --set changes it")
    loaded = {} if path is None else read_yaml(path)
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
    options = {"epochs": epochs, "epoch_selection": epoch_selection}
    values["train"] |= {name: value for name, value in options.items() if value is not None}
    return StagConfig.from_dict(values["stag"]), TrainConfig.from_dict(values["train"])


def _read_value(text: str):
    """A number as Python writes it (YAML reads 1e-3 as text), otherwise what YAML makes of it."""
    from stagkit.cli.settings import parse_yaml

    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return parse_yaml(text)
