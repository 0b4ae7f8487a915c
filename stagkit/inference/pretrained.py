"""Trained networks that travel: one file with all that is needed to ask them, and what they learned from.

A file of weights is a safetensors file: the tensors of every network as ``NUMBER.NAME``, and in its header, as JSON, the
classes, the settings of network, flow and regions, one sentence on the training, and a digest of all of it, by which a file
that was changed after it was written is refused. stagkit ships one, ``phantom``: five
networks trained on phantoms, with a model card beside it (``data/weights/phantom.md``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.config import FlowConfig, RoiConfig, StagConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.files import RESOURCES, compute_digest, shorten, write_atomically
from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.evaluation.run import Run, RunError

if TYPE_CHECKING:
    from torch import Tensor

    from stagkit.network.model import Stag

#: Weights that come with stagkit.
SHIPPED = ("phantom",)

#: Most networks of a run that are asked together (stagkit's choice).
MAX_NETWORKS = 10

#: Raised when the layout of a file of weights changes.
FORMAT = 3

_FOLDER = RESOURCES / "weights"


class WeightsError(StagkitError):
    """Weights that are not there, are damaged, or are of another kind."""


@dataclass(frozen=True)
class PretrainedEnsemble:
    """Networks that judge together, and how to measure a clip for them.

    Args:
        name: of the shipped weights, the file or the run.
        networks: in evaluation mode; trained on different people each.
        classes: what ``logits`` stand for, in order.
        flow, roi: how a clip has to be measured and cut (``flow.compute_flow``, ``flow.compute_rois``).
        training_summary: one sentence on what they were trained on, and how well they did on people they had not seen.
        stag: settings of the networks.
    """

    name: str
    networks: tuple[Stag, ...] = field(repr=False)
    classes: tuple[str, ...]
    flow: FlowConfig
    roi: RoiConfig
    training_summary: str
    stag: StagConfig

    def collate(self, motion, clip) -> Batch:
        """One measured clip as the networks' input; its label is a filler where it is none of ``classes``.

        Args:
            motion: ``flow.compute_flow(clip, weights.flow)``.
            clip: the ``Clip``, with landmarks.
        """
        from dataclasses import replace

        from stagkit.motion.optical_flow import compute_rois

        sequence = compute_rois(motion, clip, self.roi)
        if sequence.label not in self.classes:
            sequence = replace(sequence, label=self.classes[0])
        return RoiDataset.from_sequences([sequence], self.classes).batch()

    def compute_logits(self, batch: Batch) -> np.ndarray:
        """What each network says: logits, float "network clip cls".

        Raises:
            WeightsError: a network answers with numbers that are not finite.
        """
        import torch

        with torch.no_grad():
            logits = np.stack([n.logits(batch.x, batch.mask, batch.times_ms).numpy() for n in self.networks])
        if not np.isfinite(logits).all():
            raise WeightsError(f"the networks of {self.name} answer with NaN or infinity: they cannot be used.")
        return logits.astype(float)

    def predict(self, batch: Batch) -> np.ndarray:
        """What they say together, from the mean of their logits: probabilities, float "clip cls"."""
        return compute_softmax(self.compute_logits(batch).mean(0))

    def compute_au_probabilities(self, batch: Batch) -> np.ndarray:
        """Evidence for every action unit, mean over the networks: float "clip time au", 0..1."""
        import torch

        with torch.no_grad():
            each = [torch.sigmoid(n(batch.x, batch.mask, batch.times_ms).au_logits).numpy() for n in self.networks]
        return np.mean(each, axis=0)


def compute_softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def load_weights(source: str | Path) -> PretrainedEnsemble:
    """Load networks to ask.

    Args:
        source: ``"phantom"`` (shipped: trained on phantoms, which say nothing about real people), a ``.safetensors``
            file made by ``stagkit weights``, or the folder of a finished run on prepared clips (the networks of its
            first seed, at most ten).

    Raises:
        StagkitError: none of these, a damaged file, or a run that is refused as evidence.

    Example:
        >>> weights = load_weights("phantom")
        >>> weights.classes, len(weights.networks)
        (('negative', 'positive', 'surprise'), 5)
    """
    path = _FOLDER / f"{source}.safetensors" if str(source) in SHIPPED else Path(source)
    if path.is_dir():
        return _from_run(Run.load(path, evidence=True))
    if path.suffix == ".safetensors" and path.is_file():
        return _from_file(path)
    shown = path if str(source) in SHIPPED or path.suffix == ".safetensors" else source
    raise WeightsError(
        f"there are no weights {str(shown)!r}: give {', '.join(SHIPPED)} (shipped), the folder of a finished run, or a "
        ".safetensors file made by 'stagkit weights'."
    )


def load_card(name: str = "phantom") -> str:
    """The model card of shipped weights, markdown.

    Raises:
        StagkitError: no such weights are shipped.
    """
    if name not in SHIPPED:
        raise WeightsError(f"no weights {name!r} are shipped, only {', '.join(SHIPPED)}.")
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def save_weights(weights: PretrainedEnsemble, path: str | Path) -> None:
    """Write networks into one file, whole or not at all.

    Args:
        weights: what to write.
        path: a ``.safetensors`` file.

    Raises:
        StagkitError: another ending, or a folder that cannot be written.
    """
    from safetensors.torch import save_file

    if Path(path).suffix != ".safetensors":
        raise WeightsError(f"{path} has the ending {Path(path).suffix!r}, expected .safetensors.")
    tensors = {f"{i}.{k}": v.contiguous() for i, n in enumerate(weights.networks) for k, v in n.state_dict().items()}
    header = {
        "format": FORMAT,
        "name": weights.name,
        "networks": len(weights.networks),
        "classes": list(weights.classes),
        "stag": weights.stag.to_dict(),
        "flow": weights.flow.to_dict(),
        "roi": weights.roi.to_dict(),
        "training_summary": weights.training_summary,
    }
    header["digest"] = _digest_contents(header, tensors)
    with write_atomically(path) as aside:
        save_file(tensors, aside, metadata={"stagkit": json.dumps(header, sort_keys=True)})


def _digest_contents(header: dict, tensors: dict[str, Tensor]) -> str:
    """Digest of the header (without its digest) and of names, types, shapes and values of all tensors."""
    rest = json.dumps({k: v for k, v in header.items() if k != "digest"}, sort_keys=True)
    parts = [rest.encode()]
    for name in sorted(tensors):
        value = tensors[name].contiguous().cpu().numpy()
        parts += [f"{name} {value.dtype.str} {value.shape}".encode(), value.tobytes()]
    return compute_digest(*parts)


def describe_training(run: Run) -> str:
    """One sentence on what a run's weights have learned from, and how well it did there."""
    report = run.metrics
    sets = sorted(report["per_dataset"]) or ["unnamed clips"]
    drawn = all("phantom" in name or name == "animated-photo" for name in sets)
    what = "phantoms, drawn by a program: they say nothing about real people" if drawn else "recordings"
    score = report["uf1"]
    caveat = f"; caution: {report['caveat']}" if report["caveat"] else ""
    return (
        f"The networks were trained on {report['n_clips']} clips of {report['n_subjects']} subjects of "
        f"{', '.join(sets)} ({what}); there they reached a UF1 of {score['mean']:.2f} on people they had not seen "
        f"(95 % interval {score['ci95'][0]:.2f} to {score['ci95'][1]:.2f}, majority class "
        f"{report['baselines']['majority']['uf1']:.2f}{caveat}). On other people, cameras and "
        "situations nothing was measured."
    )


