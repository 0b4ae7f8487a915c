"""Simple classifiers on published flow maps, on the same leave-one-subject-out folds as STAG.

    python benchmarks/flow_maps.py MAPS.npz [--run RUN] [--seeds 3] [--json FILE]

RBF support vector machine and a 9,667-parameter MLP on the means of a 7x7 grid (median-centred maps). Scalers are fitted
inside each fold; epochs are fixed beforehand. With ``--run`` the scores of a finished STAG run stand beside them.
"""

import argparse
import json
import time

import numpy as np
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from stagkit.datasets.flow_maps import load_flow_maps
from stagkit.metrics import compute_confusion, compute_interval, compute_scores
from stagkit.runs import Run
from stagkit.splits import make_folds


def compute_grid_means(path: str, cells: int = 7) -> np.ndarray:
    """Mean of each channel in each cell of a grid: float "clip feature"."""
    with np.load(path) as file:
        flow = file["flow"].astype(np.float32)
    flow -= np.median(flow, axis=(1, 2), keepdims=True)
    step = flow.shape[1] // cells
    return flow.reshape(len(flow), cells, step, cells, step, 3).mean((2, 4)).reshape(len(flow), -1)


def fit_svm(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    model = make_pipeline(StandardScaler(), SVC(C=1.0, class_weight="balanced"))
    return model.fit(x, y).predict(test)


def fit_mlp(x: np.ndarray, y: np.ndarray, test: np.ndarray, seed: int) -> np.ndarray:
    """147-64-3, 60 epochs, Adam 1e-3, batches of 64."""
    torch.manual_seed(seed)
    scaler = StandardScaler().fit(x)
    inputs, target = torch.tensor(scaler.transform(x), dtype=torch.float32), torch.tensor(y)
    model = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(60):
        for part in torch.randperm(len(inputs)).split(64):
            loss = torch.nn.functional.cross_entropy(model(inputs[part]), target[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        return model(torch.tensor(scaler.transform(test), dtype=torch.float32)).argmax(1).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps")
    parser.add_argument("--run", help="a finished STAG run on the same maps")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, features = load_flow_maps(options.maps), compute_grid_means(options.maps)
    table = {}
    for name, fit, n_seeds in (("RBF-SVM, 7x7 grid", fit_svm, 1), ("MLP, 7x7 grid", fit_mlp, options.seeds)):
        started, predictions = time.perf_counter(), np.zeros((n_seeds, len(data)), int)
        for seed in range(n_seeds):
            for fold in make_folds(data, "loso"):
                test = fold.open_test()
                predictions[seed, test] = fit(features[fold.train], data.label[fold.train], features[test], seed)
        scores = [compute_scores(compute_confusion(data.label, p, 3)) for p in predictions]
        interval = compute_interval(
            np.tile(data.label, n_seeds), predictions.ravel(), np.tile(data.subjects, n_seeds), 3
        )
        table[name] = {
            "uf1": float(np.mean([s.uf1 for s in scores])),
            "uar": float(np.mean([s.uar for s in scores])),
            "acc": float(np.mean([s.acc for s in scores])),
            "uf1_ci95": interval["uf1"],
            "seeds": n_seeds,
            "seconds": time.perf_counter() - started,
        }
    if options.run:
        metrics = Run.load(options.run).metrics
        table["STAG"] = {
            **{s: metrics[s]["mean"] for s in ("uf1", "uar", "acc")},
            "uf1_ci95": metrics["uf1"]["ci95"],
            "seeds": len(metrics["seeds"]),
            "seconds": metrics["seconds"],
        }
    print(f"{'':<20}{'UF1':>7}{'UAR':>7}{'ACC':>7}   95 % of UF1      seeds  seconds")
    for name, row in table.items():
        low, high = row["uf1_ci95"]
        scores = "".join(f"{row[s]:7.3f}" for s in ("uf1", "uar", "acc"))
        print(f"{name:<20}{scores}   {low:.3f} .. {high:.3f}{row['seeds']:>6}{row['seconds']:>9.1f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(table, file, indent=2)


if __name__ == "__main__":
    main()
