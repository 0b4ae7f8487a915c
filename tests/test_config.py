"""Settings: what goes to YAML comes back, what is unknown is told."""

import dataclasses
import os

import pytest

from stagkit.cli.options import read_seeds, read_settings
from stagkit.cli.settings import MAX_BYTES, read_yaml
from stagkit.core.config import ConfigError, StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.motion.config import FlowConfig, RoiConfig
from stagkit.synthetic.config import PhantomConfig

ALL = (FlowConfig, PhantomConfig, RoiConfig, StagConfig, TrainConfig)


@pytest.mark.parametrize("kind", ALL)
def test_plain_values_there_and_back(kind):
    assert kind.from_dict(kind().to_dict()) == kind()


@pytest.mark.parametrize("kind", ALL)
def test_the_digest_knows_every_setting(kind):
    base = kind()
    for name, value in base.to_dict().items():
        if isinstance(value, bool):
            changed = not value
        elif isinstance(value, (int, float)):
            changed = value * 2 or 1
        else:
            continue
        try:
            other = base.replace(**{name: changed})
        except ConfigError:
            continue
        assert other.digest() != base.digest(), name
    assert kind().digest() == base.digest()


def test_unknown_keys_raise():
    with pytest.raises(ConfigError, match="no setting colour; it has width"):
        StagConfig.from_dict({"width": 32, "colour": "red"})


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "width: [", "\x00"])
def test_a_file_that_is_no_settings_is_told(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match="c.yaml"):
        read_yaml(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path / "absent.yaml")


def test_ranges_and_choices():
    with pytest.raises(ConfigError, match="expected 0.0 to 0.9"):
        StagConfig(dropout=1.5)
    with pytest.raises(ConfigError, match="one of dis, dis_fast, tvl1, farneback"):
        FlowConfig(method="raft")
    with pytest.raises(ConfigError, match="multiple of heads"):
        StagConfig(width=10, heads=4)


# ── hostile settings ─────────────────────────────────────────────────────────────────────────────────────────────────

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "billion laughs": LAUGHS + "stag: {width: *i}\n",
    "an alias of itself": "stag: &s\n  width: *s\n",
    "many values": "stag: {width: [" + "1, " * 20_000 + "1]}",
    "deep": "stag: " + "[" * 5_000 + "]" * 5_000,
    "deep mappings": "stag: " + "{a: " * 5_000 + "}" * 5_000,
    "large": "# " + "x" * MAX_BYTES,
    "no date": "stag: {width: 2001-99-99}",
    "a number of 5,000 digits": "stag: {width: " + "9" * 5_000 + "}",
    "a hexadecimal number of 10,000 digits": "stag: {width: 0x" + "f" * 10_000 + "}",
    "python": "stag: !!python/object/apply:os.system ['true']",
    "a list of settings": "stag: [width, 32]",
    "text for settings": "train: fast",
    "nested": "stag: {width: {a: {b: c}}}",
    "a key that is no text": "stag: {1: 2, true: 3, [1, 2]: 4}",
    "a terminal escape": 'stag: {width: "\\e[31m"}',
    "a long text": "stag: {loss: " + "z" * 100_000 + "}",
    "infinity": "train: {lr: .inf}",
    "nan": "train: {lr: .nan}",
    "epochs": "train: {epochs: 1000000000000}",
    "width": "stag: {width: 1000000000}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_settings_end_in_one_short_sentence(name, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(HOSTILE[name])
    with pytest.raises(ConfigError) as error:
        read_settings(path, [], None, None)
    text = str(error.value)
    assert len(text) < 700 + len(str(path)) and text.isprintable()


def test_settings_that_are_no_text_file_are_refused(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(bytes(range(256)) * 9)
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "binary.yaml", tmp_path / "pipe.yaml", tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ConfigError, match="cannot be read as settings"):
            read_settings(path, [], None, None)


@pytest.mark.parametrize(
    "change",
    ["stag.width=[", "stag.width={", "stag.width=*a", "stag.width=!!int x", "stag.width=2001-99-99", "stag.width=",
     "stag.width=nan", "stag.width=1e9", "train.lr=inf", "train.epochs=" + "9" * 5_000, "train.lr=" + "[" * 9_000,
     "stag.loss=\x1b[31m", "stag.=3", "width=3", "=", "stag.width", "stag.wîdth=3", "stag.graph=" + "x" * 9_999],
)  # fmt: skip
def test_a_setting_that_cannot_be_read_is_one_sentence(change):
    with pytest.raises(ConfigError) as error:
        read_settings(None, [change], None, None)
    assert len(str(error.value)) < 900 and str(error.value).isprintable()


def test_a_setting_is_read_as_python_and_yaml_write_it():
    stag, train = read_settings(None, ["train.lr=1e-3", "stag.width=64", "stag.temporal_attention=false"], 7, None)
    assert (train.lr, stag.width, stag.temporal_attention, train.epochs) == (1e-3, 64, False, 7)


@pytest.mark.parametrize("kind", ALL)
def test_every_number_has_a_range_whose_error_names_it(kind):
    for field in dataclasses.fields(kind):
        if not isinstance(field.default, (int, float)) or isinstance(field.default, bool):
            continue
        low, high = field.metadata["range"]
        for wrong in (low - 1, high + 1, 10**30, -(10**30), float("nan"), float("inf")):
            with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{field.name} is"):
                kind(**{field.name: wrong})


@pytest.mark.parametrize(
    "text", ["0", "-3", "1000000000000", "0,-1", "0," * 2_000, "9" * 5_000, "x", "", "1,99999999999"]
)
def test_seeds_are_bounded(text):
    with pytest.raises(StagkitError, match="--seeds"):
        read_seeds(text if text != "0," * 2_000 else ",".join(map(str, range(2_000))))
