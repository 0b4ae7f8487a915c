"""Put a layer of your own in the place of one of STAG's, without editing the library.

A layer is a class that is built as ``Layer(config, number)`` and answers like the one whose place it takes:

- ``graph``: ``(x "batch time roi width", edges "batch time roi roi", features "batch time roi roi feature" or None, mask
  bool "batch time roi")`` -> (like x, attention "batch time head target source"). What ``GraphLayer`` does.
- ``time``: ``(x "batch time width", frame_mask bool "batch time")`` -> (like x, attention "batch head target source").
  What ``TimeLayer`` does.

Whether it keeps what the rest of stagkit relies on is what ``plugin_checks.check_layer`` finds out. A run folder
(``evaluate``) holds stagkit's own network only; a network with a layer of yours is trained by ``train.train_fold`` and
kept by its ``state_dict``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from stagkit.core.errors import StagkitError

if TYPE_CHECKING:
    from stagkit.core.config import StagConfig
    from stagkit.network.model import Stag

#: place -> what the explorer and the scores read there; ``{}`` is the number of the layer.
SLOTS = {"graph": "graph.{}.attn", "time": "time.{}.attn"}


class CustomLayerError(StagkitError):
    """A layer that cannot take the place it was meant for."""


def replace_layers(model: Stag, place: str, make: Callable[[StagConfig, int], nn.Module]) -> Stag:
    """Put own layers in the place of all graph layers or all time layers.

    The network remembers ``make`` in ``custom_layers``, so that controls with random weights can build the layers anew.

    Args:
        model: changed in place; put the layers in before training, they start untrained.
        place: ``graph`` or ``time``.
        make: class or function, called with the network's ``StagConfig`` and the number of the layer, from 0.

    Returns:
        The same network.

    Raises:
        CustomLayerError: no such place, a network without layers there, or something that is not an ``nn.Module``.

    Example:
        >>> from stagkit import Stag, StagConfig
        >>> from stagkit.course.exercises.layers import NeighbourMean
        >>> model = replace_layers(Stag(StagConfig(width=16), n_classes=3), "graph", NeighbourMean)
        >>> type(model.graph[0]).__name__
        'NeighbourMean'
    """
    if place not in SLOTS:
        raise CustomLayerError(f"there is no place {place!r}; a layer can be put in at {' or '.join(SLOTS)}.")
    layers = getattr(model, place)
    if not len(layers):
        raise CustomLayerError(f"this network has no {place} layers: see `branches`, `graph` and `{place}_layers`.")
    for number in range(len(layers)):
        layer = make(model.config, number)
        if not isinstance(layer, nn.Module):
            name = getattr(make, "__name__", "what was given")
            raise CustomLayerError(
                f"{name} made a {type(layer).__name__}, expected an nn.Module: give the class of the layer."
            )
        layers[number] = layer.to(next(model.parameters()).device).train(model.training)
    model.custom_layers = {**getattr(model, "custom_layers", {}), place: make}
    return model
