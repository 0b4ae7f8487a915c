"""Phantom flow maps: made of the same muscles, stretched as published, with the truth beside them."""

import numpy as np
import pytest

from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS
from stagkit.core.types import StagkitError
from stagkit.datasets.au_codes import parse_aus
from stagkit.datasets.flow_maps import load_flow_maps
from stagkit.synthetic.flow_maps import add_strain, make_maps, normalize_per_map


def test_stretching_is_min_max_per_channel_and_map():
    motion = np.zeros((2, 3, 28, 28), np.float32)
    motion[0, 0, 0, :3], motion[1, 1, 5, 5] = (-1.0, 1.0, 3.0), 7.0
    flow = normalize_per_map(motion)
    assert flow.shape == (2, 28, 28, 3) and flow.dtype == np.uint8
    assert flow[0, 0, :4, 0].tolist() == [0, 128, 255, 64]  # -1, 1, 3 and 0 of the range -1..3
    assert flow[1, 5, 5, 1] == 255 and flow[1, ..., 1].sum() == 255 and not flow[1, ..., 0].any()


def test_strain_of_a_pure_shear_and_a_pure_stretch():
    y, x = np.mgrid[:28, :28].astype(np.float32)
    flow = np.stack([np.stack([0.3 * x, 0 * x]), np.stack([0.2 * y, 0 * x])])
    strain = add_strain(flow, np.random.default_rng(0), 0.0)[:, 2]
    np.testing.assert_allclose(strain[0], 0.3, rtol=1e-5)
    np.testing.assert_allclose(strain[1], 0.2 / np.sqrt(2), rtol=1e-5)


def test_same_seed_same_bytes_and_other_seed_other_people():
    one, two, other = make_maps(20, seed=3), make_maps(20, seed=3), make_maps(20, seed=4)
    assert one.flow.tobytes() == two.flow.tobytes() and not np.array_equal(one.flow, other.flow)


def test_intensity_and_codes_say_the_same():
    maps = make_maps(90, seed=2, preset="samm")
    for text, intensity in zip(maps.aus, maps.au_intensity, strict=True):
        for code in parse_aus(str(text)).codes:
            right, left = intensity[AU_NUMBERS.index(code.number)]
            assert (right > 0) == (code.side != "L") and (left > 0) == (code.side != "R")
        assert np.count_nonzero(intensity.any(1)) == len(parse_aus(str(text)).codes) and intensity.max() == 1
    assert np.bincount(maps.label).tolist() == [30, 30, 30] and len(set(maps.subject)) == 12


def test_without_difficulty_a_map_is_the_muscles_motion_alone():
    maps = make_maps(60, seed=0, difficulty=0.0)
    smiles = [i for i in range(60) if maps.aus[i] in ("12", "6+12")]
    assert smiles
    for i in smiles:
        u, v = (maps.flow[i, ..., c].astype(float) - np.median(maps.flow[i, ..., c]) for c in (0, 1))
        right, left = (slice(16, 21), slice(6, 10)), (slice(16, 21), slice(18, 22))
        assert u[right].mean() < -5 and u[left].mean() > 5, "corners go outward"
        assert v[right].mean() < -5 and v[left].mean() < -5, "and up"


def test_a_one_sided_unit_moves_its_side_only():
    maps = make_maps(300, seed=1, preset="samm", difficulty=0.0)
    found = 0
    for flow, text in zip(maps.flow, maps.aus, strict=True):
        codes = parse_aus(str(text)).codes
        if len(codes) == 1 and codes[0].side == "L" and ACTION_UNITS[codes[0].number].sided:
            moved = np.abs(flow[..., 1].astype(float) - np.median(flow[..., 1]))
            assert moved[:, :10].max() <= 1 < moved[:, 16:].max()
            found += 1
    assert found


def test_saved_maps_are_read_like_published_ones(tmp_path):
    maps = make_maps(12, seed=5)
    np.savez(tmp_path / "maps.npz", **vars(maps))
    data = load_flow_maps(tmp_path / "maps.npz")
    assert np.array_equal(data.label, maps.label) and data.subjects[0] == "casme2-phantom/sub001"
    assert (np.nan_to_num(data.aus, nan=0) > 0).sum() == (maps.au_intensity.max(2) > 0).sum()


def test_presets_with_other_classes_are_refused():
    with pytest.raises(StagkitError, match="casme2, samm, smic"):
        make_maps(3, preset="dfme")
    with pytest.raises(StagkitError, match="expected 1 or more"):
        make_maps(0)
