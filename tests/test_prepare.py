"""Preparation: resumable, whole or not at all, never into somebody else's folder."""

import numpy as np
import pytest

from stagkit.config import FlowConfig, PhantomConfig
from stagkit.datasets import open_source
from stagkit.datasets.manifest import write_manifest
from stagkit.datasets.phantoms import PhantomSource
from stagkit.files import write_aside, write_json
from stagkit.prepare import load_data, load_prepared, load_sequence, prepare_dataset
from stagkit.types import RoiDataset, StagkitError

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


def test_an_interrupted_preparation_goes_on(prepared, tmp_path):
    """The source fails at the third clip; with the fault mended, only what is missing is made, and it ends the same."""
    _, data = prepared
    read: list[str] = []

    class Breaks(PhantomSource):
        broken = True

        def read(self, key):
            read.append(key)
            if self.broken and len(read) == 3:
                raise StagkitError("the disk was pulled out")
            return super().read(key)

    source = Breaks(FEW)
    with pytest.raises(StagkitError, match="the disk was pulled out"):
        prepare_dataset(source, tmp_path / "p", FAST)
    with pytest.raises(StagkitError, match="not finished"):
        load_prepared(tmp_path / "p")
    source.broken = False
    read.clear()
    again = prepare_dataset(source, tmp_path / "p", FAST)
    assert len(read) == 2
    assert np.array_equal(again.x, data.x)


def test_other_settings_are_refused(prepared):
    out, _ = prepared
    with pytest.raises(StagkitError, match="other settings"):
        prepare_dataset(PhantomSource(FEW), out, FAST.replace(n_frames=5))


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(StagkitError, match="not empty"):
        prepare_dataset(PhantomSource(FEW), tmp_path, FAST)


def test_a_damaged_clip_is_named(prepared, tmp_path):
    import shutil

    shutil.copytree(prepared[0], tmp_path / "p")
    clip = sorted((tmp_path / "p" / "clips").iterdir())[1]
    clip.write_bytes(clip.read_bytes()[:200])
    with pytest.raises(StagkitError, match=clip.name):
        load_prepared(tmp_path / "p")
    with pytest.raises(StagkitError, match="no prepared clip"):
        load_sequence(tmp_path / "none.npz")


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
    sequences = [load_sequence(p) for p in sorted((prepared[0] / "clips").iterdir())]
    from dataclasses import replace

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
    with pytest.raises(RuntimeError), write_aside(tmp_path / "a.json") as aside:
        aside.write_text("half")
        raise RuntimeError("power cut")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == '{\n  "old": 1\n}\n'
