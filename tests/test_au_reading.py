"""Action units are read twice, and an answer that comes from them alone comes from nothing else."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.explain.attribution import attribute
from stagkit.explain.interventions import compute_logits, make_hooks
from stagkit.network.action_units import AUEvidence
from stagkit.network.hooks import intervene, record
from stagkit.network.losses import compute_loss
from stagkit.network.model import Stag
from stagkit.training.train import train_fold
from tests.small import make_dataset
from tests.tiny import make_batch, make_inputs, make_model

AUS = {"head": "graph"}


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def test_first_reading_is_motion_along_the_muscle_by_hand():
    reading, k = AUEvidence(StagConfig(), ATLAS, learned=False, name="first"), AU_NUMBERS.index(12)
    flow, seen = torch.zeros(1, 2, len(ATLAS.names), 2), torch.ones(1, 2, len(ATLAS.names), 1)
    n = int(ATLAS.incidence[k].argmax())
    flow[0, 1, n] = torch.tensor(ATLAS.directions[k, n])
    said = reading(torch.zeros(0), flow, seen)[0, :, k]
    along = (ATLAS.directions[k, n] ** 2).sum()
    close(said.detach(), torch.tensor([-2.2, -2.2 + np.log1p(np.e) * along / ATLAS.incidence[k].sum()]).float())
    assert sum(p.numel() for p in reading.parameters()) == 2 * len(AU_NUMBERS)


def test_the_edges_follow_the_first_reading_and_the_answer_the_last():
    model, (x, mask, times) = make_model(**AUS), make_inputs()
    plain = model(x, mask, times)
    with intervene(model, {"au.logits.prior": 3.0}):
        changed = model(x, mask, times)
    assert (changed.edges - plain.edges).abs().max() > 0.1
    assert (changed.au_logits - plain.au_logits).abs().max() > 1e-5  # it reaches the answer through the edges only
    with intervene(model, {"au.logits": 3.0}):
        changed = model(x, mask, times)
    close(changed.edges, plain.edges, 0)
    close(changed.prior_au_logits, plain.prior_au_logits, 0)
    assert (changed.logits - plain.logits).abs().max() > 1e-5
    assert make_model()(x, mask, times).prior_au_logits is None


@pytest.mark.parametrize("settings", [{}, {"branches": "graph"}, {"branches": "time"}, {"graph": "none"}])
def test_nothing_goes_past_the_action_units(settings):
    model, (x, mask, times) = make_model(**AUS, **settings), make_inputs()
    with intervene(model, {"au.logits": torch.linspace(-2, 2, 17)}):
        close(model.logits(x, mask, times), model.logits(x.flip(0) * 3, mask, times), 0)
    fused = make_model(**settings)
    with intervene(fused, {"au.logits": torch.linspace(-2, 2, 17)}):
        assert (fused.logits(x, mask, times) - fused.logits(x.flip(0) * 3, mask, times)).abs().max() > 1e-3


@pytest.mark.parametrize("probe", ["graph.1.out", "time.1.attn", "cross.0.roi_from_frame", "cross.0.frame_from_roi"])
def test_every_part_speaks_through_the_action_units(probe):
    model, inputs = make_model(**AUS), make_inputs()
    plain = model(*inputs)
    with intervene(model, {probe: 0.0}):
        silent = model(*inputs)
    close(silent.prior_au_logits, plain.prior_au_logits, 0)
    assert (silent.au_logits - plain.au_logits).abs().max() > 1e-5
    assert (silent.logits - plain.logits).abs().max() > 1e-6


def test_in_training_classes_teach_the_head_alone():
    model, (x, mask, times) = make_model(**AUS).train(), make_inputs()
    model.logits(x, mask, times).square().sum().backward()
    taught = {
        name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0
    }
    assert taught == {"head"}
    x.requires_grad_()
    model.eval().logits(x, mask, times).square().sum().backward()
    assert x.grad.abs().max() > 0  # an explanation sees the whole way


def test_both_readings_are_taught_by_the_codes():
    batch = make_batch()
    model = make_model(n_classes=len(batch.classes), **AUS)
    out, settings, ones = model(batch.x, batch.mask, batch.times_ms), TrainConfig(), torch.ones(len(batch.classes))
    assert not batch.aus.isnan().all()

    def au(output):
        return compute_loss(output, batch, ones, settings).au

    last, first = (replace(out, au_logits=z, prior_au_logits=None) for z in (out.au_logits, out.prior_au_logits))
    close(au(out), (au(last) + au(first)) / 2)
    assert (au(last) - au(first)).abs() > 1e-3


def test_a_clamped_action_unit_is_clamped_in_both_readings():
    model, batch = make_model(**AUS), make_batch(n_clips=1)
    levels = {12: 0.9, 4: 0.01}
    with (
        intervene(model, make_hooks([["au", f"AU{n:02d}", level] for n, level in levels.items()])),
        record(model, "au.logits*") as seen,
    ):
        answer = model.logits(batch.x, batch.mask, batch.times_ms)
    for reading in ("au.logits", "au.logits.prior"):
        for number, level in levels.items():
            close(seen[reading][..., AU_NUMBERS.index(number)].sigmoid(), torch.full(batch.mask.shape[:2], level))
    asked = compute_logits(model, batch, [[("au", "AU12", 0.9), ("au", "AU04", 0.01)]])
    close(torch.tensor(asked).float(), answer.detach())


def test_without_codes_there_is_nothing_to_answer_from():
    data = make_dataset()
    bare, stag = replace(data, aus=np.full_like(data.aus, np.nan)), StagConfig(width=8, head="graph")
    with pytest.raises(StagkitError, match=r"none of the \d+ training clips is coded: use stag.head=fused"):
        train_fold(bare, np.arange(len(bare)), stag, TrainConfig(epochs=1))
    model = train_fold(data, np.arange(len(data)), stag, TrainConfig(epochs=1))
    batch = data.batch([0, 1])
    assert torch.isfinite(model.logits(batch.x, batch.mask, batch.times_ms)).all()


@pytest.mark.parametrize(
    ("method", "more"),
    [
        ("integrated gradients", {}),
        ("layer integrated gradients", {"layer": "au evidence"}),
        ("edge integrated gradients", {}),
    ],
    ids=str,
)
def test_explanations_are_complete(method, more):
    batch, model = make_batch(), make_model(**AUS)
    with torch.no_grad():  # active units and open gates: else edges matter less than rounding
        model.prior_aus.bias.fill_(2.0)
        model.connectivity.alpha.fill_(5.0)
        model.au_tokens.region_gate.bias.fill_(2.0)
        for layer in model.graph:
            layer.gate.bias.fill_(2.0)
    result = attribute(model, batch, method, target=1, n_steps=64, **more)
    assert np.abs(np.asarray(result.logit_difference)).max() > 1e-5
    missed = np.abs(np.asarray(result.convergence_delta)) / np.abs(np.asarray(result.logit_difference)).clip(1e-6)
    assert missed.max() < 0.05 and np.abs(np.asarray(result.values)).max() > 0


def test_settings_without_the_choice_keep_their_digest():
    other = StagConfig(head="graph")
    assert other.digest() != StagConfig().digest() and StagConfig.from_dict(other.to_dict()) == other


def test_the_graph_starts_more_open_where_the_answer_comes_from_action_units():
    for settings, share, dropped in ((AUS, 0.5, 0.1), ({}, 0.119, 0.4)):
        layer = Stag(StagConfig(width=8, **settings), n_classes=3).graph[0]
        close(layer.gate(torch.randn(2, 8)).sigmoid(), torch.full((2, 8), share), atol=1e-3)
        assert layer.drop.p == pytest.approx(dropped)
