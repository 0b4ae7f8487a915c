"""Preparation: resumable, whole or not at all, never into somebody else's folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stagkit.core.config import FlowConfig, PhantomConfig
from stagkit.core.files import write_atomically, write_json
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets import open_source
from stagkit.datasets.manifest import write_manifest
from stagkit.datasets.prepare import SkippedClipsWarning, load_data, load_prepared, prepare_clips, prepare_dataset
from stagkit.datasets.store import PreparedClips, pack_clips, stage_clip
from stagkit.synthetic.dataset import PhantomSource

FEW = PhantomConfig(subjects=2, clips=2, size=64)
FAST = FlowConfig(n_frames=4)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "phantoms"
    return out, prepare_dataset(PhantomSource(FEW), out, FAST)


def test_what_is_prepared_is_what_is_loaded(prepared):
    out, data = prepared
    again = load_prepared(out)
    assert np.array_equal(again.x, data.x)
    assert again.clip_ids == data.clip_ids
    assert data.x.shape == (4, 4, 22, 3, 5, 5)
    assert len(set(data.subjects)) == 2
    assert load_data(out).meta["digest"] == data.meta["digest"]


class Breaks(PhantomSource):
    """The source fails at some clips; what was asked for is written down."""

    bad: tuple[int, ...] = ()
    error: type[Exception] = StagkitError

    @staticmethod
    def pull(*_):
        raise KeyboardInterrupt

    def read(self, key):
        self.asked = [*getattr(self, "asked", []), key]
        if len(self.asked) in self.bad:
            raise self.error("the disk was pulled out")
        return super().read(key)


def test_an_interrupted_preparation_goes_on(prepared, tmp_path):
    """Killed at the third clip; then only what is missing is made, and it ends the same."""
    _, data = prepared
    source = Breaks(FEW)
    source.bad, source.error = (3,), KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(source, tmp_path / "p", FAST)
    with pytest.raises(StagkitError, match="not finished"):
        load_prepared(tmp_path / "p")
    source.bad, source.asked = (), []
    again = prepare_dataset(source, tmp_path / "p", FAST)
    assert len(source.asked) == 2
    assert np.array_equal(again.x, data.x)


def test_a_bad_clip_is_listed_and_the_rest_goes_on(prepared, tmp_path):
    """Left out with its reason and a warning; with the fault mended, the same command takes it in."""
    _, data = prepared
    source = Breaks(FEW)
    source.bad = (2,)
    with pytest.warns(
        SkippedClipsWarning, match=f"clip '{source.keys[1]}' cannot be prepared and is left out: the disk was"
    ):
        told = prepare_clips(source, tmp_path / "p", FAST)
    assert told == {**told, "clips": 3, "subjects": 2, "frames": 4, "skipped": 1}
    assert sum(told["classes"].values()) == 3
    listed = pd.read_csv(tmp_path / "p" / "skipped.csv")
    assert listed.values.tolist() == [[source.keys[1], "the disk was pulled out"]]
    assert load_prepared(tmp_path / "p").clip_ids == tuple(np.delete(data.clip_ids, 1))
    source.bad, source.asked = (), []
    whole = prepare_dataset(source, tmp_path / "p", FAST)
    assert source.asked == [source.keys[1]]
    assert whole.meta["digest"] == data.meta["digest"]
    assert not (tmp_path / "p" / "skipped.csv").exists()
    with pytest.raises(StagkitError, match="no clip can be prepared; the first, .*: the disk was pulled out"):
        source.bad, source.asked = tuple(range(9)), []
        prepare_clips(source, tmp_path / "q", FAST)


def test_on_a_cluster_it_is_the_same(prepared, tmp_path):
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra 'cluster')")
    pytest.importorskip("cryptography", reason="cryptography is not installed (extra 'cluster')")
    _, data = prepared
    again = prepare_dataset(PhantomSource(FEW), tmp_path / "p", FAST, cluster="local:1")
    assert again.meta["digest"] == data.meta["digest"]
    assert np.array_equal(again.x, data.x)


def test_other_settings_are_refused(prepared):
    out, _ = prepared
    with pytest.raises(StagkitError, match="other settings"):
        prepare_dataset(PhantomSource(FEW), out, FAST.replace(n_frames=5))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(StagkitError, match="not empty"):
        prepare_dataset(PhantomSource(FEW), tmp_path, FAST)


def test_the_array_on_disk_is_memory_mapped_and_in_the_order_of_the_index(prepared):
    """Frames of all clips in one .npy, half precision; the table says where each clip lies."""
    out, data = prepared
    index = pd.read_parquet(out / "index.parquet")
    array = np.load(next(out.glob("patches-*.npy")), mmap_mode="r")
    assert isinstance(PreparedClips(out).patches, np.memmap)
    assert (array.dtype, array.shape) == (np.float16, (16, 22, 3, 5, 5))
    assert index[["first", "frames"]].values.tolist() == [[0, 4], [4, 4], [8, 4], [12, 4]]
    assert index["clip_id"].tolist() == list(data.clip_ids)
    assert np.array_equal(array[8:12].astype(np.float32), data.x[2])
    assert not (out / "clips").exists()


def test_a_key_that_is_no_file_name(prepared, tmp_path):
    """Two keys that differ only in what a file system does not take stay two clips."""
    clip = PreparedClips(prepared[0])[PhantomSource(FEW).keys[0]]
    for i, key in enumerate(("s1/a:b", "s1/a?b")):
        stage_clip(tmp_path, key, replace(clip, clip_id=key, patches=np.full_like(clip.patches, i)))
    clips = pack_clips(tmp_path, ["s1/a?b", "s1/a:b"])
    assert [(key, c.clip_id, c.patches.max()) for key, c in clips.items()] == [
        ("s1/a?b",) * 2 + (1,),
        ("s1/a:b",) * 2 + (0,),
    ]


def test_clips_of_unequal_length_come_back_as_they_were(prepared, tmp_path):
    clip = PreparedClips(prepared[0])[PhantomSource(FEW).keys[0]]
    cut = {
        str(n): replace(clip, patches=clip.patches[:n], present=clip.present[:n], times_ms=clip.times_ms[:n])
        for n in (3, 1, 4)
    }
    for key, sequence in cut.items():
        stage_clip(tmp_path, key, sequence)
    clips = pack_clips(tmp_path, list(cut))
    for key, sequence in cut.items():
        for name in ("patches", "present", "times_ms", "aus"):
            assert np.array_equal(getattr(clips[key], name), getattr(sequence, name), equal_nan=True), name
        assert clips[key].subject == clip.subject


@pytest.mark.parametrize("harm", ["cut short", "one byte", "index cut", "no array", "no index"])
def test_damage_is_told(prepared, tmp_path, harm):
    import shutil

    root = shutil.copytree(prepared[0], tmp_path / "p")
    array, index = next(root.glob("patches-*.npy")), root / "index.parquet"
    if harm == "cut short":
        array.write_bytes(array.read_bytes()[:-1])
    elif harm == "one byte":
        whole = bytearray(array.read_bytes())
        whole[-7] ^= 8
        array.write_bytes(whole)
    elif harm == "index cut":
        index.write_bytes(index.read_bytes()[:-9])
    else:
        (array if harm == "no array" else index).unlink()
    said = {
        "one byte": "values of clip .* are damaged",
        "no array": "there is no .*patches-",
        "no index": "there is no",
    }
    with pytest.raises(StagkitError, match=said.get(harm, "is damaged: remove the folder")):
        load_prepared(root)


def test_the_index_is_whole_however_many_rows_are_written_at_once(prepared, tmp_path, monkeypatch):
    import stagkit.datasets.store

    _, data = prepared
    monkeypatch.setattr(stagkit.datasets.store, "_ROWS", 1)
    again = prepare_dataset(PhantomSource(FEW), tmp_path / "one", FAST)
    assert again.clip_ids == data.clip_ids and again.meta["digest"] == data.meta["digest"]


def test_packing_that_is_cut_off_loses_nothing(prepared, tmp_path, monkeypatch):
    """Killed while the array is written, or between array and index: the same command goes on and measures nothing anew."""
    import stagkit.datasets.store

    _, data = prepared
    put_in_place = Path.replace

    def put_all_but_the_index(aside, path):
        return Breaks.pull() if path.name == stagkit.datasets.store.INDEX else put_in_place(aside, path)

    for i, (home, name, breaks) in enumerate(
        ((stagkit.datasets.store, "_write_rows", Breaks.pull), (Path, "replace", put_all_but_the_index))
    ):
        with monkeypatch.context() as patch:
            patch.setattr(home, name, breaks)
            with pytest.raises(KeyboardInterrupt):
                prepare_dataset(PhantomSource(FEW), tmp_path / str(i), FAST)
        source = Breaks(FEW)
        again = prepare_dataset(source, tmp_path / str(i), FAST)
        assert not getattr(source, "asked", [])
        assert again.meta["digest"] == data.meta["digest"]
        assert len(list((tmp_path / str(i)).glob("patches-*.npy"))) == 1


def test_phantoms_through_pictures_on_disk(prepared, tmp_path):
    """Drawn to PNG, read by the manifest reader, prepared: the same numbers as straight from memory."""
    _, data = prepared
    root = write_manifest(PhantomSource(FEW), tmp_path / "frames")
    with pytest.raises(StagkitError, match="holds a manifest.csv already"):
        write_manifest(PhantomSource(FEW), tmp_path / "frames")
    source = open_source("manifest", str(root))
    again = prepare_dataset(source, tmp_path / "prepared", FAST)
    assert again.clip_ids == data.clip_ids
    assert again.subjects == data.subjects
    assert np.allclose(again.x, data.x, atol=0.02)
    assert np.array_equal(again.aus, data.aus, equal_nan=True)
    assert [again.classes[k] for k in again.label] == [data.classes[k] for k in data.label]


def test_empty_and_missing_folders_are_told(tmp_path):
    with pytest.raises(StagkitError, match="no folder"):
        load_data(tmp_path / "none")
    with pytest.raises(StagkitError, match="no prepared folder"):
        load_data(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(StagkitError, match="does not know"):
        load_data(tmp_path / "notes.txt")


def test_shorter_clips_are_padded_under_the_mask(prepared):
    sequences = list(PreparedClips(prepared[0]).values())
    short = replace(
        sequences[0],
        patches=sequences[0].patches[:2],
        present=sequences[0].present[:2],
        times_ms=sequences[0].times_ms[:2],
    )
    data = RoiDataset.from_sequences([short, sequences[1]], ("negative", "positive", "surprise"))
    assert data.x.shape[1] == 4
    assert not data.x[0, 2:].any()
    assert not data.mask[0, 2:].any()
    assert data.mask[0, :2].any()


def test_a_failed_write_leaves_nothing(tmp_path):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"new": object()})
    with pytest.raises(RuntimeError), write_atomically(tmp_path / "a.json") as aside:
        aside.write_text("half")
        raise RuntimeError("power cut")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == '{\n  "old": 1\n}\n'
