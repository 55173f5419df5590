"""PyTorch as a reference: the same weights give the same loss, gradients and training curve.

Skipped without torch; `.venv-peers` has it (`make peers`).
"""

import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from src.rnn.network import Buffers, Ids, loss_and_gradient
from src.rnn.optimizers import Adam, clip_norm, global_norm
from src.rnn.parameters import Array, RNNConfig, initialize, named_views, unflatten
from tests.cell_example import KINDS, LAYERS, Example, Kind, Shape

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # warnings of torch's import
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed here (see peers)")

TORCH_ORDER = {"rnn": [0], "gru": [0, 1, 2], "lstm": [1, 2, 3, 0]}  # gates in torch's order
DTYPES = {np.float32: torch.float32, np.float64: torch.float64}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Peer:
    """torch.nn's recurrent layers and a linear layer with the weights of a flat vector."""

    def __init__(self, architecture: RNNConfig, params: Array) -> None:
        self.architecture, self.order = architecture, TORCH_ORDER[architecture.cell]
        a, self.dtype = architecture, DTYPES[params.dtype.type]
        kind = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[a.cell]
        more = {"nonlinearity": a.activation} if a.cell == "rnn" else {}
        self.recurrent = kind(a.vocab, a.hidden, a.layers, dtype=self.dtype, **more)
        self.linear = torch.nn.Linear(a.hidden, a.vocab, dtype=self.dtype)
        self.parameters = [*self.recurrent.parameters(), *self.linear.parameters()]
        p = unflatten(architecture, params)
        with torch.no_grad():
            for k, layer in enumerate(p.layers):
                self.of(k, "weight_ih").copy_(self.rows(layer.wx))
                self.of(k, "weight_hh").copy_(self.rows(layer.wh))
                self.of(k, "bias_ih").copy_(torch.from_numpy(layer.b[self.order].reshape(-1)))
                self.of(k, "bias_hh").zero_()
                if layer.bh.size:
                    self.of(k, "bias_hh")[2 * a.hidden :] = torch.from_numpy(layer.bh)
            self.linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(p.wy.T)))
            self.linear.bias.copy_(torch.from_numpy(p.by))
        # Torch has a second bias in every gate, this project only in the GRU's candidate.
        self.free = torch.zeros_like(self.of(0, "bias_hh"))
        if a.cell == "gru":
            self.free[2 * a.hidden :] = 1

    def of(self, layer: int, name: str) -> Any:
        return getattr(self.recurrent, f"{name}_l{layer}")

    def rows(self, gates: Array) -> Any:
        """Convert gates (G, D, H) to torch's layout (G*H, D)."""
        return torch.from_numpy(np.concatenate([gates[g].T for g in self.order]))

    def gates(self, rows: Any) -> Array:
        """Convert from torch's layout."""
        blocks = rows.numpy().reshape(len(self.order), self.architecture.hidden, -1)
        ours = np.empty((len(self.order), blocks.shape[2], self.architecture.hidden), blocks.dtype)
        for block, g in zip(blocks, self.order, strict=True):
            ours[g] = block.T
        return ours

    def loss_and_backward(self, ids: Ids, targets: Ids, state: Array) -> float:
        """Return the mean loss and compute the gradients."""
        for parameter in self.parameters:
            parameter.grad = None
        x = torch.nn.functional.one_hot(torch.from_numpy(ids), self.architecture.vocab).to(self.dtype)
        start = [torch.from_numpy(np.ascontiguousarray(state[:, s])) for s in range(state.shape[1])]
        h, _ = self.recurrent(x, tuple(start) if len(start) == 2 else start[0])
        logits = self.linear(h).reshape(-1, self.architecture.vocab)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(targets).reshape(-1))
        loss.backward()
        for k in range(self.architecture.layers):
            self.of(k, "bias_hh").grad *= self.free
        return float(loss.item())

    def gradient(self) -> Array:
        """Return the flat gradient."""
        params = np.full(self.architecture.size(), np.nan)
        g = unflatten(self.architecture, params)
        for k, layer in enumerate(g.layers):
            layer.wx[:] = self.gates(self.of(k, "weight_ih").grad)
            layer.wh[:] = self.gates(self.of(k, "weight_hh").grad)
            layer.b[self.order] = self.of(k, "bias_ih").grad.numpy().reshape(layer.b.shape)
            if layer.bh.size:
                layer.bh[:] = self.of(k, "bias_hh").grad.numpy()[2 * self.architecture.hidden :]
        g.wy[:] = self.linear.weight.grad.numpy().T
        g.by[:] = self.linear.bias.grad.numpy()
        return params


@pytest.mark.parametrize("shape", [(1, 1, 1, 2), (9, 4, 6, 5), (20, 8, 64, 27)], ids=str)
@LAYERS
@KINDS
def test_loss_and_gradients_match_torch(kind: Kind, layers: int, shape: Shape) -> None:
    e = Example(kind, layers, shape)
    loss, g = e.backward()
    peer = Peer(e.architecture, e.params)
    assert loss == pytest.approx(peer.loss_and_backward(e.ids, e.targets, e.state), rel=1e-10)
    expected = named_views(e.architecture, peer.gradient())
    for name, found in named_views(e.architecture, g).items():
        difference = np.linalg.norm(found - expected[name])
        assert difference <= 1e-10 * np.linalg.norm(expected[name]), name


def curves(
    kind: Kind, layers: int, dtype: type[np.floating], limit: float, lr: float = 2e-3
) -> tuple[Array, Array, int]:
    """Return the losses of 200 steps of this project and of torch, and the number of clipped steps."""
    steps, batch, hidden, vocab = 16, 16, 32, 12
    architecture = RNNConfig(vocab, hidden, kind[0], layers, kind[1])
    rng = np.random.default_rng(0)
    params = initialize(architecture, "orthogonal", rng, dtype)
    peer = Peer(architecture, params)
    theirs = torch.optim.Adam(peer.parameters, lr=lr, betas=(0.9, 0.999), eps=1e-8)
    ours = Adam(0.9, 0.999, 1e-8)
    state, g = ours.state(params), np.zeros_like(params)
    p, views = unflatten(architecture, params), unflatten(architecture, g)
    buffers = Buffers.allocate(architecture, steps, batch, dtype, training=True)
    zero = np.zeros((layers, architecture.states, batch, hidden), dtype)
    successor = rng.permutation(vocab)
    losses, clipped = [], 0
    for _ in range(200):
        text = rng.integers(vocab, size=(steps + 1, batch))
        for before, after in pairwise(text):
            known = rng.random(batch) < 0.8
            after[known] = successor[before[known]]
        ids, targets = text[:-1], text[1:]
        buffers.reset()
        loss = loss_and_gradient(p, views, ids, targets, buffers)
        clipped += clip_norm(g, global_norm(g), limit)
        ours.update(state, params, g, lr)
        losses.append((loss, peer.loss_and_backward(ids, targets, zero)))
        torch.nn.utils.clip_grad_norm_(peer.parameters, limit)
        theirs.step()
    return *np.array(losses).T, clipped


@LAYERS
@KINDS
def test_loss_curve_follows_torch(kind: Kind, layers: int) -> None:
    """In single precision, with clipping."""
    ours, theirs, clipped = curves(kind, layers, np.float32, limit=0.3)
    assert clipped > 10
    assert ours[-20:].mean() < 0.6 * ours[0]  # the loss decreased
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)


@KINDS
def test_loss_curve_equals_torch_in_double_precision(kind: Kind) -> None:
    """Without clipping, where torch adds 1e-6 to the norm."""
    ours, theirs, _ = curves(kind, 2, np.float64, limit=np.inf)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)
