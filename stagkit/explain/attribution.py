"""Which regions, muscles, action units, frames and edges a decision rests on: attributions in logits, with what they miss.

One verb, ``attribute``; the sums of what it gives are in ``sums``, and can be had from here too. An attribution is a claim
about the network, not about the person. It is complete when its values sum to the difference between the logit of the clip
and the logit of the same face without motion; how far it misses is stored with it. Whether it is true is another question:
``evidence``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.files import Progress, check_digest, load_arrays, no_progress, read_digests, write_atomically
from stagkit.core.regions import ATLAS
from stagkit.core.types import MAX_DELTA, Attribution, Batch, StagkitError
from stagkit.explain.aggregate import (
    ExplainError,
    by_au,
    by_edge,
    by_frame,
    by_muscle,
    by_roi,
    by_roi_and_frame,
    by_side,
    by_sided_au,
    by_sided_au_and_frame,
    describe_clip,
    tabulate,
    to_map,
)

if TYPE_CHECKING:
    from stagkit.evaluation.run import Run
    from stagkit.network.model import Stag

__all__ = [
    "GROUPS",
    "LAYERS",
    "METHODS",
    "ExplainError",
    "attribute",
    "by_au",
    "by_edge",
    "by_frame",
    "by_muscle",
    "by_roi",
    "by_roi_and_frame",
    "by_side",
    "by_sided_au",
    "by_sided_au_and_frame",
    "check_complete",
    "choose_target",
    "compute_fold_attribution",
    "compute_run_attribution",
    "describe_clip",
    "find_steps",
    "join_attributions",
    "load_attribution",
    "save_attribution",
    "select_clips",
    "tabulate",
    "to_map",
]

#: Names that ``attribute`` takes; underscores may stand for blanks.
METHODS = (
    "integrated gradients",
    "gradient x input",
    "gradient shap",
    "feature ablation",
    "shapley sampling",
    "layer integrated gradients",
    "edge integrated gradients",
)
GROUPS = ("roi", "frame", "au", "roi x frame")
LAYERS = ("region tokens", "frame tokens", "au evidence")

#: How many times the steps asked for are tried at most when they do not suffice.
_MOST = 16

_ARRAYS = ("values", "target", "logit_difference", "convergence_delta", "times_ms", "mask", "flow")


def attribute(
    model: Stag,
    batch: Batch,
    method: str = "integrated gradients",
    target: Sequence[int] | int | None = None,
    n_steps: int = 32,
    run: str = "",
    groups: str = "roi",
    layer: str = "region tokens",
    n_samples: int = 25,
    seed: int = 0,
    search: bool = True,
) -> Attribution:
    """Attribute a logit of each clip to what was varied: its motion, groups of it, tokens, or edges.

    The baseline is zero flow, 'no motion', with the same regions present at the same times. How many clips or points on
    the path are held in memory at once is found by a probe of one clip; no hook and no gradient is left behind, after an
    error neither.

    Args:
        model: in evaluation mode.
        method: one of ``METHODS``; see ``captum_methods`` for what each does and its source. Integrated gradients and
            Shapley sampling are complete; of the others the delta says how far off they are.
        target: class explained, for all or for each clip; the predicted class where None.
        n_steps: points on the path from no motion to the clip (integrated gradients, of any kind).
        run: name of the run whose weights these are.
        groups: what is stilled together by feature ablation and Shapley sampling, one of ``GROUPS``.
        layer: whose output layer integrated gradients vary, one of ``LAYERS``.
        n_samples: random points (gradient shap) or random orders (Shapley sampling).
        seed: of those.
        search: where a clip is not complete, find the number of steps that would do.

    Returns:
        ``Attribution`` in logits; its ``axes`` say what was varied. Zero where the mask is False. Where the sum misses
        more than ``MAX_DELTA`` of a gap, ``settings["n_steps_needed"]`` is the number that would do (None: not found).

    Raises:
        ExplainError: an unknown method, group or layer, a class that does not exist, a network in training mode, or one
            without the part that was asked for.
    """
    from dataclasses import replace

    import torch

    from stagkit.explain import methods as captum_methods

    method = method.replace("_", " ")
    for name, value, known in (("method", method, METHODS), ("groups", groups, GROUPS), ("layer", layer, LAYERS)):
        if value not in known:
            raise ExplainError(f"there is no {name} {value!r}; expected one of {', '.join(known)}.")
    if model.training:
        raise ExplainError(
            "the network is in training mode, where dropout makes every answer differ: call model.eval()."
        )
    if method == "edge integrated gradients" and getattr(model, "connectivity", None) is None:
        raise ExplainError(
            "this network has no graph (graph='none' or branches='time'), so there are no edges to vary."
        )
    if method == "layer integrated gradients" and layer == "frame tokens" and model.frame_tokens is None:
        raise ExplainError("this network has no frame tokens (branches='graph'): take layer='region tokens'.")
    x = (batch.x * batch.mask[..., None, None, None]).detach()
    with torch.no_grad():
        chosen = choose_target(target, model.logits(x, batch.mask, batch.times_ms))
    given = captum_methods.Inputs(x, batch.mask, batch.times_ms, chosen)
    function, reads = captum_methods.METHODS[method]
    asked = {"n_steps": n_steps, "groups": groups, "layer": layer, "n_samples": n_samples, "seed": seed}
    settings = {name: asked[name] for name in reads}
    with captum_methods.frozen(model):
        size = captum_methods.probe_batch_size(model.logits, x[:1], batch.mask[:1], batch.times_ms[:1])
        if method == "gradient shap":
            size = max(1, size // n_samples)
        starts = range(0, len(x), size)
        answers = [function(model, given.take(slice(s, s + size)), {**asked, "batch_size": size}) for s in starts]
    values = torch.cat([answer.values.detach() for answer in answers])
    gap = torch.cat([answer.at_clip - answer.at_baseline for answer in answers])
    attribution = Attribution(
        values=values.cpu().numpy().astype(np.float32),
        inputs=(answers[0].varied,),
        method=method,
        settings=settings,
        target=chosen.cpu().numpy(),
        baseline=answers[0].baseline,
        logit_difference=gap.cpu().numpy(),
        convergence_delta=(values.double().flatten(1).sum(1) - gap.double()).cpu().numpy(),
        clip_ids=batch.clip_ids,
        classes=batch.classes,
        roi_names=model.roi_names if hasattr(model, "roi_names") else ATLAS.names,
        times_ms=batch.times_ms.cpu().numpy(),
        mask=batch.mask.cpu().numpy(),
        flow=x.mean((-1, -2))[..., :2].cpu().numpy(),
        run=run,
        axes=answers[0].axes,
    )
    worst = int(attribution.relative_delta.argmax())
    if "n_steps" in reads and attribution.relative_delta[worst] > MAX_DELTA and search:
        one = batch.select(torch.tensor([worst]))
        needed = find_steps(model, one, chosen[worst : worst + 1], n_steps, method=method, layer=layer)
        attribution = replace(attribution, settings={**settings, "n_steps_needed": needed})
    return attribution


def choose_target(target: Sequence[int] | int | None, logits):
    """The class explained for each clip, int64 "clip": as given, or the predicted one where None.

    Raises:
        ExplainError: a class that does not exist.
    """
    import torch

    n_clips, n_classes = logits.shape
    if target is None:
        return logits.argmax(1)
    chosen = torch.as_tensor(target, dtype=torch.long, device=logits.device).expand(n_clips)
    if chosen.min() < 0 or chosen.max() >= n_classes:
        raise ExplainError(f"`target` is {target}; the network has the classes 0 to {n_classes - 1}.")
    return chosen


def find_steps(model: Stag, batch: Batch, target=None, n_steps: int = 32, **asked) -> int | None:
    """How many steps make integrated gradients complete within ``MAX_DELTA`` on these clips.

    Args:
        target: as in ``attribute``.
        n_steps: a number that is too small; 2, 4, 8 and 16 times as many are tried.
        **asked: more for ``attribute``, e.g. ``method``.

    Returns:
        The first number that does, or None.
    """
    for more in (2, 4, 8, _MOST):
        tried = attribute(model, batch, target=target, n_steps=more * n_steps, search=False, **asked)
        if (tried.relative_delta <= MAX_DELTA).all():
            return more * n_steps
    return None


def check_complete(attribution: Attribution) -> None:
    """Check that every clip's values sum to its logit gap within ``MAX_DELTA``.

    Raises:
        ExplainError: names the worst clip and the number of steps that would do.
    """
    worst = int(attribution.relative_delta.argmax())
    miss = attribution.relative_delta[worst]
    if miss <= MAX_DELTA:
        return
    steps, needed = attribution.settings.get("n_steps"), attribution.settings.get("n_steps_needed", -1)
    if not steps:
        remedy = "use integrated gradients, which is complete"
    elif needed is None:
        remedy = (
            f"{_MOST * int(steps)} steps do not mend it either, the gap is too close to zero: explain another class"
        )
    else:
        remedy = f"n_steps={needed} does" if needed > 0 else f"try n_steps={4 * int(steps)}"
    raise ExplainError(
        f"the attribution of clip {attribution.clip_ids[worst]!r} misses {miss:.0%} of its logit gap "
        f"({attribution.logit_difference[worst]:+.3f}), more than {MAX_DELTA:.0%}: {remedy}."
    )


def select_clips(attribution: Attribution, index: Sequence[int]) -> Attribution:
    """Some clips of an attribution."""
    from dataclasses import replace

    index = [int(i) for i in index]
    return replace(
        attribution,
        **{n: getattr(attribution, n)[index] for n in _ARRAYS},
        clip_ids=tuple(attribution.clip_ids[i] for i in index),
    )


def join_attributions(parts: Sequence[Attribution]) -> Attribution:
    """Attributions of different clips by the same method, one after another."""
    from dataclasses import replace

    return replace(
        parts[0],
        **{n: np.concatenate([getattr(p, n) for p in parts]) for n in _ARRAYS},
        clip_ids=tuple(c for p in parts for c in p.clip_ids),
    )


def save_attribution(attribution: Attribution, path: str | Path) -> None:
    """Write an attribution as an ``.npz`` of plain arrays."""
    import json

    with write_atomically(path) as aside:
        np.savez_compressed(
            aside,
            **{n: getattr(attribution, n) for n in _ARRAYS},
            **{n: np.array(getattr(attribution, n), str) for n in ("inputs", "clip_ids", "classes", "roi_names")},
            text=json.dumps(
                {n: getattr(attribution, n) for n in ("method", "settings", "baseline", "run", "axes")},
                ensure_ascii=False,
            ),
        )


def load_attribution(path: str | Path) -> Attribution:
    """Read what ``save_attribution`` wrote.

    Raises:
        ExplainError: missing or damaged.
    """
    import json

    path = Path(path)
    if not path.is_file():
        raise ExplainError(f"there is no file {path}: run 'stagkit explain' first.")
    try:
        file = load_arrays(check_digest(path.parent, path.name, read_digests(path.parent)))
        text = json.loads(str(file["text"]))
        arrays = {n: file[n] for n in _ARRAYS}
        names = {n: tuple(str(v) for v in file[n]) for n in ("inputs", "clip_ids", "classes", "roi_names")}
        return Attribution(**arrays, **names, **text)
    except (StagkitError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ExplainError(f"{path} is damaged: run 'stagkit explain' again.") from error


def compute_run_attribution(
    run: Run, clips: Sequence[str] | None = None, seed: int = 0, n_steps: int = 32, progress: Progress = no_progress
) -> Attribution:
    """Attribution of a run's test clips, each by the network of its own fold."""
    data = run.load_data()
    wanted = set(clips) if clips else set(data.clip_ids)
    unknown = sorted(wanted - set(data.clip_ids))
    if unknown:
        raise ExplainError(f"the run has no clip {', '.join(unknown[:5])}; its first is {data.clip_ids[0]!r}.")
    parts = []
    for fold in progress(range(len(run.split)), len(run.split)):
        index = [i for i in run.test_index(data, seed, fold) if data.clip_ids[i] in wanted]
        if index:
            run.check_unseen(seed, fold, [data.clip_ids[i] for i in index], data.clip_ids)
            parts.append(compute_fold_attribution(run.load_model(seed, fold), data.batch(index), n_steps, run.name))
    return join_attributions(parts)


def compute_fold_attribution(
    model: Stag, batch: Batch, n_steps: int = 32, run: str = "", method: str = "integrated gradients"
) -> Attribution:
    """Attribution of the predicted classes; clips that are not complete are tried with four and sixteen times the steps."""
    import torch

    done = attribute(model, batch, method, n_steps=n_steps, run=run, search=False)
    for more in (4, 16):
        open_ = np.flatnonzero(done.relative_delta > MAX_DELTA)
        if not len(open_) or "n_steps" not in done.settings:
            break
        some = batch.select(torch.from_numpy(open_))
        done = _with_clips(done, open_, attribute(model, some, method, n_steps=more * n_steps, run=run, search=False))
    return done


def _with_clips(whole: Attribution, places: np.ndarray, better: Attribution) -> Attribution:
    """``whole`` with the clips at ``places`` replaced by those of ``better``."""
    from dataclasses import replace

    arrays = {}
    for name in ("values", "target", "logit_difference", "convergence_delta"):
        arrays[name] = getattr(whole, name).copy()
        arrays[name][places] = getattr(better, name)
    return replace(whole, **arrays)
