"""What the evidence explorer shows of a clip: sums of its attribution, deletion curves, controls; in logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_LABELS
from stagkit.core.regions import ATLAS, load_mean_face
from stagkit.core.types import Batch, StagkitError
from stagkit.explain.aggregate import (
    Attribution,
    ExplainError,
    by_au,
    by_muscle,
    by_roi,
    by_side,
    describe_clip,
    to_map,
)
from stagkit.explain.attribution import check_complete, select_clips
from stagkit.explain.evidence import Evidence, make_evidence
from stagkit.explain.methods import METHODS
from stagkit.explain.motion_decomposition import MUSCLES
from stagkit.explorers.browser import shorten

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: How the bars are grouped, with the words for it.
GROUPINGS = {"region": "regions", "muscle": "muscles", "au": "action units", "side": "sides"}

#: The second map: how much the skin moves, or the map of a network with random weights.
CONTROLS = ("flow magnitude", "random weights")

#: Methods that can be computed on demand: those that give a map over regions and frames.
LIVE_METHODS = tuple(m for m in METHODS if m not in ("edge integrated gradients", "layer integrated gradients"))


class Explained(NamedTuple):
    """The attribution of a single clip, and its evidence if controls were run."""

    one: Attribution
    evidence: Evidence | None


def make_key(clip: int, method: str, target: int) -> str:
    """Name of a payload."""
    return f"{clip}|{method}|{target}"


class Explanations:
    """Given explanations of the same clips by method, and the network that computes others on demand.

    Args:
        evidence: ``Evidence``, ``Attribution``, or a mapping or list of them.
        model, batch: the network and the clips, or None.

    Raises:
        StagkitError: something else, different clips, an attribution without a map, a network without its clips.
    """

    def __init__(self, evidence: object, model: Stag | None = None, batch: Batch | None = None):
        if isinstance(evidence, Mapping):
            evidence = list(evidence.values())
        self.model, self.batch = model, batch
        self.by_method: dict[str, tuple[Attribution, Evidence | None]] = {}
        for one in list(evidence) if isinstance(evidence, Sequence) else [evidence]:
            if not isinstance(one, (Evidence, Attribution)):
                raise StagkitError(
                    f"the evidence explorer was given a {type(one).__name__}, expected an Evidence (make_evidence, "
                    "load_evidence) or an Attribution, or several in a list."
                )
            attribution = one.attribution if isinstance(one, Evidence) else one
            if "target" in attribution.axes.split():
                raise StagkitError(
                    f"{attribution.method} varies edges, so it has no regions and frames to draw: open view_au_graph with "
                    "quantity='attribution'."
                )
            to_map(attribution)
            self.by_method[attribution.method] = attribution, one if isinstance(one, Evidence) and one.scores else None
        if not self.by_method:
            raise StagkitError("the evidence explorer was given an empty list: nothing to show.")
        self.first = next(iter(self.by_method.values()))[0]
        self.clip_ids, self.classes = self.first.clip_ids, self.first.classes
        self.targets = self.first.target.tolist()
        if not self.clip_ids:
            raise StagkitError("the evidence holds no clip: nothing to show.")
        if any(attribution.clip_ids != self.clip_ids for attribution, _ in self.by_method.values()):
            raise StagkitError(
                "the explanations are of different clips: give those of the same clips in the same order."
            )
        if (model is None) != (batch is None):
            raise StagkitError(
                "`model` and `batch` belong together: give both (the network and its clips), or neither."
            )
        if batch is not None and tuple(batch.clip_ids) != tuple(self.clip_ids):
            raise StagkitError(
                f"`batch` holds other clips ({len(batch.clip_ids)}, first {batch.clip_ids[0]!r}) than the evidence "
                f"({len(self.clip_ids)}, first {self.clip_ids[0]!r}): give the batch that was explained."
            )

    def get(self, clip: int, method: str) -> Explained:
        """A given explanation."""
        attribution, evidence = self.by_method[method]
        return Explained(select_clips(attribution, [clip]), evidence.select([clip]) if evidence else None)

    def find(self, clip: int, method: str, target: int) -> Explained:
        """The explanation of a clip by a method for a class: as given, or computed with its controls.

        Raises:
            StagkitError: it was not given and there is no network.
        """
        if method in self.by_method and int(self.by_method[method][0].target[clip]) == target:
            return self.get(clip, method)
        if self.model is None:
            raise StagkitError(
                f"{method} for {self.classes[target]} was not computed for {self.clip_ids[clip]!r}, and there is no network "
                "to compute it: give model=... and batch=... too."
            )
        evidence = make_evidence(self.model, self._take(clip), method, target, seed=0)
        return Explained(evidence.attribution, evidence)

    def _take(self, clip: int) -> Batch:
        import torch

        return self.batch.select(torch.tensor([clip]))

    def compute_extras(self, clip: int, explained: Explained, seed: int = 0) -> dict | None:
        """Deletion and insertion curves in three orders, and the map of a random network; None without a network.

        Returns:
            ``curves``: order -> {"deletion", "insertion"}, ``share``; ``random``: float "time roi" map, logits.
        """
        if self.model is None:
            return None
        from stagkit.explain.attribution import attribute
        from stagkit.explain.faithfulness import compute_curves
        from stagkit.explain.reference_maps import compute_flow_magnitude
        from stagkit.explain.sanity_checks import CASCADE, randomise

        batch, attribution = self._take(clip), explained.one
        maps, target = to_map(attribution), attribution.target
        orders = {
            "map": maps,
            "flow magnitude": compute_flow_magnitude(batch),
            "random": np.random.default_rng(seed).random(maps.shape),
        }
        curves = {name: compute_curves(self.model, batch, order, target) for name, order in orders.items()}
        settings = {n: v for n, v in attribution.settings.items() if n != "n_steps_needed"} | {"search": False}
        if "n_steps" in settings:
            settings["n_steps"] = 8  # enough to compare maps
        random = attribute(randomise(self.model, CASCADE, seed), batch, attribution.method, target, **settings)
        return {
            "share": shorten(curves["map"].share),
            "curves": {
                name: {"deletion": shorten(curve.deletion[0]), "insertion": shorten(curve.insertion[0])}
                for name, curve in curves.items()
            },
            "random": to_map(random)[0],
        }

    def make_header(self) -> dict:
        """What the browser needs once: names, the face, region positions, what each AU moves."""
        return {
            "classes": list(self.classes),
            "clips": list(self.clip_ids),
            "rois": list(self.first.roi_names),
            "face": shorten(load_mean_face()[0]),
            "centres": shorten(ATLAS.mean_centres),
            "aus": [
                {"label": u.label, "name": u.name, "muscles": list(u.muscles), "moves": shorten(ATLAS.incidence[k])}
                for k, u in enumerate(ACTION_UNITS.values())
            ],
            "groupings": GROUPINGS,
        }


def compute_payload(explained: Explained, clip: int, extras: Mapping | None = None) -> dict:
    """What the browser needs of one clip by one method for one class; signed sums in logits.

    Args:
        explained: the explanation.
        clip: its number in the explorer.
        extras: from ``compute_extras``.
    """
    one, evidence = explained
    target = int(one.target[0])
    head = {
        "key": make_key(clip, one.method, target),
        "method": one.method,
        "target": target,
        "baseline": one.baseline,
        "logit_difference": round(float(one.logit_difference[0]), 5),
        "missed": round(float(one.relative_delta[0]), 5),
    }
    try:
        check_complete(one)
    except ExplainError as error:
        return {**head, "refused": str(error)}
    try:
        sentence = describe_clip(one, 0)
    except ExplainError:
        sentence = ""
    visible = one.mask[0].any(1)
    flow = np.linalg.norm(one.flow[0], axis=-1) * one.mask[0]
    return {
        **head,
        "refused": "",
        "times": shorten(one.times_ms[0][visible], 1),
        "map": shorten(to_map(one)[0][visible], 5),
        "flow": shorten(flow[visible], 5),
        "random": shorten(extras["random"][visible], 5) if extras else None,
        "bars": _compute_bars(one),
        "curves": extras["curves"] if extras else None,
        "share": extras["share"] if extras else None,
        "areas": _read_areas(evidence),
        "checks": [[v.name, bool(v.passed), v.text] for v in evidence.checks(0)] if evidence else [],
        "sentence": sentence,
    }


def _compute_bars(one: Attribution) -> dict[str, list]:
    """Grouping -> [[name, logits], ...] of a single clip; groupings that this attribution does not have are left out."""
    sums = {
        "region": (by_roi, one.roi_names),
        "muscle": (by_muscle, MUSCLES),
        "au": (by_au, (*AU_LABELS, "none")),
        "side": (by_side, ("subject's left", "midline", "subject's right")),
    }
    out = {}
    for name, (compute, names) in sums.items():
        try:
            out[name] = [[n, round(float(v), 5)] for n, v in zip(names, compute(one)[0], strict=True)]
        except ExplainError:
            continue
    if not out:  # only frames were varied: the part of each region
        out["region"] = [[n, round(float(v), 5)] for n, v in zip(one.roi_names, to_map(one)[0].sum(0), strict=True)]
    return out


def _read_areas(evidence: Evidence | None) -> dict | None:
    """Areas under deletion and insertion of each order, logits; None where they were not measured."""
    keys = {
        name: {kind: f"{kind}{end}" for kind in ("deletion", "insertion")}
        for name, end in {"map": "", "flow magnitude": "_flow", "random": "_random"}.items()
    }
    if evidence is None or not {key for kinds in keys.values() for key in kinds.values()} <= set(evidence.scores):
        return None
    return {
        name: {kind: round(float(evidence.scores[key][0]), 4) for kind, key in kinds.items()}
        for name, kinds in keys.items()
    }
