"""Preparation: resumable, whole or not at all, never into somebody else's folder."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stagkit.core.files import write_atomically, write_json
from stagkit.core.types import StagkitError
from stagkit.datasets import open_source
from stagkit.datasets.manifest import write_manifest
from stagkit.datasets.prepare import (
    SkippedClipsWarning,
    load_data,
    load_prepared,
    prepare_clips,
    prepare_dataset,
    read_clip,
    write_clip,
)
from stagkit.motion.config import FlowConfig
from stagkit.motion.rois import stack_sequences
from stagkit.synthetic.config import PhantomConfig
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
        SkippedClipsWarning, match=f"clip '{source.keys[1]}' cannot be prepared and is skipped: the disk was"
    ):
        counts = prepare_clips(source, tmp_path / "p", FAST)
    assert counts == {**counts, "clips": 3, "subjects": 2, "frames": 4, "skipped": 1, "issues": 0}
    assert sum(counts["classes"].values()) == 3
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


def test_there_is_one_file_per_clip_in_half_precision(prepared):
    out, data = prepared
    index = json.loads((out / "prepared.json").read_text())
    assert list(index["clips"]) == list(data.clip_ids)
    assert len(list((out / "clips").iterdir())) == 4
    with np.load(out / "clips" / f"{data.clip_ids[2]}.npz") as file:
        assert file["patches"].dtype == np.float16
        assert np.array_equal(file["patches"].astype(np.float32), data.x[2])


def test_a_key_that_is_no_file_name(prepared, tmp_path):
    """Two keys that differ only in what a file system does not take stay two clips."""
    clip = read_clip(prepared[0], PhantomSource(FEW).keys[0])[0]
    for i, key in enumerate(("s1/a:b", "s1/a?b")):
        write_clip(tmp_path, key, replace(clip, clip_id=key, patches=np.full_like(clip.patches, i)), f"digest {i}")
    for i, key in enumerate(("s1/a:b", "s1/a?b")):
        again, digest = read_clip(tmp_path, key)
        assert (again.clip_id, again.patches.max(), digest) == (key, i, f"digest {i}")


@pytest.mark.parametrize("n", [3, 1])
def test_a_clip_comes_back_as_it_was(prepared, tmp_path, n):
    clip = read_clip(prepared[0], PhantomSource(FEW).keys[0])[0]
    short = replace(clip, patches=clip.patches[:n], present=clip.present[:n], times_ms=clip.times_ms[:n], part="testA")
    write_clip(tmp_path, "c", short)
    again, _ = read_clip(tmp_path, "c")
    for name in ("patches", "present", "times_ms", "aus"):
        assert np.array_equal(getattr(again, name), getattr(short, name), equal_nan=True), name
    assert (again.subject, again.part, again.roi_names) == (clip.subject, "testA", clip.roi_names)


@pytest.mark.parametrize("harm", ["truncated", "one byte", "no file", "another clip", "no index", "index truncated"])
def test_damage_is_found_and_mended_by_the_same_command(prepared, tmp_path, harm):
    root = shutil.copytree(prepared[0], tmp_path / "p")
    index, (first, second, *_) = root / "prepared.json", sorted((root / "clips").iterdir())
    if harm == "truncated":
        first.write_bytes(first.read_bytes()[:-1])
    elif harm == "one byte":
        whole = bytearray(first.read_bytes())
        whole[len(whole) // 2] ^= 8
        first.write_bytes(whole)
    elif harm == "no file":
        first.unlink()
    elif harm == "another clip":
        shutil.copy(second, first)
    elif harm == "no index":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[:-9])
    words = {"no file": "is missing", "no index": "is no prepared folder", "index truncated": "no readable JSON"}
    with pytest.raises(StagkitError, match=words.get(harm, "is damaged: run the same 'stagkit prepare' again")):
        load_prepared(root)
    if "index" not in harm:
        source = Breaks(FEW)
        again = prepare_dataset(source, root, FAST)
        assert len(source.asked) == 1 and again.meta["digest"] == prepared[1].meta["digest"]


def test_a_clip_that_is_not_the_one_in_the_index_is_refused(prepared, tmp_path):
    """As after a preparation that was killed when it had replaced a clip."""
    root, key = shutil.copytree(prepared[0], tmp_path / "p"), PhantomSource(FEW).keys[0]
    write_clip(root, key, read_clip(root, key)[0], "other files")
    with pytest.raises(StagkitError, match="is not that of prepared.json: run the same"):
        load_prepared(root)


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


def test_empty_and_missing_folders_are_counts(tmp_path):
    with pytest.raises(StagkitError, match="no folder"):
        load_data(tmp_path / "none")
    with pytest.raises(StagkitError, match="no prepared folder"):
        load_data(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(StagkitError, match="expected a prepared folder"):
        load_data(tmp_path / "notes.txt")


def test_shorter_clips_are_padded_under_the_mask(prepared):
    sequences = [read_clip(prepared[0], key)[0] for key in PhantomSource(FEW).keys[:2]]
    short = replace(
        sequences[0],
        patches=sequences[0].patches[:2],
        present=sequences[0].present[:2],
        times_ms=sequences[0].times_ms[:2],
    )
    data = stack_sequences([short, sequences[1]], ("negative", "positive", "surprise"))
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
