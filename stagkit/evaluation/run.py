"""A run on disk: everything that is needed to believe it, to go on with it, and to explain it.

```
RUN/
  run.json          what was asked: data and digest, protocol, seeds, settings, folds (written first; never changes)
  config.yaml       the same settings, for reading
  split.json        for each fold: name, training clips, number of test clips (which they are stands in predictions.csv)
  environment.json  versions, device; ``resumed``: those of every later start that differ
  folds/            seed0_fold000.csv: predictions of a finished fold (what an interrupted run resumes from); .json: when
                    its seal was opened, the epoch, what chose it, seconds, device, digests of the files of the fold;
                    _au.csv: action units; _leak.npz
  weights/          seed0_fold000.safetensors
  predictions.csv   all of them (written when the last fold is done)
  au_predictions.csv  where action units are coded: code (AU01..) and probability (p_AU01..) of each clip and seed
  seal.json         the unblinding of every test part
  subjects.csv, calibration.csv   for whom it fails; reliability
  leak.json         only of a leak demonstration: what choosing the epoch on the test clips would have claimed
  permuted/, stratifiedkfold/     runs beside this one, where they were asked for
  digests.json      digest of every file above (``stagkit.core.files``); what is read is compared with it
  metrics.json      the scores (written last: a run with metrics is complete)
```
Every path is resolved inside the folder (``files.resolve_inside``): nothing is read, written or removed through a link
that leads out of it.
"""

from __future__ import annotations

import json
import platform
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.errors import StagkitWarning
from stagkit.core.files import (
    DIGESTS,
    HOLDER,
    LOCK,
    TEMPORARY,
    check_digest,
    check_writable,
    compute_digests,
    digest_file,
    find_damage,
    load_arrays,
    read_digests,
    read_json,
    read_table,
    resolve_inside,
    shorten,
    write_atomically,
    write_digests,
    write_json,
    write_table,
    write_text,
)
from stagkit.core.types import RoiDataset, StagkitError

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.evaluation.sealed import Fold, Unblinding
    from stagkit.network.model import Stag

#: Raised when the layout of a run changes.
FORMAT = 1

#: What a start writes before ``run.json``, and what is there only while a command works.
_BEFORE = ("config.yaml", "environment.json", "split.json")
_PASSING = (LOCK, HOLDER, "working")

#: Columns of ``predictions.csv`` that have to be there, and those of numbers.
_COLUMNS = ("seed", "fold", "dataset", "subject", "clip", "label", "prediction")
_NUMBERS = ("seed", "fold", "p_*")


class RunError(StagkitError):
    """A run folder that is missing, unfinished, damaged, or holds another run."""


class DamagedFoldWarning(StagkitWarning):
    """Folds of an interrupted run whose files are damaged: they are trained again."""


class OtherEnvironmentWarning(StagkitWarning):
    """A run is resumed with other versions than it was started with."""


class Record(dict):
    """A JSON object of a run in which a missing key is one sentence (``RunError``), not a ``KeyError``."""

    def __init__(self, values: dict, path: Path):
        super().__init__(values)
        self._path = path

    def __missing__(self, key):
        raise RunError(f"{self._path} has no {shorten(key)}: it is damaged, or another stagkit wrote it.")

    def __reduce__(self):
        return Record, (dict(self), self._path)


def read_record(path: Path) -> Record:
    """Read a JSON object of a run; ``Record`` at every level.

    Raises:
        StagkitError: missing or damaged.
    """
    return _guard(read_json(path), path)


