"""Attributions of a logit to regions, muscles, action units, frames and edges, with what they miss; sums: ``aggregate``.

An attribution describes the network, not the subject. It is complete if its values sum to the logit of the clip minus the
logit of the same face without motion; whether it is faithful, ``evidence`` measures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from stagkit.core.config import StagConfig
from stagkit.core.files import check_digest, load_arrays, read_digests, write_atomically
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagkitError
from stagkit.explain import methods
from stagkit.explain.aggregate import MAX_DELTA, Attribution, ExplainError
from stagkit.explain.exact_terms import get_region_edges, name_region_edges
from stagkit.network.model import Stag

#: Clips that are not complete are tried again with this many times the steps.
FACTORS = (4, 16)

_VALUES = ("values", "target", "logit_difference", "convergence_delta")
_ARRAYS = (*_VALUES, "times_ms", "mask", "flow")
_NAMES = ("inputs", "clip_ids", "classes", "roi_names", "edge_names")
_TEXTS = ("method", "settings", "baseline", "run", "axes")


def choose_method(config: StagConfig | None) -> str:
    """The method used if none is named: ``exact terms`` where the logits are a sum of terms, else integrated gradients."""
    return "exact terms" if config is not None and config.head == "graph" else "integrated gradients"


def attribute(
    model: Stag,
    batch: Batch,
    method: str | None = None,
    target: Sequence[int] | int | None = None,
    n_steps: int = 32,
    run: str = "",
    groups: str = "roi",
    layer: str = "region tokens",
    n_samples: int = 25,
    seed: int = 0,
    search: bool = True,
) -> Attribution:
    """Attribute a logit of each clip to what was varied: region edges, its motion, groups of it, or tokens.

    The baseline is zero flow, 'no motion', with the same regions visible at the same times: for exact terms that is the
    network without region edges. No hook or gradient is left behind, even after an error.

    Args:
        model: in evaluation mode.
        method: one of ``methods.METHODS``, by default ``choose_method``'s. Exact terms are exact; integrated gradients and
            Shapley sampling are complete.
        target: class explained, for all or for each clip; the predicted class if None.
        n_steps: points on the path from no motion to the clip (integrated gradients of any kind).
        run: name of the run whose weights these are.
        groups: one of ``methods.GROUPS``, what feature ablation and Shapley sampling set to zero together.
        layer: one of ``methods.LAYERS``, whose output layer integrated gradients vary.
        n_samples, seed: random points (gradient shap) or random orders (Shapley sampling), and their seed.
        search: if a clip is not complete, find a sufficient number of steps.

    Returns:
        ``Attribution`` in logits, zero where the mask is False. If the sum misses more than ``MAX_DELTA`` of a logit
        difference, ``settings["n_steps_needed"]`` is a sufficient number (None: not found).

    Raises:
        ExplainError: an unknown method, group, layer or class, a network in training mode or without the part asked for.
    """
    method = (method or choose_method(getattr(model, "config", None))).replace("_", " ")
    for name, value, known in (
        ("method", method, methods.METHODS),
        ("groups", groups, methods.GROUPS),
        ("layer", layer, methods.LAYERS),
    ):
        if value not in known:
            raise ExplainError(f"there is no {name} {value!r}; expected one of {', '.join(known)}.")
    if model.training:
        raise ExplainError("the network is in training mode, where dropout makes it random: call model.eval().")
    if method == "layer integrated gradients" and layer == "frame tokens" and model.frame_tokens is None:
        raise ExplainError("this network has no frame tokens (branches='graph'): take layer='region tokens'.")
    x = (batch.x * batch.mask[..., None, None, None]).detach()
    with torch.no_grad():
        chosen = methods.choose_target(target, model.logits(x, batch.mask, batch.times_ms))
    inputs = methods.Inputs(x, batch.mask, batch.times_ms, chosen)
    function, reads = methods.METHODS[method]
    asked = {"n_steps": n_steps, "groups": groups, "layer": layer, "n_samples": n_samples, "seed": seed}
    settings = {name: asked[name] for name in reads}
    with methods.frozen(model):
        size = methods.probe_batch_size(model.logits, x[:1], batch.mask[:1], batch.times_ms[:1])
        if method == "gradient shap":
            size = max(1, size // n_samples)
        starts = range(0, len(x), size)
        parts = [function(model, inputs.select(slice(s, s + size)), {**asked, "batch_size": size}) for s in starts]
    values = torch.cat([part.values.detach() for part in parts])
    difference = torch.cat([part.at_clip - part.at_baseline for part in parts])
    attribution = Attribution(
        values=values.cpu().numpy().astype(np.float32),
        inputs=(parts[0].varied,),
        method=method,
        settings=settings,
        target=chosen.cpu().numpy(),
        baseline=parts[0].baseline,
        logit_difference=difference.cpu().numpy(),
        convergence_delta=(values.double().flatten(1).sum(1) - difference.double()).cpu().numpy(),
        clip_ids=batch.clip_ids,
        classes=batch.classes,
        roi_names=getattr(model, "roi_names", ATLAS.names),
        times_ms=batch.times_ms.cpu().numpy(),
        mask=batch.mask.cpu().numpy(),
        flow=x.mean((-1, -2))[..., :2].cpu().numpy(),
        run=run,
        axes=parts[0].axes,
        edge_names=name_region_edges(get_region_edges(model)) if parts[0].axes.endswith("edge") else (),
    )
    worst = int(attribution.relative_delta.argmax())
    if search and "n_steps" in reads and attribution.relative_delta[worst] > MAX_DELTA:
        one, at = batch.select(torch.tensor([worst])), chosen[worst : worst + 1]
        tries = (attribute(model, one, method, at, n_steps * f, layer=layer, search=False) for f in FACTORS)
        needed = next((t.settings["n_steps"] for t in tries if t.relative_delta[0] <= MAX_DELTA), None)
        attribution = replace(attribution, settings={**settings, "n_steps_needed": needed})
    return attribution


def attribute_completely(
    model: Stag, batch: Batch, n_steps: int = 32, run: str = "", method: str | None = None
) -> Attribution:
    """Attribution of the predicted classes; clips that are not complete are repeated with ``FACTORS`` times the steps."""
    done = attribute(model, batch, method, n_steps=n_steps, run=run, search=False)
    for factor in FACTORS:
        missing = np.flatnonzero(done.relative_delta > MAX_DELTA)
        if not len(missing) or "n_steps" not in done.settings:
            break
        part = batch.select(torch.from_numpy(missing))
        better = attribute(model, part, method, n_steps=factor * n_steps, run=run, search=False)
        arrays = {name: getattr(done, name).copy() for name in _VALUES}
        for name, values in arrays.items():
            values[missing] = getattr(better, name)
        done = replace(done, **arrays)
    return done


def check_complete(attribution: Attribution) -> None:
    """Raise an ``ExplainError`` with the remedy if a clip's values miss more than ``MAX_DELTA`` of its logit difference."""
    worst = int(attribution.relative_delta.argmax())
    miss = attribution.relative_delta[worst]
    if miss <= MAX_DELTA:
        return
    steps, needed = attribution.settings.get("n_steps"), attribution.settings.get("n_steps_needed", -1)
    if not steps:
        remedy = "use exact terms or integrated gradients, which are complete"
    elif needed is None:
        remedy = f"{FACTORS[-1] * int(steps)} steps do not suffice, it is too close to zero: explain another class"
    else:
        remedy = f"n_steps={needed} does" if needed > 0 else f"try n_steps={FACTORS[0] * int(steps)}"
    raise ExplainError(
        f"the attribution of clip {attribution.clip_ids[worst]!r} misses {miss:.0%} of its logit difference "
        f"({attribution.logit_difference[worst]:+.3f}), more than {MAX_DELTA:.0%}: {remedy}."
    )


