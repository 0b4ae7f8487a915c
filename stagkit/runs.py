"""A run on disk: everything that is needed to believe it, to go on with it, and to explain it.

```
RUN/
  run.json          what was asked: data and digest, protocol, seeds, settings, folds (written first; never changes)
  config.yaml       the same settings, for reading
  split.json        for each fold: name, training and test clips
  environment.json  versions, device
  folds/            seed0_fold000.csv: predictions of a finished fold (what an interrupted run resumes from)
  weights/          seed0_fold000.safetensors
  predictions.csv   all of them (written when the last fold is done)
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

import numpy as np

from stagkit.config import StagConfig, TrainConfig
from stagkit.files import check_writable, read_json, write_aside, write_json, write_text
from stagkit.types import RoiDataset, StagkitError

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.model import Stag
    from stagkit.splits import Fold

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
            # the same data may lie elsewhere now: its digest decides
            if {**found, "data_path": ""} != {**request, "data_path": ""}:
                differ = sorted(k for k in request if found.get(k) != request[k] and k != "data_path")
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
    def load(cls, path: str | Path, complete: bool = True) -> Run:
        """Open a run.

        Raises:
            RunError: no run there, another format, or (where ``complete`` is asked for) one that is not finished.
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
        return cls(path, request)

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

        try:
            data = load_data(self.request["data_path"])
        except StagkitError as error:
            raise RunError(f"the data of {self.path} cannot be read any more: {error}") from error
        if data.meta["digest"] != self.request["data"]["digest"]:
            raise RunError(f"the data at {self.request['data_path']} has changed since {self.path} was made.")
        return data

    def _stem(self, seed: int, fold: int) -> str:
        return f"seed{seed}_fold{fold:03d}"

    def is_done(self, seed: int, fold: int) -> bool:
        """True where a fold's predictions are there."""
        return (self.path / "folds" / f"{self._stem(seed, fold)}.csv").is_file()

    def save_fold(self, seed: int, fold: int, rows: pd.DataFrame, model: Stag) -> None:
        """Keep a finished fold: weights first, predictions last (they mark it as done)."""
        from safetensors.torch import save_file

        with write_aside(self.path / "weights" / f"{self._stem(seed, fold)}.safetensors") as aside:
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, aside)
        with write_aside(self.path / "folds" / f"{self._stem(seed, fold)}.csv") as aside:
            rows.to_csv(aside, index=False)

    def load_model(self, seed: int, fold: int, data: RoiDataset) -> Stag:
        """The trained network of one fold, in evaluation mode.

        Raises:
            RunError: its weights are missing, damaged, or of another network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from stagkit.model import Stag

        path = self.path / "weights" / f"{self._stem(seed, fold)}.safetensors"
        model = Stag(self.stag_config, n_classes=len(data.classes), patch=data.x.shape[-1])
        try:
            model.load_state_dict(load_file(path))
        except FileNotFoundError as error:
            raise RunError(f"{path} is missing: run the same 'stagkit evaluate' again.") from error
        except (SafetensorError, RuntimeError, OSError) as error:
            raise RunError(f"{path} is damaged or of another network: remove it and evaluate again.") from error
        return model.eval()

    def collect(self) -> pd.DataFrame:
        """Predictions of all finished folds, in the order of seeds and folds."""
        import pandas as pd

        parts = [
            _read_table(self.path / "folds" / f"{self._stem(seed, fold)}.csv")
            for seed in self.request["seeds"]
            for fold in range(len(self.split))
            if self.is_done(seed, fold)
        ]
        return pd.concat(parts, ignore_index=True)

    def finish(self, metrics: dict) -> None:
        """Write the pooled predictions, then the scores."""
        with write_aside(self.path / "predictions.csv") as aside:
            self.collect().to_csv(aside, index=False)
        write_json(self.path / "metrics.json", metrics)

    def test_index(self, data: RoiDataset, seed: int, fold: int) -> np.ndarray:
        """Positions in ``data`` of the clips that a fold was tested on (it is over: nothing is sealed any more)."""
        table = self.predictions
        rows = table[(table["seed"] == seed) & (table["fold"] == fold)]
        position = {clip: i for i, clip in enumerate(zip(data.subjects, data.clip_ids, strict=True))}
        return np.array([position[key] for key in zip(rows["subject"], rows["clip"], strict=True)])


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, dtype={"clip": str, "subject": str, "dataset": str, "label": str, "prediction": str})
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
