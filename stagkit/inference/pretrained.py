"""Pretrained ensembles of networks in one safetensors file; stagkit ships ``phantom``, five networks trained on phantoms.

It holds tensors ``NUMBER.NAME`` of every network, and as JSON in its header the classes, the settings of network, flow and
regions, a summary of the training, and a digest of it all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.special import softmax

from stagkit.core.config import StagConfig
from stagkit.core.files import RESOURCES, compute_digest, shorten, write_atomically
from stagkit.core.types import Batch, StagkitError
from stagkit.evaluation.run import Run, RunError
from stagkit.motion.config import FlowConfig, RoiConfig
from stagkit.motion.optical_flow import compute_rois
from stagkit.motion.rois import stack_sequences
from stagkit.network.model import Stag

#: Weights shipped with stagkit.
SHIPPED = ("phantom",)
#: Most networks of an ensemble (stagkit's choice).
MAX_NETWORKS = 10
#: Raised when the layout of a file of weights, or the network, changes.
FORMAT = 4
_FOLDER = RESOURCES / "weights"


class WeightsError(StagkitError):
    """Weights that are missing, damaged, or of another kind."""


@dataclass(frozen=True)
class PretrainedEnsemble:
    """Networks that predict together, and how to measure a clip for them.

    Args:
        name: of the shipped weights, the file or the run; classes: of the logits, in order.
        networks: in evaluation mode, each trained on different subjects; stag: their settings.
        flow, roi: settings of ``compute_flow`` and ``compute_rois``.
        training_summary: one sentence on the training data and the scores on subjects not trained on.
    """

    name: str
    networks: tuple[Stag, ...] = field(repr=False)
    classes: tuple[str, ...]
    flow: FlowConfig
    roi: RoiConfig
    training_summary: str
    stag: StagConfig

    def collate(self, motion, clip) -> Batch:
        """A clip measured with ``self.flow`` as network input; a label outside ``classes`` is replaced."""
        sequence = compute_rois(motion, clip, self.roi)
        if sequence.label not in self.classes:
            sequence = replace(sequence, label=self.classes[0])
        return stack_sequences([sequence], self.classes).batch()

    def compute_logits(self, batch: Batch) -> np.ndarray:
        """Logits of each network, all finite: float "network clip cls"."""
        with torch.no_grad():
            logits = np.stack([n.logits(batch.x, batch.mask, batch.times_ms).numpy() for n in self.networks])
        if not np.isfinite(logits).all():
            raise WeightsError(f"the networks of {self.name} output NaN or infinity: they cannot be used.")
        return logits.astype(float)

    def predict(self, batch: Batch) -> np.ndarray:
        """Probabilities from the mean of the logits: float "clip cls"."""
        return softmax(self.compute_logits(batch).mean(0), axis=-1)

    def compute_au_probabilities(self, batch: Batch) -> np.ndarray:
        """Activation of every action unit, mean over the networks: float "clip time au", 0..1."""
        with torch.no_grad():
            each = [torch.sigmoid(n(batch.x, batch.mask, batch.times_ms).au_logits).numpy() for n in self.networks]
        return np.mean(each, axis=0)


def load_weights(source: str | Path) -> PretrainedEnsemble:
    """Load pretrained networks.

    Args:
        source: ``"phantom"`` (shipped; trained on phantoms, which say nothing about real people), a ``.safetensors``
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
    """The model card of shipped weights, Markdown."""
    if name not in SHIPPED:
        raise WeightsError(f"no weights {name!r} are shipped, only {', '.join(SHIPPED)}.")
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def save_weights(weights: PretrainedEnsemble, path: str | Path) -> None:
    """Write the networks to one ``.safetensors`` file, atomically.

    Raises:
        StagkitError: another ending, or a folder that cannot be written.
    """
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
    with write_atomically(path) as temporary:
        save_file(tensors, temporary, metadata={"stagkit": json.dumps(header, sort_keys=True)})


def _digest_contents(header: dict, tensors: dict[str, torch.Tensor]) -> str:
    """Digest of the header (without its digest) and of names, types, shapes and values of all tensors."""
    rest = json.dumps({k: v for k, v in header.items() if k != "digest"}, sort_keys=True)
    parts = [rest.encode()]
    for name in sorted(tensors):
        value = tensors[name].contiguous().cpu().numpy()
        parts += [f"{name} {value.dtype.str} {value.shape}".encode(), value.tobytes()]
    return compute_digest(*parts)


