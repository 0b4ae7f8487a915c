"""The ablation: every switch once, the same folds, tables that say what was measured, and it goes on where it stopped."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.datasets.prepare import keep_apex
from stagkit.evaluation.ablation import VARIANTS, ablate, choose_variants, format_ablation
from stagkit.evaluation.run import Run
from stagkit.reports.paper.tables import make_ablation_table
from stagkit.synthetic.auxiliary import make_phantom_maps
from tests.small import make_dataset

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
QUICK = TrainConfig(epochs=1, batch_size=12)
SETTINGS = {"protocol": "groupkfold", "n_folds": 2, "workers": 1}


@pytest.fixture(scope="module")
def data():
    return make_dataset(n_subjects=4, per_subject=4, n_frames=2)


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablation") / "out"
    other = replace(data, x=data.x[:, ::-1].copy(), meta={"digest": "turned"})
    only = ("graph-none", "loss-ce", "apex-only")
    return out, ablate(data, out, TINY, QUICK, only, others={"turned": (other, "")}, **SETTINGS)


def test_every_switch_of_the_network_is_in_the_table():
    """Each setting that the design calls a switch is varied, to each of its values."""
    from typing import get_args, get_type_hints

    switches = {"temporal_attention", "graph", "branches", "cross_attention", "head"}
    varied = {(name, value) for v in VARIANTS for name, value in v.stag.items()}
    hints = get_type_hints(StagConfig)
    for name in switches:
        values = set(get_args(hints[name]) or (True, False)) - {getattr(StagConfig(), name)}
        assert {(name, value) for value in values} <= varied
    augmentation = {"mirror", "noise", "region_dropout", "scale_jitter"}
    augmentation |= {"label_smoothing", "auxiliary_weight", "loss"}
    assert augmentation | {"au_weight", "sparsity"} <= {name for v in VARIANTS for name in v.train}


def name_variants(data, stag=TINY, train=QUICK):
    return {v.name for v in choose_variants(data, stag, train)}


def test_what_has_no_meaning_is_left_out(data):
    names, maps = name_variants(data), make_phantom_maps(9)
    same = {"branch-both", "head-graph", "auxiliary-off"}
    assert names == {v.name for v in VARIANTS} - same - {"auxiliary-maps", "au-loss-off"}
    assert {"auxiliary-maps", "auxiliary-clips"} & name_variants(maps) == {"auxiliary-maps"}
    assert names - name_variants(keep_apex(data)) == {"apex-only", "temporal-attention-off"}
    one = names - name_variants(data, TINY.replace(branches="graph"))
    assert one == {"branch-graph", "cross-one-way", "cross-none"}
    taught = name_variants(data, train=QUICK.replace(auxiliary_weight=1.0))
    assert taught ^ names == {"auxiliary-clips", "auxiliary-off"}
    plain = name_variants(data, train=QUICK.replace(loss="ce"))
    assert names - plain == {"loss-ce"}, "it is plain already"
    with pytest.raises(StagkitError, match="no variant graph-octopus"):
        choose_variants(data, TINY, QUICK, ("graph-octopus",))


def test_what_action_units_are_needed_for(data):
    """A head that predicts from AUs needs codes or phantoms; one that does not can do without AU loss."""
    fused, names = TINY.replace(head="fused"), name_variants(data)
    swapped = {"head-fused", "head-graph", "au-loss-off", "sparsity-off"}
    # with a fused head, graph-none is the fused head without graph
    assert name_variants(data, fused) ^ names == swapped | {"fused-graph-none"}
    bare = replace(data, aus=np.full_like(data.aus, np.nan))
    assert name_variants(data, fused) - name_variants(bare, fused) == {"au-loss-off", "head-graph"}
    half = replace(data, datasets=tuple("ab"[i % 2] for i in range(len(data))), aus=data.aus.copy())
    half.aus[1::2] = np.nan
    assert name_variants(data, fused) - name_variants(half, fused) == {"head-graph"}, "set b has no codes"
    phantoms = QUICK.replace(auxiliary_weight=1.0)
    assert {"head-graph", "au-loss-off", "auxiliary-off"} <= name_variants(bare, fused, phantoms)
    assert "auxiliary-off" not in name_variants(bare, train=phantoms), "nothing would teach the action units"


def test_each_variant_is_trained_once(data):
    """No two variants have the same settings, whatever the whole network is."""
    for stag in (TINY, TINY.replace(head="fused"), TINY.replace(graph="none"), TINY.replace(head="fused", graph="gat")):
        chosen = choose_variants(data, stag, QUICK)
        settings = {(stag.replace(**v.stag), QUICK.replace(**v.train), v.frames) for v in chosen}
        assert len(settings) == len(chosen) and chosen[0].name == "full"


def test_variants_share_folds_and_are_compared_with_the_whole(done):
    out, result = done
    assert list(result["variants"]) == ["full", "apex-only", "graph-none", "loss-ce", "turned"]
    splits = {(out / name / "split.json").read_text() for name in result["variants"]}
    assert len(splits) == 1
    assert "difference" not in result["variants"]["full"]
    row = result["variants"]["graph-none"]
    uf1 = row["difference"]["uf1"]
    assert uf1["difference"] == pytest.approx(row["uf1"]["mean"] - result["variants"]["full"]["uf1"]["mean"])
    assert uf1["ci95"][0] <= uf1["difference"] <= uf1["ci95"][1]
    assert row["parameters"] < result["variants"]["full"]["parameters"]
    assert row["au_auroc"] == Run.load(out / "graph-none").metrics["au_detection"]["mean_auroc"] > 0
    assert "other inputs" in result["variants"]["turned"]["notes"][0]
    assert json.loads((out / "ablation.json").read_text()) == json.loads(json.dumps(result))


def test_tables(done):
    out, result = done
    rows = list(csv.DictReader((out / "ablation.csv").open()))
    assert [row["variant"] for row in rows] == list(result["variants"])
    assert float(rows[2]["d_uf1"]) == pytest.approx(
        result["variants"]["graph-none"]["difference"]["uf1"]["difference"], abs=1e-5
    )
    latex = make_ablation_table(result)
    assert latex.count(r"\\") == 1 + len(rows)
    assert "One frame, onset to apex (T = 1)" in latex
    text = format_ablation(result)
    assert text.count("\n") == 2 + len(rows)
    assert "caution: the interval is from 4 subjects" in text
    assert "% caution: the interval is from 4 subjects" in latex


def test_an_interrupted_ablation_goes_on(done, data, tmp_path):
    """One variant lost, another finished: only the lost one is trained, and the table is the same."""
    out, result = done
    shutil.copytree(out, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "loss-ce")
    (tmp_path / "out" / "ablation.json").unlink()
    kept = (tmp_path / "out" / "full" / "metrics.json").stat().st_mtime_ns
    again = ablate(data, tmp_path / "out", TINY, QUICK, ("graph-none", "loss-ce", "apex-only"), **SETTINGS)
    assert (tmp_path / "out" / "full" / "metrics.json").stat().st_mtime_ns == kept
    for name, row in again["variants"].items():
        assert row["uf1"] == result["variants"][name]["uf1"]
        assert row.get("difference") == result["variants"][name].get("difference")


def test_other_work_in_the_folder_is_refused(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StagkitError, match="holds no ablation"):
        ablate(data, tmp_path, TINY, QUICK, **SETTINGS)
    with pytest.raises(StagkitError, match="is a variant already"):
        ablate(data, tmp_path / "out", TINY, QUICK, others={"full": (data, "")}, **SETTINGS)


def test_the_apex_frame_is_the_one_that_moves_most():
    data = make_dataset(n_subjects=2, per_subject=2, n_frames=4)
    data.x[:] = 0
    for i, t in enumerate((2, 0, 3, 1)):
        data.x[i, t, :, 0] = 1
    data.x[2, 3, :, 0], data.x[2, 0, :, 1] = 1, -2
    data.mask[3, 1] = False  # the strongest frame is not seen
    data.x[3, 2, :, 0] = 0.5
    only = keep_apex(data)
    assert only.x.shape[1] == 1
    assert only.times_ms[:, 0].tolist() == [60, 20, 20, 60]
    assert only.meta["frames"] == "apex"
    assert only.meta["digest"] != data.meta["digest"]
