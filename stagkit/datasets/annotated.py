"""Coded data sets as a source of clips: the same class for every set, told by its ``Layout``. A clip is onset to offset."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from copy import copy
from pathlib import Path

from stagkit.core.errors import StagkitWarning
from stagkit.core.files import compute_digest
from stagkit.core.types import Clip
from stagkit.datasets import Clips, DatasetNotAvailable
from stagkit.datasets.index import load_index
from stagkit.datasets.layout import Layout
from stagkit.datasets.stamps import stamp_files
from stagkit.motion.frames import has_exif_rotation
from stagkit.motion.landmarks import load_landmarks
from stagkit.motion.stream import read_frames


class AnnotatedDataset:
    """The usable clips of a coded data set; what is left out is told in one warning and kept in ``describe``.

    Raises:
        DatasetNotAvailable: not there, or fewer than half of its clips can be used.
    """

    def __init__(self, layout: Layout, root: str | Path, annotations: str | Sequence[str] = ""):
        index = load_index(layout, root, annotations)
        card = layout.card
        self.name = f"{card.name}-phantom" if index.phantom else card.name
        remedy = f"'stagkit check-data {card.name} ROOT' lists them"
        if not index.usable:
            key, why = next(iter(index.skipped.items()), (card.title, "the annotation file names no clip"))
            raise DatasetNotAvailable(
                f"{card.title} at {root}: {len(index.skipped)} of {len(index.rows)} clips cannot be used, the first is "
                f"{key}: {why}; expected {'; '.join(card.tree)}; {remedy}. It is granted by {card.provider}."
            )
        self.skipped = index.skipped
        if index.issues:
            key, text = index.issues[0]
            warnings.warn(
                f"{card.title}: {len(index.issues)} things in annotations or folders are odd, the first: "
                f"{f'{key}: ' if key else ''}{text}; {remedy}.",
                StagkitWarning,
                stacklevel=3,
            )
        if index.skipped:
            key, why = next(iter(index.skipped.items()))
            warnings.warn(
                f"{card.title}: {len(index.skipped)} of {len(index.rows)} clips are left out, the first is {key}: "
                f"{why}; {remedy}.",
                StagkitWarning,
                stacklevel=3,
            )
        self.keys = tuple(index.records)
        self.classes = tuple(sorted({record.label for record in index.records.values()}))
        self._records = Clips(index.records, index.skipped)
        self._root = Path(root)
        self._about = {
            "source": self.name,
            "name": self.name,
            "digest": compute_digest(
                *(
                    repr(
                        (
                            r.clip_id,
                            r.subject,
                            r.label,
                            r.frame_numbers,
                            r.onset,
                            r.apex,
                            r.offset,
                            r.fps,
                            r.aus,
                            r.part,
                        )
                    ).encode()
                    for r in index.records.values()
                ),
                *(digest.encode() for digest in index.annotation_files.values()),
            ),
            "annotation_files": index.annotation_files,
            "frames_from": index.base,
            "corrections": list(index.corrections),
            "skipped": index.skipped,
            "issues": [f"{key}: {text}" if key else text for key, text in index.issues],
            "labels": dict(Counter(record.label for record in index.records.values())),
        }

    def describe(self) -> dict[str, object]:
        """Sheets and their digests, what was corrected, what was left out and why."""
        return self._about

    def only(self, key: str) -> AnnotatedDataset:
        """The source of one clip alone: light enough to be handed to another process."""
        one = copy(self)
        one.keys, one._records = (key,), {key: self._records[key]}
        return one

    def stamp(self, key: str, contents: bool = False) -> str:
        """Digest of what the clip is read from: its row, and size and time (or content) of each of its files."""
        r = self._records[key]
        about = (r.subject, r.label, r.fps, r.onset, r.apex, r.offset, r.aus, r.part)
        paths = [*r.frame_paths, *([r.landmarks] if r.landmarks else [])]
        return stamp_files(paths, self._root, contents, repr(about))

    def find_issues(self, key: str) -> list[str]:
        """What is odd about one clip's pictures, a sentence each; they are not decoded."""
        turned = has_exif_rotation(self._records[key].frame_paths)
        return ["its pictures carry an EXIF rotation, which is applied"] if turned else []

    #: ``read`` can align frame by frame, so that few frames of real size are in memory at once.
    aligns = True

    def read(self, key: str, size: int = 0, landmarker: str = "") -> Clip:
        """Read the pictures of one clip; aligned to a square of ``size`` px where it is not 0 (``stream.read_frames``).

        Raises:
            StagkitError: a damaged picture or landmark file.
        """
        record = self._records[key]
        paths = record.frame_paths
        stored = load_landmarks(record.landmarks, len(paths), key) if record.landmarks else None
        frames, landmarks = read_frames(paths, key, stored, record.position("onset"), size, landmarker)
        return Clip(
            frames=frames,
            fps=record.fps,
            clip_id=key,
            subject=record.subject,
            dataset=record.dataset,
            label=record.label,
            landmarks=landmarks,
            **{name: record.position(name) for name in ("onset", "apex", "offset")},
            aus=record.aus,
            part=record.part,
        )
