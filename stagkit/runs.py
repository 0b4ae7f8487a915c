"""A run on disk: everything that is needed to believe it, to go on with it, and to explain it.

```
RUN/
  run.json          what was asked: data and digest, protocol, seeds, settings, folds (written first; never changes)
  config.yaml       the same settings, for reading
  split.json        for each fold: name, training and test clips
  environment.json  versions, device
  folds/            seed0_fold000.csv: predictions of a finished fold (what an interrupted run resumes from); .json: when
                    its seal was opened, the epoch, what chose it, seconds; _au.csv: action units; _leak.npz
  weights/          seed0_fold000.safetensors
  predictions.csv   all of them (written when the last fold is done)
  au_predictions.csv  where action units are coded: code (AU01..) and probability (p_AU01..) of each clip and seed
  seal.json         the opening of every test part
  subjects.csv, calibration.csv   for whom it fails; reliability
  leak.json         only of a leak demonstration: what choosing the epoch on the test clips would have claimed
  permuted/, stratifiedkfold/     runs beside this one, where they were asked for
  metrics.json      the scores (written last: a run with metrics is complete)
```
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from stagkit.config import StagConfig, TrainConfig
from stagkit.files import check_writable, read_json, write_aside, write_json, write_text
from stagkit.types import RoiDataset, StagkitError

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.model import Stag
    from stagkit.seal import Fold, Opening

#: Raised when the layout of a run changes.
FORMAT = 1


class RunError(StagkitError):
    """A run folder that is missing, unfinished, damaged, or holds another run."""


def describe_environment(device: str) -> dict[str, object]:
    """Versions of what decides the numbers."""
    names = ("stagkit", "torch", "torch-geometric", "numpy", "opencv-contrib-python-headless", "captum", "scikit-learn")
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {"python": platform.python_version(), "system": platform.system(), "device": device, "versions": versions}


@dataclass(frozen=True)
class Run:
    """One evaluation on disk. Make one with ``Run.start``, open one with ``Run.load``."""

    path: Path
    request: dict

    @classmethod
    def start(cls, path: str | Path, request: dict, folds: Sequence[Fold], data: RoiDataset, device: str) -> Run:
        """Take a folder for a run, or go on with the same run if it was interrupted.

        Raises:
            RunError: the folder holds another run, or other files.
            StagkitError: it cannot be written.
        """
        path = Path(path)
        request = {"format": FORMAT, **request}
        check_writable(path)
        if (path / "run.json").is_file():
            found = read_json(path / "run.json")
            # the same data may lie elsewhere now: its digest decides; settings that are younger have their defaults
            same = {**found, **_complete(found), "data_path": request["data_path"]}
            if same != request:
                differ = sorted(k for k in {*request, *same} if same.get(k) != request.get(k))
                raise RunError(
                    f"{path} holds another run (it differs in {', '.join(differ)}): give another --out, or remove it."
                )
            return cls(path, found)
        if any(path.iterdir()):
            raise RunError(f"{path} is not empty and holds no run: give an empty or a new folder.")
        settings = {k: request[k] for k in ("model", "protocol", "seeds", "stag", "train") if k in request}
        import yaml

        write_text(path / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
        write_json(path / "environment.json", describe_environment(device))
        write_json(
            path / "split.json",
            [
                {
                    "fold": i,
                    "name": fold.name,
                    "train": [data.clip_ids[j] for j in fold.train],
                    "n_test": fold.n_test,
                }
                for i, fold in enumerate(folds)
            ],
        )
        write_json(path / "run.json", request)
        return cls(path, request)

    @classmethod
    def load(cls, path: str | Path, complete: bool = True, evidence: bool = False) -> Run:
        """Open a run.

        Args:
            path: its folder.
            complete: refuse one that is not finished.
            evidence: refuse one that shows nothing about unseen people (``check_evidence``).

        Raises:
            RunError: no run there, another format, or one that is refused.
        """
        path = Path(path)
        if not (path / "run.json").is_file():
            raise RunError(f"{path} holds no run: expected a folder made by 'stagkit evaluate'.")
        request = read_json(path / "run.json")
        if request.get("format") != FORMAT:
            raise RunError(f"{path} has format {request.get('format')}, this stagkit reads {FORMAT}: evaluate again.")
        if complete and not (path / "metrics.json").is_file():
            raise RunError(
                f"{path} is not finished: run the same 'stagkit evaluate' again, it goes on where it stopped."
            )
        run = cls(path, request)
        if evidence:
            run.check_evidence()
        return run

    def check_evidence(self) -> None:
        """Check that the run may stand for what it says.

        Raises:
            RunError: it is a leak demonstration, learned from shuffled labels, or tests people it was trained on.
        """
        reasons = {
            "leaky": "is a leak demonstration (--leaky): evaluate without it for a run that counts",
            "permuted": "was trained on shuffled labels: it is a baseline",
            "stratified": "is not subject-disjoint: read it beside the groupkfold run in the folder above it",
        }
        for key, reason in reasons.items():
            if self.request.get(key):
                raise RunError(f"{self.path} {reason}; it is refused as evidence.")

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def stag_config(self) -> StagConfig:
        """Settings of the network."""
        return StagConfig.from_dict(self.request["stag"])

    @property
    def train_config(self) -> TrainConfig:
        """Settings of the training."""
        return TrainConfig.from_dict(self.request["train"])

    @cached_property
    def metrics(self) -> dict:
        """``metrics.json``."""
        return read_json(self.path / "metrics.json")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """``predictions.csv``: one row a clip and seed; ``p_CLASS`` are probabilities."""
        return _read_table(self.path / "predictions.csv")

    @cached_property
    def split(self) -> list[dict]:
        """``split.json``: a list of folds."""
        import json

        return json.loads((self.path / "split.json").read_text(encoding="utf-8"))

    def load_data(self) -> RoiDataset:
        """The clips of the run, from where they were.

        Raises:
            RunError: they are gone, or no longer the same.
        """
        from stagkit.prepare import load_data

        known = self.request["data"]
        try:
            data = load_data(self.request["data_path"], known.get("mapping", ""), known.get("frames", "all"))
        except StagkitError as error:
            raise RunError(f"the data of {self.path} cannot be read any more: {error}") from error
        if data.meta["digest"] != self.request["data"]["digest"]:
            raise RunError(f"the data at {self.request['data_path']} has changed since {self.path} was made.")
        return data

    def stem(self, seed: int, fold: int) -> str:
        """What the files of a fold are called."""
        return f"seed{seed}_fold{fold:03d}"

    def is_done(self, seed: int, fold: int) -> bool:
        """True where a fold's predictions are there."""
        return (self.path / "folds" / f"{self.stem(seed, fold)}.csv").is_file()

    def log_opening(self, seed: int, fold: int, opening: Opening, record: dict) -> None:
        """Write down that a test part was opened, before its answers are looked at; every opening stays in the list.

        Args:
            seed, fold: which.
            opening: epoch of the weights, what chose it, when.
            record: what else is known of the fold (seconds, parameters, held-out subjects).
        """
        path = self.path / "folds" / f"{self.stem(seed, fold)}.json"
        before = read_json(path)["opened"] if path.is_file() else []
        what = {
            "seed": seed,
            "fold": fold,
            "name": opening.fold,
            "epoch": opening.epoch,
            "chosen_by": opening.chosen_by,
        }
        write_json(path, {**what, "opened": [*before, opening.opened], **record})

    def save_fold(self, seed: int, fold: int, rows: pd.DataFrame, model: Stag | None, aus=None, answers=None) -> None:
        """Keep a finished fold: weights first, predictions last (they mark it as done).

        Args:
            seed, fold: which.
            rows: predictions, one row a test clip.
            model: the trained network; None keeps no weights (the systems that STAG is compared with).
            aus: table of action units, where they are coded.
            answers: int "epoch clip", only of a leak demonstration or a comparison of systems.
        """
        from safetensors.torch import save_file

        stem = self.stem(seed, fold)
        if model is not None:
            with write_aside(self.path / "weights" / f"{stem}.safetensors") as aside:
                save_file({k: v.contiguous() for k, v in model.state_dict().items()}, aside)
        if aus is not None:
            with write_aside(self.path / "folds" / f"{stem}_au.csv") as aside:
                aus.to_csv(aside, index=False)
        if answers is not None:
            with write_aside(self.path / "folds" / f"{stem}_leak.npz") as aside:
                np.savez_compressed(aside, answers=answers)
        with write_aside(self.path / "folds" / f"{stem}.csv") as aside:
            rows.to_csv(aside, index=False)

    def load_model(self, seed: int, fold: int, data: RoiDataset) -> Stag:
        """The trained network of one fold, in evaluation mode.

        Raises:
            RunError: its weights are missing, damaged, or of another network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from stagkit.model import Stag

        if self.request["model"] != "stag":
            raise RunError(
                f"{self.path} is a run of {self.request['model']}: its weights are not kept; take a run of STAG."
            )
        path = self.path / "weights" / f"{self.stem(seed, fold)}.safetensors"
        model = Stag(self.stag_config, n_classes=len(data.classes), patch=data.x.shape[-1])
        try:
            model.load_state_dict(load_file(path))
        except FileNotFoundError as error:
            raise RunError(f"{path} is missing: run the same 'stagkit evaluate' again.") from error
        except (SafetensorError, RuntimeError, OSError) as error:
            raise RunError(f"{path} is damaged or of another network: remove it and evaluate again.") from error
        return model.eval()

    def _done(self) -> list[str]:
        """Stems of the finished folds, in the order of seeds and folds."""
        pairs = ((seed, fold) for seed in self.request["seeds"] for fold in range(len(self.split)))
        return [self.stem(seed, fold) for seed, fold in pairs if self.is_done(seed, fold)]

    def collect(self, kind: str = "") -> pd.DataFrame | None:
        """Predictions of all finished folds, in the order of seeds and folds.

        Args:
            kind: ``"_au"`` for the action units; None where no fold has any.
        """
        import pandas as pd

        paths = [self.path / "folds" / f"{stem}{kind}.csv" for stem in self._done()]
        parts = [_read_table(path) for path in paths if path.is_file()]
        return pd.concat(parts, ignore_index=True) if parts else None

    def collect_records(self) -> list[dict]:
        """What was written when each test part was opened; folds of an older stagkit have none."""
        paths = [self.path / "folds" / f"{stem}.json" for stem in self._done()]
        return [read_json(path) for path in paths if path.is_file()]

    def load_answers(self, seed: int, fold: int) -> np.ndarray:
        """Classes predicted after each epoch, int "epoch clip" (leak demonstration only)."""
        path = self.path / "folds" / f"{self.stem(seed, fold)}_leak.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return file["answers"].astype(int)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise RunError(f"{path} is missing or damaged: evaluate again with --leaky in a new folder.") from error

    def finish(self, metrics: dict, tables: dict[str, pd.DataFrame] | None = None) -> None:
        """Write the pooled predictions, the openings and other tables, then the scores.

        Args:
            metrics: what ``metrics.json`` holds.
            tables: name -> table, written as ``name.csv``.
        """
        aus = self.collect("_au")
        tables = {"predictions": self.collect(), **({} if aus is None else {"au_predictions": aus}), **(tables or {})}
        for name, table in tables.items():
            with write_aside(self.path / f"{name}.csv") as aside:
                table.to_csv(aside, index=False)
        write_json(self.path / "seal.json", {"openings": self.collect_records()})
        write_json(self.path / "metrics.json", metrics)

    def test_index(self, data: RoiDataset, seed: int, fold: int) -> np.ndarray:
        """Positions in ``data`` of the clips that a fold was tested on (it is over: nothing is sealed any more)."""
        table = self.predictions
        rows = table[(table["seed"] == seed) & (table["fold"] == fold)]
        position = {clip: i for i, clip in enumerate(zip(data.subjects, data.clip_ids, strict=True))}
        return np.array([position[key] for key in zip(rows["subject"], rows["clip"], strict=True)])


def _complete(request: dict) -> dict[str, dict]:
    """The settings of a request with the defaults of those that came later."""
    made = {"stag": StagConfig, "train": TrainConfig}
    try:
        return {part: kind.from_dict(request[part]).to_dict() for part, kind in made.items() if part in request}
    except StagkitError:
        return {}


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype={"clip": str, "subject": str, "dataset": str, "label": str, "prediction": str})
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
