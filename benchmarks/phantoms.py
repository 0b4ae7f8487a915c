"""How real phantom flow maps are, measured on published ones: can they be told apart, and what do they teach?

    python benchmarks/phantoms.py MAPS.npz [--seeds 5] [--phantoms 12000] [--quick] [--json FILE] [--picture FILE]
    python benchmarks/phantoms.py MAPS.npz --statistics

(a) AUROC of classifiers that tell phantom from real maps, cross-validated by subject, classes and data sets matched: 0.5
    means that they cannot. (b) ``--picture``: mean maps of each class, real beside phantom; such a picture is made from real
    clips, so keep it to yourself. (c) UF1 on all real maps of a small network that has seen phantoms only. (d) UF1 of
    the same network, leave one subject out, from nothing and with phantoms beside every batch of real clips: paired over
    subjects. Every fold goes through ``stagkit.evaluation.sealed.fit_and_predict``; epochs and weights are fixed beforehand.
The network (a perceptron, 147-96-37) sees means over a 7x7 grid, each map divided by its own spread. It answers the
class and which action units move on which side; for real clips only the class is taught. Its settings, and the sizes in
``stagkit.synthetic.flow_maps``, were set by hand while looking at maps of CASME II and SMIC: on those sets (c) and (d) are
slightly optimistic. Clips that took no part in that would say by how much.
"""

import argparse
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from stagkit.core.files import write_atomically, write_json
from stagkit.core.types import RoiDataset
from stagkit.datasets.flow_maps import CLASSES, load_flow_maps, read_maps
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.evaluation.metrics import compute_confusion, compute_paired, compute_scores
from stagkit.evaluation.sealed import SealedInputs, Trained, fit_and_predict
from stagkit.evaluation.splits import make_folds
from stagkit.synthetic.flow_maps import make_maps

BESIDE = 0.3  # weight of the phantoms beside a batch of real clips
SYSTEMS = ("phantoms only", "without phantoms", "with phantoms")
PRESETS = ("casme2", "samm", "smic")  # maps of other data sets are compared with the first


def make_grid(flow: np.ndarray, cells: int = 7) -> np.ndarray:
    """Means over a grid of median-centred maps: float32 "clip cell chan"."""
    flow = flow.astype(np.float32)
    flow = flow - np.median(flow, axis=(1, 2), keepdims=True)
    step = flow.shape[1] // cells
    return flow.reshape(len(flow), cells, step, cells, step, 3).mean((2, 4)).reshape(len(flow), -1, 3)


def level(grid: np.ndarray) -> np.ndarray:
    """Each map divided by its own spread (u and v by their common one): "clip feature"."""
    spread = np.sqrt((grid**2).mean(1, keepdims=True))
    spread[..., :2] = np.sqrt((spread[..., :2] ** 2).mean(2, keepdims=True))
    return (grid / np.maximum(spread, 1e-6)).reshape(len(grid), -1).astype(np.float32)


