"""Trained networks in one file: what is loaded is what was saved, damage is told, the shipped ones keep their promises."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit import load_weights, make_clip
from stagkit.cli import main
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.inference.pretrained import _FOLDER, _HEADER, PretrainedEnsemble, _digest_contents, load_card, save_weights
from stagkit.motion.config import FlowConfig, RoiConfig
from stagkit.motion.optical_flow import compute_flow
from stagkit.network.model import Stag
from stagkit.synthetic.config import PhantomConfig
from tests.lockfile import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from build_weights import LEVELS, PRESETS, GradedPhantoms, get_level, make_phantom_weights

SMALL = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)


@pytest.fixture(scope="module")
def some():
    torch.manual_seed(0)
    networks = tuple(Stag(SMALL, n_classes=2).eval() for _ in range(3))
    return PretrainedEnsemble(
        "some", networks, ("a", "b"), FlowConfig(n_frames=4), RoiConfig(), "They learned nothing.", SMALL
    )


@pytest.fixture(scope="module")
def batch(some):
    clip = make_clip(PhantomConfig(subjects=1, clips=1, size=64), 0, 0)
    return some.collate(compute_flow(clip, some.flow), clip)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The whole way in small."""
    home = tmp_path_factory.mktemp("weights")
    few, other = PhantomConfig(subjects=5, clips=2, size=48), PhantomConfig(subjects=5, clips=1, size=48, seed=3)
    make_phantom_weights(home / "w", few, other, SMALL, TrainConfig(epochs=1), workers=1)
    return home / "w"


# ── one file ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_loaded_is_what_was_saved(some, batch, tmp_path):
    save_weights(some, tmp_path / "w.safetensors")
    back = load_weights(tmp_path / "w.safetensors")
    assert (back.name, back.classes, back.flow, back.roi, back.training_summary, back.stag) == (
        some.name,
        some.classes,
        some.flow,
        some.roi,
        some.training_summary,
        some.stag,
    )
    assert np.array_equal(back.compute_logits(batch), some.compute_logits(batch))
    assert not any(network.training for network in back.networks)
    for old, new in zip(some.networks, back.networks, strict=True):  # what follows from the atlas is made again
        ours, theirs = (dict(n.named_buffers()) for n in (old, new))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
        assert not any("index" in name or "slot" in name for name in old.state_dict())


def test_they_judge_by_the_mean_of_their_logits(some, batch):
    logits = np.stack([n.logits(batch.x, batch.mask, batch.times_ms).detach().numpy() for n in some.networks]).mean(0)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert np.allclose(some.predict(batch), expected, atol=1e-6)
    evidence = some.compute_au_probabilities(batch)
    assert evidence.shape == (1, batch.x.shape[1], 17) and 0 < evidence.min() <= evidence.max() < 1


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_is_told(some, tmp_path, damage):
    path = tmp_path / "w.safetensors"
    save_weights(some, path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"no weights" * 99, "empty": b""}[damage])
    with pytest.raises(StagkitError, match=r"w\.safetensors is damaged, or not a weights file"):
        load_weights(path)


def test_files_of_others_are_told(some, tmp_path):
    from safetensors.torch import load_file, save_file

    path = tmp_path / "w.safetensors"
    save_weights(some, path)
    tensors = load_file(path)
    save_file(tensors, tmp_path / "strange.safetensors")
    with pytest.raises(StagkitError, match="not a weights file of stagkit"):
        load_weights(tmp_path / "strange.safetensors")
    header = {"format": 99}
    save_file(tensors, tmp_path / "young.safetensors", metadata={"stagkit": json.dumps(header)})
    with pytest.raises(StagkitError, match="has format 99"):
        load_weights(tmp_path / "young.safetensors")
    save_file(tensors, tmp_path / "old.safetensors", metadata={"stagkit": json.dumps({"format": 3})})
    with pytest.raises(
        StagkitError, match=r"has format 3 \(an earlier network\), this stagkit reads 4: write it again"
    ):
        load_weights(tmp_path / "old.safetensors")
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = file.metadata()["stagkit"]
    save_file({k: v for k, v in tensors.items() if "0." not in k[:2]}, path, metadata={"stagkit": header})
    with pytest.raises(StagkitError, match="another network"):
        load_weights(path)


