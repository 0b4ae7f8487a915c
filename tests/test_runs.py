"""Training, folds and runs: nothing of the test part is seen, a killed run ends with the same numbers."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.run import Run, RunError
from stagkit.inference.pretrained import load_weights
from stagkit.training.augment import make_augmented
from stagkit.training.train import compute_rate, compute_scale, predict, train_fold
from tests.small import make_dataset, renew_digests, save_maps

SMALL = StagConfig(width=16, heads=2, graph_layers=1, time_layers=1)
QUICK = TrainConfig(epochs=3, batch_size=8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run on real-looking maps, with the file it read."""
    folder = tmp_path_factory.mktemp("runs")
    path = save_maps(folder / "maps.npz")
    from stagkit.datasets.prepare import load_data

    run = evaluate(load_data(path), folder / "run", SMALL, QUICK, workers=1, data_path=path)
    return path, run


def test_a_fold_says_what_taught_the_action_units(finished):
    from stagkit.datasets.prepare import load_data

    path, run = finished
    data, records = load_data(path), [json.loads(p.read_text()) for p in run.path.rglob("*fold*.json")]
    told = {r["au_supervision"] for r in records if "au_supervision" in r}
    assert told and all(words.endswith("training clips with AU codes") for words in told), "no phantoms in this run"
    n_coded = int((~np.isnan(data.aus)).any(1).sum())
    assert all(int(words.split()[0]) <= n_coded for words in told)


def test_learns_what_can_be_learned():
    """Brow against lip corner, four subjects: nearly every clip of a subject never seen is recognised."""
    data = make_dataset()
    train = np.array([i for i, s in enumerate(data.subjects) if s != "set/sub01"])
    test = np.setdiff1d(np.arange(len(data)), train)
    losses = []
    model = train_fold(
        data,
        train,
        SMALL,
        TrainConfig(epochs=40, batch_size=9, lr=5e-3),
        on_epoch_end=lambda *given: losses.append(given[1]),
    )
    probability = predict(model, data, test)
    assert np.allclose(probability.sum(1), 1, atol=1e-5)
    assert (probability.argmax(1) == data.label[test]).mean() > 0.8
    assert losses[-1] < losses[0] / 2


def test_same_seed_same_network():
    data, train = make_dataset(), np.arange(12)
    first, again, other = (train_fold(data, train, SMALL, QUICK, seed) for seed in (3, 3, 4))
    a, b, c = (predict(m, data, np.arange(24)) for m in (first, again, other))
    assert (a == b).all()
    assert not np.allclose(a, c)


def test_poisoned_test_clips_change_nothing_that_is_trained():
    """Whatever stands in the test clips (pictures, labels, AUs), weights and scale come out the same."""
    data = make_dataset()
    train, test = np.arange(18), np.arange(18, 24)
    poisoned = replace(
        data,
        x=np.where(np.isin(np.arange(24), test)[:, None, None, None, None, None], 1e6, data.x).astype(np.float32),
        label=np.where(np.isin(np.arange(24), test), 1 - data.label, data.label),
        aus=np.where(np.isin(np.arange(24), test)[:, None], 1.0, data.aus).astype(np.float32),
    )
    clean, same = (train_fold(d, train, SMALL, QUICK).state_dict() for d in (data, poisoned))
    assert all(torch.equal(clean[k], same[k]) for k in clean)


def test_scale_is_the_root_mean_square_of_what_is_seen():
    data = make_dataset()
    x, mask = np.zeros_like(data.x), data.mask.copy()
    x[:, :, :, 0], x[:, :, :, 1], x[:, :, :, 2] = 3, 4, 2
    mask[:, :, 5:] = False
    x[:, :, 5:] = 99  # hidden: must not count
    scale = compute_scale(replace(data, x=x, mask=mask), np.arange(4))
    assert scale == pytest.approx([np.sqrt(12.5), np.sqrt(12.5), 2])


def test_mirroring_swaps_sides_and_turns_u_round():
    """A clip whose values are their own region number: after mirroring, each region holds its partner's, u negated."""
    data = make_dataset(n_subjects=1)
    data.x[:] = np.arange(22, dtype=np.float32)[None, None, :, None, None, None] + 1
    data.x[..., 0] += 100  # the left column of each patch
    only = TrainConfig(mirror=True, noise=0, region_dropout=0, scale_jitter=0)
    out = make_augmented(data.batch(), only, torch.Generator().manual_seed(0)).x
    flipped = (out[:, 0, 0, 0, 0, 2] < 0).numpy()
    assert 0 < flipped.sum() < len(data)
    i = int(np.flatnonzero(flipped)[0])
    expected = ATLAS.mirror + 1.0
    assert (out[i, 0, :, 0, 0, 0].numpy() == -expected).all()
    assert (out[i, 0, :, 1, 0, 0].numpy() == expected).all()
    assert (out[i, 0, :, 1, 0, 4].numpy() == expected + 100).all(), "left column went right"
    j = int(np.flatnonzero(~flipped)[0])
    assert torch.equal(out[j], data.batch().x[j])


def test_augmentation_keeps_zero_motion_zero():
    data = make_dataset(n_subjects=1)
    data.x[:] = 0
    out = make_augmented(data.batch(), TrainConfig(), torch.Generator().manual_seed(0))
    assert not out.x.any()


def test_rate_rises_and_ends_at_zero():
    rates = [compute_rate(s, 100, 0.1) for s in range(100)]
    assert rates[9] == 1.0
    assert max(rates) == 1.0
    assert rates[-1] < 0.001
    assert all(a < b for a, b in zip(rates[:9], rates[1:10], strict=True))


def test_a_loss_that_explodes_is_told():
    data = make_dataset()
    data.x[0] = np.inf
    with pytest.raises(StagkitError, match="loss became"):
        train_fold(data, np.arange(12), SMALL, QUICK.replace(noise=0.0))


