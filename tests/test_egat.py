import subprocess
import sys

import torch

from stagkit.explain.interop import make_sparse
from stagkit.network.attention import EGATDense, MaskedSoftmax
from tests.tiny import make_tiny_egat

torch.set_num_threads(1)


def make_layer(seed=0, heads=4):
    torch.manual_seed(seed)
    layer = EGATDense(8, 5, heads)
    torch.nn.init.normal_(layer.bias)
    torch.nn.init.normal_(layer.lin_l.bias)
    return layer


def test_tiny_egat_is_what_paper_says():
    layer, x, edges, attention, out = make_tiny_egat()
    got, weights = layer(x, edges)
    torch.testing.assert_close(weights[0], attention)
    torch.testing.assert_close(got, out)


def test_dense_equals_pyg_gatv2_on_unweighted_edges():
    from torch_geometric.nn import GATv2Conv

    layer = make_layer()
    twin = GATv2Conv(8, 5, heads=4, add_self_loops=False)
    twin.load_state_dict(layer.state_dict())
    x, present = torch.randn(7, 8), torch.rand(7, 7) > 0.4
    present.fill_diagonal_(True)
    edge_index, _ = make_sparse(present.float())
    expected, (_, alpha) = twin(x, edge_index, return_attention_weights=True)
    out, attention = layer(x, present.float())
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(attention[:, edge_index[1], edge_index[0]].T, alpha, atol=1e-5, rtol=0)


def test_attention_rows_sum_to_one_and_lead_from_target_to_source():
    layer = make_layer()
    x = torch.randn(2, 3, 7, 8)
    valid = torch.rand(2, 3, 7) > 0.3
    valid[0, 0] = True
    out, attention = layer(x, None, valid)
    assert attention.shape == (2, 3, 4, 7, 7)
    has_source = valid.any(-1)[..., None, None].expand(2, 3, 4, 7).float()
    torch.testing.assert_close(attention.sum(-1), has_source)
    # the value of source 2 reaches exactly the targets that attend to it: cut it for target 0 alone
    edges = torch.ones(7, 7)
    edges[0, 2] = 0.0
    cut, attention_cut = layer(x, edges.expand(2, 3, 7, 7), valid)
    assert (attention_cut[..., 0, 2] == 0).all()
    torch.testing.assert_close(cut[..., 1:, :], out[..., 1:, :])


def test_nothing_valid_gives_zeros_and_finite_gradients():
    layer = make_layer()
    x = torch.randn(2, 7, 8, requires_grad=True)
    valid = torch.ones(2, 7, dtype=torch.bool)
    valid[1] = False
    edges = torch.rand(2, 7, 7).requires_grad_()
    out, attention = layer(x, edges, valid)
    assert (attention[1] == 0).all()
    torch.testing.assert_close(out[1], layer.bias.expand(7, -1))
    out.square().sum().backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(edges.grad).all()


def test_edge_weights_act_as_odds():
    layer = make_layer()
    x, edges = torch.randn(5, 8), torch.ones(5, 5)
    _, before = layer(x, edges)
    edges = edges.clone()
    edges[1, 3] = 3.0
    _, after = layer(x, edges)
    odds = (after[:, 1, 3] / after[:, 1, 0]) / (before[:, 1, 3] / before[:, 1, 0])
    torch.testing.assert_close(odds, torch.full((4,), 3.0))


def test_masked_softmax():
    weights = MaskedSoftmax()(
        torch.tensor([[1.0, 1.0, 9.0], [1.0, 2.0, 3.0]]), torch.tensor([[True, True, False], [False] * 3])
    )
    torch.testing.assert_close(weights, torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]))


def test_training_path_does_not_import_pyg():
    code = "import sys, stagkit.network.losses; print([m for m in ('torch_geometric', 'captum') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