def _from_run(run: Run) -> PretrainedEnsemble:
    """The first networks of a run's first seed."""
    data = run.request["data"]
    data = data["of"][0] if "of" in data else data
    if "flow" not in data or "roi" not in data:
        raise RunError(
            f"{run.path} was trained on published flow maps, whose amplitude is lost: give a run on prepared clips."
        )
    classes, roi = tuple(run.request.get("classes") or run.metrics["classes"]), RoiConfig.from_dict(data["roi"])
    shape = RoiDataset(
        x=np.zeros((0, 1, 0, 3, roi.patch, roi.patch), np.float32),
        mask=np.zeros((0, 1, 0), bool),
        times_ms=np.zeros((0, 1), np.float32),
        label=np.zeros(0, np.int64),
        aus=np.zeros((0, len(AU_NUMBERS)), np.float32),
        clip_ids=(),
        subjects=(),
        datasets=(),
        classes=classes,
        roi_names=(),
    )
    seed, n = run.request["seeds"][0], min(MAX_NETWORKS, len(run.split))
    asked = (
        f" Asked are the networks of seed {seed}, folds 0 to {n - 1}: each was trained on clips of this run, so what they "
        "predict for a recording that is among these clips is no test."
    )
    return PretrainedEnsemble(
        name=run.name,
        networks=tuple(run.load_model(seed, fold, shape) for fold in range(n)),
        classes=classes,
        flow=FlowConfig.from_dict(data["flow"]),
        roi=roi,
        training_summary=describe_training(run) + asked,
        stag=run.stag_config,
    )


