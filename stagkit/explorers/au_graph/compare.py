"""Two clips or two classes side by side: what each side holds, with intervals over people where it is a mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from stagkit.core.types import StagkitError
from stagkit.evaluation.bootstrap import compute_mean_difference, compute_mean_map
from stagkit.explorers.au_graph.scene import SIGNED
from stagkit.explorers.sources import OWN_FOLD, Source


class Side(NamedTuple):
    """Mean over the clips of a class; each array starts with (mean, low, high), 95 % by bootstrap over subjects.

    ``edges`` are "3 target source" or None; a clip counts with its mean over frames. ``clips`` are the values behind
    them, "clip target source", and ``subjects`` whose they are.
    """

    name: str
    n_clips: int
    n_subjects: int
    evidence: np.ndarray
    flow: np.ndarray
    edges: dict[str, np.ndarray | None]
    subjects: tuple[str, ...]
    clips: dict[str, np.ndarray | None]


def check_compare(source: Source, compare: Mapping) -> dict:
    """Check what is to be compared.

    Args:
        source: the clips.
        compare: ``{}``, ``{"clip": index or id}`` or ``{"classes": [one, other]}``.

    Returns:
        The same, with the clip as an index.

    Raises:
        StagkitError: something else, a clip or class that is not there, or a class without clips.
    """
    compare = dict(compare)
    if not compare:
        return {}
    if set(compare) == {"clip"}:
        return {"clip": source.clip_index(compare["clip"])}
    if set(compare) == {"classes"} and len(compare["classes"]) == 2:
        for name in compare["classes"]:
            if name not in source.classes:
                raise StagkitError(f"there is no class {name!r}; the classes are {', '.join(source.classes)}.")
            if not (source.label == source.classes.index(name)).any():
                raise StagkitError(f"no clip here is of the class {name!r}: take another one.")
        return {"classes": list(compare["classes"])}
    raise StagkitError(f"`compare` is {compare}, expected {{}}, {{'clip': id}} or {{'classes': [one, other]}}.")


def ensure_measured(source: Source, clip: int, seed: int, fold: int, quantity: str, target: int) -> bool:
    """See to it that ``Scene.values`` has attributions or effects of a clip; False where no network is at hand."""
    scene, place = source.scene(clip, seed, fold)
    if quantity not in SIGNED or any((place, g, quantity, target) in scene.measured for g in ("region", "au")):
        return True
    found = source.measure(clip, seed, fold, target if quantity == "attribution" else 0, quantity)
    if found is None:
        return False
    for graph, field in (("region", "edges"), ("au", "au_edges")):
        values = found["cuts"].effects(field, target) if quantity == "effect" else found[graph]
        if values is not None:
            scene.measured[place, graph, quantity, target] = values[None] if values.ndim == 2 else values
    return True


def compute_side(
    source: Source, name: str, quantity: str = "weight", head: int = -1, target: int | None = None, seed: int = 0
) -> Side:
    """Mean over all clips of a class, each as the network that never saw it sees it.

    Args:
        source: the clips.
        name: true class.
        quantity, head: as for ``Scene.values``.
        target: class explained; the predicted one of each clip where None.
        seed: of the networks.

    Raises:
        StagkitError: a quantity that needs the network where there is none.
    """
    members = np.flatnonzero(source.label == source.classes.index(name))
    evidence, flow, edges = [], [], {"region": [], "au": []}
    for clip in members.tolist():
        scene, place = source.scene(clip, seed, OWN_FOLD)
        explained = int(scene.probabilities[place].argmax()) if target is None else target
        if not ensure_measured(source, clip, seed, OWN_FOLD, quantity, explained):
            raise StagkitError(f"{quantity!r} needs the network: give it as model=... beside the output.")
        n = int(scene.n_frames[place])
        evidence.append(scene.evidence[place, :n].mean(0))
        flow.append(scene.flow[place, :n].mean(0))
        for graph, found in edges.items():
            values = scene.values(place, graph, quantity, head, explained)
            found.append(None if values is None else values.mean(0))
    subjects = [source.subjects[i] for i in members]
    clips = {graph: None if any(v is None for v in found) else np.stack(found) for graph, found in edges.items()}
    return Side(
        name,
        len(members),
        len(set(subjects)),
        np.stack(compute_mean_map(np.stack(evidence), subjects)),
        np.mean(flow, 0),
        {g: None if v is None else np.stack(compute_mean_map(v, subjects)) for g, v in clips.items()},
        tuple(subjects),
        clips,
    )


def compute_difference(one: Side, other: Side, graph: str) -> np.ndarray | None:
    """Other minus one with a 95 % interval: the same people are drawn for both classes, since they are in both.

    Args:
        one, other: the classes.
        graph: ``"au"`` or ``"region"``.

    Returns:
        Float "3 target source" = mean, low, high; None where a class has no such edges. The interval is NaN for fewer
        than two subjects.
    """
    if one.clips[graph] is None or other.clips[graph] is None:
        return None
    found = compute_mean_difference(one.clips[graph], other.clips[graph], one.subjects, other.subjects)
    return np.stack(found)
