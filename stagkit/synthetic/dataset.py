"""Phantoms as a data set."""

from __future__ import annotations

from collections.abc import Mapping

from stagkit.core.types import Clip
from stagkit.datasets import Clips, ClipSource
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.relations import find_preset


class PhantomSource(ClipSource):
    """The clips of a ``PhantomConfig`` as a ``ClipSource``, drawn when read; the same settings give the same pixels."""

    def __init__(self, config: PhantomConfig):
        self.config = config
        self.name = f"{config.preset}-phantom"
        self.classes = find_preset(config).classes
        self._places = Clips(
            {f"sub{s + 1:02d}_{c + 1:03d}": (s, c) for s in range(config.subjects) for c in range(config.clips)}
        )
        self.keys = tuple(self._places)

    def read(self, key: str, render: bool = True) -> Clip:
        """Draw one clip; without ``render``, its truth and landmarks alone."""
        from stagkit.synthetic.clip import make_clip

        return make_clip(self.config, *self._places[key], render=render)

    def describe(self) -> dict[str, object]:
        """Settings and their digest."""
        return {"source": self.name, "config": self.config.to_dict(), "digest": self.config.digest()}


def find_phantoms(meta: Mapping[str, object]) -> PhantomSource | None:
    """The phantoms that a data set was made of, from its ``meta`` or its record in a run; None for other clips."""
    source = meta.get("source")
    config = source.get("config") if isinstance(source, dict) else None
    return PhantomSource(PhantomConfig.from_dict(config)) if config and "preset" in config else None
