"""Clips in files on disk as a source: annotated data sets, each described by its ``Layout``, and the base of manifests."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np

from stagkit.core.errors import StagkitWarning
from stagkit.core.files import compute_digest, digest_file
from stagkit.core.types import Clip, StagkitError
from stagkit.datasets import Clips, ClipSource, DatasetNotAvailable
from stagkit.datasets.index import ClipRecord, Layout, load_index
from stagkit.motion.frames import has_exif_rotation, read_frames
from stagkit.motion.landmarks import load_landmarks


class FileSource(ClipSource):
    """A source whose clips are images on disk below ``root``."""

    root: Path

    def get_record(self, key: str) -> ClipRecord:
        """Files and annotations of a clip; ``StagkitError`` if there is no such clip, or it cannot be used."""
        raise NotImplementedError

    def load_landmarks(self, record: ClipRecord) -> np.ndarray | None:
        """Stored landmarks of a clip, float "time 68 2" px; None if there are none."""
        path = record.landmarks
        return load_landmarks(path, len(record.frame_paths), record.clip_id) if path else None

    def read(self, key: str) -> Clip:
        """Read the images of one clip."""
        return self._read(key, 0, "")

    def read_aligned(self, key: str, size: int = 0, landmarker: str = "") -> Clip:
        """As ``ClipSource.read_aligned``, frame by frame, so that few full-size frames are in memory (``read_frames``)."""
        return self._read(key, size, landmarker) if size else super().read_aligned(key, size, landmarker)

    def _read(self, key: str, size: int, landmarker: str) -> Clip:
        record = self.get_record(key)
        moments = {name: record.position(name) for name in ("onset", "apex", "offset")}
        stored = self.load_landmarks(record)
        frames, landmarks = read_frames(record.frame_paths, key, stored, moments["onset"], size, landmarker)
        return Clip(
            frames=frames,
            fps=record.fps,
            clip_id=key,
            subject=record.subject,
            dataset=record.dataset,
            label=record.label,
            landmarks=landmarks,
            **moments,
            aus=record.aus,
            part=record.part,
        )

    def compute_input_digest(self, key: str, contents: bool = False) -> str:
        """Digest of a clip's annotations, and of size and time (or content) of each of its files."""
        r = self.get_record(key)
        parts = [repr((r.subject, r.label, r.fps, r.onset, r.apex, r.offset, r.aus, r.part))]
        for path in (*r.frame_paths, *([r.landmarks] if r.landmarks else [])):
            try:
                state = os.stat(path)
            except OSError as error:
                raise StagkitError(f"{path} cannot be read: {error.strerror}.") from error
            version = digest_file(path) if contents else str(state.st_mtime_ns)
            parts.append(f"{os.path.relpath(path, self.root)} {state.st_size} {version}")
        return compute_digest(*(part.encode("utf-8", "surrogatepass") for part in parts))

    def find_issues(self, key: str) -> list[str]:
        """Irregularities of one clip's images, a sentence each; they are not decoded."""
        rotated = has_exif_rotation(self.get_record(key).frame_paths)
        return ["its images carry an EXIF rotation, which is applied"] if rotated else []


class AnnotatedDataset(FileSource):
    """The usable clips of an annotated data set, each from onset to offset; skipped ones are warned of once.

    Raises:
        DatasetNotAvailable: not there, or fewer than half of its clips can be used.
    """

    def __init__(self, layout: Layout, root: str | Path, annotations: str | Sequence[str] = ""):
        index, card = load_index(layout, root, annotations), layout.card
        self.root, self.skipped = Path(root), index.skipped
        self.name = f"{card.name}-phantom" if index.phantom else card.name
        remedy = f"'stagkit check-data {card.name} ROOT' lists them"
        issues = [f"{key}: {text}" if key else text for key, text in index.issues]
        key, why = next(iter(index.skipped.items()), (card.title, "the annotation file names no clip"))
        skipped = f"{len(index.skipped)} of {len(index.rows)} clips"
        if not index.usable:
            raise DatasetNotAvailable(
                f"{card.title} at {root}: {skipped} cannot be used, the first is {key}: {why}; expected "
                f"{'; '.join(card.tree)}; {remedy}. It is provided by {card.provider}."
            )
        texts = [f"{len(issues)} issue(s), the first: {issues[0]}"] if issues else []
        texts += [f"{skipped} are skipped, the first is {key}: {why}"] if index.skipped else []
        for text in texts:
            warnings.warn(f"{card.title}: {text}; {remedy}.", StagkitWarning, stacklevel=3)
        self.keys = tuple(index.records)
        self.classes = tuple(sorted({record.label for record in index.records.values()}))
        self._records = Clips(index.records, index.skipped)
        about = [
            (r.clip_id, r.subject, r.label, r.frame_numbers, r.onset, r.apex, r.offset, r.fps, r.aus, r.part)
            for r in index.records.values()
        ]
        digests = [*map(repr, about), *index.annotation_files.values()]
        self._description = {
            "source": self.name,
            "name": self.name,
            "digest": compute_digest(*(text.encode() for text in digests)),
            "annotation_files": index.annotation_files,
            "frames_from": index.base,
            "corrections": list(index.corrections),
            "skipped": index.skipped,
            "issues": issues,
            "labels": dict(Counter(record.label for record in index.records.values())),
        }

    def describe(self) -> dict[str, object]:
        """Annotation files with digests, corrections, skipped clips with reasons, and issues."""
        return self._description

    def get_record(self, key: str) -> ClipRecord:
        """Files and annotations of a clip."""
        return self._records[key]

    def only(self, key: str) -> AnnotatedDataset:
        """The source of one clip alone, small enough to be sent to another process."""
        one = copy(self)
        one.keys, one._records = (key,), {key: self._records[key]}
        return one
