"""Settings: what goes to YAML comes back, what is unknown is told."""

import pytest

from stagkit.config import ConfigError, FlowConfig, PhantomConfig, RoiConfig, StagConfig, TrainConfig

ALL = (FlowConfig, PhantomConfig, RoiConfig, StagConfig, TrainConfig)


@pytest.mark.parametrize("kind", ALL)
def test_yaml_there_and_back(kind, tmp_path):
    kind().save(tmp_path / "c.yaml")
    assert kind.load(tmp_path / "c.yaml") == kind()


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


def test_unknown_keys_raise(tmp_path):
    (tmp_path / "c.yaml").write_text("width: 32\ncolour: red\n")
    with pytest.raises(ConfigError, match="no setting colour; it has width"):
        StagConfig.load(tmp_path / "c.yaml")


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "width: [", "\x00"])
def test_a_file_that_is_no_settings_is_told(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match="c.yaml"):
        StagConfig.load(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        StagConfig.load(tmp_path / "absent.yaml")


def test_ranges_and_choices():
    with pytest.raises(ConfigError, match="expected 0.0 to 0.9"):
        StagConfig(dropout=1.5)
    with pytest.raises(ConfigError, match="one of dis, dis_fast, tvl1, farneback"):
        FlowConfig(method="raft")
    with pytest.raises(ConfigError, match="multiple of heads"):
        StagConfig(width=10, heads=4)
