"""Small records of every kind that the figures of a paper and the report of a run are drawn from."""

from pathlib import Path

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.datasets.prepare import load_data, prepare_dataset
from stagkit.evaluation.ablation import ablate
from stagkit.evaluation.evaluate import evaluate
from stagkit.explain.run import explain_run
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from tests.small import save_maps

SMALL = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
SYSTEMS = (
    "system,uf1,lo,hi,leaky_uf1,parameters,macs\nSTAG,0.62,0.5,0.7,0.71,92000,4800000\nOther,0.5,,,0.6,7000,90000\n"
)


def make_phantom_run(home: Path) -> Path:
    """A phantom run, explained with controls: 3 subjects, 9 clips, 12 frames."""
    prepare_dataset(PhantomSource(PhantomConfig(subjects=3, clips=3, size=64, difficulty=0.0)), home / "clips")
    data = load_data(home / "clips")
    train = TrainConfig(epochs=12, batch_size=6, lr=6e-3)
    run = evaluate(data, home / "phantoms", SMALL, train, workers=1, data_path=home / "clips")
    explain_run(run.path, n_steps=8)
    return run.path


def make_map_records(home: Path) -> dict[str, Path]:
    """Of flow maps: an ablation, a leak demonstration, a run across two sets, and a table of systems."""
    maps = save_maps(home / "maps.npz", subject=np.repeat([f"sub{i:02d}" for i in range(4)], 6))
    data, once = load_data(maps), TrainConfig(epochs=1)
    settings = {"protocol": "groupkfold", "n_folds": 2, "workers": 1, "data_path": maps}
    ablate(data, home / "ablation", SMALL, once, only=["graph-none", "branch-graph"], **settings)
    evaluate(data, home / "leak", SMALL, once, leaky=True, **settings)
    evaluate(data, home / "cross", SMALL, once, protocol="cross", workers=1, data_path=maps)
    (home / "systems").mkdir()
    (home / "systems" / "systems.csv").write_text(SYSTEMS, encoding="utf-8")
    return {name: home / name for name in ("ablation", "leak", "cross", "systems")}
