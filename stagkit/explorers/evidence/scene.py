"""What the evidence explorer shows of a clip: sums of its attribution, its curves, its controls, in logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_LABELS
from stagkit.core.regions import ATLAS, load_mean_face
from stagkit.core.types import Attribution, Batch, StagkitError
from stagkit.explain.aggregate import ExplainError, by_au, by_muscle, by_roi, by_side, describe_clip, to_map
from stagkit.explain.attribution import METHODS, check_complete, select_clips
from stagkit.explain.evidence import Evidence, make_evidence
from stagkit.explain.motion_decomposition import MUSCLES
from stagkit.explorers.browser import shorten

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: How the bars are grouped, with the words for it.
GROUPINGS = {"region": "regions", "muscle": "muscles", "au": "action units", "side": "sides"}

#: What stands beside the map: how much the skin moves, and the map of a network whose weights are random.
CONTROLS = ("flow magnitude", "random weights")

#: Methods that can be computed on demand: those that give a map over regions and frames.
LIVE_METHODS = tuple(m for m in METHODS if m not in ("edge integrated gradients", "layer integrated gradients"))

_SIDES = ("subject's left", "midline", "subject's right")


class Shown(NamedTuple):
    """What the explorer was given or has computed: (method, target of each clip) is known by its attribution."""

    attribution: Attribution
    evidence: Evidence | None

    @property
    def method(self) -> str:
        """The method's name."""
        return self.attribution.method


def read_given(evidence: object) -> dict[str, Shown]:
    """Evidence, attributions, or a mapping or list of them, as method -> what is shown.

    Raises:
        StagkitError: something else, different clips, or an attribution that has no map.
    """
    if isinstance(evidence, Mapping):
        evidence = list(evidence.values())
    many = list(evidence) if isinstance(evidence, Sequence) else [evidence]
    out: dict[str, Shown] = {}
    for one in many:
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
        controlled = isinstance(one, Evidence) and bool(one.scores)
        out[attribution.method] = Shown(attribution, one if controlled else None)
    if not out:
        raise StagkitError("the evidence explorer was given an empty list: nothing to show.")
    first = next(iter(out.values())).attribution
    if not len(first):
        raise StagkitError("the evidence holds no clip: nothing to show.")
    for shown in out.values():
        if shown.attribution.clip_ids != first.clip_ids:
            raise StagkitError(
                "the explanations are of different clips: give those of the same clips in the same order."
            )
    return out


def compute_shown(model: Stag, batch: Batch, clip: int, method: str, target: int, seed: int = 0) -> Shown:
    """Explain one clip with its controls, by a method and for a class."""
    import torch

    from stagkit.training.train import take

    one = take(batch, torch.tensor([clip]))
    evidence = make_evidence(model, one, method, target, seed=seed)
    return Shown(evidence.attribution, evidence)


def compute_extras(model: Stag, batch: Batch, clip: int, shown: Shown, at: int, seed: int = 0) -> dict:
    """What needs the network: deletion and insertion curves in three orders, and the map of a random network.

    Args:
        clip: position in ``batch``. ``at``: position in ``shown``.

    Returns:
        ``curves``: order -> {"deletion", "insertion"}, ``share``; ``random``: float "time roi" map, logits.
    """
    import torch

    from stagkit.explain.attribution import attribute
    from stagkit.explain.faithfulness import compute_curves
    from stagkit.explain.reference_maps import compute_flow_magnitude
    from stagkit.explain.sanity_checks import CASCADE, randomise
    from stagkit.training.train import take

    one = take(batch, torch.tensor([clip]))
    attribution = select_clips(shown.attribution, [at])
    maps, target = to_map(attribution), attribution.target
    orders = {
        "map": maps,
        "flow magnitude": compute_flow_magnitude(one),
        "random": np.random.default_rng(seed).random(maps.shape),
    }
    curves = {name: compute_curves(model, one, order, target) for name, order in orders.items()}
    asked = {n: v for n, v in attribution.settings.items() if n != "n_steps_needed"} | {"search": False}
    if "n_steps" in asked:
        asked["n_steps"] = 8  # enough to compare maps
    random = attribute(randomise(model, CASCADE, seed), one, attribution.method, target, **asked)
    return {
        "share": shorten(curves["map"].share),
        "curves": {
            name: {"deletion": shorten(curve.deletion[0]), "insertion": shorten(curve.insertion[0])}
            for name, curve in curves.items()
        },
        "random": to_map(random)[0],
    }


