"""Settings of phantoms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from stagkit.core.config import Config, ConfigError, ranged
from stagkit.core.files import shorten


@dataclass(frozen=True)
class PhantomConfig(Config):
    """Which phantoms are made. Same settings, same pixels.

    Args:
        preset: the data set that is imitated in frame rate, classes, intensity and noise; or ``relations`` or
            ``synkinesis``, whose labels or AUs follow a known graph of AUs (``synthetic.relations``).
        subjects: number of faces; clips: of each; size: side of the square image, px.
        difficulty: 0 or ``clean`` .. 1 or ``real``: noise, head drift, blinks, glances, folds of the skin, habits of a
            subject, ambiguity of the emotion's AUs. A network solves the default, 0.4 or ``default``, well, but not fully.
        confounder: a shortcut that is planted with one class.
        occlusion: what hides part of every face (``synthetic.occlusion``); occluded: share of the regions, ``random`` only.
        relation: of two AUs, ``relations`` only: both ``together`` or not, their ``order``, their ``side``.
        strength: probability that the label follows the relation; otherwise it is random (``relations`` only).
    """

    preset: Literal["casme2", "samm", "smic", "4dme", "dfme", "relations", "synkinesis"] = "casme2"
    subjects: int = ranged(8, 1, 10_000)
    clips: int = ranged(12, 1, 10_000)
    seed: int = ranged(0, 0, 2**31 - 1)
    size: int = ranged(128, 48, 1024)
    difficulty: float = ranged(0.4, 0.0, 1.0)  # its words become numbers when it is made
    confounder: Literal["none", "head shift", "brightness", "background mark"] = "none"
    occlusion: Literal["none", "glasses", "fringe", "hand", "mask", "random"] = "none"
    occluded: float = ranged(0.3, 0.0, 0.9)
    relation: Literal["together", "order", "side"] = "together"
    strength: float = ranged(1.0, 0.0, 1.0)

    def __post_init__(self):
        words = {"clean": 0.0, "default": 0.4, "real": 1.0}
        if isinstance(self.difficulty, str):
            if self.difficulty not in words:
                raise ConfigError(
                    f"PhantomConfig.difficulty is {shorten(self.difficulty)}, expected 0 to 1, or {', '.join(words)}."
                )
            object.__setattr__(self, "difficulty", words[self.difficulty])
        super().__post_init__()

    def to_dict(self) -> dict[str, Any]:
        """Plain values only; settings that have no effect on these phantoms are left out."""
        values = super().to_dict()
        unused = [] if self.occlusion == "random" else ["occluded"]
        unused += [] if self.preset == "relations" else ["relation", "strength"]
        return {key: value for key, value in values.items() if key not in unused}