def select_clips(attribution: Attribution, index: Sequence[int]) -> Attribution:
    """Some clips of an attribution."""
    index = [int(i) for i in index]
    arrays = {name: getattr(attribution, name)[index] for name in _ARRAYS}
    return replace(attribution, **arrays, clip_ids=tuple(attribution.clip_ids[i] for i in index))


def join_attributions(parts: Sequence[Attribution]) -> Attribution:
    """Attributions of different clips by the same method, one after another."""
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    return replace(parts[0], **arrays, clip_ids=tuple(c for part in parts for c in part.clip_ids))


def save_attribution(attribution: Attribution, path: str | Path) -> None:
    """Write an attribution as an ``.npz`` of plain arrays."""
    texts = {name: getattr(attribution, name) for name in _TEXTS}
    with write_atomically(path) as aside:
        np.savez_compressed(
            aside,
            **{name: getattr(attribution, name) for name in _ARRAYS},
            **{name: np.array(getattr(attribution, name), str) for name in _NAMES},
            text=json.dumps(texts, ensure_ascii=False),
        )


def load_attribution(path: str | Path) -> Attribution:
    """Read what ``save_attribution`` wrote; ``ExplainError`` if it is missing or damaged."""
    path = Path(path)
    if not path.is_file():
        raise ExplainError(f"there is no file {path}: run 'stagkit explain' first.")
    try:
        file = load_arrays(check_digest(path.parent, path.name, read_digests(path.parent)))
        names = {name: tuple(str(v) for v in file[name]) for name in _NAMES}
        return Attribution(**{name: file[name] for name in _ARRAYS}, **names, **json.loads(str(file["text"])))
    except (StagkitError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExplainError(f"{path} is damaged: run 'stagkit explain' again.") from error
