"""What is known to be true of a clip, and how well a map of it agrees: planted truth of phantoms, annotated AUs.

A map is float "clip time roi": an attribution summed over channels and pixels, or a trivial map. Its size counts, not its
sign: how much a decision rests on a region. Truth is used for scoring only, never in training or in making the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stagkit.core.facs import AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import Clip, check_axes
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.motion_decomposition import PARSIMONY

#: A region counts as moved where its planted displacement, mean over its square, exceeds this at some time, px.
MOVED_PX = 0.2
#: Two planted AUs are joined by a planted edge where they are active together at least so much (0..1).
JOINED = 0.5


@dataclass(frozen=True)
class GroundTruth:
    """The truth of several clips, in the axes of a map.

    Args:
        moved: bool "clip roi", regions that the planted muscles move.
        aus: bool "clip au", planted action units.
        edges: bool "clip au au", planted co-activation of two different AUs, symmetric.
        peak_ms: float "clip", when the planted motion is largest, ms from the onset; NaN where there is no time.
        clip_ids: names.
    """

    moved: np.ndarray
    aus: np.ndarray
    edges: np.ndarray
    peak_ms: np.ndarray
    clip_ids: tuple[str, ...]

    def __post_init__(self):
        sizes = {"clip": len(self.clip_ids), "au": len(AU_LABELS), "other": len(AU_LABELS)}
        check_axes(
            sizes,
            moved=(self.moved, "clip roi"),
            aus=(self.aus, "clip au"),
            edges=(self.edges, "clip au other"),
            peak_ms=(self.peak_ms, "clip"),
        )

    def take(self, index: Sequence[int]) -> GroundTruth:
        """Some clips."""
        index = [int(i) for i in index]
        arrays = (getattr(self, n)[index] for n in ("moved", "aus", "edges", "peak_ms"))
        return GroundTruth(*arrays, tuple(self.clip_ids[i] for i in index))


def compute_ground_truth(clips: Sequence[Clip], atlas: RoiAtlas = ATLAS) -> GroundTruth:
    """The truth of phantom clips.

    Raises:
        ExplainError: a clip without planted truth.
    """
    moved, aus, edges, peaks = [], [], [], []
    for clip in clips:
        truth = clip.truth
        if truth is None:
            raise ExplainError(f"clip {clip.clip_id!r} has no planted truth: only phantoms have; score annotated AUs.")
        squares, inside = atlas.cut(truth.fields.astype(np.float32), clip.landmarks[clip.onset or 0], 5)
        course = np.einsum("tk,knipq->tnipq", truth.au_intensity, squares)
        speed = np.linalg.norm(course, axis=2).mean((-1, -2))  # px "time roi"
        moved.append((speed.max(0) > MOVED_PX) & inside)
        place = [AU_NUMBERS.index(int(code[2:4])) for code in truth.codes]
        present = np.zeros(len(AU_LABELS), bool)
        present[place] = True
        joined = np.zeros((len(AU_LABELS),) * 2, bool)
        joined[np.ix_(place, place)] = truth.coactivation >= JOINED
        np.fill_diagonal(joined, False)
        aus.append(present)
        edges.append(joined)
        size = np.linalg.norm(truth.fields, axis=1).max((-1, -2))  # px "au"
        peaks.append(clip.times_ms[int((truth.au_intensity * size).sum(1).argmax())])
    return GroundTruth(
        np.stack(moved), np.stack(aus), np.stack(edges), np.array(peaks, float), tuple(c.clip_id for c in clips)
    )


def compute_annotated_truth(
    aus: np.ndarray, clip_ids: Sequence[str], atlas: RoiAtlas = ATLAS, least: float = 0.5
) -> GroundTruth:
    """Truth from annotated AUs: their regions count as moved. Clips without any code have no moved region.

    Args:
        aus: float "clip au", 1 annotated, 0 absent, NaN not coded.
        least: smallest incidence at which an AU is taken to move a region (its main places).
    """
    present = np.nan_to_num(aus) > 0
    moved = present.astype(float) @ (atlas.incidence >= least) > 0
    edges = present[:, :, None] & present[:, None, :] & ~np.eye(len(AU_LABELS), dtype=bool)
    return GroundTruth(moved, present, edges, np.full(len(aus), np.nan), tuple(clip_ids))


def score_pointing(maps: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """Pointing game (Zhang et al. 2016, arXiv:1608.00507) over regions: 1 where the largest lies in a moved region.

    Args:
        maps: float "clip time roi".

    Returns:
        float "clip": 1, 0, or NaN where no region is known to have moved.
    """
    regions = np.abs(maps.sum(1))
    hit = truth.moved[np.arange(len(maps)), regions.argmax(1)].astype(float)
    return np.where(truth.moved.any(1), hit, np.nan)


def compute_pointing_chance(truth: GroundTruth) -> np.ndarray:
    """Share of regions that moved: float "clip", what pointing at random would hit."""
    return np.where(truth.moved.any(1), truth.moved.mean(1), np.nan)


def score_mass(maps: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """Share of the map's size (summed over time with its sign, then taken without) in moved regions: float "clip", 0..1."""
    regions = np.abs(maps.sum(1))
    share = (regions * truth.moved).sum(1) / np.maximum(regions.sum(1), 1e-12)
    return np.where(truth.moved.any(1) & (regions.sum(1) > 0), share, np.nan)