def test_a_flipped_bit_is_refused(some, tmp_path):
    """At 60 places all over the file, header and tensors: no changed file answers as if it were sound."""
    path = tmp_path / "w.safetensors"
    save_weights(some, path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    places = [*rng.integers(len(whole), size=40), *rng.integers(3_000, size=20)]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        with pytest.raises(StagkitError, match=r"w\.safetensors"):
            load_weights(path)


def _rewrite(path, change_header=None, change_tensors=None, digest=True):
    """The file once more with other contents and a digest that fits them."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["stagkit"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if change_header:
        header = change_header(header)
    if change_tensors:
        change_tensors(tensors)
    if digest and isinstance(header, dict):
        header["digest"] = _digest_contents(header, tensors)
    save_file(tensors, path, metadata={"stagkit": json.dumps(header)})


HEADERS = {
    "a list": lambda h: [1],
    "nothing": lambda h: {},
    **{f"without {key}": (lambda h, key=key: {k: v for k, v in h.items() if k != key}) for key in _HEADER},
    **{f"{key} is a list of lists": (lambda h, key=key: {**h, key: [[1]]}) for key in _HEADER},
    **{f"{key} is null": (lambda h, key=key: {**h, key: None}) for key in _HEADER},
    "many networks": lambda h: {**h, "networks": 10**12},
    "no network": lambda h: {**h, "networks": 0},
    "networks is true": lambda h: {**h, "networks": True},
    "no class": lambda h: {**h, "classes": []},
    "one class twice": lambda h: {**h, "classes": ["a", "a"]},
    "a wide network": lambda h: {**h, "stag": {**h["stag"], "width": 1024, "graph_layers": 8}},
    "an unknown setting": lambda h: {**h, "stag": {**h["stag"], "colour": "\x1b[31m"}},
    "a flow that is not": lambda h: {**h, "flow": {"n_frames": float("nan")}},
    "a large patch": lambda h: {**h, "roi": {"patch": 10**9}},
    "a long text": lambda h: {**h, "classes": "z" * 10**6},
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_cannot_be_used_is_one_short_sentence(some, tmp_path, name):
    path = tmp_path / "w.safetensors"
    save_weights(some, path)
    _rewrite(path, HEADERS[name], digest=name != "without digest" and "digest" not in name)
    with pytest.raises(StagkitError) as error:
        load_weights(path)
    assert len(str(error.value)) < 900 + len(str(path)) and str(error.value).isprintable()


@pytest.mark.parametrize("wrong", ["nan", "inf", "half", "shape", "missing", "more"])
def test_tensors_of_another_kind_are_refused(some, tmp_path, wrong):
    path = tmp_path / "w.safetensors"
    save_weights(some, path)

    def change(tensors):
        name = max(tensors, key=lambda n: tensors[n].numel())
        if wrong in ("nan", "inf"):
            tensors[name].view(-1)[3] = float(wrong)
        elif wrong == "half":
            tensors[name] = tensors[name].half()
        elif wrong == "shape":
            tensors[name] = tensors[name].reshape(-1)
        elif wrong == "missing":
            del tensors[name]
        else:
            tensors["9.more"] = torch.zeros(3)

    _rewrite(path, None, change)
    with pytest.raises(StagkitError, match="NaN or infinity in" if wrong in ("nan", "inf") else "another network"):
        load_weights(path)


def test_networks_that_answer_nan_are_refused(some, batch):
    """Also those that were made in Python: 'nan %' is no answer."""
    network = Stag(SMALL, n_classes=2).eval()
    for value in network.parameters():
        value.data.fill_(float("nan"))
    with pytest.raises(StagkitError, match="some output NaN"):
        replace(some, networks=(network,)).compute_logits(batch)


def test_what_is_not_there_is_told(some, tmp_path):
    for wrong in ("phantoms-from-nowhere", tmp_path / "none.safetensors", tmp_path / "w.bin"):
        with pytest.raises(StagkitError, match=r"there are no weights .*give phantom \(shipped\)"):
            load_weights(wrong)
    with pytest.raises(StagkitError, match="holds no run"):
        load_weights(tmp_path)
    with pytest.raises(StagkitError, match="expected .safetensors"):
        save_weights(some, tmp_path / "w.bin")
    with pytest.raises(StagkitError, match="only phantom"):
        load_card("people")


# ── the shipped ones ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shipped_file_is_small_and_in_the_package():
    import tomllib

    path = _FOLDER / "phantom.safetensors"
    assert path.stat().st_size < 3_000_000
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["stagkit"]
    shipped = {p for pattern in given for p in (ROOT / "stagkit").glob(pattern)}
    assert {path, path.with_suffix(".md")} <= shipped, "they must be in the wheel"


def test_the_shipped_networks_know_phantoms_they_have_not_seen():
    """Not the card's figure, only that the file holds what the card is about: far above the majority's 0.17 UF1."""
    weights, right = load_weights("phantom"), []
    source = GradedPhantoms(PhantomConfig(preset="casme2", subjects=2, clips=6, seed=77, size=96))
    for key in source.keys:
        clip = source.read(key)
        said = weights.predict(weights.collate(compute_flow(clip, weights.flow), clip))[0]
        right.append(weights.classes[said.argmax()] == clip.label)
    assert np.mean(right) > 0.6


def test_the_card_says_what_they_are_not_and_how_to_make_them():
    card, weights = load_card(), load_weights("phantom")
    assert "say nothing about real people" in card and "nothing was measured" in card
    assert (
        "nothing about real people" in weights.training_summary
        and "On real recordings nothing was measured" in weights.training_summary
    )
    assert "python benchmarks/build_weights.py --out FOLDER" in card
    stated = re.search(r"\| all \| \*\*(0\.\d\d)\*\*", card)[1]
    assert f"UF1 of {stated} together" in weights.training_summary, "card and file are of the same training"
    n_parameters = sum(p.numel() for p in weights.networks[0].parameters())
    assert f"{n_parameters:,} parameters" in card
    assert f"{(_FOLDER / 'phantom.safetensors').stat().st_size / 1e6:.2f} MB" in card


def test_the_command_shows_and_packs(made, tmp_path, capsys):
    def run(*arguments):
        try:
            main([str(a) for a in arguments])
        except SystemExit as end:
            return end.code or 0
        return 0

    assert run("weights", "phantom") == 0 and "# Model card" in capsys.readouterr().out
    assert run("weights", made / "run", "--out", tmp_path / "packed.safetensors") == 0
    assert run("weights", tmp_path / "packed.safetensors") == 0
    assert "5 networks" in capsys.readouterr().out
    assert run("weights", "nobody") == 2


# ── how they are made ────────────────────────────────────────────────────────────────────────────────────────────────


def test_they_are_made_the_whole_way(made):
    weights, found = load_weights(made / "phantom.safetensors"), json.loads((made / "phantom.json").read_text())
    assert len(weights.networks) == 5 and found["n_clips"] == 5 * len(PRESETS)
    assert set(found["uf1_by_level"]) == {str(level) for level in LEVELS}
    assert (made / "phantom.md").read_text().startswith("# Model card")
    taught = {s for fold in json.loads((made / "run" / "split.json").read_text()) for s in fold["train"]}
    assert len(taught) == 10, "every clip id of every preset is learned from in some fold"


def test_nobody_asked_about_was_learned_from():
    """Another seed has other people: their faces differ, though their numbers are the same."""
    from build_weights import TEST_PHANTOMS, TRAIN_PHANTOMS

    from stagkit.synthetic.clip import sample_identity

    for preset in PRESETS:
        known, asked = (
            {sample_identity(c.replace(preset=preset), i).seed for i in range(c.subjects)}
            for c in (TRAIN_PHANTOMS, TEST_PHANTOMS)
        )
        assert len(known) == TRAIN_PHANTOMS.subjects and not known & asked


def test_subjects_are_filmed_from_easy_to_hard():
    config = PhantomConfig(subjects=6, clips=1, size=48)
    source = GradedPhantoms(config)
    for i, key in enumerate(source.keys):
        expected = make_clip(config.replace(difficulty=LEVELS[i % 5]), i, 0)
        assert (source.read(key).frames == expected.frames).all() and get_level(i) == LEVELS[i % 5]
    assert source.describe()["digest"] != config.digest()
