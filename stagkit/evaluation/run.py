"""A run on disk (its files: docs/evaluation.md): what is needed to trust it, resume it and explain it.

``run.json`` is written first; a fold is done when its predictions are written, a run when ``metrics.json`` is.
"""

from __future__ import annotations

import json
import platform
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
    resolve_inside,
    shorten,
    write_atomically,
    write_digests,
    write_json,
    write_text,
)
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets.tables import read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.evaluation.fold import FoldResult
    from stagkit.evaluation.sealed import Fold
    from stagkit.network.model import Stag

#: Raised when the layout of a run, or the network whose weights it keeps, changes.
FORMAT = 2

#: Written by a start before ``run.json``; present only while a command runs.
_BEFORE = ("config.yaml", "environment.json", "split.json")
_PASSING = (LOCK, HOLDER, "working")

#: Required columns of ``predictions.csv``, and the numeric ones.
_COLUMNS = ("seed", "fold", "dataset", "subject", "clip", "label", "prediction")
_NUMBERS = ("seed", "fold", "p_*")

#: Runs that show nothing about unseen subjects.
_NO_EVIDENCE = {
    "leaky": "is a leak demonstration (--leaky): evaluate without it for a run that counts",
    "permuted": "was trained on shuffled labels: it is a baseline",
    "stratified": "is not subject-disjoint: read it next to the groupkfold run in the folder above it",
}


class RunError(StagkitError):
    """A run folder that is missing, unfinished, damaged, or holds another run."""


class DamagedFoldWarning(StagkitWarning):
    """Folds of an interrupted run whose files are damaged: they are trained again."""


class OtherEnvironmentWarning(StagkitWarning):
    """A run is resumed with other versions than it was started with."""


class Record(dict):
    """A JSON object of a run in which a missing key raises a ``RunError``."""

    def __init__(self, values: dict, path: Path):
        super().__init__(values)
        self._path = path

    def __missing__(self, key):
        raise RunError(f"{self._path} has no {shorten(key)}: it is damaged, or another stagkit wrote it.")

    def __reduce__(self):
        return Record, (dict(self), self._path)


def read_record(path: Path, kind: type = dict):
    """Read a JSON object (or list) of a run, ``Record`` at every level."""
    return _guard(read_json(path, kind), path)


def _guard(value, path: Path):
    if isinstance(value, dict):
        return Record({k: _guard(v, path) for k, v in value.items()}, path)
    return [_guard(v, path) for v in value] if isinstance(value, list) else value


def describe_environment(device: str) -> dict[str, object]:
    """Versions that determine the numbers, and the device."""
    names = ("stagkit", "torch", "torch-geometric", "numpy", "opencv-contrib-python-headless", "captum", "scikit-learn")
    versions = dict.fromkeys(names)
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {"python": platform.python_version(), "system": platform.system(), "device": device, "versions": versions}


