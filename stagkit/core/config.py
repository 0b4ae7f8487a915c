"""Settings of every step: frozen, digestible, readable from YAML. An unknown key is an error, never ignored.

Every number has a range, ``_ranged(default, low, high)`` with both ends allowed; one outside is refused before any work.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_type_hints

from stagkit.core.files import shorten, write_text
from stagkit.core.types import StagkitError

#: Largest file of settings, bytes; most values in it; deepest nesting (stagkit's choices).
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 1_000_000, 10_000, 20


class ConfigError(StagkitError, ValueError):
    """A setting that does not exist or lies outside its range."""


def parse_yaml(text: str) -> Any:
    """Plain values from YAML, bounded: no aliases (they multiply), at most ``MAX_VALUES`` values and ``MAX_DEPTH`` levels.

    Raises:
        ConfigError: no YAML, or more than that.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Counts what it composes, so that no more is built than a file of settings can need."""

        n_values = depth = 0

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                raise ConfigError("aliases (*name) are not read in settings: write the value again.")
            self.n_values, self.depth = self.n_values + 1, self.depth + 1
            if self.n_values > MAX_VALUES or self.depth > MAX_DEPTH:
                raise ConfigError(f"it holds more than {MAX_VALUES} values or {MAX_DEPTH} levels of nesting.")
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    if len(text) > MAX_BYTES:
        raise ConfigError(f"it holds {len(text)} characters, expected at most {MAX_BYTES}.")
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"it is no YAML: {shorten(str(error))}.") from error
    except (ValueError, TypeError, AttributeError, LookupError) as error:  # a date 2001-99-99, a number of 5,000 digits
        raise ConfigError(f"it holds a value that cannot be read: {shorten(str(error))}.") from error


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A file of settings as plain values.

    Raises:
        ConfigError: no regular file, one that is too large, no YAML mapping (see ``parse_yaml``).
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} cannot be read as settings: it is no regular file.")
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} has {path.stat().st_size} bytes, expected settings of at most {MAX_BYTES}.")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ConfigError(f"{path} cannot be read as settings: {words}.") from error
    try:
        values = parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be read as settings: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {type(values).__name__}, expected 'name: value' lines.")
    return values


class Config:
    """What all settings can do: check themselves, be digested, go to YAML and come back."""

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for f in dataclasses.fields(self):
            value, options = getattr(self, f.name), get_args(hints[f.name])
            if options and all(isinstance(o, str) for o in options) and value not in options:
                raise ConfigError(
                    f"{type(self).__name__}.{f.name} is {shorten(value)}, expected one of {', '.join(options)}."
                )
            kind = hints[f.name]
            fits = {bool: isinstance(value, bool), int: isinstance(value, int) and not isinstance(value, bool)}
            fits[float] = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not fits.get(kind, True):
                words = {bool: "true or false", int: "a whole number", float: "a number"}
                raise ConfigError(f"{type(self).__name__}.{f.name} is {shorten(value)}, expected {words[kind]}.")
            low, high = f.metadata.get("range", (None, None))
            if low is not None and value is not None and not low <= value <= high:
                raise ConfigError(f"{type(self).__name__}.{f.name} is {shorten(value)}, expected {low} to {high}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values only."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def digest(self) -> str:
        """12 hex digits that change when any setting changes."""
        text = json.dumps({"class": type(self).__name__, **self.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed; an unknown name raises ``ConfigError``."""
        return self.from_dict({**self.to_dict(), **changes})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Settings from plain values.

        Raises:
            ConfigError: a key that is no setting, with the ones that are; a value of the wrong kind.
        """
        known = {f.name: f for f in dataclasses.fields(cls)}
        if not isinstance(values, dict):
            raise ConfigError(f"{cls.__name__} is {shorten(values)}, expected names with values.")
        unknown = [key for key in values if key not in known]
        if unknown:
            names = [key if str(key).isidentifier() and len(key) < 80 else shorten(key, 80) for key in unknown[:5]]
            raise ConfigError(f"{cls.__name__} has no setting {', '.join(names)}; it has {', '.join(known)}.")
        try:
            return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        except TypeError as error:
            raise ConfigError(f"{cls.__name__}: {shorten(str(error))}.") from error

    def save(self, path: str | Path) -> None:
        """Write YAML."""
        import yaml

        write_text(path, yaml.safe_dump(self.to_dict(), sort_keys=False))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read YAML.

        Raises:
            ConfigError: the file is missing, is no YAML mapping, or has unknown keys.
        """
        return cls.from_dict(read_yaml(path))


