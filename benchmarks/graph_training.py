"""Trainings of the graph benchmark (``graph.py``): data, variants of the network, and what is measured of each network."""

import json
import time
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from recognition import describe_commit
from sklearn.metrics import roc_auc_score

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_LABELS
from stagkit.core.files import compute_digest
from stagkit.core.parallel import configure_process
from stagkit.core.regions import ATLAS
from stagkit.core.types import RoiDataset
from stagkit.datasets.join import join_datasets
from stagkit.datasets.label_maps import map_classes
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.fold import shuffle_labels
from stagkit.explain.interventions import Intervention, compute_agreement, compute_logits, get_region_edges
from stagkit.network.action_units import make_au_edges
from stagkit.network.model import Stag
from stagkit.synthetic.auxiliary import make_auxiliary
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.occlusion import hide_regions
from stagkit.synthetic.relations import make_planted_graph
from stagkit.synthetic.sequences import make_sequences
from stagkit.training.train import make_model, predict_with_aus, train_fold

STRENGTHS, SHARES = (0.0, 0.5, 1.0), (0.0, 0.15, 0.3, 0.45, 0.6)
PRESETS = ("casme2", "samm", "smic", "4dme", "dfme")
TRAIN_SEED, TEST_SEED = 3000, 3500  # of phantoms: none of them was used in development
#: Edges between regions in training -> what they are.
EDGES = {
    "graph": "anatomy, one subgraph per AU",
    "self": "each region with itself only",
    "random": "random pairs of any regions, as many per AU",
    "degree-matched": "the AU's edges swapped, degrees kept",
    "regular": "ring over the AU's regions, about as many",
    "permuted": "the subgraph of another AU",
    "full": "all pairs of the AU's regions",
}
#: Variants that are compared under occlusion -> their names.
OCCLUSION = {"graph": "graph", "none": "no edge between regions", "no imputation": "graph without imputation"}
PAIRS = np.triu_indices(len(AU_LABELS), 1)


class Training(NamedTuple):
    """One training; ``case``: relation and strength, "" elsewhere."""

    data: str
    case: str
    variant: str
    seed: int

    def get_file(self, quick: bool) -> str:
        """Name of its JSON file; other defaults or sizes have another."""
        settings = (*self, quick, StagConfig().to_dict(), TrainConfig().to_dict(), self.get_configs(quick))
        digest = compute_digest(repr(settings).encode())[:8]
        return "-".join(filter(None, self[:3])).replace(" ", "_") + f"-{self.seed}-{digest}.json"

    def get_configs(self, quick: bool) -> list[list[PhantomConfig]]:
        """Phantoms for training and for the test; of ``synkinesis`` one set, whose seed plants the AU pairs."""

        def make(subjects: int, clips: int, seed: int, **settings) -> PhantomConfig:
            return PhantomConfig(subjects=3 if quick else subjects, clips=3 if quick else clips, seed=seed, **settings)

        if self.data == "synkinesis":
            return [[make(40, 15, TRAIN_SEED + self.seed, preset="synkinesis", difficulty=0.4)]]
        if self.data == "relations":
            relation, strength = self.case.split()
            settings = {"preset": "relations", "relation": relation, "strength": float(strength), "difficulty": 0.4}
            return [[make(20, 15, seed, **settings)] for seed in (TRAIN_SEED, TEST_SEED)]
        sets = list(enumerate(PRESETS[:2] if quick else PRESETS))
        return [[make(6, 12, seed + i, preset=p, difficulty=0.7) for i, p in sets] for seed in (TRAIN_SEED, TEST_SEED)]