def make_phantoms(names: list[str], n: int, seed: int) -> dict[str, np.ndarray]:
    """``n`` phantom maps, as many like each data set that is in ``names``."""
    parts = [make_maps(n // len(names), seed=seed, preset=name) for name in names]
    made = {field: np.concatenate([getattr(p, field) for p in parts]) for field in ("flow", "label", "au_intensity")}
    made["dataset"] = np.repeat(names, [len(p.label) for p in parts])
    made["group"] = np.concatenate([np.char.add(p.dataset, p.subject) for p in parts])
    return made


def match(real: dict, phantoms: dict, seed: int) -> np.ndarray:
    """Positions of phantoms, as many of each data set and class as there are real maps (or all that there are)."""
    rng, chosen = np.random.default_rng(seed), []
    for name in np.unique(real["dataset"]):
        for label in range(len(CLASSES)):
            wanted = ((real["dataset"] == name) & (real["label"] == label)).sum()
            able = np.flatnonzero((phantoms["dataset"] == name) & (phantoms["label"] == label))
            chosen.append(rng.choice(able, min(wanted, len(able)), replace=False))
    return np.concatenate(chosen)


def tell_apart(real: dict, phantoms: dict, seed: int, rounds: int = 150) -> dict[str, float]:
    """AUROC of telling phantom from real maps, by kind of classifier and view."""
    chosen = match(real, phantoms, seed)
    flow = np.concatenate([real["flow"], phantoms["flow"][chosen]])
    made = np.arange(len(flow)) >= len(real["flow"])
    group = np.concatenate([np.char.add(real["dataset"], real["subject"]), phantoms["group"][chosen]])
    boosted = HistGradientBoostingClassifier(max_iter=rounds, learning_rate=0.08, max_leaf_nodes=8, random_state=seed)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    grid, centred = make_grid(flow), flow - np.median(flow, axis=(1, 2), keepdims=True)
    views = {
        "boosted trees, 7x7 grid": (boosted, grid.reshape(len(flow), -1)),
        "logistic, 7x7 grid": (linear, grid.reshape(len(flow), -1)),
        "logistic, all pixels": (linear, centred.reshape(len(flow), -1)),
    }
    folds = GroupKFold(min(5, len(set(group))))
    out = {}
    for name, (model, x) in views.items():
        answer = cross_val_predict(model, x, made, groups=group, cv=folds, method="predict_proba")[:, 1]
        out[name] = float(roc_auc_score(made, answer))
    return out


def compute_statistics(flow: np.ndarray) -> dict[str, np.ndarray]:
    """Single numbers of each map that describe its texture: name -> float "clip"."""
    out = {}
    for chan, name in enumerate(("u", "v", "strain")):
        plane = flow[..., chan].astype(np.float32)
        spread = np.maximum(plane.std((1, 2)), 1e-6)
        away = plane - np.median(plane, axis=(1, 2), keepdims=True)
        out[f"{name} median"] = np.median(plane, axis=(1, 2))
        out[f"{name} standard deviation"] = spread
        out[f"{name} kurtosis"] = (away**4).mean((1, 2)) / np.maximum((away**2).mean((1, 2)), 1e-6) ** 2
        mirrored = away[:, :, ::-1] * (-1 if name == "u" else 1)
        out[f"{name} symmetry"] = (away * mirrored).mean((1, 2)) / np.maximum((away**2).mean((1, 2)), 1e-6)
        rim = np.ones(plane.shape[1:], bool)
        rim[2:-2, 2:-2] = False
        out[f"{name} rim over map"] = plane[:, rim].std(1) / spread
        for axis, way in ((2, "across"), (1, "down")):
            first, second = (np.abs(np.diff(plane, n, axis)).mean((1, 2)) for n in (1, 2))
            out[f"{name} first difference {way}"] = first / spread
            out[f"{name} second over first difference {way}"] = second / np.maximum(first, 1e-6)
    return out


def compare_statistics(real: dict, phantoms: dict, seed: int = 0) -> list[dict]:
    """What tells phantom from real maps, the clearest first: AUROC (above 0.5: phantoms have more) and medians."""
    ours, theirs = (compute_statistics(part) for part in (real["flow"], phantoms["flow"][match(real, phantoms, seed)]))
    rows = []
    for name, values in ours.items():
        made = np.repeat([False, True], [len(values), len(theirs[name])])
        auroc = float(roc_auc_score(made, np.concatenate([values, theirs[name]])))
        rows.append({"name": name, "auroc": auroc, "real": float(np.median(values))})
        rows[-1]["phantom"] = float(np.median(theirs[name]))
    return sorted(rows, key=lambda row: -abs(row["auroc"] - 0.5))


def format_statistics(rows: list[dict]) -> str:
    lines = [f"{'statistic of a map':<42}{'AUROC':>7}{'real':>9}{'phantom':>9}   (medians)"]
    lines += [f"{r['name']:<42}{r['auroc']:>7.2f}{r['real']:>9.2f}{r['phantom']:>9.2f}" for r in rows]
    return "\n".join(lines)


def make_network(seed: int, n_out: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(147, 96), torch.nn.GELU(), torch.nn.Dropout(0.3), torch.nn.Linear(96, n_out)
    )


class Teacher:
    """Phantoms as a network sees them, and the network that has seen nothing else."""

    def __init__(self, phantoms: dict, seed: int, epochs: int):
        x = level(make_grid(phantoms["flow"]))
        self.scaler = StandardScaler().fit(x)
        self.x = torch.tensor(self.scaler.transform(x), dtype=torch.float32)
        self.label = torch.tensor(phantoms["label"])
        self.aus = torch.tensor(phantoms["au_intensity"].reshape(len(x), -1) > 0.3).float()
        self.network = make_network(seed, len(CLASSES) + self.aus.shape[1])
        optimiser = torch.optim.AdamW(self.network.parameters(), 1e-3, weight_decay=1e-2)
        for _ in range(epochs):
            for part in torch.randperm(len(x)).split(128):
                optimiser.zero_grad()
                self.loss(self.network, part).backward()
                optimiser.step()

    def loss(self, network: torch.nn.Module, part: torch.Tensor) -> torch.Tensor:
        out = network(self.x[part])
        answer = functional.cross_entropy(out[:, :3], self.label[part], label_smoothing=0.05)
        return answer + 2.5 * functional.binary_cross_entropy_with_logits(out[:, 3:], self.aus[part])

    def see(self, grid: np.ndarray) -> torch.Tensor:
        return torch.tensor(self.scaler.transform(level(grid)), dtype=torch.float32)


@torch.no_grad()
def answer(network: torch.nn.Module, x: torch.Tensor) -> np.ndarray:
    return network.eval()(x)[:, : len(CLASSES)].softmax(-1).numpy()


def grid_of(clips: RoiDataset | SealedInputs) -> np.ndarray:
    return clips.x.reshape(len(clips), -1, 3)


def fit(known: RoiDataset, inputs: SealedInputs, seed: int, teacher: Teacher, beside: float, epochs: int) -> Trained:
    """Train from nothing on the known clips, with phantoms of weight ``beside`` in every batch."""
    network = make_network(seed, len(CLASSES) + teacher.aus.shape[1])
    x, label = teacher.see(grid_of(known)), torch.tensor(known.label)
    weight = 1 / torch.bincount(label, minlength=len(CLASSES)).clamp(min=1).float()
    weight = weight / weight.mean()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    network.train()
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(32):
            out = network(x[part])[:, : len(CLASSES)]
            loss = functional.cross_entropy(out, label[part], weight=weight, label_smoothing=0.05)
            if beside:
                loss = loss + beside * teacher.loss(network, torch.randint(len(teacher.x), (64,)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return Trained(lambda clips: answer(network, teacher.see(grid_of(clips))), epochs)


def cross_validate(data: RoiDataset, protocol: str, seed: int, teacher: Teacher, beside: float, epochs: int):
    """Answers of networks that never saw the subject of a clip: probabilities "clip cls"."""
    out = np.zeros((len(data), len(CLASSES)))
    for fold in make_folds(data, protocol, min(5, len(set(data.subjects)))):
        test, probability, _ = fit_and_predict(data, fold, lambda k, i: fit(k, i, seed, teacher, beside, epochs))
        out[test] = probability
    return out


def compute_uf1(label: np.ndarray, prediction: np.ndarray) -> float:
    return float(compute_scores(compute_confusion(label, prediction, len(CLASSES))).uf1)


def draw_means(path: Path, real: dict, phantoms: dict) -> None:
    """Mean maps of every data set and class: real on the left of each pair, phantom on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names, kinds = list(np.unique(real["dataset"])), ("u, right", "v, down", "strain")
    figure, axes = plt.subplots(
        3 * len(names), 6, figsize=(7.16, 3.4 * len(names)), squeeze=False, layout="constrained"
    )
    for row, name in enumerate(names):
        for k, label in enumerate(CLASSES):
            for side, maps in enumerate((real, phantoms)):
                mine = maps["flow"][(maps["dataset"] == name) & (maps["label"] == k)].astype(np.float32)
                mean = (mine - np.median(mine, axis=(1, 2), keepdims=True)).mean(0)
                for chan in range(3):
                    ax = axes[3 * row + chan, 2 * k + side]
                    shown = ax.imshow(mean[..., chan], cmap="RdBu_r", vmin=-60, vmax=60)
                    ax.set(xticks=[], yticks=[])
                    if not chan and not row:
                        ax.set_title(f"{label}\n{('real', 'phantom')[side]}", fontsize=8)
                    if not 2 * k + side:
                        ax.set_ylabel(f"{name}\n{kinds[chan]}", fontsize=8)
    bar = figure.colorbar(shown, ax=axes, shrink=0.5, pad=0.02)
    bar.set_label("grey levels of the stretched map", fontsize=8)
    with write_atomically(path) as aside:
        figure.savefig(aside, format=path.suffix[1:] or "png", dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", help=".npz or folder of flow maps")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--phantoms", type=int, default=12_000, help="phantom maps a seed")
    parser.add_argument("--quick", action="store_true", help="one seed, few phantoms, 5 groups of subjects: a trial")
    parser.add_argument("--json", type=Path, help="write every number there")
    parser.add_argument("--picture", type=Path, help="draw mean maps of real and phantom clips there")
    parser.add_argument("--statistics", action="store_true", help="only print which numbers of a map tell them apart")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    seeds, n, epochs, protocol, rounds = given.seeds, given.phantoms, (15, 30), "loso", 150
    if given.quick:
        seeds, n, epochs, protocol, rounds = 1, 600, (5, 6), "groupkfold", 20

    real = read_maps(given.maps)
    real = {**real, "dataset": np.char.lower(real["dataset"].astype(str)), "subject": real["subject"].astype(str)}
    real["dataset"] = np.where(np.isin(real["dataset"], PRESETS), real["dataset"], PRESETS[0])
    names = [name for name in PRESETS if name in real["dataset"]]
    if given.statistics:
        rows = compare_statistics(real, make_phantoms(names, n, 1))
        print(format_statistics(rows))
        if given.json:
            write_json(given.json, {"statistics": rows})
        return
    data = load_flow_maps(given.maps)
    grid = make_grid(real["flow"])[:, None, :, :, None, None]
    cells = tuple(f"cell{i}" for i in range(grid.shape[2]))
    data = replace(data, x=grid, mask=np.ones(grid.shape[:3], bool), roi_names=cells)
    apart, rate, answers = [], [], {name: [] for name in SYSTEMS}
    for seed in range(seeds):
        started = time.perf_counter()
        phantoms = make_phantoms(names, n, seed + 1)
        rate.append(n / (time.perf_counter() - started))
        apart.append(tell_apart(real, phantoms, seed, rounds))
        teacher = Teacher(phantoms, seed, epochs[0])
        alone = answer(teacher.network, teacher.see(make_grid(real["flow"])))
        teacher.network.train()
        answers["phantoms only"].append(alone.argmax(1))
        for name, beside in (("without phantoms", 0.0), ("with phantoms", BESIDE)):
            answers[name].append(cross_validate(data, protocol, seed, teacher, beside, epochs[1]).argmax(1))
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    if given.picture:
        draw_means(given.picture, real, phantoms)

    label = data.label
    paired = compute_paired(
        label, *(np.stack(answers[f"{w} phantoms"]) for w in ("with", "without")), data.subjects, len(CLASSES)
    )["uf1"]
    scores = {name: [compute_uf1(label, p) for p in each] for name, each in answers.items()}
    two_sample = {name: float(np.mean([a[name] for a in apart])) for name in apart[0]}

    def of(name: str) -> np.ndarray:
        return real["dataset"] == name

    result = {
        "two_sample_auroc": max(two_sample.values()),
        "phantom_only_uf1_on_real": float(np.mean(scores["phantoms only"])),
        "pretraining_gain_uf1": float(paired["difference"]),
        "pretraining_gain_ci95": [float(edge) for edge in paired["ci95"]],
        "caveat": describe_caveat(len(set(data.subjects)), paired["ci95"]),
        "two_sample": two_sample,
        "uf1": scores,
        "phantom_only_by_dataset": {
            str(d): float(np.mean([compute_uf1(label[of(d)], p[of(d)]) for p in answers["phantoms only"]]))
            for d in np.unique(real["dataset"])
        },
        "majority_uf1": compute_uf1(label, np.full(len(label), np.bincount(label).argmax())),
        "maps_a_second": float(np.median(rate)),
        "n_clips": len(label),
        "n_subjects": len(set(data.subjects)),
        "protocol": protocol,
        "seeds": seeds,
        "phantoms": n,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    print(format_text(result))
    if given.json:
        write_json(given.json, result)


def format_text(result: dict) -> str:
    low, high = result["pretraining_gain_ci95"]
    lines = [f"{result['n_clips']} real maps of {result['n_subjects']} subjects, {result['seeds']} seed(s)"]
    lines += [f"  told from phantoms, {name:<26} AUROC {value:.3f}" for name, value in result["two_sample"].items()]
    lines.append(f"  majority                                      UF1 {result['majority_uf1']:.3f}")
    for name, values in result["uf1"].items():
        lines.append(f"  {name:<20}{'(not one real clip)' if 'only' in name else '':<25} UF1 {np.mean(values):.3f}")
    parts = ", ".join(f"{d} {v:.3f}" for d, v in result["phantom_only_by_dataset"].items())
    lines.append(f"  phantoms only, by data set: {parts}")
    lines.append(f"  gain by phantoms {result['pretraining_gain_uf1']:+.3f} [{low:+.3f}, {high:+.3f}] (95 %, subjects)")
    if result["caveat"]:
        lines.append(f"  caution: {result['caveat']}")
    lines.append(f"  {result['maps_a_second']:.0f} phantom maps a second")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
