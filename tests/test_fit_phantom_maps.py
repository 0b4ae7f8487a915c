"""The search for the sizes of phantom maps: reads what it writes, knows no label, and finds a size that was moved."""

import copy
import importlib.util
import json
import sys

import numpy as np
import pytest

from stagkit import phantom_map_sizes as sizes
from stagkit.phantom_map_face import draw_map_face
from tests.lockfile import ROOT
from tests.small import save_maps


@pytest.fixture
def fit(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("fit_phantom_maps", ROOT / "benchmarks" / "fit_phantom_maps.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fit_phantom_maps", module)
    spec.loader.exec_module(module)
    for name in {size.table for size in module.SIZES}:
        monkeypatch.setattr(sizes, name, copy.deepcopy(getattr(sizes, name)))
    monkeypatch.setattr(sizes, "N_FACES", 6)
    draw_map_face.cache_clear()
    yield module
    sys.modules.pop("phantoms", None)
    draw_map_face.cache_clear()


def test_every_size_reads_what_it_writes_and_tables_keep_their_form(fit):
    before = fit.describe()
    x = np.array([size.read() for size in fit.SIZES])
    assert len(x) > 120 and np.isfinite(x).all()
    fit.put(x + 0.01)
    np.testing.assert_allclose([size.read() for size in fit.SIZES], x + 0.01, atol=1e-9)
    after = fit.describe()
    assert all(type(after[name]) is type(before[name]) for name in before)
    assert isinstance(sizes.SKIN["nose"], sizes.Skin) and len(sizes.LIDS) == 4 and 0 < sizes.LIDS[3] < 1
    fit.restore(json.loads(json.dumps(before)))
    assert fit.describe() == before
    by_hand = json.loads((ROOT / "benchmarks" / "phantom_sizes_by_hand.json").read_text())
    fit.restore(by_hand)
    assert json.loads(json.dumps(fit.describe())) == by_hand and by_hand != json.loads(json.dumps(before))


def test_the_search_reads_no_label_beyond_how_many_there_are(fit):
    made = fit.measure.make_phantoms(["casme2"], 60, 3, estimated=True)
    real = {k: made[k] for k in ("flow", "label", "dataset")} | {"subject": made["group"]}
    other = real | {"label": np.random.default_rng(0).permutation(real["label"])}
    x = np.array([size.read() for size in fit.SIZES])
    one, two = (fit.Distance(maps, fit.Moments(maps), 48)(x, 1) for maps in (real, other))
    np.testing.assert_array_equal(one, two)


def test_it_finds_a_size_that_was_moved(fit, monkeypatch):
    """Lids of the 'real' maps lie 0.08 IOD lower and move more: the search starts from where they were."""
    monkeypatch.setattr(
        fit, "SIZES", [s for s in fit.SIZES if s.table == "LIDS_BELOW"] + [fit.Size("LIDS", None, 0, "log")]
    )
    start = np.array([size.read() for size in fit.SIZES])
    fit.put(start + (0.08, 0.5))
    made = fit.measure.make_phantoms(["casme2"], 240, 5, estimated=True)
    distance = fit.Distance(made, fit.Moments(made), 240)
    monkeypatch.setattr(fit, "DISTANCE", distance)

    class Here:
        map = staticmethod(lambda task, tasks, chunksize=1: [task(t) for t in tasks])

    x, before, after = fit.improve(start, start, 1, Here)
    assert after < before
    assert x[0] > start[0] + 0.015 and x[1] > start[1]


def test_quick(fit, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(fit, "SIZES", fit.SIZES[:1])
    monkeypatch.setattr(fit, "N_FACES", 4)
    fit.main(
        [str(save_maps(tmp_path / "maps.npz")), "--rounds", "1", "--phantoms", "24", "--out", str(tmp_path / "s.json")]
    )
    assert set(json.loads((tmp_path / "s.json").read_text())) == {"SKIN"}
    said = capsys.readouterr().out
    assert said.count("fitted half") == 2 and said.count("other half") == 2 and "round 1: " in said