def make_data(training: Training, quick: bool) -> tuple[RoiDataset, RoiDataset]:
    """Training and test clips, of different subjects."""
    made = [[make_sequences(c, 4 if quick else 12) for c in configs] for configs in training.get_configs(quick)]
    if training.data == "synkinesis":
        whole = made[0][0]
        subjects = np.unique(whole.subjects)
        held_out = np.isin(whole.subjects, subjects[-max(1, len(subjects) // 4) :])
        return whole.select(np.flatnonzero(~held_out)), whole.select(np.flatnonzero(held_out))
    if training.data == "presets":
        made = [[join_datasets([map_classes(part, "3-class") for part in parts])] for parts in made]
    return made[0][0], made[1][0]


def make_edges(kind: str, seed: int) -> np.ndarray:
    """Region edges of a kind of ``EDGES``, int "edge 3" (AU, target, source)."""
    edges, rng, made = make_au_edges(ATLAS), np.random.default_rng([seed, 0xED6E]), []
    if kind in ("graph", "self"):
        return edges if kind == "graph" else make_au_edges(ATLAS, exchange=False)
    order = np.arange(len(AU_LABELS))
    while kind == "permuted" and (order == np.arange(len(order))).any():
        order = rng.permutation(len(order))
    for k in range(len(order)):
        own = edges[edges[:, 0] == order[k], 1:]
        regions, n_all = np.unique(own), len(ATLAS.names)
        n = len(regions)
        if kind == "random":
            own = np.column_stack(divmod(rng.choice(n_all**2, len(own), replace=False), n_all))
        elif kind == "full":
            own = np.stack(np.meshgrid(regions, regions), -1).reshape(-1, 2)
        elif kind == "regular":
            degree = np.clip(round(len(own) / n), 1, n)
            steps = sorted(range(n), key=lambda i, n=n: (min(i, n - i), i))[:degree]
            own = np.concatenate([np.column_stack([regions, np.roll(regions, -step)]) for step in steps])
        elif kind == "degree-matched":
            for i, j in rng.integers(len(own), size=(20 * len(own), 2)):
                swapped = {(own[i, 0], own[j, 1]), (own[j, 0], own[i, 1])}
                if len(swapped) == 2 and not swapped & set(map(tuple, own)):
                    own[[i, j], 1] = own[[j, i], 1]
        made.append(np.column_stack([np.full(len(own), k), own]))
    return np.concatenate(made)


def change_network(model: Stag, training: Training) -> None:
    """Turn an untrained network into the variant."""
    if training.variant == "no AU edges":
        model.head.upper.zero_()
    elif training.variant == "no imputation":
        model.imputation = None
    elif training.data == "presets" and training.variant in EDGES and training.variant != "graph":
        model.region_graph.set_edges(make_edges(training.variant, training.seed))


def run_training(training: Training, quick: bool, train: RoiDataset, test: RoiDataset) -> tuple[Training, dict]:
    """Train and measure one network: all numbers that the tables need."""
    configure_process("cpu")
    started, settings, index = time.perf_counter(), choose_settings(train), np.arange(len(train))
    stag, plan = settings.stag, settings.train.replace(epochs=1) if quick else settings.train
    if training.variant == "none":
        stag = stag.replace(graph="none")
    codes = train.aus
    if training.variant == "permuted" and training.data == "synkinesis":
        train = shuffle_labels(train, training.seed)
    change, auxiliary = partial(change_network, training=training), make_auxiliary(train, plan)
    model = train_fold(train, index, stag, plan, training.seed, change=change, auxiliary=auxiliary)
    untrained = make_model(train, index, stag, training.seed)
    seconds = time.perf_counter() - started
    with torch.no_grad():
        found = measure(model, test, training)
        if training.data == "synkinesis":
            planted = make_planted_graph(training.get_configs(quick)[0][0])
            share, phi = codes.mean(0), compute_phi(codes)
            rankings = {"affinity": model.head.affinity.numpy(), "untrained": untrained.head.affinity.numpy()}
            rankings |= {"frequencies": np.outer(share, share), "phi": phi}
            found["auroc"] = {name: roc_auc_score(planted[PAIRS], rank[PAIRS]) for name, rank in rankings.items()}
            found["planted"] = planted.tolist()
    about = {"label": test.label, "subjects": test.subjects, "classes": test.classes, "codes": test.aus.tolist()}
    about |= {"n_train": len(train), "commit": describe_commit(), "seconds": round(seconds, 1)}
    return training, json.loads(json.dumps(found | about, default=lambda value: value.tolist()))


def compute_phi(codes: np.ndarray) -> np.ndarray:
    """Phi coefficient of each pair of AUs, from codes "clip au"; 0 for an AU that is always or never there."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(np.corrcoef(codes.T))


def measure(model: Stag, test: RoiDataset, training: Training) -> dict:
    """Predictions and AU probabilities of the test clips, also occluded; the terms of the default network's edges."""
    found, every = {"affinity": model.head.affinity}, np.arange(len(test))
    for share in SHARES if training.data == "presets" else SHARES[:1]:
        clips = hide_regions(test, share, TEST_SEED) if share else test
        probability, aus = predict_with_aus(model, clips, every)
        found.setdefault("prediction", {})[f"{share:g}"] = probability.argmax(1)
        found.setdefault("aus", aus.round(4))
    if training.data == "presets" and training.variant == "graph":
        found |= measure_terms(model, test, training.seed)
    return found


def measure_terms(model: Stag, test: RoiDataset, seed: int, n_ranked: int = 60) -> dict:
    """What edges add to the logits, and what removing them changes."""
    batch, graph, rng = test.batch(), model.region_graph, np.random.default_rng([seed, 0xED6E])
    n_clips, n_frames, names = len(test), batch.mask.shape[1], ATLAS.names
    outputs = [
        model(b.x, b.mask, b.times_ms)
        for b in (test.batch(i) for i in np.array_split(range(n_clips), -(-n_clips // 50)))
    ]
    logits, without = (torch.cat(v).double() for v in zip(*((o.logits, o.terms.without) for o in outputs), strict=True))
    region = torch.cat([o.terms.region_edges.double().sum(1) for o in outputs])  # "clip cls edge"
    aus, pairs = (torch.cat([getattr(o.terms, n).double() for o in outputs]) for n in ("aus", "au_edges"))
    pairs = pairs.flatten(2)
    sums = without + region.sum(2), model.head.bias + aus.sum(2) + pairs.sum(2)

    def weigh(weights: np.ndarray) -> torch.Tensor:
        weights = torch.as_tensor(weights, dtype=torch.float32).expand(n_clips, len(graph.index))
        return model.logits(batch.x, batch.mask, batch.times_ms, weights[:, None].expand(-1, n_frames, -1)).double()

    same = (graph.index[:, 1] == graph.index[:, 2]).numpy()
    half = rng.permuted(np.arange(len(same)) % 2 * np.ones((n_clips, 1)), axis=1)
    removed = {"all region edges": without, "edges between different regions": weigh(same)}
    removed |= {"edges of regions with themselves": weigh(~same), "half of the region edges, at random": weigh(half)}
    kept, graph.of_au = graph.of_au, graph.of_au[:, torch.as_tensor(rng.permutation(len(AU_LABELS)))]
    removed["none, but each AU is given the edges of another"] = weigh(np.ones(len(same)))
    graph.of_au = kept
    removed["all AU edges"] = logits - pairs.sum(2)
    first, second = logits.topk(2, 1).indices.T
    at, margin = torch.arange(n_clips), logits.topk(2, 1).values.diff(dim=1).abs()[:, 0]
    region_gap, pair_gap = (part[at, first] - part[at, second] for part in (region, pairs))
    cases = [
        [],
        *([Intervention("region", names[m], names[n], None, AU_LABELS[k])] for k, m, n in get_region_edges(model)),
    ]
    agreement, ranked = [], range(0, n_clips, -(-n_clips // n_ranked))
    for clip in ranked:
        after = compute_logits(model, test.batch([clip]), cases)
        gap = after[:, first[clip]] - after[:, second[clip]]
        agreement.append(compute_agreement(region_gap[clip][None].numpy(), (gap[0] - gap[1:])[None])[0])
    centred = region - region.mean(1, keepdim=True)
    by_class = [centred[batch.label == c, c].mean(0).nan_to_num() for c in range(len(test.classes))]
    return {
        "removed": {name: value.argmax(1) for name, value in removed.items()},
        "lost": {name: compute_lost_share(logits, value) for name, value in removed.items()},
        "error": max(float((part - logits).abs().max()) for part in sums),
        "top_edge": region_gap.abs().amax(1) / margin,
        "top_au_edge": pair_gap.abs().amax(1) / margin,
        "agreement": agreement,
        "ranked": list(ranked),
        "by_class": torch.cat(by_class),
    }


def compute_lost_share(logits: torch.Tensor, reduced: torch.Tensor) -> float:
    """Share of the variation of logits "clip cls" over clips that is lost: 1 - its sum of squares after / before."""
    before, after = ((part - part.mean(0)).square().sum() for part in (logits, reduced))
    return float(1 - after / before)