def _ranged(default: Any, low: float, high: float) -> Any:
    """A number with its default, smallest and largest value."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class FlowConfig(Config):
    """How motion is measured and which frames are kept.

    Args:
        method: ``dis``, ``dis_fast`` (a fifth of the time, 1.6 times the error), ``tvl1`` (the field's usual one, slower),
            ``farneback``.
        stabilise: remove head motion, estimated on the nose bridge and the rigid rim of the face.
        selection: which frames are kept: largest motion, evenly spread, the one nearest the apex, or all.
        n_frames: how many at most.
        min_gap_ms: smallest time between two kept frames (``magnitude`` only); relaxed where a clip is too short.
        device: where flow is measured, ``cpu`` or ``cuda`` (``tvl1`` and ``farneback``, with an OpenCV built for it). Part
            of the digest where it is not the CPU, since numbers differ a little.
    """

    method: Literal["dis", "dis_fast", "tvl1", "farneback"] = "dis"
    stabilise: bool = True
    selection: Literal["magnitude", "uniform", "apex", "all"] = "magnitude"
    n_frames: int = _ranged(12, 1, 256)
    min_gap_ms: float = _ranged(10.0, 0.0, 10_000.0)
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True)
class RoiConfig(Config):
    """How regions are cut: ``patch`` samples a side from a square of half side ``radius`` (IOD)."""

    patch: int = _ranged(5, 1, 64)
    radius: float = _ranged(0.11, 0.02, 0.5)


@dataclass(frozen=True)
class StagConfig(Config):
    """The network, and the switches of the ablation table (DESIGN of the network: ``stagkit.network.model``).

    Args:
        width: D, width of every token.
        heads: attention heads, a divisor of ``width``.
        graph_layers, time_layers, cross_layers: depths of the three parts.
        branch_dropout: share of training clips in which the head does not see the regions, and of those without frames.
        temporal_attention: weigh the selected frames by learned softmax weights.
        graph: ``egat`` (edge features and AU-guided weights), ``gat`` (attention alone), ``none``.
        connectivity: region edges ``fixed`` (anatomy), ``learned`` (anatomy + one learned matrix), ``au`` (following
            the active action units).
        branches: graph branch, time branch, or both.
        head: what the logits are computed from: AU evidence, regions and frames ``fused``, or the action units alone
            (``graph``), estimated once more after graph, time and cross-attention. Needs coded clips.
        cross_attention: ``both`` ways, ``one-way`` (regions query frames) or ``none``.
    """

    width: int = _ranged(32, 4, 1024)
    heads: int = _ranged(4, 1, 64)
    graph_layers: int = _ranged(2, 1, 8)
    time_layers: int = _ranged(2, 1, 8)
    cross_layers: int = _ranged(1, 1, 8)
    dropout: float = _ranged(0.4, 0.0, 0.9)
    branch_dropout: float = _ranged(0.2, 0.0, 0.9)
    temporal_attention: bool = True
    graph: Literal["egat", "gat", "none"] = "egat"
    connectivity: Literal["fixed", "learned", "au"] = "au"
    branches: Literal["both", "graph", "time"] = "both"
    cross_attention: Literal["both", "one-way", "none"] = "both"
    head: Literal["fused", "graph"] = "fused"

    def __post_init__(self):
        super().__post_init__()
        if self.width % self.heads:
            raise ConfigError(f"StagConfig.width is {self.width}, expected a multiple of heads ({self.heads}).")


@dataclass(frozen=True)
class TrainConfig(Config):
    """How one fold is trained. The number of epochs is fixed beforehand, or chosen by held-out *training* subjects.

    Args:
        epochs: how many; the most that are tried where ``epoch_selection`` is ``validation``.
        epoch_selection: ``fixed`` beforehand, or ``validation``: held-out training subjects select; never a test clip.
        validation_fraction: share of the training subjects that is held out to choose.
        refit: after that selection, train again on all training clips for that many epochs.
        loss: class-balanced ``focal``, or plain cross entropy ``ce``.
        gamma: focusing parameter of the focal loss.
        label_smoothing: share of each label that is spread over all classes.
        au_weight, edge_entropy: weights of the AU term and of the edge-entropy term of the loss.
        mirror: mirror clips left-right at random (sides swap with them).
        noise: standard deviation of Gaussian noise added to training patches, as a share of their RMS.
        region_dropout: share of regions hidden from a training clip.
        scale_jitter: motion of a training clip is multiplied by exp(N(0, scale_jitter)).
        region_jitter: all regions of a training clip are displaced together, by about this share of their half side.
        time_warp: times of a training clip are multiplied by exp(N(0, time_warp)).
        frame_dropout: share of frames hidden from a training clip.
        auxiliary_weight: weight of a batch of phantom maps beside every batch of real ones (flow maps only); 0 = none.
        intra_class_mixup: a training clip is joined with another of its class, whose weight is at most half of this.
        deterministic: choose algorithms that give the same bits every time, where torch has them (GPU).
        precision: of products in stacked training; weights, moments and losses stay float32. ``tf32`` means something on
            GPUs only.
    """

    epochs: int = _ranged(60, 1, 100_000)
    batch_size: int = _ranged(64, 1, 100_000)
    lr: float = _ranged(3e-3, 1e-8, 10.0)
    weight_decay: float = _ranged(0.05, 0.0, 10.0)
    warmup: float = _ranged(0.1, 0.0, 1.0)
    clip_norm: float = _ranged(1.0, 1e-6, 1e6)
    loss: Literal["focal", "ce"] = "focal"
    gamma: float = _ranged(0.5, 0.0, 10.0)
    label_smoothing: float = _ranged(0.1, 0.0, 0.9)
    au_weight: float = _ranged(0.5, 0.0, 100.0)
    edge_entropy: float = _ranged(0.01, 0.0, 100.0)
    mirror: bool = True
    noise: float = _ranged(0.1, 0.0, 10.0)
    region_dropout: float = _ranged(0.05, 0.0, 0.9)
    scale_jitter: float = _ranged(0.2, 0.0, 2.0)
    region_jitter: float = _ranged(0.0, 0.0, 1.0)
    time_warp: float = _ranged(0.0, 0.0, 1.0)
    frame_dropout: float = _ranged(0.0, 0.0, 0.9)
    intra_class_mixup: float = _ranged(0.0, 0.0, 1.0)
    auxiliary_weight: float = _ranged(0.0, 0.0, 10.0)
    deterministic: bool = True
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    epoch_selection: Literal["fixed", "validation"] = "fixed"
    validation_fraction: float = _ranged(0.2, 0.01, 0.9)
    refit: bool = True


@dataclass(frozen=True)
class PhantomConfig(Config):
    """Which phantoms are made. Same settings, same pixels.

    Args:
        preset: the data set that is imitated in frame rate, classes, intensity and noise.
        subjects: how many different faces; clips: how many clips of each.
        size: side of the square picture, px.
        difficulty: 0 or ``clean`` .. 1 or ``real``, as hard as real data: noise, head drift, blinks, glances, folds
            of the skin, habits of a person, ambiguity of the emotion's AUs. The default 0.4 or ``default`` is a
            demonstration that a network solves well, but not fully.
        confounder: a shortcut that is planted with one class, ``none`` by default.
        occlusion: what hides part of every face.
    """

    preset: Literal["casme2", "samm", "smic", "4dme", "dfme"] = "casme2"
    subjects: int = _ranged(8, 1, 10_000)
    clips: int = _ranged(12, 1, 10_000)
    seed: int = _ranged(0, 0, 2**31 - 1)
    size: int = _ranged(128, 48, 1024)
    difficulty: float = _ranged(0.4, 0.0, 1.0)  # its words become numbers when it is made
    confounder: Literal["none", "head shift", "brightness", "background mark"] = "none"
    occlusion: Literal["none", "glasses", "fringe"] = "none"

    def __post_init__(self):
        words = {"clean": 0.0, "default": 0.4, "real": 1.0}
        if isinstance(self.difficulty, str):
            if self.difficulty not in words:
                raise ConfigError(
                    f"PhantomConfig.difficulty is {shorten(self.difficulty)}, expected 0 to 1, or {', '.join(words)}."
                )
            object.__setattr__(self, "difficulty", words[self.difficulty])
        super().__post_init__()
