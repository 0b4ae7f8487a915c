"""Two clips or two classes side by side: mean activations and edges, with intervals over subjects where it is a mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from stagkit.core.types import StagkitError
from stagkit.evaluation.bootstrap import compute_mean_difference, compute_mean_map
from stagkit.explorers.au_graph.scene import Scene
from stagkit.explorers.sources import OWN_FOLD, Source


class Side(NamedTuple):
    """Mean over the clips of a class; each array starts with (mean, low, high), 95 % by bootstrap over subjects.

    ``edges`` are "3 target source" or None; a clip counts with its mean over frames. ``clips`` are the values behind
    them, "clip target source", and ``subjects`` whose they are.
    """

    name: str
    n_clips: int
    n_subjects: int
    activation: np.ndarray
    flow: np.ndarray
    edges: dict[str, np.ndarray | None]
    subjects: tuple[str, ...]
    clips: dict[str, np.ndarray | None]


def check_compare(source: Source, compare: Mapping) -> dict:
    """Check a comparison: ``{}``, ``{"clip": index or id}`` (returned as an index) or ``{"classes": [one, other]}``."""
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
                raise StagkitError(f"no clip here is of the class {name!r}: choose another one.")
        return {"classes": list(compare["classes"])}
    raise StagkitError(f"`compare` is {compare}, expected {{}}, {{'clip': id}} or {{'classes': [one, other]}}.")


def load_scene(
    source: Source, clip: int, seed: int, fold: int, quantity: str, target: int | None
) -> tuple[Scene, int, int]:
    """The scene of a clip, the clip's place in it, and the class explained: ``target``, the predicted one where None.

    Raises StagkitError if the network has no edges of this quantity.
    """
    scene, place = source.scene(clip, seed, fold)
    scene.check_quantity(quantity)
    return scene, place, int(scene.probabilities[place].argmax()) if target is None else target


def compute_side(
    source: Source, name: str, quantity: str = "weight", head: int = -1, target: int | None = None, seed: int = 0
) -> Side:
    """Mean over all clips of true class ``name``, by networks not trained on them; arguments as ``plot_au_graph``."""
    members = np.flatnonzero(source.label == source.classes.index(name))
    activation, flow, edges = [], [], {"region": [], "au": []}
    for clip in members.tolist():
        scene, place, explained = load_scene(source, clip, seed, OWN_FOLD, quantity, target)
        n = int(scene.n_frames[place])
        activation.append(scene.activation[place, :n].mean(0))
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
        np.stack(compute_mean_map(np.stack(activation), subjects)),
        np.mean(flow, 0),
        {g: None if v is None else np.stack(compute_mean_map(v, subjects)) for g, v in clips.items()},
        tuple(subjects),
        clips,
    )


def compute_difference(one: Side, other: Side, graph: str) -> np.ndarray | None:
    """Other minus one with a 95 % interval; the same subjects are drawn for both classes, since they are in both.

    Returns:
        Float "3 target source" = mean, low, high; None where a class has no such edges. The interval is NaN for fewer
        than two subjects.
    """
    if one.clips[graph] is None or other.clips[graph] is None:
        return None
    return np.stack(compute_mean_difference(one.clips[graph], other.clips[graph], one.subjects, other.subjects))
