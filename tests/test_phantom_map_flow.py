"""What flow estimation does to phantom motion: edges, patches, strain, resizing, each against a case worked out by hand."""

import numpy as np
import pytest
from PIL import Image

from stagkit import phantom_map_sizes as sizes
from stagkit.facs import AU_NUMBERS
from stagkit.phantom_map_face import SIZE, _draw_sketch, carry_skin, double, draw_map_face, make_points, make_skin
from stagkit.phantom_map_flow import add_strain, estimate_flow, make_resizing, make_small, make_smooth, share_sides
from stagkit.phantom_map_sizes import APERTURE, FINE, GRAIN_LEVEL
from stagkit.phantom_map_sketch import compute_visibility, draw_portrait, make_patches
from stagkit.rois import load_mean_face

SIDE = FINE * SIZE


@pytest.fixture(scope="module")
def face():
    return draw_map_face(0)


def test_resizing_is_the_cubic_one_of_another_library():
    plane = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    ours = make_resizing() @ plane @ make_resizing().T
    theirs = np.asarray(Image.fromarray(plane).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(ours[2:-2, 2:-2], theirs[2:-2, 2:-2], atol=1e-5)  # edges are treated differently
    np.testing.assert_allclose(make_resizing().sum(1), 1, rtol=1e-5)


def test_doubling_keeps_a_slope():
    slope = np.arange(6, dtype=np.float32)[None, :, None] * np.ones((2, 1, 4), np.float32)
    fine = double(slope)
    assert fine.shape == (2, 12, 8) and fine.dtype == np.float32
    np.testing.assert_allclose(fine[0, 1:-1, 3], np.arange(0.25, 5, 0.5))


def test_along_an_edge_nothing_is_seen_to_move():
    """One straight edge with gradient g: across it all is seen; along it e / (a J + e), J = smoothed g squared."""
    portrait = np.zeros((SIDE, SIDE), np.float32)
    portrait[SIDE // 2 :] = 120
    u, v = compute_visibility(portrait)
    at = (SIDE // 2, SIDE // 2)
    assert v[at] == pytest.approx(1)
    assert u[at] < 0.2 and u[0, 0] == pytest.approx(1)
    j = (u[at] ** -1 - 1) * GRAIN_LEVEL**2 / APERTURE
    assert 0 < j < 60**2  # the gradient is 60 in the two rows at the edge and is smoothed from there
    turned = compute_visibility(portrait.T)
    np.testing.assert_allclose(turned[0], v.T, rtol=1e-5)
    np.testing.assert_allclose(turned[1], u.T, rtol=1e-5)


def test_patches_end_at_edges_of_the_picture():
    portrait = np.zeros((SIDE, SIDE), np.float32)
    portrait[:, SIDE // 2 :] = 2000
    seeds, patch = make_patches(portrait, 40, 1.0, 0.76, np.random.default_rng(0))
    assert patch.shape == (SIDE**2,) and len(seeds) == 40
    right = np.arange(SIDE**2) % SIDE >= SIDE // 2
    assert np.array_equal(right, seeds[patch] % SIDE >= SIDE // 2)
    assert len(np.unique(patch)) > 30


def test_patches_of_u_are_taller_than_those_of_v(face):
    def shape_of(drawings):
        y, x = np.divmod(np.arange(SIDE**2), SIDE)
        spans = [(np.ptp(y[p == k]), np.ptp(x[p == k])) for _, p in drawings for k in np.unique(p)]
        return np.divide(*np.mean(spans, 0))

    for of_u, of_v in face.patches:
        assert shape_of(of_u) > 1.2 * shape_of(of_v)


def test_strain_of_a_squeezed_picture():
    """A squeezed picture has larger derivatives down than the face had: they are scaled back."""
    y, x = np.mgrid[:9, :9].astype(np.float32)
    flow = np.stack([np.stack([0.3 * x, 0.2 * y]), np.stack([0.4 * y, 0 * x])])
    strain = add_strain(flow, 0.5)[:, 2]
    np.testing.assert_allclose(strain[0], np.hypot(0.3, 0.1), rtol=1e-5)
    np.testing.assert_allclose(strain[1], 0.2 / np.sqrt(2), rtol=1e-5)


def test_a_large_motion_is_estimated_where_it_is_and_the_errors_grow_with_difficulty():
    motion = np.zeros((40, 2, SIDE, SIDE), np.float32)
    motion[:, 0, 10:30, 10:30] = 40.0
    faces = np.arange(40) % 2
    clean = estimate_flow(motion, faces, 0.0, np.random.default_rng(1)).mean(0)
    assert clean[0, 14:26, 14:26].min() > 10 * abs(clean[0, 40:, 40:]).max()
    assert abs(clean[1]).max() < 1e-6
    still = np.zeros_like(motion)
    little, much = (estimate_flow(still, faces, d, np.random.default_rng(2)).std() for d in (0.5, 2.0))
    assert 0 < 2 * little < much


def test_maps_from_flow_have_their_own_size_and_strain_is_not_negative_where_nothing_moves():
    small = make_small(np.zeros((3, 2, SIDE, SIDE), np.float32), 0.0, np.random.default_rng(0))
    assert small.shape == (3, 3, SIZE, SIZE) and not small.any()


@pytest.mark.parametrize("sign", [1, -1])
def test_noise_shared_by_both_sides_keeps_its_variance_in_the_middle_too(sign):
    rng = np.random.default_rng(0)
    field = make_smooth(3.0, 2.0, (4000, 1, SIZE, SIZE), rng)
    free, half, whole = (share_sides(field, s, [sign], [3.0]) for s in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(free, field, rtol=1e-4)
    alike = np.mean(half[..., :6] * sign * half[..., :-7:-1])
    assert 0.4 < alike < 0.95
    if sign == 1:
        np.testing.assert_allclose(whole, whole[..., ::-1], atol=1e-4)
    np.testing.assert_allclose(half.var(0)[0, 4:-4, 4:-4], np.ones((SIZE - 8, SIZE - 8)), atol=0.2)


def test_carried_skin_lies_where_the_table_says(monkeypatch):
    """One spot of AU12: outward on both sides, the subject's right on the left of the map; in the middle, half and half."""
    spots = {sizes.Carried(12, "u", (0.4, 0.5), (0.1, 0.1)): 0.5, sizes.Carried(17, "v", (0.0, 1.0), (0.1, 0.1)): -0.4}
    monkeypatch.setattr(sizes, "CARRIED", spots)
    fields = carry_skin(make_points(1, np.zeros(4)))
    smile = fields[AU_NUMBERS.index(12)]
    right, left = (np.unravel_index(np.abs(smile[side, 0]).argmax(), (SIZE, SIZE)) for side in (0, 1))
    assert right == (15, 5) and left == (15, 22), "px 13.5 -+ 0.4 * 21 across, 7 + 0.5 * 16 down"
    assert smile[0, 0].min() == pytest.approx(-0.5, abs=0.02) and smile[1, 0].max() == pytest.approx(0.5, abs=0.02)
    chin = fields[AU_NUMBERS.index(17), :, 1]
    assert np.array_equal(chin[0], chin[1]) and chin.sum(0).min() == pytest.approx(-0.4, abs=0.03)
    assert np.count_nonzero(np.abs(fields).sum((1, 2, 3, 4))) == 2 and not smile[:, 1].any()


def test_skin_differs_by_place_in_the_order_of_the_table(monkeypatch):
    nothing = dict.fromkeys(sizes.SKIN, sizes.Skin(0, 0, 0, 0))
    points, shape = make_points(FINE, np.zeros(4)), load_mean_face()[0]
    monkeypatch.setattr(sizes, "SKIN", nothing)
    np.testing.assert_array_equal(make_skin(shape, points), 1)
    monkeypatch.setattr(sizes, "SKIN", nothing | {"nose": sizes.Skin(0, -1, 0.5, 0)})
    across, down, elastic, errors = make_skin(shape, points)
    assert (across == 1).all() and (errors == 1).all()
    assert down.min() == pytest.approx(np.exp(-1), rel=0.01) and elastic.max() == pytest.approx(np.exp(0.5), rel=0.01)
    y, x = np.unravel_index(down.argmin(), down.shape)
    assert abs(x / FINE - 13.5) < 1 and abs(y / FINE - 12) < 1, "7 + 0.3 * 16 px down"
    monkeypatch.setattr(sizes, "SKIN", nothing | {"rim": sizes.Skin(0, 0, 0, 1)})
    errors = make_skin(shape, points)[3]
    assert errors[0, SIDE // 2] == pytest.approx(np.e) and errors[SIDE // 2, SIDE // 2] < 1.001


def test_a_face_is_the_same_twice_and_its_parts_lie_where_they_should(face):
    _draw_sketch.cache_clear()
    again = draw_map_face.__wrapped__(0)
    assert np.array_equal(face.fields, again.fields) and np.array_equal(face.seen, again.seen)
    assert np.array_equal(face.patches[0][0][0][1], again.patches[0][0][0][1])
    assert face.fields.shape == (17, 2, 2, SIZE, SIZE) and face.seen.shape == (2, SIDE, SIDE)
    faces = [draw_map_face(k) for k in range(12)]
    y, x = (np.mean([np.average(np.mgrid[:SIDE, :SIDE][k] / FINE, weights=f.lids[0]) for f in faces]) for k in (0, 1))
    assert 5 < y < 8.5 and 4.5 < x < 7.5, "the subject's right eye is on the left of the map; crops differ"


def test_lips_lie_across_so_that_their_motion_to_the_side_is_hidden():
    shape, points = load_mean_face()[0], make_points(FINE, np.zeros(4))
    u, v = compute_visibility(draw_portrait(shape, points, np.random.default_rng(0)))
    assert 0 <= u.min() and u.max() <= 1 + 1e-6
    assert u[36:42, 24:32].mean() < 0.7 * v[36:42, 24:32].mean()
