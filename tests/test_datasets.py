"""Reading: published maps with their axes the right way, any clips by manifest, and bad input told in one sentence."""

import csv

import cv2
import numpy as np
import pytest

from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.datasets import DatasetNotAvailable, open_source
from stagkit.datasets.flow_maps import CLASSES, compute_map_motion, load_flow_maps
from tests.small import save_maps


def test_real_maps(shared_data):
    """309 real maps: counts as published, subjects apart, AUs only where they are coded."""
    data = load_flow_maps(shared_data / "megc2019_flow_casme2_smic.npz")
    assert data.x.shape == (309, 1, 22, 3, 5, 5)
    assert {d: data.datasets.count(d) for d in set(data.datasets)} == {"casme2": 145, "smic": 164}
    assert np.bincount(data.label).tolist() == [158, 83, 68]
    assert len(set(data.subjects)) == 40
    assert len(set(zip(data.subjects, data.clip_ids, strict=True))) == 309
    coded = np.isfinite(data.aus[:, 0])
    assert coded.sum() == 145
    assert all(data.datasets[i] == "casme2" for i in np.flatnonzero(coded))


def test_regions_lie_where_the_annotated_muscles_move(shared_data):
    """Placement of the regions on the maps: each AU moves its own region the way its muscle pulls, on average."""
    data = load_flow_maps(shared_data / "megc2019_flow_casme2_smic.npz")
    mean = data.x.mean((4, 5))[:, 0]  # clip roi chan
    for au, place, sign in ((12, "lip_corner", -1), (4, "brow_inner", 1), (1, "brow_inner", -1), (17, "chin", -1)):
        with_au = data.aus[:, AU_NUMBERS.index(au)] == 1
        regions = [i for i, r in enumerate(ATLAS.rois) if r.place == place]
        vertical = mean[with_au][:, regions, 1].mean()
        assert sign * vertical > 0.3, (au, place, vertical)


def test_map_channels_are_u_v_strain(tmp_path):
    """A map whose u grows to the right and v grows down arrives so; each channel's median is zero motion."""
    ys, xs = np.mgrid[:28, :28]
    flow = np.tile(np.stack([9 * xs, 9 * ys, 0 * xs], -1).astype(np.uint8), (24, 1, 1, 1))
    data = load_flow_maps(save_maps(tmp_path / "m.npz", flow=flow))
    u, v, strain = data.x[0, 0].mean((-1, -2)).T
    left, right = ATLAS.index("lip_corner_R"), ATLAS.index("lip_corner_L")
    brow, chin = ATLAS.index("glabella"), ATLAS.index("chin")
    assert u[left] < 0 < u[right]
    assert v[brow] < 0 < v[chin]
    assert (strain == 0).all()
    motion = compute_map_motion(flow)
    assert np.median(motion, axis=(2, 3)) == pytest.approx(0)


def write_htnet_folder(root, n=4):
    """The repository's layout: a space before .png, SMIC subjects padded in file names only."""
    maps = root / "STSNet_whole_norm_u_v_os"
    maps.mkdir(parents=True)
    rows = [
        ("casme2", "sub01", "EP02_01f", 1, "sub01_EP02_01f"),
        ("casme2", "sub02", "EP09f", 0, "sub02_EP09f"),
        ("samm", "6", "006_1_2", 2, "006_006_1_2"),
        ("smic", "s1", "s1_ne_01", 0, "s01_s01_ne_01"),
    ][:n]
    with (root / "combined_3_class2_for_optical_flow.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["dataset", "sub", "filename_o", "label", "apex", "imagename", "sub_filename"])
        for dataset, sub, name, label, _ in rows:
            out.writerow([dataset, sub, name, label, 1, "", ""])
    for i, row in enumerate(rows):
        picture = np.zeros((28, 28, 3), np.uint8)
        picture[..., 2] = np.arange(28) * 9  # R = u grows to the right
        picture[..., 0] = i  # B = strain
        cv2.imwrite(str(maps / f"{row[4]} .png"), picture)
    return maps


def test_htnet_folder(tmp_path):
    maps = write_htnet_folder(tmp_path)
    data = load_flow_maps(maps)
    assert data.subjects == ("casme2/sub01", "casme2/sub02", "samm/6", "smic/s1")
    assert data.label.tolist() == [1, 0, 2, 0]
    u = data.x[:, 0, :, 0].mean((-1, -2))
    assert (u[:, ATLAS.index("lip_corner_R")] < 0).all(), "R is u: it grows to the right of the picture"
    assert (u[:, ATLAS.index("lip_corner_L")] > 0).all()


def test_htnet_folder_without_its_table(tmp_path):
    maps = write_htnet_folder(tmp_path)
    (tmp_path / "combined_3_class2_for_optical_flow.csv").unlink()
    with pytest.raises(StagkitError, match="holds the labels"):
        load_flow_maps(maps)


def test_damaged_map_is_named(tmp_path):
    maps = write_htnet_folder(tmp_path)
    (maps / "sub02_EP09f .png").write_bytes(b"\x89PNG broken")
    with pytest.raises(StagkitError, match="sub02_EP09f .png is damaged"):
        load_flow_maps(maps)


nan = np.random.default_rng(0).random((24, 28, 28, 3))
nan[3, 4, 5, 0] = np.nan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flow": None}, "has no flow"),
        ({"subject": None, "clip": None}, "has no subject, clip"),
        ({"flow": nan}, "NaN or infinity in 1 clips, the first is c3"),
        ({"label": np.arange(24) % 4}, "`label` holds 3"),
        ({"label": np.array(["happy"] * 24)}, "`label` holds happy"),
        ({"label": np.arange(23) % 3}, "one value for each of 24"),
        ({"flow": np.zeros((24, 28, 28), np.uint8)}, "expected .clip, y, x, 3."),
    ],
)
def test_bad_maps_are_told(tmp_path, changes, words):
    with pytest.raises(StagkitError, match=words):
        load_flow_maps(save_maps(tmp_path / "m.npz", **changes))


