"""The picture of the network says what the network is: its probes, its shapes, its counts."""

import matplotlib
import pytest

from stagkit.core.config import StagConfig
from stagkit.network.hooks import hook_names
from stagkit.network.model import Stag
from stagkit.plots.network import _ARROWS, PARTS, count_parameters, plot_network, plot_network_costs, plot_part_effects
from tests.small import make_dataset


@pytest.fixture(autouse=True)
def close():
    matplotlib.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def make_network(**switches) -> Stag:
    return Stag(StagConfig(width=8, heads=2, **switches), n_classes=3, patch=make_dataset().x.shape[-1])


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]  # an arrow is a text without words


SWITCHES = [{}, {"graph": "none"}, {"branches": "time"}, {"branches": "graph"}, {"temporal_attention": False}]
SWITCHES += [{"head": "fused", **switches} for switches in SWITCHES]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_the_parts_hold_every_parameter_once(switches):
    model = make_network(**switches)
    assert sum(count_parameters(model).values()) == sum(p.numel() for p in model.parameters())


def test_nothing_goes_past_the_action_units_to_the_class():
    batch = make_dataset().batch([0, 1])
    fused, graph = (plot_network(make_network(head=head), batch) for head in ("fused", "graph"))
    shown = texts(graph)
    assert shown[shown.index("7  AU activation") + 1].startswith("au.logits\n")
    assert shown[shown.index("8  AU graph") + 1].startswith("au.edges\n")
    lines = [len(figure.axes[0].lines) for figure in (fused, graph)]
    assert lines == [len(_ARROWS["fused"]) + 1, len(_ARROWS["graph"])], "in the fused head one line goes past the graph"


@pytest.mark.parametrize("head", ["graph", "fused"])
def test_every_probe_belongs_to_a_part(head):
    starts = tuple(start for part in PARTS[head] for start in part.hooks)
    assert all(name.startswith(starts) for name in hook_names(make_network(head=head)))


@pytest.mark.parametrize(
    ("switches", "off"),
    [
        ({}, []),
        ({"temporal_attention": False}, ["temporal attention"]),
        ({"graph": "none"}, []),
        ({"branches": "graph"}, ["transformer over time", "cross- attention"]),
        ({"branches": "time"}, ["cross- attention"]),
        ({"head": "fused"}, []),
        ({"head": "fused", "graph": "none"}, ["E-GAT"]),
        ({"head": "fused", "branches": "time"}, ["E-GAT", "cross- attention"]),
    ],
    ids=str,
)
def test_parts_that_are_off_are_drawn_as_off(switches, off):
    shown = texts(plot_network(make_network(**switches), make_dataset().batch([0, 1])))
    heads, lines = [" ".join(t.split()[1:]) for t in shown[::2]], shown[1::2]
    assert len(heads) == len(lines) == 9
    assert [head for head, line in zip(heads, lines, strict=True) if line == "off"] == off


def test_shapes_and_counts_are_those_of_the_network():
    data, model = make_dataset(), make_network()
    shown = "\n".join(texts(plot_network(model, data.batch([0]))))
    n_frames = data.x.shape[1]
    assert f"roi.embed\n{n_frames} x 22 x 8\n" in shown
    assert f"au.logits\n{n_frames} x 17" in shown and "au.edges\n17 x 17\n" in shown
    for count in filter(None, count_parameters(model).values()):
        assert f"{count:,} parameters" in shown


def test_the_network_is_left_as_it_was():
    model = make_network().train()
    plot_network(model, make_dataset().batch([0]))
    assert model.training and not any(m._forward_hooks for m in model.modules())


def test_costs_are_shares_of_the_first():
    full, half = {"parameters": 1000, "multiply_adds": 4_000_000}, {"parameters": 500, "multiply_adds": 1_000_000}
    left, right = plot_network_costs({"all": full, "less": half}).axes
    assert [t.get_text() for t in left.texts] == ["100%", "50%"]
    assert [t.get_text() for t in right.texts] == ["100%", "25%"]
    assert [bar.get_width() for bar in left.patches] == [1.0, 0.5]


def test_every_clip_is_a_dot_and_the_bar_is_their_mean():
    axes = plot_part_effects({"graph": [-1.0, 3.0], "head": [-8.0, -6.0]}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [1.0, -7.0]
    assert [t.get_text() for t in axes.texts] == ["+1.00", "-7.00"]
    assert "2 clips" in axes.get_xlabel()