def fit_aus(maps: np.ndarray, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """The AUs that a map names, told from the places of its values alone: float "clip time au", >= 0.

    The size of the map in each frame is written as a non-negative sum of the places that each AU moves, of few rather than
    many. The motion itself is not looked at: shared out by its direction even a random map would rank the planted AUs
    first (measured: AUROC 0.99), so such a score would say nothing of the map. AUs that move the same places (12, 14, 15,
    20) cannot be told apart this way, whatever the map.
    """
    from scipy.optimize import nnls

    n_aus = len(AU_LABELS)
    columns = np.concatenate([atlas.incidence.T.astype(float), np.full((1, n_aus), np.sqrt(PARSIMONY))])
    size = np.abs(maps).astype(float)
    out = np.zeros((*size.shape[:2], n_aus))
    for clip, time in np.ndindex(size.shape[:2]):
        if size[clip, time].any():
            out[clip, time] = nnls(columns, np.append(size[clip, time], 0.0))[0]
    return out


def score_aus(aus: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """How well the planted AUs rank above the others: AUROC of the size, float "clip" (NaN where all or none).

    Args:
        aus: float "clip au".
    """
    return np.array([compute_auroc(t, np.abs(a)) for a, t in zip(aus, truth.aus, strict=True)])


def score_au_pointing(aus: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """1 where the AU with the largest size is a planted (annotated) one: float "clip", 1, 0 or NaN where none is.

    Args:
        aus: float "clip au".
    """
    hit = truth.aus[np.arange(len(aus)), np.abs(aus).argmax(1)].astype(float)
    return np.where(truth.aus.any(1), hit, np.nan)


def join_aus(aus: np.ndarray) -> np.ndarray:
    """A graph of AUs from their course: edge = how much two of them count at the same time, sqrt|a b|, summed over time.

    Args:
        aus: float "clip time au".

    Returns:
        float "clip au au", symmetric, >= 0.
    """
    return np.einsum("ctk,ctl->ckl", *(np.sqrt(np.abs(aus)),) * 2)


def score_edges(graph: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """How well planted AU pairs rank above all others: AUROC, float "clip"; NaN where no pair was planted.

    Args:
        graph: float "clip au au"; made symmetric by its mean.
    """
    upper = np.triu_indices(graph.shape[1], 1)
    both = (graph + graph.transpose(0, 2, 1)) / 2
    return np.array([compute_auroc(t[upper], g[upper]) for g, t in zip(both, truth.edges, strict=True)])


def score_peak(maps: np.ndarray, truth: GroundTruth, times_ms: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """How far the frame with the largest sum lies from the planted peak: float "clip", ms; NaN where there is no time."""
    course = np.where(mask.any(2), np.abs(maps.sum(2)), -np.inf)
    at = np.take_along_axis(times_ms, course.argmax(1)[:, None], 1)[:, 0]
    return np.abs(at - truth.peak_ms)


def project_edges(edges: np.ndarray, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """Edges between regions as edges between the AUs that move them: float "clip target source" -> "clip au au"."""
    share = atlas.incidence / np.maximum(atlas.incidence.sum(1, keepdims=True), 1e-9)
    return np.einsum("kn,cnm,lm->ckl", share, np.abs(edges), share)


def compute_auroc(positive: np.ndarray, score: np.ndarray) -> float:
    """Chance that a positive ranks above a negative, ties half: NaN where one kind is missing."""
    from scipy.stats import rankdata

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = rankdata(score)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