def test_a_file_that_is_no_npz(tmp_path):
    (tmp_path / "m.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(StagkitError, match="m.npz is damaged"):
        load_flow_maps(tmp_path / "m.npz")
    np.savez(tmp_path / "o.npz", flow=np.array([{}], dtype=object), label=1, subject=1, dataset=1, clip=1)
    with pytest.raises(StagkitError, match="o.npz is damaged"):
        load_flow_maps(tmp_path / "o.npz")
    with pytest.raises(StagkitError, match="no file"):
        load_flow_maps(tmp_path / "absent.npz")


# ── manifest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_clips(root, **changes):
    """Two clips of five frames; frame numbers without padding, so that names sort wrongly."""
    row = {
        "clip_id": "a1", "subject": "s1", "dataset": "mine", "label": "positive", "folder": "a1", "fps": "100",
        "onset": "1", "apex": "3", "offset": "", "aus": "R12+6", "landmarks": "",
    }  # fmt: skip
    rows = [{**row, **changes}, {**row, "clip_id": "a2", "label": "negative", "folder": "a2", "aus": ""}]
    for r in rows:
        folder = root / r["folder"]
        if folder.resolve().is_relative_to(root.resolve()):
            folder.mkdir(parents=True, exist_ok=True)
            for t in range(5):
                cv2.imwrite(str(folder / f"img{t + 8}.png"), np.full((16, 16), 10 * t, np.uint8))
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8-sig") as file:
        out = csv.DictWriter(file, list(row))
        out.writeheader()
        out.writerows(rows)
    return root


def test_manifest(tmp_path):
    source = open_source("manifest", str(write_clips(tmp_path)))
    assert source.keys == ("a1", "a2")
    assert source.classes == ("negative", "positive")
    clip = source.read("a1")
    assert clip.frames[:, 0, 0].tolist() == [0, 10, 20, 30, 40], "frames follow the number, not the spelling"
    assert (clip.onset, clip.apex, clip.offset) == (1, 3, None)
    assert [str(a) for a in clip.aus] == ["AU12R", "AU06"]
    assert clip.subject == "mine/s1"
    assert source.read("a2").aus is None, "an empty cell is 'not coded', never 'no AU'"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folder": "../outside"}, "leads out of"),
        ({"fps": "fast"}, "fps is 'fast', expected a number"),
        ({"apex": "9"}, "apex 9 lies outside its 5 frames"),
        ({"onset": "3", "apex": "1"}, "onset is 3 and apex 1, expected onset <= apex <= offset"),
        ({"apex": "", "offset": "0"}, "onset is 1 and offset 0"),
        ({"fps": "0"}, "fps is '0', expected a number of frames per second from 1"),
        ({"fps": "inf"}, "fps is 'inf'"),
        ({"fps": "1e308"}, "fps is '1e308'"),
        ({"fps": "-25"}, "fps is '-25'"),
        ({"fps": "29,97"}, "fps is '29,97'.*with a point"),
        ({"onset": "5.7"}, "onset: '5.7' is no frame number"),
        ({"apex": "inf"}, "apex: 'inf' is no frame number"),
        ({"landmarks": "none.npy"}, "there is no file of landmarks"),
    ],
)
def test_bad_manifest_rows_are_told(tmp_path, changes, words):
    source = open_source("manifest", str(write_clips(tmp_path, **changes)))
    with pytest.raises(StagkitError, match=words):
        source.read("a1")


def test_damaged_frame_is_named(tmp_path):
    write_clips(tmp_path)
    (tmp_path / "a1" / "img9.png").write_bytes(b"no picture")
    with pytest.raises(StagkitError, match=r"img9.png is damaged"):
        open_source("manifest", str(tmp_path)).read("a1")


def test_rows_without_cells_are_skipped_and_short_ones_told(tmp_path):
    """Found by damaging trees: a row with fewer cells than columns ended in a traceback."""
    write_clips(tmp_path)
    table = tmp_path / "manifest.csv"
    sound = table.read_text(encoding="utf-8-sig")
    table.write_text(sound + ",,,\n\n", encoding="utf-8")
    assert open_source("manifest", str(tmp_path)).keys == ("a1", "a2")
    table.write_text(sound + "a3,s1\n", encoding="utf-8")
    with pytest.warns(StagkitWarning, match="clip 'a3'.* is skipped: it has no dataset, label, folder, fps"):
        source = open_source("manifest", str(tmp_path))
    assert source.keys == ("a1", "a2")
    assert list(source.describe()["skipped"]) == ["row 3 below the header (clip 'a3')"]


def test_twice_the_same_clip(tmp_path):
    with pytest.raises(
        StagkitError, match="no clip that can be used; the first, a2: its clip_id is in the table twice"
    ):
        open_source("manifest", str(write_clips(tmp_path, clip_id="a2")))


def test_missing_manifest_says_what_was_found(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DatasetNotAvailable, match="found: pictures"):
        open_source("manifest", str(tmp_path))
    with pytest.raises(StagkitError, match="stagkit reads"):
        open_source("casme9", str(tmp_path))


def test_classes_are_in_the_order_of_the_published_labels():
    assert CLASSES == ("negative", "positive", "surprise")
