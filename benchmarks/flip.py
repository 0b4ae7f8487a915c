"""One edge decides: a phantom clip whose predicted class changes when a single AU edge is removed, as a saved page.

    python benchmarks/flip.py [--page figures/au_graph_flip.html] [--epochs 60]

Two classes of relational phantoms (clips without images): AU 4 and AU 12 both active or both absent, against one alone.
Every AU is equally frequent in both classes, so only a pair of AUs can tell them apart. A network learns from 12 synthetic
people and is tested on 12 others, with default settings. The page shows the test clip whose prediction depends most on
one AU edge: select the edge, remove it, undo it. Printed: how many correct predictions change without their strongest edge.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_LABELS
from stagkit.explain.interventions import compute_probabilities
from stagkit.explorers import view_au_graph
from stagkit.network.model import Stag
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.sequences import make_sequences
from stagkit.training.train import train_fold


def make_data(seed: int, subjects: int = 12, clips: int = 15):
    """Relational phantoms as the network's input; other seeds are other people."""
    return make_sequences(PhantomConfig(preset="relations", subjects=subjects, clips=clips, seed=seed))


def find_flips(model: Stag, batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each clip: predicted class, the AU edge (k, l) with the largest term in its margin, the margin without it."""
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    logits, edges = output.logits.numpy(), output.terms.au_edges.numpy()
    clips, (top, second) = np.arange(len(logits)), np.argsort(-logits)[:, :2].T
    terms = edges[clips, top] - edges[clips, second]
    place = terms.reshape(len(terms), -1).argmax(1)
    pair = np.stack(np.unravel_index(place, terms.shape[1:]), -1)
    margin = logits[clips, top] - logits[clips, second]
    return top, pair, margin - terms[clips, *pair.T]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=Path("figures/au_graph_flip.html"))
    parser.add_argument("--epochs", type=int, default=TrainConfig().epochs)
    options = parser.parse_args(arguments)
    train, test = make_data(41), make_data(42)
    config = TrainConfig(epochs=options.epochs)
    model = train_fold(train, np.arange(len(train)), StagConfig(), config, seed=0)
    batch = test.batch()
    top, pair, without = find_flips(model, batch)
    right = top == test.label
    changed = (without < 0)[right].mean()
    print(
        f"{right.mean():.0%} of {len(test)} test clips right; {changed:.0%} of these change without their strongest AU edge."
    )
    clip = int(np.argmin(np.where(right, without, np.inf)))
    one, (k, m) = batch.select(torch.tensor([clip])), pair[clip]
    before, after = (compute_probabilities(model, one, cut) for cut in ((), [["au", AU_LABELS[k], AU_LABELS[m]]]))
    print(f"{test.clip_ids[clip]}: {test.classes[top[clip]]} {before[top[clip]]:.3f}; without the edge", end=" ")
    print(f"{AU_LABELS[k]}-{AU_LABELS[m]} {after[top[clip]]:.3f}, and the prediction is {test.classes[after.argmax()]}")
    with torch.no_grad():
        output = model(one.x, one.mask, one.times_ms)
    view_au_graph(output, one, model=model, view="both", threshold=0.0).to_html(options.page)
    print(options.page)


if __name__ == "__main__":
    main()
