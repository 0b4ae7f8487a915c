"""How long a person waits for an explanation: integrated gradients of one clip, and that with every control beside it.

    python benchmarks/one_clip.py [--threads 2] [--quick] [--json FILE]

The first of the shipped phantom networks explains held-out phantom clips one by one; the second stands where a network that
learned from shuffled labels would stand, as it costs the same. Medians over the clips, after one that is not timed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from stagkit import load_weights
from stagkit.core.files import write_json
from stagkit.datasets.prepare import prepare_dataset
from stagkit.explain.attribution import attribute
from stagkit.explain.evidence import make_evidence
from stagkit.explain.ground_truth import compute_ground_truth
from stagkit.synthetic.clip import make_clips
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource


def time_each(do: Callable[[int], object], n: int) -> float:
    """Median seconds of ``do(0) .. do(n - 1)``, after one more of the first."""
    do(0)
    seconds = []
    for i in range(n):
        started = time.perf_counter()
        do(i)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def measure(n_clips: int) -> dict:
    """Seconds of one clip: ``integrated_gradients`` and ``all_controls``."""
    settings = PhantomConfig(subjects=1, clips=n_clips, seed=31_000)
    with tempfile.TemporaryDirectory() as folder:
        data = prepare_dataset(PhantomSource(settings), Path(folder) / "clips")
    model, other = load_weights("phantom").networks[:2]
    batches = [data.batch(np.array([i])) for i in range(n_clips)]
    truths = [compute_ground_truth([clip]) for clip in make_clips(settings)]
    return {
        "clips": n_clips,
        "threads": torch.get_num_threads(),
        "integrated_gradients": time_each(lambda i: attribute(model, batches[i]), n_clips),
        "all_controls": time_each(
            lambda i: make_evidence(model, batches[i], ground_truth=truths[i], permuted=other), n_clips
        ),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--quick", action="store_true", help="2 clips: does it run?")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    result = measure(2 if options.quick else 9)
    print(f"integrated gradients {1000 * result['integrated_gradients']:.0f} ms a clip (aim 100)")
    print(f"with every control   {result['all_controls']:.2f} s a clip (aim 2)")
    if options.json:
        write_json(options.json, {"benchmark": "one_clip", **result})


if __name__ == "__main__":
    main()
