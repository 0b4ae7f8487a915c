"""Preparation: clips a second and core, and memory against the number of clips.

    python benchmarks/prepare.py [--sizes 100 1000 5000] [--quick] [--json FILE]

One aligned phantom clip (128 px, 64 frames) is drawn beforehand and handed over again and again: what is measured is optical
flow (dis, for the smallest size only, and dis_fast), head motion, discriminative frames, regions and files; not the drawing.
One process, one thread, fresh for each size.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from stagkit.core.files import write_json
from stagkit.datasets import ClipSource
from stagkit.datasets.prepare import prepare_clips
from stagkit.motion.config import FlowConfig
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig


class Repeated(ClipSource):
    """A data set of the same clip under many names."""

    name = "one phantom, again and again"

    def __init__(self, n_clips: int, n_frames: int, size: int):
        clip = make_clip(PhantomConfig(subjects=1, clips=1, size=size), 0, 0)
        order = np.resize(np.arange(len(clip.frames)), n_frames)
        self._clip = replace(
            clip,
            frames=clip.frames[order],
            landmarks=clip.landmarks[order],
            onset=0,
            apex=None,
            offset=None,
            truth=None,
        )
        self.keys = tuple(f"clip{i:05d}" for i in range(n_clips))
        self.classes = (clip.label,)

    def describe(self) -> dict:
        return {"name": self.name, "clips": len(self.keys)}

    def read(self, key: str):
        return replace(self._clip, clip_id=key)


def run_one(n_clips: int, n_frames: int, size: int, method: str) -> dict:
    source = Repeated(n_clips, n_frames, size)
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        told = prepare_clips(source, Path(out) / "p", FlowConfig(method=method))
        seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "method": method,
        "clips": told["clips"],
        "seconds": seconds,
        "clips_per_second": n_clips / seconds,
        "memory": memory,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--quick", action="store_true", help="2 and 6 clips of 8 frames: does it run?")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(run_one(*map(int, options.one[:3]), options.one[3])))
        return
    frames, size = (8, 64) if options.quick else (64, 128)
    rows = []
    sizes = [2, 6] if options.quick else options.sizes
    for method, n in [("dis", min(sizes)), *(("dis_fast", n) for n in sizes)]:
        command = [sys.executable, __file__, "--one", str(n), str(frames), str(size), method]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
        row = rows[-1]
        print(
            f"{method:<9}{n:>6} clips {row['clips_per_second']:8.1f} clips/s on one core "
            f"{row['memory'] / 2**20:8.0f} MiB at most"
        )
    if options.json:
        write_json(options.json, {"benchmark": "prepare", "frames": frames, "size": size, "rows": rows})


if __name__ == "__main__":
    main()
