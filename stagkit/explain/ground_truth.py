"""Ground truth of clips, known motion of phantoms or annotated AUs, and how well the size of a map agrees with it.

A map is float "clip time roi". The truth is used for scoring only, never in training or in making the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stagkit.core.facs import AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Clip, check_axes
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.motion_decomposition import fit_sparse
from stagkit.motion.rois import sample_regions

#: A region counts as moved if its true displacement, mean over its square, exceeds this at some time, px.
MOVED_PX = 0.2
#: An AU is taken to move the regions of at least this incidence (0..1).
MAIN = 0.5
#: Two AUs are joined by a true edge if their co-activation is at least this (0..1).
JOINED = 0.5


@dataclass(frozen=True)
class GroundTruth:
    """The truth of several clips, in the axes of a map.

    Args:
        moved: bool "clip roi", regions that the muscles move; aus: bool "clip au", active action units.
        edges: bool "clip au au", co-activation of two different AUs, symmetric.
        peak_ms: float "clip", time of the largest motion, ms from the onset; NaN if unknown.
    """

    moved: np.ndarray
    aus: np.ndarray
    edges: np.ndarray
    peak_ms: np.ndarray
    clip_ids: tuple[str, ...]

    def __post_init__(self):
        check_axes(
            {"clip": len(self.clip_ids), "au": len(AU_LABELS), "other": len(AU_LABELS)},
            moved=(self.moved, "clip roi"),
            aus=(self.aus, "clip au"),
            edges=(self.edges, "clip au other"),
            peak_ms=(self.peak_ms, "clip"),
        )


def compute_ground_truth(clips: Sequence[Clip]) -> GroundTruth:
    """The truth of phantom clips; ``ExplainError`` for a clip that is no phantom."""
    moved, aus, edges, peaks = [], [], [], []
    for clip in clips:
        truth = clip.truth
        if truth is None:
            raise ExplainError(f"clip {clip.clip_id!r} has no known motion: only phantoms have; use annotated AUs.")
        squares, inside = sample_regions(truth.fields.astype(np.float32), clip.landmarks[clip.onset or 0], 5)
        motion = np.einsum("tk,knipq->tnipq", truth.au_intensity, squares)
        speed = np.linalg.norm(motion, axis=2).mean((-1, -2))  # px "time roi"
        moved.append((speed.max(0) > MOVED_PX) & inside)
        place, n_aus = [AU_NUMBERS.index(int(code[2:4])) for code in truth.codes], len(AU_LABELS)
        present, joined = np.zeros(n_aus, bool), np.zeros((n_aus, n_aus), bool)
        present[place] = True
        joined[np.ix_(place, place)] = truth.coactivation >= JOINED
        np.fill_diagonal(joined, False)
        aus.append(present)
        edges.append(joined)
        size = np.linalg.norm(truth.fields, axis=1).max((-1, -2))  # px "au"
        peaks.append(clip.times_ms[int((truth.au_intensity * size).sum(1).argmax())])
    arrays = (np.stack(moved), np.stack(aus), np.stack(edges), np.array(peaks, float))
    return GroundTruth(*arrays, tuple(c.clip_id for c in clips))


def compute_annotated_truth(aus: np.ndarray, clip_ids: Sequence[str]) -> GroundTruth:
    """Truth from annotated AUs, float "clip au" (1 present, 0 absent, NaN not coded): their main regions count as moved."""
    present = np.nan_to_num(aus) > 0
    moved = present.astype(float) @ (ATLAS.incidence >= MAIN) > 0
    edges = present[:, :, None] & present[:, None, :] & ~np.eye(len(AU_LABELS), dtype=bool)
    return GroundTruth(moved, present, edges, np.full(len(aus), np.nan), tuple(clip_ids))


def score_pointing(maps: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """Pointing game (Zhang et al. 2016, arXiv:1608.00507): 1 if the largest region of the map moved, float "clip".

    0 otherwise; NaN if no region is known to have moved.
    """
    regions = np.abs(maps.sum(1))
    hit = truth.moved[np.arange(len(maps)), regions.argmax(1)].astype(float)
    return np.where(truth.moved.any(1), hit, np.nan)


def compute_pointing_chance(truth: GroundTruth) -> np.ndarray:
    """Chance level of the pointing game: share of regions that moved, float "clip"."""
    return np.where(truth.moved.any(1), truth.moved.mean(1), np.nan)


def score_mass(maps: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """Share of the map's size, after a signed sum over time, in moved regions: float "clip", 0..1."""
    regions = np.abs(maps.sum(1))
    share = (regions * truth.moved).sum(1) / np.maximum(regions.sum(1), 1e-12)
    return np.where(truth.moved.any(1) & (regions.sum(1) > 0), share, np.nan)


def fit_aus(maps: np.ndarray) -> np.ndarray:
    """The AUs that a map names, from the places of its values alone: float "clip time au", >= 0.

    The size of the map in each frame is fitted by a sparse non-negative sum of the places that each AU moves. The motion is
    not used: with its direction, even a random map would rank the true AUs first (measured: AUROC 0.99).
    """
    parts = ATLAS.incidence.astype(float)
    return np.array([[fit_sparse(parts, np.abs(frame)) for frame in clip] for clip in maps])


def _compute_auroc(positive: np.ndarray, score: np.ndarray) -> np.ndarray:
    """AUROC per clip, NaN if one kind is missing; ``positive`` bool and ``score`` float, both "clip case"."""
    from sklearn.metrics import roc_auc_score

    mixed = positive.any(1) & ~positive.all(1)
    pairs = zip(mixed, positive, score, strict=True)
    return np.array([roc_auc_score(p, s) if ok else np.nan for ok, p, s in pairs])


def score_aus(aus: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """AUROC of the size of ``aus`` (float "clip au") for the true AUs: float "clip", NaN if all or none are true."""
    return _compute_auroc(truth.aus, np.abs(aus))


def score_edges(graph: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """AUROC of ``graph`` (float "clip au au", made symmetric) for the true AU pairs: float "clip", NaN without a pair."""
    upper = np.triu_indices(graph.shape[1], 1)
    both = (graph + graph.transpose(0, 2, 1)) / 2
    return _compute_auroc(truth.edges[:, *upper], both[:, *upper])


def score_region_edges(values: np.ndarray, index: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """AUROC of the size of ``values`` (float "clip edge") for the true region edges: float "clip", NaN without one.

    An edge is true if its AU is active and both of its ends moved. ``index``: int "edge 3" (``get_region_edges``).
    """
    au, target, source = np.asarray(index).T
    return _compute_auroc(truth.aus[:, au] & truth.moved[:, target] & truth.moved[:, source], np.abs(values))


def score_peak(maps: np.ndarray, truth: GroundTruth, times_ms: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Distance of the frame with the largest sum from the true peak: float "clip", ms; NaN if the peak is unknown."""
    size = np.where(mask.any(2), np.abs(maps.sum(2)), -np.inf)
    at = np.take_along_axis(times_ms, size.argmax(1)[:, None], 1)[:, 0]
    return np.abs(at - truth.peak_ms)
