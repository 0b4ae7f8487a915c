"""Settings that suit the clips: by their kind, never by their labels, and changed by whoever wants."""

from dataclasses import replace

import numpy as np
import pytest

import stagkit
from stagkit.baselines.compare import compare_systems
from stagkit.cli import app
from stagkit.cli.options import read_settings
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.course.notebook import choose_course_settings, course_settings
from stagkit.evaluation.ablation import ablate
from stagkit.evaluation.defaults import choose_settings
from stagkit.synthetic.auxiliary import make_phantom_maps
from tests.lockfile import ROOT
from tests.small import make_dataset


def test_coded_clips_of_many_frames_need_no_other_settings():
    defaults = choose_settings(make_dataset())
    assert defaults.stag == StagConfig() and defaults.stag.head == "graph" and defaults.train == TrainConfig()
    assert defaults.reasons == ()


@pytest.mark.parametrize(("uncoded", "apart", "phantoms"), [(0.4, False, False), (0.6, False, True), (0.4, True, True)])
def test_phantoms_teach_action_units_where_too_few_clips_are_coded(uncoded, apart, phantoms):
    data = make_dataset()
    n = round(uncoded * len(data))
    aus = data.aus.copy()
    aus[:n] = np.nan  # the uncoded clips are a data set of their own: trained on alone, it has nothing to teach
    data = replace(data, aus=aus, datasets=tuple("ab"[i >= n] for i in range(len(data))))
    defaults = choose_settings(data, "cross" if apart else "loso")
    assert defaults.stag == StagConfig()
    assert bool(defaults.train.auxiliary_weight) == bool(defaults.reasons) == phantoms
    fused = choose_settings(data, "cross" if apart else "loso", stag=StagConfig(head="fused"))
    assert fused.train == TrainConfig(), "the fused head predicts without known action units"


def test_flow_maps_have_no_time_and_take_phantoms_beside():
    defaults = choose_settings(make_phantom_maps(9))
    assert defaults.stag == StagConfig(branches="graph")
    assert defaults.train.auxiliary_weight > 0
    assert [w.split("=")[0] for w in defaults.reasons] == ["stag.branches", "train.auxiliary_weight"]


def test_labels_do_not_matter():
    data = make_phantom_maps(9)
    assert choose_settings(replace(data, label=np.zeros(9, np.int64))) == choose_settings(data)


def test_one_uncoded_set_keeps_every_pair_of_the_cross_protocol_trainable():
    data = make_dataset()
    aus, n = data.aus.copy(), len(data) // 3
    aus[:n] = np.nan
    data = replace(data, aus=aus, datasets=tuple("ab"[i >= n] for i in range(len(data))))
    said = {p: read_settings(None, [], None, None, data, p)[1].auxiliary_weight > 0 for p in ("loso", "cross")}
    assert said == {"loso": False, "cross": True}


class Asked(Exception):
    """The request of an evaluation that is not carried out."""


def ask(monkeypatch, data, start):
    """Settings that an evaluation would train with, instead of training."""

    def stop(data, out, request, *rest):
        raise Asked({"stag": request["stag"], "train": request["train"], "protocol": request["protocol"]})

    monkeypatch.setattr("stagkit.evaluation.evaluate._evaluate", stop)
    monkeypatch.setattr("stagkit.datasets.prepare.load_data", lambda *paths, **named: data)
    with pytest.raises(Asked) as found:
        start()
    return found.value.args[0]


@pytest.mark.parametrize("protocol", ["loso", "cross"])
@pytest.mark.parametrize("kind", ["coded", "uncoded", "maps"])
def test_the_command_line_and_python_train_the_same_network(kind, protocol, monkeypatch, tmp_path):
    """Python trained the bare defaults, the command line what suits the clips: two networks for the same data."""
    data = make_phantom_maps(9) if kind == "maps" else make_dataset()
    if kind == "uncoded":
        data = replace(data, aus=np.full_like(data.aus, np.nan))
    people = sorted(set(data.subjects))
    data = replace(data, datasets=tuple("ab"[people.index(s) % 2] for s in data.subjects))  # 'cross' needs two sets
    words = ["evaluate", "data", "--out", str(tmp_path / "run"), "--protocol", protocol]
    shell = ask(monkeypatch, data, lambda: app(words, standalone_mode=False))
    python = ask(monkeypatch, data, lambda: stagkit.evaluate(data, tmp_path / "run", protocol=protocol))
    ablation = ask(monkeypatch, data, lambda: ablate(data, tmp_path / "ablation", protocol=protocol))
    assert shell == python == ablation
    chosen = choose_settings(data, protocol)
    assert shell["stag"] == chosen.stag.to_dict() and shell["train"] == chosen.train.to_dict()
    assert (shell["stag"], shell["train"]) != (StagConfig().to_dict(), TrainConfig().to_dict()) or kind == "coded"
    views, told = {"regions": data}, {}
    monkeypatch.setattr("stagkit.baselines.compare.run_request", lambda *given: told.update(given[2]) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compare_systems(views, tmp_path / "systems", ["stag"], protocol=protocol)
    assert (told["stag"], told["train"]) == (shell["stag"], shell["train"])


def test_given_settings_win(monkeypatch, tmp_path):
    data, stag, train = make_dataset(), StagConfig(width=8), TrainConfig(epochs=2)
    asked = ask(monkeypatch, data, lambda: stagkit.evaluate(data, tmp_path, stag, train))
    assert asked["stag"] == stag.to_dict() and asked["train"] == train.to_dict()
    half = choose_settings(data, stag=stag)
    assert half.stag == stag and half.train == TrainConfig() and half.reasons == ()
    changed = ask(monkeypatch, data, lambda: app(["evaluate", "data", "--out", str(tmp_path), "--set", "stag.width=16"],
                                                 standalone_mode=False))  # fmt: skip
    assert changed["stag"] == choose_settings(data).stag.replace(width=16).to_dict()


def test_the_shipped_weights_and_the_course_ask_the_same_function(monkeypatch, tmp_path):
    """The builder changes the number of epochs, the course what it names; all else is decided in one place."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from build_weights import EPOCHS, make_phantom_weights

    data, told = make_dataset(), []
    monkeypatch.setattr("build_weights.prepare_dataset", lambda *given, **named: None)
    monkeypatch.setattr("build_weights.load_data", lambda *paths, **named: data)
    monkeypatch.setattr("build_weights.evaluate", lambda *given, **named: told.extend(given) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_phantom_weights(tmp_path)
    chosen = choose_settings(data, "groupkfold")
    assert told[2] == chosen.stag and told[3] == chosen.train.replace(epochs=EPOCHS)
    assert choose_course_settings(data) == course_settings()[1:]
    stag, train = choose_course_settings(make_phantom_maps(9))
    assert stag.branches == "graph" and train.auxiliary_weight > 0