# ── the run on disk ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_metrics_and_predictions_hold_what_is_promised(finished):
    _, run = finished
    metrics = json.loads((run.path / "metrics.json").read_text())
    for name in ("protocol", "model", "n_clips", "n_subjects", "n_folds", "seeds", "seconds", "device", "per_dataset"):
        assert name in metrics
    for score in ("uf1", "uar", "acc"):
        assert set(metrics[score]) == {"mean", "std", "ci95", "per_seed"}
        low, high = metrics[score]["ci95"]
        assert 0 <= low <= high <= 1
    assert set(metrics["baselines"]) == {"majority", "permuted"}
    assert set(metrics["per_dataset"]) == {"casme2", "smic"}
    table = pd.read_csv(run.path / "predictions.csv")
    assert list(table.columns) == [
        "seed", "fold", "dataset", "subject", "clip", "label", "prediction", "p_negative", "p_positive", "p_surprise",
    ]  # fmt: skip
    assert len(table) == 24
    probability = table[["p_negative", "p_positive", "p_surprise"]].to_numpy()
    assert np.allclose(probability.sum(1), 1, atol=1e-4)
    names = np.array(["negative", "positive", "surprise"])
    assert (names[probability.argmax(1)] == table["prediction"]).all()
    for name in ("run.json", "config.yaml", "split.json", "environment.json"):
        assert (run.path / name).is_file()
    assert len(list((run.path / "weights").glob("*.safetensors"))) == 4


def test_saved_weights_give_the_saved_predictions(finished):
    """Loaded again, each fold's network says what was written when it was tested."""
    _, run = finished
    data = Run.load(run.path).load_data()
    for fold in range(4):
        index = run.test_index(data, 0, fold)
        probability = predict(run.load_model(0, fold), data, index)
        rows = run.predictions[run.predictions["fold"] == fold]
        assert np.allclose(probability, rows[[c for c in rows if c.startswith("p_")]].to_numpy(), atol=1e-5)


def test_processes_and_one_after_the_other_agree(finished, tmp_path):
    path, run = finished
    again = evaluate(run.load_data(), tmp_path / "again", SMALL, QUICK, workers=2, data_path=path)
    pd.testing.assert_frame_equal(again.predictions, run.predictions)


def test_an_interrupted_run_goes_on_and_ends_the_same(finished, tmp_path):
    path, run = finished
    shutil.copytree(run.path, tmp_path / "run")
    for name in ("metrics.json", "predictions.csv", "folds/seed0_fold001.csv", "folds/seed0_fold003.csv"):
        (tmp_path / "run" / name).unlink()
    with pytest.raises(RunError, match="not finished"):
        Run.load(tmp_path / "run")
    again = evaluate(run.load_data(), tmp_path / "run", SMALL, QUICK, workers=1, data_path=path)
    pd.testing.assert_frame_equal(again.predictions, run.predictions)
    assert again.metrics["uf1"] == run.metrics["uf1"]


def test_another_run_in_the_folder_is_refused(finished):
    path, run = finished
    with pytest.raises(RunError, match="another run .it differs in train"):
        evaluate(run.load_data(), run.path, SMALL, QUICK.replace(epochs=4), workers=1, data_path=path)


def test_a_run_of_an_earlier_network_is_refused(finished, tmp_path):
    """One sentence, whether it is opened or resumed; its weights fit no network of today."""
    path, run = finished
    shutil.copytree(run.path, tmp_path / "old")
    request = json.loads((tmp_path / "old" / "run.json").read_text())
    request |= {"format": 1, "stag": {**request["stag"], "connectivity": "au"}}
    (tmp_path / "old" / "run.json").write_text(json.dumps(request))
    renew_digests(tmp_path / "old")
    for load in (Run.load, load_weights):
        with pytest.raises(
            RunError, match=r"has format 1 \(an earlier network\), this stagkit reads 2: evaluate again\.$"
        ):
            load(tmp_path / "old")
    with pytest.raises(RunError, match="another run .it differs in format, stag"):
        evaluate(run.load_data(), tmp_path / "old", SMALL, QUICK, workers=1, data_path=path)


def test_a_folder_with_other_files_is_refused(finished, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    path, run = finished
    with pytest.raises(RunError, match="not empty"):
        evaluate(run.load_data(), tmp_path, SMALL, QUICK, data_path=path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_changed_data_is_noticed(tmp_path):
    path = save_maps(tmp_path / "maps.npz")
    from stagkit.datasets.prepare import load_data

    run = evaluate(load_data(path), tmp_path / "run", SMALL, QUICK, workers=1, data_path=path)
    save_maps(path, flow=np.zeros((24, 28, 28, 3), np.uint8))
    with pytest.raises(RunError, match="has changed"):
        Run.load(run.path).load_data()
    path.unlink()
    with pytest.raises(RunError, match="cannot be read any more"):
        Run.load(run.path).load_data()


def test_damaged_weights_are_told(finished, tmp_path):
    _, run = finished
    shutil.copytree(run.path, tmp_path / "run")
    weights = tmp_path / "run" / "weights" / "seed0_fold002.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    broken = Run.load(tmp_path / "run")
    with pytest.raises(StagkitError, match="damaged"):
        broken.load_model(0, 2)


def test_annotated_aus_are_never_an_input():
    """Two data sets that differ in the annotated AUs alone give the same predictions from the same network."""
    data = make_dataset()
    model = train_fold(data, np.arange(12), SMALL, QUICK)
    other = replace(data, aus=np.ones((24, len(AU_NUMBERS)), np.float32))
    assert (predict(model, data, np.arange(24)) == predict(model, other, np.arange(24))).all()