def format_caution(scores: dict) -> str:
    """The caveat of an interval as the end of a sentence, or ''."""
    return f"; caution: {scores['caveat']}" if scores["caveat"] else ""


def describe_training(run: Run) -> str:
    """One sentence on the training data of a run and its scores."""
    report = run.metrics
    sets = sorted(report["per_dataset"]) or ["unnamed clips"]
    drawn = all("phantom" in name or name == "animated-photo" for name in sets)
    what = "phantoms, drawn by a program: they say nothing about real people" if drawn else "recordings"
    score = report["uf1"]
    return (
        f"The networks were trained on {report['n_clips']} clips of {report['n_subjects']} subjects of "
        f"{', '.join(sets)} ({what}); there they reached a UF1 of {score['mean']:.2f} on subjects they were not trained on "
        f"(95 % interval {score['ci95'][0]:.2f} to {score['ci95'][1]:.2f}, majority class "
        f"{report['baselines']['majority']['uf1']:.2f}{format_caution(report)}). For other subjects, cameras "
        "and situations nothing was measured."
    )


def _from_run(run: Run) -> PretrainedEnsemble:
    """The networks of a run's first seed, at most ``MAX_NETWORKS``."""
    data = run.request["data"]
    data = data["of"][0] if "of" in data else data
    if "flow" not in data or "roi" not in data:
        raise RunError(
            f"{run.path} was trained on published flow maps, whose amplitude is lost: give a run on prepared clips."
        )
    seed, n = run.request["seeds"][0], min(MAX_NETWORKS, len(run.split))
    used = (
        f" Used are the networks of seed {seed}, folds 0 to {n - 1}: each was trained on clips of this run, so a prediction "
        "for a recording among these clips is no test."
    )
    return PretrainedEnsemble(
        name=run.name,
        networks=tuple(run.load_model(seed, fold) for fold in range(n)),
        classes=tuple(run.request["classes"]),
        flow=FlowConfig.from_dict(data["flow"]),
        roi=RoiConfig.from_dict(data["roi"]),
        training_summary=describe_training(run) + used,
        stag=run.stag_config,
    )


def _from_file(path: Path) -> PretrainedEnsemble:
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["stagkit"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise WeightsError(
            f"{path} is damaged, or not a weights file of stagkit: write it again with 'stagkit weights'."
        ) from error
    try:
        return _unpack(header, tensors)
    except WeightsError as error:
        raise WeightsError(f"{path} {error}: write it again with 'stagkit weights'.") from error
    except StagkitError as error:
        raise WeightsError(f"{path} has a header that cannot be used: {error}") from error


#: What the header of a file must hold, and its types.
_HEADER = dict(
    format=int, name=str, networks=int, classes=list, stag=dict, flow=dict, roi=dict, training_summary=str, digest=str
)


def _unpack(header: object, tensors: dict[str, torch.Tensor]) -> PretrainedEnsemble:
    """The networks of a file, checked first; an error is the end of a sentence that begins with the file."""
    if not isinstance(header, dict):
        raise WeightsError("is damaged, or not a weights file of stagkit")
    if (found := header.get("format")) != FORMAT:
        older = " (an earlier network)" if found in (1, 2, 3) else ""
        raise WeightsError(f"has format {shorten(found)}{older}, this stagkit reads {FORMAT}")
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
    with torch.device("meta"):  # shapes only: a header cannot ask for more memory than its tensors fill
        shapes = Stag(stag, n_classes=len(classes), patch=roi.patch).state_dict()
    expected = {f"{i}.{name}": value for i in range(header["networks"]) for name, value in shapes.items()}
    if {n: (v.shape, v.dtype) for n, v in tensors.items()} != {n: (v.shape, v.dtype) for n, v in expected.items()}:
        raise WeightsError("holds another network than this stagkit builds")
    if header["digest"] != _digest_contents(header, tensors):
        raise WeightsError("was changed after it was written (its digest is another)")
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"holds NaN or infinity in {name!r}")
    networks = [Stag(stag, n_classes=len(classes), patch=roi.patch).eval() for _ in range(header["networks"])]
    for i, network in enumerate(networks):
        network.load_state_dict({name: tensors[f"{i}.{name}"] for name in shapes})
    summary = header["training_summary"]
    return PretrainedEnsemble(header["name"], tuple(networks), tuple(classes), flow, roi, summary, stag)