def compute_header(shown: Shown) -> dict:
    """What the browser needs once: names, the face, where regions lie, what each AU moves."""
    attribution = shown.attribution
    return {
        "classes": list(attribution.classes),
        "clips": list(attribution.clip_ids),
        "rois": list(attribution.roi_names),
        "face": shorten(load_mean_face()[0]),
        "centres": shorten(ATLAS.mean_centres),
        "units": [
            {"label": u.label, "name": u.name, "muscles": list(u.muscles), "moves": shorten(ATLAS.incidence[k])}
            for k, u in enumerate(ACTION_UNITS.values())
        ],
        "groupings": GROUPINGS,
    }


def make_key(clip: int, method: str, target: int) -> str:
    """What names a payload."""
    return f"{clip}|{method}|{target}"


def compute_payload(shown: Shown, at: int, clip: int, extras: Mapping | None = None) -> dict:
    """What the browser needs of one clip by one method for one class; signed sums in logits.

    Args:
        at: position of the clip in ``shown``. ``clip``: its number in the explorer.
        extras: what ``compute_extras`` gave, where there is a network.
    """
    one = select_clips(shown.attribution, [at])
    target = int(one.target[0])
    head = {
        "key": make_key(clip, shown.method, target),
        "method": shown.method,
        "target": target,
        "baseline": one.baseline,
        "logit_difference": round(float(one.logit_difference[0]), 5),
        "missed": round(float(one.relative_delta[0]), 5),
    }
    try:
        check_complete(one)
    except ExplainError as error:
        return {**head, "refused": str(error)}
    seen = one.mask[0].any(1)
    maps = to_map(one)[0]
    flow = np.linalg.norm(one.flow[0], axis=-1) * one.mask[0]
    evidence = shown.evidence
    return {
        **head,
        "refused": "",
        "times": shorten(one.times_ms[0][seen], 1),
        "map": shorten(maps[seen], 5),
        "flow": shorten(flow[seen], 5),
        "random": shorten(extras["random"][seen], 5) if extras else None,
        "bars": compute_bars(one),
        "curves": extras["curves"] if extras else None,
        "share": extras["share"] if extras else None,
        "areas": _read_areas(evidence, at),
        "checks": [[v.name, bool(v.passed), v.text] for v in evidence.checks(at)] if evidence else [],
        "sentence": _describe(one),
    }


def compute_bars(one: Attribution) -> dict[str, list]:
    """Grouping -> [[name, logits], ...] of a single clip; groupings that this attribution does not have are left out."""
    makers = {
        "region": (by_roi, one.roi_names),
        "muscle": (by_muscle, MUSCLES),
        "au": (by_au, (*AU_LABELS, "none")),
        "side": (by_side, _SIDES),
    }
    out = {}
    for name, (make, names) in makers.items():
        try:
            out[name] = [[n, round(float(v), 5)] for n, v in zip(names, make(one)[0], strict=True)]
        except ExplainError:
            continue
    if not out:  # only frames were varied: what each region has of them
        out["region"] = [[n, round(float(v), 5)] for n, v in zip(one.roi_names, to_map(one)[0].sum(0), strict=True)]
    return out


def _describe(one: Attribution) -> str:
    try:
        return describe_clip(one, 0)
    except ExplainError:
        return ""


def _read_areas(evidence: Evidence | None, at: int) -> dict | None:
    """Areas under deletion and insertion of each order, logits; None where they were not measured."""
    ends = {"map": "", "flow magnitude": "_flow", "random": "_random"}
    if evidence is None or not all(
        f"{kind}{end}" in evidence.scores for kind in ("deletion", "insertion") for end in ends.values()
    ):
        return None
    return {
        name: {kind: round(float(evidence.scores[f"{kind}{end}"][at]), 4) for kind in ("deletion", "insertion")}
        for name, end in ends.items()
    }
