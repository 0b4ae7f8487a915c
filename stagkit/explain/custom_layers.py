"""Replace STAG's graph or time layers by your own, without editing the library.

A layer is a class built as ``Layer(config, number)``, with the inputs and outputs of the layer that it replaces:

- ``graph`` (with ``head='fused'``): ``(x "batch time roi width", edges "batch time roi roi", mask bool "batch time roi")``
  -> (like x, attention "batch time head target source"), as ``GraphLayer``.
- ``time``: ``(x "batch time width", frame_mask bool "batch time")`` -> (like x, attention "batch head target source"), as
  ``TimeLayer``.

``layer_contract.check_layer`` tests whether it keeps what the rest of stagkit relies on. A run folder (``evaluate``)
holds stagkit's own network only; a network with custom layers is trained by ``train.train_fold``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from stagkit.core.errors import StagkitError

if TYPE_CHECKING:
    from stagkit.core.config import StagConfig
    from stagkit.network.model import Stag

#: slot -> hook point of its attention; ``{}`` is the number of the layer.
SLOTS = {"graph": "graph.{}.attn", "time": "time.{}.attn"}


class CustomLayerError(StagkitError):
    """A layer that does not fit its slot."""


def replace_layers(model: Stag, slot: str, make: Callable[[StagConfig, int], nn.Module]) -> Stag:
    """Replace all graph layers or all time layers.

    Args:
        model: changed in place and returned; it remembers ``make`` in ``custom_layers``, for sanity checks.
        slot: ``graph`` or ``time``.
        make: class or function, called with the network's ``StagConfig`` and the number of the layer, from 0.

    Raises:
        CustomLayerError: no such slot, a network without layers there, or something that is not an ``nn.Module``.

    Example:
        >>> from stagkit import Stag, StagConfig
        >>> from stagkit.course.exercises.layers import NeighbourMean
        >>> model = replace_layers(Stag(StagConfig(width=16, head='fused'), n_classes=3), "graph", NeighbourMean)
        >>> type(model.graph[0]).__name__
        'NeighbourMean'
    """
    if slot not in SLOTS:
        raise CustomLayerError(f"there is no slot {slot!r}; layers can be replaced in {' or '.join(SLOTS)}.")
    layers = getattr(model, slot)
    if not len(layers):
        raise CustomLayerError(
            f"this network has no {slot} layers: see `head`, `branches`, `graph` and `{slot}_layers`."
        )
    for number in range(len(layers)):
        layer = make(model.config, number)
        if not isinstance(layer, nn.Module):
            name = getattr(make, "__name__", "`make`")
            raise CustomLayerError(
                f"{name} made a {type(layer).__name__}, expected an nn.Module: give the class of the layer."
            )
        layers[number] = layer.to(next(model.parameters()).device).train(model.training)
    model.custom_layers = {**getattr(model, "custom_layers", {}), slot: make}
    return model