def _guard(value, path: Path):
    if isinstance(value, dict):
        return Record({k: _guard(v, path) for k, v in value.items()}, path)
    return [_guard(v, path) for v in value] if isinstance(value, list) else value


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
        """Take a folder for a run, or resume the same run if it was interrupted. The caller locks the folder first.

        Raises:
            RunError: the folder holds another run (settings, data or folds differ), or other files.
            StagkitError: it cannot be written.

        Warns:
            OtherEnvironmentWarning: the run was started with other versions; both are recorded.
        """
        path = Path(path)
        request = {"format": FORMAT, **request}
        check_place(path)
        check_writable(path)
        split = [
            {"fold": i, "name": fold.name, "train": [data.clip_ids[j] for j in fold.train], "n_test": fold.n_test}
            for i, fold in enumerate(folds)
        ]
        environment = describe_environment(device)
        if (path / "run.json").is_file():
            run = cls(path, _check_request(read_record(resolve_inside(path, "run.json"))))
            # the same data may lie elsewhere now: its digest decides; settings that are younger have their defaults
            same = {**run.request, **_complete(run.request), "data_path": request["data_path"]}
            differ = sorted(k for k in {*request, *same} if same.get(k) != request.get(k))
            if not differ and run.split != split:
                differ = ["split.json, the clips of the folds"]
            if differ:
                raise RunError(
                    f"{path} holds another run (it differs in {', '.join(differ)}): give another --out, or remove it."
                )
            if not run.is_finished:
                run._compare_environment(environment)
            return run
        import yaml

        settings = {k: request[k] for k in ("model", "protocol", "seeds", "stag", "train") if k in request}
        write_text(
            resolve_inside(path, "config.yaml"), yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False)
        )
        write_json(resolve_inside(path, "environment.json"), environment)
        write_json(resolve_inside(path, "split.json"), split)
        write_json(resolve_inside(path, "run.json"), request)
        return cls(path, _guard(request, path / "run.json"))

    @classmethod
    def load(cls, path: str | Path, complete: bool = True, evidence: bool = False) -> Run:
        """Open a run.

        Args:
            path: its folder.
            complete: refuse one that is not finished.
            evidence: refuse one that shows nothing about unseen people (``check_evidence``).

        Raises:
            RunError: no run there, another format, damaged, or one that is refused.
        """
        path = Path(path)
        if not (path / "run.json").is_file():
            raise RunError(f"{path} holds no run: expected a folder made by 'stagkit evaluate'.")
        request = read_record(resolve_inside(path, "run.json"))
        if request.get("format") != FORMAT:
            found = shorten(request.get("format"))
            raise RunError(f"{path} has format {found}, this stagkit reads {FORMAT}: evaluate again.")
        run = cls(path, _check_request(request))
        if complete and not run.is_finished:
            raise RunError(
                f"{path} is not finished: run the same 'stagkit evaluate' again, it goes on where it stopped."
            )
        if run.is_finished:
            for name in ("run.json", "metrics.json"):
                run.find(name)
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

    @property
    def is_finished(self) -> bool:
        """True if all folds are done and scored."""
        return (self.path / "metrics.json").is_file()

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digest of every file of a finished run, by its path; empty for a run of an older stagkit."""
        return read_digests(self.path)

    def find(self, name: str) -> Path:
        """Path of a file of the run, compared with its digest.

        Raises:
            RunError: it leads out of the run, or is not what was written.
        """
        try:
            if self.is_finished:
                digests = self.digests
            else:
                stem = re.match(r"(?:folds|weights)/(seed\d+_fold\d+)", name)
                digests = self.read_fold_digests(stem[1]) if stem else {}
            return check_digest(self.path, name, digests)
        except RunError:
            raise
        except StagkitError as error:
            raise RunError(str(error)) from error

    @cached_property
    def metrics(self) -> Record:
        """``metrics.json``."""
        return read_record(self.find("metrics.json"))

    @cached_property
    def environment(self) -> Record:
        """``environment.json``."""
        return read_record(self.find("environment.json"))

    @cached_property
    def leak(self) -> Record:
        """``leak.json``, of a leak demonstration only."""
        return read_record(self.find("leak.json"))

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """``predictions.csv``: one row per clip and seed; ``p_CLASS`` are probabilities.

        Raises:
            RunError: damaged, or not what the folds hold.
        """
        table = self._read_predictions(self.find("predictions.csv"))
        if not self.digests and (self.path / "folds").is_dir():  # of an older stagkit: the folds are the only witness
            folds = self.collect()
            if folds is None or not table.equals(folds):
                raise RunError(f"{self.path / 'predictions.csv'} is damaged: it is not what the files in folds/ hold.")
        return table

    def _read_predictions(self, path: Path) -> pd.DataFrame:
        table = read_table(path, numbers=_NUMBERS, required=_COLUMNS)
        classes = set(self.request["classes"])
        for name in ("label", "prediction"):
            unknown = sorted(set(table[name]) - classes)
            if unknown:
                raise RunError(f"{path} is damaged: its column {name} holds {shorten(unknown[0])}, which is no class.")
        return table

    @cached_property
    def split(self) -> list[dict]:
        """``split.json``: a list of folds."""
        path = self.find("split.json")
        return _guard(read_json(path, kind=list), path)

    def load_data(self) -> RoiDataset:
        """The clips of the run, from where they were.

        Raises:
            RunError: they are gone, or no longer the same.
        """
        from stagkit.datasets.prepare import load_data

        known, where = self.request["data"], self.request["data_path"]
        try:
            mapping, frames = known.get("mapping", ""), known.get("frames", "all")
            data = load_data(where, mapping, frames, bool(known.get("same_subjects")))
        except StagkitError as error:
            raise RunError(f"the data of {self.path} cannot be read any more: {error}") from error
        if data.meta["digest"] != known["digest"]:
            raise RunError(f"the data at {self.request['data_path']} has changed since {self.path} was made.")
        return data

    def stem(self, seed: int, fold: int) -> str:
        """What the files of a fold are called."""
        return f"seed{seed}_fold{fold:03d}"

    def is_done(self, seed: int, fold: int) -> bool:
        """True where a fold's predictions are there."""
        return (self.path / "folds" / f"{self.stem(seed, fold)}.csv").is_file()

    def log_unblinding(self, seed: int, fold: int, unblinding: Unblinding, record: dict) -> None:
        """Write down that a test part was opened, before its answers are looked at; every unblinding stays in the list.

        Args:
            seed, fold: which.
            unblinding: epoch of the weights, what chose it, when.
            record: what else is known of the fold (seconds, parameters, held-out subjects).
        """
        path = resolve_inside(self.path, f"folds/{self.stem(seed, fold)}.json")
        before = read_record(path)["unblinded_at"] if path.is_file() else []
        what = {
            "seed": seed,
            "fold": fold,
            "name": unblinding.fold,
            "epoch": unblinding.epoch,
            "selected_by": unblinding.selected_by,
        }
        write_json(path, {**what, "unblinded_at": [*before, unblinding.unblinded_at], **record})

    def save_fold(
        self, seed: int, fold: int, rows: pd.DataFrame, model: Stag | None, aus=None, answers=None, maps=None
    ) -> None:
        """Keep a finished fold: weights first, then their digests, predictions last (they mark it as done).

        Args:
            seed, fold: which.
            rows: predictions, one row per test clip.
            model: the trained network; None keeps no weights (the systems that STAG is compared with).
            aus: table of action units, if they are coded.
            answers: int "epoch clip", only of a leak demonstration or a comparison of systems.
            maps: arrays by name, kept as ``_map.npz`` (a comparison of systems).
        """
        from safetensors.torch import save

        stem, written = self.stem(seed, fold), []

        def place(name: str) -> Path:
            written.append(name)
            return resolve_inside(self.path, name)

        if model is not None:
            with write_atomically(place(f"weights/{stem}.safetensors")) as aside:
                aside.write_bytes(save({k: v.contiguous() for k, v in model.state_dict().items()}))
        if aus is not None:
            write_table(place(f"folds/{stem}_au.csv"), aus)
        for name, arrays in (("leak", None if answers is None else {"predictions": answers}), ("map", maps)):
            if arrays is not None:
                with write_atomically(place(f"folds/{stem}_{name}.npz")) as aside:
                    np.savez_compressed(aside, **arrays)
        record = resolve_inside(self.path, f"folds/{stem}.json")
        last = f"folds/{stem}.csv"
        with write_atomically(resolve_inside(self.path, last)) as aside:
            write_table(aside, rows)
            files = {**compute_digests(self.path, written), last: digest_file(aside)}
            write_json(record, {**(read_record(record) if record.is_file() else {}), "files": files})

    def read_fold_digests(self, stem: str) -> dict[str, str]:
        """Digests that the record of a fold holds; empty if there is none, or an older stagkit wrote it."""
        path = resolve_inside(self.path, f"folds/{stem}.json")
        return read_record(path).get("files", {}) if path.is_file() else {}

    def drop_damaged_folds(self) -> None:
        """Of an interrupted run: forget the finished folds whose files are damaged or missing, so that they are trained
        again.

        Warns:
            DamagedFoldWarning: how many, and the first.
        """
        dropped = []
        for stem in self.list_done():
            record = resolve_inside(self.path, f"folds/{stem}.json")
            try:
                states = find_damage(self.path, self.read_fold_digests(stem))
                bad = [f"{name} is {state}" for name, state in states.items() if state != "ok"]
            except StagkitError as error:
                bad = [str(error)]
                record.unlink()
            if bad:
                resolve_inside(self.path, f"folds/{stem}.csv").unlink(missing_ok=True)
                dropped.append(f"{stem} ({bad[0].rstrip('.')})")
        if dropped:
            more = f" and {len(dropped) - 1} more" if len(dropped) > 1 else ""
            warnings.warn(
                f"{self.path}: the finished fold {dropped[0]}{more} is damaged and is trained again.",
                DamagedFoldWarning,
                stacklevel=3,
            )

    def check_backend(self, backend: str, device: str) -> None:
        """Check that the folds that are done were trained as the rest will be: stacked or not, on the same device.

        Raises:
            RunError: they were not; numbers of both kinds in one run would differ by as much as another seed's.
        """
        now = (backend == "stacked", device.partition(":")[0])
        for record in self.collect_records():
            before = ("stacked" in record, str(record.get("device", now[1])).partition(":")[0])
            if before != now:
                told = ["stacked" if stacked else "not stacked" for stacked, _ in (before, now)]
                raise RunError(
                    f"{self.path} has folds that were trained {told[0]} on {before[1]}, this command would train the rest "
                    f"{told[1]} on {now[1]}: give the same --backend and --device as before, or another --out."
                )

    def _compare_environment(self, environment: dict) -> None:
        """Warn if versions or the device differ from the start of the run, and record them."""
        path = resolve_inside(self.path, "environment.json")
        first = read_record(path)
        resumed = list(first.get("resumed", []))
        known = [{k: v for k, v in first.items() if k != "resumed"}, *resumed]
        if environment == known[-1]:
            return
        write_json(path, {**first, "resumed": [*resumed, environment]})
        old, new = ({**known[-1], **known[-1].get("versions", {})}, {**environment, **environment["versions"]})
        names = [k for k in new if k != "versions" and old.get(k) != new[k]]
        warnings.warn(
            f"{self.path} is resumed with {', '.join(f'{k} {new[k]} (before: {old.get(k)})' for k in names)}: folds of both "
            "are pooled, and environment.json lists both.",
            OtherEnvironmentWarning,
            stacklevel=3,
        )

    def load_model(self, seed: int, fold: int, data: RoiDataset) -> Stag:
        """The trained network of one fold, in evaluation mode.

        Raises:
            RunError: its weights are missing, damaged, or of another network.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from stagkit.network.model import Stag

        if self.request["model"] != "stag":
            raise RunError(
                f"{self.path} is a run of {self.request['model']}: its weights are not kept; take a run of STAG."
            )
        path = self.path / "weights" / f"{self.stem(seed, fold)}.safetensors"
        if not path.exists():
            raise RunError(f"{path} is missing: run the same 'stagkit evaluate' again.")
        path = self.find(f"weights/{path.name}")
        model = Stag(self.stag_config, n_classes=len(data.classes), patch=data.x.shape[-1])
        try:
            weights = load_file(path)
            model.load_state_dict(weights)
        except (SafetensorError, RuntimeError, OSError) as error:
            raise RunError(f"{path} is damaged or of another network: remove it and evaluate again.") from error
        odd = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
        if odd:
            raise RunError(f"{path} holds numbers that are not finite ({odd[0]}): remove it and evaluate again.")
        return model.eval()

    def list_done(self) -> list[str]:
        """Stems of the finished folds, in the order of seeds and folds."""
        pairs = ((seed, fold) for seed in self.request["seeds"] for fold in range(len(self.split)))
        return [self.stem(seed, fold) for seed, fold in pairs if self.is_done(seed, fold)]

    def collect(self, kind: str = "") -> pd.DataFrame | None:
        """Predictions of all finished folds, in the order of seeds and folds.

        Args:
            kind: ``"_au"`` for the action units; None where no fold has any.
        """
        import pandas as pd

        names = [f"folds/{stem}{kind}.csv" for stem in self.list_done()]
        paths = [self.find(name) for name in names if (self.path / name).is_file()]
        if kind:
            parts = [read_table(path, numbers=("seed", "fold", "AU*", "p_*"), required=_COLUMNS[:5]) for path in paths]
        else:
            parts = [self._read_predictions(path) for path in paths]
        return pd.concat(parts, ignore_index=True) if parts else None

    def collect_records(self) -> list[dict]:
        """What was written when each test part was opened; folds of an older stagkit have none."""
        names = [f"folds/{stem}.json" for stem in self.list_done()]
        return [read_record(self.find(name)) for name in names if (self.path / name).is_file()]

    def load_epoch_predictions(self, seed: int, fold: int) -> np.ndarray:
        """Classes predicted after each epoch, int "epoch clip" (leak demonstration only)."""
        name = f"folds/{self.stem(seed, fold)}_leak.npz"
        try:
            return load_arrays(self.find(name))["predictions"].astype(int)
        except (StagkitError, KeyError, ValueError) as error:
            raise RunError(
                f"{self.path / name} is missing or damaged: evaluate again with --leaky in a new folder."
            ) from error

    def finish(self, metrics: dict, tables: dict[str, pd.DataFrame] | None = None) -> None:
        """Write the pooled predictions, the unblindings and other tables, then the scores.

        Args:
            metrics: what ``metrics.json`` holds.
            tables: name -> table, written as ``name.csv``.
        """
        aus = self.collect("_au")
        tables = {"predictions": self.collect(), **({} if aus is None else {"au_predictions": aus}), **(tables or {})}
        for name, table in tables.items():
            write_table(resolve_inside(self.path, f"{name}.csv"), table)
        write_json(resolve_inside(self.path, "seal.json"), {"unblindings": self.collect_records()})
        with write_atomically(resolve_inside(self.path, "metrics.json")) as aside:
            write_json(aside, metrics)
            digests = compute_digests(self.path, self.list_files())
            write_digests(self.path, {**digests, "metrics.json": digest_file(aside)})
        for name in ("digests", "metrics", "predictions", "environment"):
            self.__dict__.pop(name, None)  # read before the run was finished

    def list_files(self) -> Iterator[str]:
        """Paths of the files of a run, without ``metrics.json``, ``digests.json`` and what is made of a finished run."""
        for folder, *more in (("", ".json", ".csv", ".yaml"), ("folds", ""), ("weights", "")):
            base = resolve_inside(self.path, folder)
            for path in sorted(base.iterdir()) if base.is_dir() else ():
                skipped = path.name in (*_PASSING, DIGESTS, "metrics.json") or path.name.startswith(TEMPORARY)
                if path.is_file() and not skipped and path.name.endswith(tuple(more)):
                    yield path.relative_to(self.path).as_posix()

    def trained_on(self, fold: int, clip: str, known: Sequence[str]) -> bool:
        """Whether the networks of a fold were trained on a clip, by ``split.json``.

        Args:
            fold: its number.
            clip: id of the clip.
            known: ids of all clips of the data, so that two clips of the same id are told apart as far as possible.
        """
        n_trained = self.split[fold]["train"].count(clip)
        rows = self.predictions[(self.predictions["fold"] == fold) & (self.predictions["clip"] == clip)]
        n_tested = rows["subject"].nunique()
        return n_trained + n_tested > list(known).count(clip) if n_tested else n_trained > 0

    def describe_network(self, seed: int, fold: int, clip: str, known: Sequence[str]) -> str:
        """Which network is asked about a clip, and whether it was trained on it; arguments as for ``trained_on``."""
        trained = "trained on this clip" if self.trained_on(fold, clip, known) else "not trained on this clip"
        return f"network of seed {seed}, fold {fold} ({self.split[fold]['name']}), {trained}"

    def check_unseen(self, seed: int, fold: int, clips: Sequence[str], known: Sequence[str]) -> None:
        """Check that the network of a fold was trained on none of some clips; arguments as for ``trained_on``.

        Raises:
            RunError: it was: what it predicts for them is no test.
        """
        for clip in clips:
            if self.trained_on(fold, clip, known):
                raise RunError(
                    f"the {self.describe_network(seed, fold, clip, known)} ({clip!r}), so its prediction is no test: "
                    "take the network of the fold that tested the clip, or allow it (allow_trained=True)."
                )

    def test_index(self, data: RoiDataset, seed: int, fold: int) -> np.ndarray:
        """Positions in ``data`` of the clips that a fold was tested on (it is over: nothing is sealed any more)."""
        table = self.predictions
        rows = table[(table["seed"] == seed) & (table["fold"] == fold)]
        position = {clip: i for i, clip in enumerate(zip(data.subjects, data.clip_ids, strict=True))}
        keys = list(zip(rows["subject"], rows["clip"], strict=True))
        unknown = next((clip for subject, clip in keys if (subject, clip) not in position), None)
        if unknown is not None:
            raise RunError(f"{self.path}: predictions.csv has the clip {shorten(unknown)}, which the data do not have.")
        return np.array([position[key] for key in keys], int)


def check_place(path: str | Path) -> None:
    """Check that a folder may become a run: new, empty, a run, or left by a command that was killed while it started.

    Raises:
        RunError: it holds other files.
    """
    path = Path(path)
    if not path.is_dir() or (path / "run.json").is_file():
        return
    other = sorted(
        p.name for p in path.iterdir() if p.name not in (*_BEFORE, *_PASSING) and not p.name.startswith(TEMPORARY)
    )
    if other:
        raise RunError(f"{path} is not empty and holds no run ({other[0]}): give an empty or a new folder.")


def _check_request(request: Record) -> Record:
    """Check the kinds of what everything else reads from ``run.json``.

    Raises:
        RunError: something is of another kind.
    """
    kinds = {
        "classes": (list, str),
        "seeds": (list, int),
        "data": (dict, str),
        "stag": (dict, str),
        "train": (dict, str),
    }
    for name, (kind, inner) in kinds.items():
        if name in request and not (
            isinstance(request[name], kind) and all(isinstance(v, inner) for v in request[name])
        ):
            raise RunError(f"{request._path} is damaged: {name} is {shorten(request[name])}.")
    for name in ("classes", "seeds", "data"):
        request[name]  # a missing key is an error
    return request


def _complete(request: dict) -> dict[str, dict]:
    """The settings of a request with the defaults of those that came later."""
    made = {"stag": StagConfig, "train": TrainConfig}
    try:
        return {part: kind.from_dict(request[part]).to_dict() for part, kind in made.items() if part in request}
    except StagkitError:
        return {}
