"""Settings: frozen, with a digest; an unknown key or a number out of range is an error before any work begins."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_type_hints

from stagkit.core.files import shorten
from stagkit.core.types import StagkitError


class ConfigError(StagkitError, ValueError):
    """A setting that does not exist or lies outside its range."""


class Config:
    """What all settings can do: check themselves, be digested, become plain values and come back."""

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for f in dataclasses.fields(self):
            value, options = getattr(self, f.name), get_args(hints[f.name])
            given = f"{type(self).__name__}.{f.name} is {shorten(value)}, expected"
            if options and all(isinstance(o, str) for o in options) and value not in options:
                raise ConfigError(f"{given} one of {', '.join(options)}.")
            words, types = {
                bool: ("true or false", bool),
                int: ("a whole number", int),
                float: ("a number", (int, float)),
            }.get(hints[f.name], ("", object))
            if not isinstance(value, types) or (isinstance(value, bool) and hints[f.name] in (int, float)):
                raise ConfigError(f"{given} {words}.")
            low, high = f.metadata.get("range", (None, None))
            if low is not None and not low <= value <= high:
                raise ConfigError(f"{given} {low} to {high}.")

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
        """Settings from plain values; ``ConfigError`` for a key that is no setting, or a value of the wrong kind."""
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


def ranged(default: Any, low: float, high: float) -> Any:
    """A number with its default, smallest and largest value."""
    return dataclasses.field(default=default, metadata={"range": (low, high)})


@dataclass(frozen=True)
class StagConfig(Config):
    """The network, and the switches of the ablation table (``stagkit.network.model``).

    Args:
        width: D, width of every token.
        heads: attention heads, a divisor of ``width``.
        graph_layers, time_layers, cross_layers: depths of the three parts.
        branch_dropout: share of training clips in which the head does not see the regions, and of those without frames.
        temporal_attention: weight the selected frames by learned softmax weights.
        graph: ``egat`` (a subgraph for each action unit, which with ``head='fused'`` also weighs attention between
            regions), ``gat`` (``fused``: attention on the anatomy alone), ``none`` (no edge between different regions).
        branches: graph branch, time branch, or both.
        head: what the logits are computed from: the AU ``graph`` alone, whose terms add up to them, or AU evidence,
            regions and frames ``fused``. ``graph`` needs known AUs: coded clips, or phantoms as auxiliary clips.
        cross_attention: ``both`` ways, ``one-way`` (regions query frames) or ``none``.
    """

    width: int = ranged(32, 4, 1024)
    heads: int = ranged(4, 1, 64)
    graph_layers: int = ranged(2, 1, 8)
    time_layers: int = ranged(2, 1, 8)
    cross_layers: int = ranged(1, 1, 8)
    dropout: float = ranged(0.4, 0.0, 0.9)
    branch_dropout: float = ranged(0.2, 0.0, 0.9)
    temporal_attention: bool = True
    graph: Literal["egat", "gat", "none"] = "egat"
    branches: Literal["both", "graph", "time"] = "both"
    cross_attention: Literal["both", "one-way", "none"] = "both"
    head: Literal["graph", "fused"] = "graph"

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
        validation_fraction: share of the training subjects that is held out to select.
        refit: after that selection, train again on all training clips for that many epochs.
        loss: class-balanced ``focal``, or plain cross entropy ``ce``.
        gamma: focusing parameter of the focal loss.
        label_smoothing: share of each label that is spread over all classes.
        au_weight, sparsity: weights of the AU term of the loss, and of the size of the AU edges' terms.
        mirror: mirror clips left-right at random (sides swap with them).
        noise: standard deviation of Gaussian noise added to training patches, as a share of their RMS.
        region_dropout: share of regions hidden from a training clip.
        scale_jitter: motion of a training clip is multiplied by exp(N(0, scale_jitter)).
        auxiliary_weight: weight of the loss of auxiliary clips, phantoms whose action units are known; 0 = none.
        deterministic: choose algorithms that give the same bits every time, where torch has them (GPU).
        precision: of products in stacked training; weights, moments and losses stay float32. ``tf32``: GPUs only.
    """

    epochs: int = ranged(60, 1, 100_000)
    batch_size: int = ranged(64, 1, 100_000)
    lr: float = ranged(3e-3, 1e-8, 10.0)
    weight_decay: float = ranged(0.05, 0.0, 10.0)
    warmup: float = ranged(0.1, 0.0, 1.0)
    clip_norm: float = ranged(1.0, 1e-6, 1e6)
    loss: Literal["focal", "ce"] = "focal"
    gamma: float = ranged(0.5, 0.0, 10.0)
    label_smoothing: float = ranged(0.1, 0.0, 0.9)
    au_weight: float = ranged(0.5, 0.0, 100.0)
    sparsity: float = ranged(0.01, 0.0, 100.0)
    mirror: bool = True
    noise: float = ranged(0.1, 0.0, 10.0)
    region_dropout: float = ranged(0.2, 0.0, 0.9)
    scale_jitter: float = ranged(0.2, 0.0, 2.0)
    auxiliary_weight: float = ranged(0.0, 0.0, 10.0)
    deterministic: bool = True
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    epoch_selection: Literal["fixed", "validation"] = "fixed"
    validation_fraction: float = ranged(0.2, 0.01, 0.9)
    refit: bool = True
