"""Networks whose AU graph matters without training: every part of the head has weights of its own."""

import torch

from stagkit.core.config import StagConfig
from stagkit.network.model import Stag


def make_graph_model(n_classes: int = 2, seed: int = 0, **changes) -> Stag:
    """An untrained network of fixed weights in which AUs, all three relations of AUs and region edges change the logits."""
    config = StagConfig(**{"width": 16, "heads": 2, "graph_layers": 1, "time_layers": 1, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Stag(config, n_classes)
        with torch.no_grad():
            model.region_graph.bias.normal_(-0.5, 0.5)
            model.region_graph.value.mul_(3.0)
            if config.head == "graph":
                model.head.nodes.normal_(0, 0.05)
                model.head.bias.normal_(0, 0.3)
                model.head.pairs.normal_(0, 0.03)
                model.head.partners.normal_(0, 0.2)
            for parameter in model.graph.parameters():  # what its layers add is small before training
                parameter.mul_(2.0)
    return model.eval()
