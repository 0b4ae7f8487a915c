"""Small data that several tests share: made of numbers, no picture needed."""

import numpy as np
import torch
from torch import nn

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.files import compute_digests, read_digests, write_digests
from stagkit.core.regions import ATLAS
from stagkit.core.types import RoiDataset
from stagkit.training.train import train_fold


def make_dataset(
    n_subjects: int = 4, per_subject: int = 6, n_frames: int = 3, classes=("negative", "positive"), seed: int = 0
) -> RoiDataset:
    """Classes that differ in which region moves: brows down for the first, lip corners up for the second, ..."""
    rng = np.random.default_rng(seed)
    n = n_subjects * per_subject
    label = np.arange(n) % len(classes)
    x = 0.3 * rng.standard_normal((n, n_frames, 22, 3, 5, 5)).astype(np.float32)
    x[:, :, :, 2] = np.abs(x[:, :, :, 2])
    aus = np.zeros((n, len(AU_NUMBERS)), np.float32)
    for i, k in enumerate(label):
        au = [4, 12, 2, 17, 1][k]
        index = AU_NUMBERS.index(au)
        aus[i, index] = 1
        strength = np.linspace(0.6, 1.6, n_frames)[:, None, None, None, None]
        x[i, :, :, :2] += 1.5 * strength * ATLAS.directions[index][None, :, :, None, None]
    subject = np.repeat([f"set/sub{s + 1:02d}" for s in range(n_subjects)], per_subject)
    return RoiDataset(
        x=x,
        mask=np.ones(x.shape[:3], bool),
        times_ms=np.tile(np.arange(n_frames, dtype=np.float32) * 20 + 20, (n, 1)),
        label=label,
        aus=aus,
        clip_ids=tuple(f"clip{i:03d}" for i in range(n)),
        subjects=tuple(subject.tolist()),
        datasets=("set",) * n,
        classes=tuple(classes),
        roi_names=ATLAS.names,
        meta={"source": "numbers", "digest": f"small-{seed}-{n}"},
    )


def save_maps(path, **changes):
    """An .npz of flow maps as published (uint8, stretched), 4 subjects x 6 clips; ``changes`` replace or (None) drop."""
    rng = np.random.default_rng(0)
    n = 24
    fields = {
        "flow": rng.integers(0, 256, (n, 28, 28, 3)).astype(np.uint8),
        "label": np.arange(n) % 3,
        "subject": np.repeat([f"sub{i:02d}" for i in range(4)], 6),
        "dataset": np.repeat(["casme2", "smic"], 12),
        "clip": np.array([f"c{i}" for i in range(n)]),
        "aus": np.array(["4+L10", "12", ""] * 8),
    }
    fields.update(changes)
    np.savez(path, **{k: v for k, v in fields.items() if v is not None})
    return path


def renew_digests(folder):
    """Make the digests of a changed or hand-made run (and its explanations) fit its files, as a forger would."""
    for path in [folder / "digests.json", *folder.glob("explanations/*/digests.json")]:
        names = read_digests(path.parent) or [p.name for p in path.parent.iterdir() if p.suffix in (".json", ".csv")]
        write_digests(path.parent, compute_digests(path.parent, names))


def train_small(data: RoiDataset):
    """A network that has learned the first three subjects of ``make_dataset`` in two seconds."""
    config = StagConfig(width=16, heads=2, graph_layers=1, time_layers=1)
    return train_fold(data, np.arange(18), config, TrainConfig(epochs=8, batch_size=9, lr=5e-3))


def make_small_model(n_classes: int = 2, **changes):
    """An untrained network of fixed weights whose graph matters: quick to make, the same everywhere."""
    from stagkit.network.model import Stag

    config = StagConfig(**{"width": 16, "heads": 2, "graph_layers": 1, "time_layers": 1, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Stag(config, n_classes)
        with torch.no_grad():  # what the graphs add is small, or 0, before training
            for parameter in model.graph.parameters():
                parameter.mul_(2.0)
            if config.head == "graph":
                for parameter in (model.head.nodes, model.head.pairs, model.head.partners):
                    parameter.normal_(0, 0.1)
    return model.eval()


class Linear(nn.Module):
    """logit 0 = 2 x[lip_corner_L, frame 1, u, middle]: one cell of 66 is everything."""

    def logits(self, x, mask, times_ms):
        seen = 2 * x[:, 1, ATLAS.index("lip_corner_L"), 0, 2, 2]
        return torch.stack([seen, -seen], -1)


class Product(nn.Module):
    """logit 0 = a b with a = glabella v, b = chin v in frame 0: half of a b is each one's by symmetry."""

    def logits(self, x, mask, times_ms):
        product = x[:, 0, ATLAS.index("glabella"), 1, 0, 0] * x[:, 0, ATLAS.index("chin"), 1, 0, 0]
        return torch.stack([product, 0 * product], -1)
