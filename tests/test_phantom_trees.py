"""A phantom tree of each official layout: the real readers read it frame for frame, and it goes the whole way."""

import json

import numpy as np
import pytest

from stagkit.cli import main
from stagkit.cli.options import DATASETS
from stagkit.core.types import StagkitError
from stagkit.datasets import NAMES, load_layout, open_source
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from stagkit.synthetic.releases import LAYOUTS, write_tree
from tests.test_cli import QUICK

#: Clips of a subject: each class once.
CLIPS = {"4dme": 5, "dfme": 7}
LOSSLESS = {"smic", "4dme", "dfme"}


@pytest.fixture(scope="module", params=NAMES)
def drawn(request, tmp_path_factory):
    """(layout, phantoms, the tree they were written to)."""
    name = request.param
    config = PhantomConfig(preset=LAYOUTS[name].preset, subjects=2, clips=CLIPS.get(name, 3), size=64, seed=3)
    source = PhantomSource(config)
    root = tmp_path_factory.mktemp("trees") / name
    write_tree(source, name, root)
    return name, source, root


def test_every_layout_can_be_drawn_and_named():
    assert set(LAYOUTS) == set(NAMES) == set(DATASETS)
    assert all(name == load_layout(name).card.name for name in NAMES)


def test_readers_find_the_frames_that_were_written(drawn):
    """Clip by clip in the order written: the same pictures in the same order, onset, apex and AUs where they were."""
    name, phantoms, root = drawn
    source = open_source(name, str(root))
    assert source.name == f"{name}-phantom", "what is drawn is never called real"
    assert len(source.keys) == len(phantoms.keys)
    by_key = {key: phantoms.read(key) for key in phantoms.keys}
    apexes = 0
    for key in source.keys:
        clip = source.read(key)
        onset = clip.landmarks[clip.onset or 0]
        planted = min(by_key.values(), key=lambda p: np.abs(p.landmarks[p.onset] - onset).max())
        length = planted.offset - planted.onset + 1
        assert len(clip.frames) == length
        wanted = planted.frames[planted.onset : planted.offset + 1].astype(float)
        wanted = wanted if wanted.ndim == clip.frames.ndim else wanted.mean(-1)
        difference = np.abs(clip.frames.astype(float) - wanted)
        assert difference.max() == 0 if name in LOSSLESS else difference.mean() < 3
        assert clip.onset in (0, None)
        assert clip.offset in (length - 1, None)
        assert clip.fps == (30 if "casme" in name and name != "casme2" else 90 if name == "mmew" else planted.fps)
        if clip.apex is not None:
            apexes += 1
            assert clip.apex == planted.apex - planted.onset
        codes = None if name == "smic" else {str(a) for a in planted.aus}
        assert codes is None or {str(a) for a in clip.aus if not a.kept} == codes
        assert np.abs(clip.landmarks - planted.landmarks[planted.onset : planted.offset + 1]).max() < 1e-3
    expected = {"smic": 0, "casme3c": 0, "casme2": len(source.keys) - 1}  # CASME II: one apex is '/'
    assert apexes == expected.get(name, len(source.keys))


def test_the_whole_way(drawn, tmp_path, capsys):
    """check-data -> prepare -> evaluate, as a person types it."""
    name, phantoms, root = drawn

    def run(*arguments):
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            return end.code or 0, capsys.readouterr()
        return 0, capsys.readouterr()

    code, (out, err) = run("check-data", name, root, "--json", tmp_path / "found.json", "--decode-frames")
    assert code == 0, err
    assert "phantoms, no real people" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["phantom"]
    assert found["clips"] == {"rows": len(phantoms.keys), "usable": len(phantoms.keys)}
    assert found["frames"]["missing"] == 0
    assert len(found["subjects"]) == 2
    assert found["skipped"] == {}
    assert found["landmarks"] == len(phantoms.keys)
    classes = found["mappings"]["3-class"]["classes"]
    kinds = {key: phantoms.read(key).label for key in phantoms.keys}
    wanted = {"positive": {"positive", "happiness"}, "surprise": {"surprise"}}
    for label, words in wanted.items():
        assert classes[label]["listed"] == classes[label]["usable"] == sum(k in words for k in kinds.values())
    code, (_, err) = run("prepare", name, root, tmp_path / "p", "--workers", 1, "--n-frames", 3)
    assert code == 0, err
    code, (out, err) = run("evaluate", tmp_path / "p", "--out", tmp_path / "run", "--mapping", "3-class", *QUICK)
    assert code == 0, err
    assert "UF1" in out


def test_a_tree_is_written_whole_or_refused(tmp_path):
    source = PhantomSource(PhantomConfig(preset="dfme", subjects=1, clips=1, size=48))
    with pytest.raises(StagkitError, match=r"no word for anger.*use --preset casme2"):
        write_tree(source, "casme2", tmp_path / "a")
    with pytest.raises(StagkitError, match="no layout 'faces'"):
        write_tree(source, "faces", tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(StagkitError, match="is not empty"):
        write_tree(source, "dfme", tmp_path / "full")
    assert not (tmp_path / "a").exists()


def test_dfme_parts_are_told_by_their_sheets(tmp_path):
    source = PhantomSource(PhantomConfig(preset="dfme", subjects=4, clips=1, size=48))
    write_tree(source, "dfme", tmp_path / "t")
    read = open_source("dfme", str(tmp_path / "t"))
    assert [read.read(key).part for key in read.keys] == ["testA", "testB", "train", "train"]