def _from_file(path: Path) -> PretrainedEnsemble:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["stagkit"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise WeightsError(
            f"{path} is damaged, or no file of weights of stagkit: make it again with 'stagkit weights'."
        ) from error
    try:
        return _unpack(header, tensors)
    except WeightsError as error:
        raise WeightsError(f"{path} {error}: make it again with 'stagkit weights'.") from error
    except StagkitError as error:
        raise WeightsError(f"{path} has a header that cannot be used: {error}") from error


#: What the header of a file must hold, and its types.
_HEADER = {
    "format": int,
    "name": str,
    "networks": int,
    "classes": list,
    "stag": dict,
    "flow": dict,
    "roi": dict,
    "training_summary": str,
    "digest": str,
}


def _unpack(header: object, tensors: dict[str, Tensor]) -> PretrainedEnsemble:
    """The networks of a file, after its header and its tensors were checked; nothing is built that is not in the file.

    Raises:
        WeightsError: what is wrong, as the end of a sentence that begins with the file.
    """
    import torch

    from stagkit.network.model import Stag

    if not isinstance(header, dict):
        raise WeightsError("is damaged, or no file of weights of stagkit")
    if header.get("format") != FORMAT:
        raise WeightsError(f"has format {shorten(header.get('format'))}, this stagkit reads {FORMAT}")
    for key, kind in _HEADER.items():
        if type(header.get(key)) is not kind:
            raise WeightsError(f"has a header whose {key!r} is {shorten(header.get(key))}, expected {kind.__name__}")
    classes = header["classes"]
    if not classes or len(set(map(str, classes))) < len(classes) or not all(isinstance(c, str) and c for c in classes):
        raise WeightsError(f"has the classes {shorten(classes)}, expected different names")
    if not 1 <= header["networks"] <= MAX_NETWORKS:
        raise WeightsError(f"states {shorten(header['networks'])} networks, expected 1 to {MAX_NETWORKS}")
    stag, roi = StagConfig.from_dict(header["stag"]), RoiConfig.from_dict(header["roi"])
    flow = FlowConfig.from_dict(header["flow"])
    with torch.device("meta"):  # shapes alone, so that a header cannot ask for more memory than its tensors fill
        shapes = Stag(stag, n_classes=len(classes), patch=roi.patch).state_dict()
    expected = {
        f"{i}.{name}": (value.shape, value.dtype) for i in range(header["networks"]) for name, value in shapes.items()
    }
    if {name: (value.shape, value.dtype) for name, value in tensors.items()} != expected:
        raise WeightsError("holds another network than this stagkit builds")
    if header["digest"] != _digest_contents(header, tensors):
        raise WeightsError("was changed after it was written (its digest is another)")
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"holds NaN or infinity in {name!r}")
    networks = []
    for i in range(header["networks"]):
        network = Stag(stag, n_classes=len(classes), patch=roi.patch)
        network.load_state_dict({name: tensors[f"{i}.{name}"] for name in shapes})
        networks.append(network.eval())
    return PretrainedEnsemble(
        name=header["name"],
        networks=tuple(networks),
        classes=tuple(classes),
        flow=flow,
        roi=roi,
        training_summary=header["training_summary"],
        stag=stag,
    )