@dataclass(frozen=True)
class Run:
    """One evaluation on disk: ``Run.start`` makes one, ``Run.load`` opens one."""

    path: Path
    request: dict

    @classmethod
    def start(cls, path: str | Path, request: dict, folds: Sequence[Fold], data: RoiDataset, device: str) -> Run:
        """Use a folder, which the caller locks, for a run, or resume the same run; a ``RunError`` if it holds other work."""
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
            keys = {*request, *run.request} - {"data_path"}  # the same data may have moved: its digest decides
            differ = sorted(k for k in keys if run.request.get(k) != request.get(k))
            if not differ and run.split != split:
                differ = ["split.json, the clips of the folds"]
            if differ:
                names = ", ".join(differ)
                raise RunError(f"{path} holds another run (it differs in {names}): give another --out, or remove it.")
            if not run.is_finished:
                run._compare_environment(environment)
            return run
        import yaml

        settings = {k: request[k] for k in ("model", "protocol", "seeds", "stag", "train") if k in request}
        text = yaml.safe_dump(json.loads(json.dumps(settings)), sort_keys=False)
        write_text(resolve_inside(path, "config.yaml"), text)
        for name, value in (("environment", environment), ("split", split), ("run", request)):
            write_json(resolve_inside(path, f"{name}.json"), value)
        return cls(path, _guard(request, path / "run.json"))

    @classmethod
    def load(cls, path: str | Path, complete: bool = True, evidence: bool = False) -> Run:
        """Open a run; a ``RunError`` if it is missing, of another format, damaged or refused.

        Args:
            complete: refuse an unfinished run.
            evidence: refuse a run that shows nothing about unseen subjects (``check_evidence``).
        """
        path = Path(path)
        if not (path / "run.json").is_file():
            raise RunError(f"{path} holds no run: expected a folder made by 'stagkit evaluate'.")
        request = read_record(resolve_inside(path, "run.json"))
        if request.get("format") != FORMAT:
            found = shorten(request.get("format"))
            older = " (an earlier network)" if found == "1" else ""
            raise RunError(f"{path} has format {found}{older}, this stagkit reads {FORMAT}: evaluate again.")
        run = cls(path, _check_request(request))
        if complete and not run.is_finished:
            raise RunError(f"{path} is not finished: repeat the same 'stagkit evaluate', it resumes where it stopped.")
        if run.is_finished:
            for name in ("run.json", "metrics.json"):
                run.find(name)
        if evidence:
            run.check_evidence()
        return run

    def check_evidence(self) -> None:
        """Raise a ``RunError`` if the run is leaky, was trained on shuffled labels or is not subject-disjoint."""
        for key, reason in _NO_EVIDENCE.items():
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
        """Path -> digest of every file of a finished run."""
        digests = read_digests(self.path)
        if not digests:
            raise RunError(f"{self.path} is damaged: {DIGESTS} is missing; restore it from a copy, or evaluate again.")
        return digests

    def find(self, name: str) -> Path:
        """Path of a file of the run, checked against its digest."""
        stem = re.match(r"(?:folds|weights)/(seed\d+_fold\d+)", name)
        digests = self.digests if self.is_finished else self.read_fold_digests(stem[1]) if stem else {}
        return check_digest(self.path, name, digests)

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
        """``leak.json`` of a leak demonstration."""
        return read_record(self.find("leak.json"))

    @cached_property
    def split(self) -> list[Record]:
        """``split.json``: one record per fold."""
        return read_record(self.find("split.json"), list)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """``predictions.csv``: one row per clip and seed; ``p_CLASS`` are probabilities."""
        return self._read_predictions(self.find("predictions.csv"))

    def _read_predictions(self, path: Path) -> pd.DataFrame:
        table = read_table(path, numbers=_NUMBERS, required=_COLUMNS)
        classes = set(self.request["classes"])
        for name in ("label", "prediction"):
            unknown = sorted(set(table[name]) - classes)
            if unknown:
                raise RunError(f"{path} is damaged: its column {name} holds {shorten(unknown[0])}, which is no class.")
        return table

    def load_data(self) -> RoiDataset:
        """The clips of the run, from where they were; a ``RunError`` if they are gone or changed."""
        from stagkit.datasets.prepare import load_data

        meta, path = self.request["data"], self.request["data_path"]
        try:
            data = load_data(path, meta.get("mapping", ""), meta.get("frames", "all"), bool(meta.get("same_subjects")))
        except StagkitError as error:
            raise RunError(f"the data of {self.path} cannot be read any more: {error}") from error
        if data.meta["digest"] != meta["digest"]:
            raise RunError(f"the data at {path} has changed since {self.path} was made.")
        return data

    def stem(self, seed: int, fold: int) -> str:
        """Common part of the names of a fold's files."""
        return f"seed{seed}_fold{fold:03d}"

    def is_done(self, seed: int, fold: int) -> bool:
        """True if a fold's predictions are written."""
        return (self.path / "folds" / f"{self.stem(seed, fold)}.csv").is_file()

    def save_fold(self, result: FoldResult) -> str:
        """Write a finished fold and return its name: unblinding first, then weights and tables, predictions last."""
        from safetensors.torch import save

        stem, written = self.stem(result.seed, result.number), []
        path, unblinding = resolve_inside(self.path, f"folds/{stem}.json"), result.unblinding
        before = read_record(path)["unblinded_at"] if path.is_file() else []
        record = {"seed": result.seed, "fold": result.number, "name": unblinding.fold, "epoch": unblinding.epoch}
        record |= {"selected_by": unblinding.selected_by, "unblinded_at": [*before, unblinding.unblinded_at]}
        write_json(path, {**record, **result.record})

        def place(name: str) -> Path:
            written.append(name)
            return resolve_inside(self.path, name)

        if result.model is not None:
            with write_atomically(place(f"weights/{stem}.safetensors")) as aside:
                aside.write_bytes(save({k: v.contiguous() for k, v in result.model.state_dict().items()}))
        if result.aus is not None:
            write_table(place(f"folds/{stem}_au.csv"), result.aus)
        for name, arrays in result.arrays.items():
            with write_atomically(place(f"folds/{stem}_{name}.npz")) as aside:
                np.savez_compressed(aside, **arrays)
        last = f"folds/{stem}.csv"
        with write_atomically(resolve_inside(self.path, last)) as aside:
            write_table(aside, result.rows)
            files = {**compute_digests(self.path, written), last: digest_file(aside)}
            write_json(path, {**record, **result.record, "files": files})
        return unblinding.fold

    def read_fold_digests(self, stem: str) -> dict[str, str]:
        """Digests in the record of a fold; empty without a record."""
        path = resolve_inside(self.path, f"folds/{stem}.json")
        return read_record(path).get("files", {}) if path.is_file() else {}

    def drop_damaged_folds(self) -> None:
        """Forget, with a warning, finished folds whose files are damaged or missing, so that they are trained again."""
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
            message = f"{self.path}: the finished fold {dropped[0]}{more} is damaged and is trained again."
            warnings.warn(message, DamagedFoldWarning, stacklevel=3)

    def check_backend(self, backend: str, device: str) -> None:
        """Raise a ``RunError`` if finished folds were trained with another backend or device: their numbers would differ."""
        now = (backend == "stacked", device.partition(":")[0])
        for record in self.collect_records():
            before = ("stacked" in record, str(record.get("device", now[1])).partition(":")[0])
            if before != now:
                old, new = ("stacked" if stacked else "not stacked" for stacked, _ in (before, now))
                raise RunError(
                    f"{self.path} has folds that were trained {old} on {before[1]}, this command would train the rest "
                    f"{new} on {now[1]}: give the same --backend and --device as before, or another --out."
                )

    def _compare_environment(self, environment: dict) -> None:
        """Warn if versions or device differ from the last start of the run, and record them."""
        path = resolve_inside(self.path, "environment.json")
        first = read_record(path)
        resumed = list(first.get("resumed", []))
        last = resumed[-1] if resumed else {k: v for k, v in first.items() if k != "resumed"}
        if environment == last:
            return
        write_json(path, {**first, "resumed": [*resumed, environment]})
        old, new = ({**last, **last.get("versions", {})}, {**environment, **environment["versions"]})
        names = [k for k in new if k != "versions" and old.get(k) != new[k]]
        warnings.warn(
            f"{self.path} is resumed with {', '.join(f'{k} {new[k]} (before: {old.get(k)})' for k in names)}: folds of both "
            "are pooled, and environment.json lists both.",
            OtherEnvironmentWarning,
            stacklevel=3,
        )

    def load_model(self, seed: int, fold: int) -> Stag:
        """The trained network of one fold, in evaluation mode; a ``RunError`` if its weights are missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from stagkit.network.model import Stag

        if self.request["model"] != "stag":
            raise RunError(f"{self.path} is a run of {self.request['model']}: only STAG's weights are kept.")
        name = f"weights/{self.stem(seed, fold)}.safetensors"
        if not (self.path / name).exists():
            raise RunError(f"{self.path / name} is missing: run the same 'stagkit evaluate' again.")
        path = self.find(name)
        try:
            weights = load_file(path)
            side = next(value.shape[-1] for key, value in weights.items() if key.endswith("patterns"))
            model = Stag(self.stag_config, n_classes=len(self.request["classes"]), patch=side)
            model.load_state_dict(weights)
        except (SafetensorError, RuntimeError, OSError, StopIteration) as error:
            raise RunError(f"{path} is damaged or of another network: remove it and evaluate again.") from error
        bad = [key for key, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
        if bad:
            raise RunError(f"{path} holds numbers that are not finite ({bad[0]}): remove it and evaluate again.")
        return model.eval()

    def list_done(self) -> list[str]:
        """Stems of the finished folds, in the order of seeds and folds."""
        n, seeds = len(self.split), self.request["seeds"]
        return [self.stem(seed, fold) for seed in seeds for fold in range(n) if self.is_done(seed, fold)]

    def collect(self, kind: str = "") -> pd.DataFrame | None:
        """Predictions of all finished folds; ``kind="_au"``: of their action units, None if no fold has any."""
        import pandas as pd

        names = [f"folds/{stem}{kind}.csv" for stem in self.list_done()]
        paths = [self.find(name) for name in names if (self.path / name).is_file()]
        if kind:
            parts = [read_table(path, numbers=("seed", "fold", "AU*", "p_*"), required=_COLUMNS[:5]) for path in paths]
        else:
            parts = [self._read_predictions(path) for path in paths]
        return pd.concat(parts, ignore_index=True) if parts else None

    def collect_records(self) -> list[Record]:
        """The record of every finished fold: unblinding, seconds, sizes."""
        names = [f"folds/{stem}.json" for stem in self.list_done()]
        return [read_record(self.find(name)) for name in names if (self.path / name).is_file()]

    def load_epoch_predictions(self, seed: int, fold: int) -> np.ndarray:
        """Classes predicted after each epoch, int "epoch clip" (leak demonstration or comparison)."""
        name = f"folds/{self.stem(seed, fold)}_leak.npz"
        try:
            return load_arrays(self.find(name))["predictions"].astype(int)
        except (StagkitError, KeyError, ValueError) as error:
            message = f"{self.path / name} is missing or damaged: evaluate again with --leaky in a new folder."
            raise RunError(message) from error

    def finish(self, metrics: dict, tables: dict[str, pd.DataFrame]) -> None:
        """Write pooled predictions, unblindings, ``tables`` (as ``NAME.csv``), digests, and last ``metrics.json``."""
        aus = self.collect("_au")
        tables = {"predictions": self.collect(), **({} if aus is None else {"au_predictions": aus}), **tables}
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
        """Paths of the files of a run, without ``metrics.json``, ``digests.json`` and explanations."""
        for folder, *endings in (("", ".json", ".csv", ".yaml"), ("folds", ""), ("weights", "")):
            base = resolve_inside(self.path, folder)
            for path in sorted(base.iterdir()) if base.is_dir() else ():
                skipped = path.name in (*_PASSING, DIGESTS, "metrics.json") or path.name.startswith(TEMPORARY)
                if path.is_file() and not skipped and path.name.endswith(tuple(endings)):
                    yield path.relative_to(self.path).as_posix()

    def trained_on(self, fold: int, clip: str, clip_ids: Sequence[str]) -> bool:
        """Whether the networks of a fold were trained on a clip; ``clip_ids`` of all data resolve clips of the same id."""
        n_trained = self.split[fold]["train"].count(clip)
        rows = self.predictions[(self.predictions["fold"] == fold) & (self.predictions["clip"] == clip)]
        n_tested = rows["subject"].nunique()
        return n_trained + n_tested > list(clip_ids).count(clip) if n_tested else n_trained > 0

    def describe_network(self, seed: int, fold: int, clip: str, clip_ids: Sequence[str]) -> str:
        """Which network predicts a clip, and whether it was trained on it; arguments as in ``trained_on``."""
        trained = "trained on this clip" if self.trained_on(fold, clip, clip_ids) else "not trained on this clip"
        return f"network of seed {seed}, fold {fold} ({self.split[fold]['name']}), {trained}"

    def check_unseen(self, seed: int, fold: int, clips: Sequence[str], clip_ids: Sequence[str]) -> None:
        """Raise a ``RunError`` if the network of a fold was trained on any of ``clips``; arguments as in ``trained_on``."""
        for clip in clips:
            if self.trained_on(fold, clip, clip_ids):
                raise RunError(
                    f"the {self.describe_network(seed, fold, clip, clip_ids)} ({clip!r}), so its prediction is no test: "
                    "take the network of the fold that tested the clip, or allow it (allow_trained=True)."
                )

    def test_index(self, data: RoiDataset, seed: int, fold: int) -> np.ndarray:
        """Positions in ``data`` of the clips that a finished fold was tested on."""
        table = self.predictions
        rows = table[(table["seed"] == seed) & (table["fold"] == fold)]
        position = {clip: i for i, clip in enumerate(zip(data.subjects, data.clip_ids, strict=True))}
        keys = list(zip(rows["subject"], rows["clip"], strict=True))
        unknown = next((clip for subject, clip in keys if (subject, clip) not in position), None)
        if unknown is not None:
            raise RunError(f"{self.path}: predictions.csv has the clip {shorten(unknown)}, which the data do not have.")
        return np.array([position[key] for key in keys], int)


def check_place(path: str | Path, what: str = "run", kept: Sequence[str] = ("run.json",)) -> None:
    """Raise a ``RunError`` if a folder has files, but none of ``kept``, beyond what a killed start left."""
    names = {p.name for p in Path(path).iterdir()} if Path(path).is_dir() else set()
    other = sorted(n for n in names if n not in (*_BEFORE, *_PASSING) and not n.startswith(TEMPORARY))
    if other and not names & {*kept}:
        raise RunError(f"{path} is not empty and holds no {what} ({other[0]}): give an empty or a new folder.")


def _check_request(request: Record) -> Record:
    """Raise a ``RunError`` if a part of ``run.json`` is missing or of another type."""
    kinds = {"classes": (list, str), "seeds": (list, int), **dict.fromkeys(("data", "stag", "train"), (dict, str))}
    for name, (kind, inner) in kinds.items():
        if name in request or name not in ("stag", "train"):
            value = request[name]
            if not (isinstance(value, kind) and all(isinstance(v, inner) for v in value)):
                raise RunError(f"{request._path} is damaged: {name} is {shorten(value)}.")
    return request
