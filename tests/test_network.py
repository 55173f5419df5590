"""The network against a loop that does one sequence, one step and one one-hot vector at a time."""

import numpy as np
import pytest

from src.rnn.loss import cross_entropy_and_gradient
from src.rnn.network import BackwardBuffers, ForwardBuffers, forward, loss_and_gradient
from src.rnn.parameters import Architecture, Parameters, initialise, unflatten

SHAPES = [(1, 1, 1, 2), (1, 4, 3, 5), (6, 1, 4, 3), (7, 3, 5, 6)]  # T, B, H, V


def example(steps, batch, hidden, vocab, dtype=np.float64):
    """A random network (flat), a batch (ids, targets) and an initial state."""
    rng = np.random.default_rng([steps, batch, hidden, vocab])
    architecture = Architecture(vocab=vocab, hidden=hidden)
    flat = (0.7 * rng.standard_normal(architecture.size())).astype(dtype)
    ids, targets = rng.integers(vocab, size=(2, steps, batch))
    return architecture, flat, ids, targets, rng.uniform(-0.9, 0.9, (batch, hidden)).astype(dtype)


def run_forward(architecture, flat, ids, h0):
    """Logits (V, T, B) and hidden states (T+1, B, H)."""
    buffers = ForwardBuffers.allocate(architecture, *ids.shape, dtype=flat.dtype)
    buffers.h[0] = h0
    logits = forward(unflatten(architecture, flat), ids, buffers)
    return logits.reshape(-1, *ids.shape), buffers.h


def run_backward(architecture, flat, ids, targets, h0, buffers=None):
    """Loss, flat gradient and hidden states."""
    made, scratch = buffers or (
        ForwardBuffers.allocate(architecture, *ids.shape, dtype=flat.dtype),
        BackwardBuffers.allocate(architecture, *ids.shape, dtype=flat.dtype),
    )
    made.h[0] = h0
    g = np.full_like(flat, np.nan)
    p, views = unflatten(architecture, flat), unflatten(architecture, g)
    loss = loss_and_gradient(p, views, ids, targets, made, scratch)
    return loss, g, made.h


def naive(p, ids, targets, h0):
    """Loss and gradients by the equations as they are written, in plain loops."""
    steps, batch = ids.shape
    eye, share = np.eye(p.by.size), 1 / ids.size
    g, loss = Parameters(*map(np.zeros_like, p)), 0.0
    for column in range(batch):
        states, probabilities = [h0[column]], []
        for t in range(steps):
            states.append(np.tanh(eye[ids[t, column]] @ p.wx + states[-1] @ p.wh + p.b))
            exponentials = np.exp(states[-1] @ p.wy + p.by)
            probabilities.append(exponentials / exponentials.sum())
            loss -= share * np.log(probabilities[-1][targets[t, column]])
        from_later = np.zeros_like(h0[column])
        for t in reversed(range(steps)):
            dz = share * (probabilities[t] - eye[targets[t, column]])
            da = (p.wy @ dz + from_later) * (1 - states[t + 1] ** 2)
            from_later = p.wh @ da
            g.wy[:] += np.outer(states[t + 1], dz)
            g.by[:] += dz
            g.wx[:] += np.outer(eye[ids[t, column]], da)
            g.wh[:] += np.outer(states[t], da)
            g.b[:] += da
    return loss, g


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradient_are_those_of_the_naive_loop(shape):
    architecture, flat, ids, targets, h0 = example(*shape)
    expected_loss, expected = naive(unflatten(architecture, flat), ids, targets, h0)
    loss, g, _ = run_backward(architecture, flat, ids, targets, h0)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    for name, array, other in zip(Parameters._fields, unflatten(architecture, g), expected, strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-11, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_two_pieces_with_the_state_carried_are_the_whole(cut):
    architecture, flat, ids, _, h0 = example(7, 3, 5, 6)
    logits, h = run_forward(architecture, flat, ids, h0)
    first, h_first = run_forward(architecture, flat, ids[:cut], h0)
    second, h_second = run_forward(architecture, flat, ids[cut:], h_first[-1])
    np.testing.assert_allclose(np.concatenate((first, second), axis=1), logits, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(np.concatenate((h_first, h_second[1:])), h, rtol=1e-12, atol=1e-13)


def test_permuting_the_batch_permutes_the_states_and_leaves_loss_and_gradient():
    architecture, flat, ids, targets, h0 = example(7, 5, 6, 6)
    order = np.array([3, 0, 4, 2, 1])
    loss, g, h = run_backward(architecture, flat, ids, targets, h0)
    permuted = run_backward(architecture, flat, ids[:, order], targets[:, order], h0[order])
    assert permuted[0] == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(permuted[1], g, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(permuted[2], h[:, order], rtol=1e-12, atol=1e-13)


def test_buffers_keep_nothing_from_one_batch_to_the_next():
    architecture, flat, ids, targets, h0 = example(7, 3, 5, 6)
    made = ForwardBuffers.allocate(architecture, 7, 3, flat.dtype)
    scratch = BackwardBuffers.allocate(architecture, 7, 3, flat.dtype)
    run_backward(architecture, flat, ids[::-1], targets[::-1], -h0, (made, scratch))
    again = run_backward(architecture, flat, ids, targets, h0, (made, scratch))
    fresh = run_backward(architecture, flat, ids, targets, h0)
    assert again[0] == fresh[0]
    assert again[1].tobytes() == fresh[1].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_stays_what_it_was(dtype):
    architecture, flat, ids, targets, h0 = example(7, 3, 5, 6, dtype)
    made = ForwardBuffers.allocate(architecture, 7, 3, dtype)
    made.h[0] = h0
    logits = forward(unflatten(architecture, flat), ids, made)
    loss = cross_entropy_and_gradient(logits, targets.reshape(-1))
    assert (logits.dtype, made.h.dtype, loss.dtype) == (dtype, dtype, dtype)
    _, g, _ = run_backward(architecture, flat, ids, targets, h0)
    assert g.dtype == dtype
    assert np.isfinite(g).all()


def test_views_share_the_memory_of_the_flat_vector_and_cover_it_once():
    architecture = Architecture(vocab=4, hidden=3)
    flat = np.zeros(architecture.size())
    p = unflatten(architecture, flat)
    assert {name: view.shape for name, view in p._asdict().items()} == architecture.shapes()
    for view in p:
        assert np.shares_memory(view, flat)
        view += 1
    assert (flat == 1).all()
    flat[:] = 7
    assert all((view == 7).all() for view in p)


@pytest.mark.parametrize("wrong", [-1, 1])
def test_flat_vector_of_another_size_is_refused(wrong):
    architecture = Architecture(vocab=4, hidden=3)
    size = architecture.size()
    with pytest.raises(ValueError, match=f"expected a vector of {size} parameters, got shape"):
        unflatten(architecture, np.zeros(size + wrong))


def fresh(scheme, seed=0, dtype=np.float64, hidden=32):
    architecture = Architecture(vocab=27, hidden=hidden)
    flat = initialise(architecture, scheme, np.random.default_rng(seed), dtype)
    return flat, unflatten(architecture, flat)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-6)])
def test_orthogonal_recurrent_weights_are_orthogonal(dtype, tolerance):
    _, p = fresh("orthogonal", dtype=dtype)
    np.testing.assert_allclose(p.wh.T @ p.wh, np.eye(32), atol=tolerance)


def test_orthogonal_recurrent_weights_are_uniform_over_the_group():
    """Of a Haar-distributed matrix the trace has mean 0 and variance 1; of a bare QR factor it has not."""
    traces = np.array([np.trace(fresh("orthogonal", seed, hidden=4)[1].wh) for seed in range(400)])
    assert abs(traces.mean()) < 0.2
    assert 0.75 < traces.var() < 1.25


@pytest.mark.parametrize(("scheme", "names"), [("uniform", ("wx", "wh", "wy")), ("orthogonal", ("wx", "wy"))])
def test_uniform_weights_fill_their_bounds(scheme, names):
    _, p = fresh(scheme)
    bound = 1 / np.sqrt(32)
    for name in names:
        largest = abs(getattr(p, name)).max()
        assert 0.95 * bound < largest <= bound, name


@pytest.mark.parametrize("scheme", ["uniform", "orthogonal"])
def test_biases_begin_at_zero(scheme):
    _, p = fresh(scheme)
    assert not p.b.any()
    assert not p.by.any()


@pytest.mark.parametrize("scheme", ["uniform", "orthogonal"])
def test_same_seed_same_bits_another_seed_others(scheme):
    flat = fresh(scheme, 3)[0].tobytes()
    assert fresh(scheme, 3)[0].tobytes() == flat
    assert fresh(scheme, 4)[0].tobytes() != flat


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_begin_in_the_precision_asked_for(dtype):
    assert fresh("orthogonal", dtype=dtype)[0].dtype == dtype


def test_unknown_initialisation_is_refused():
    with pytest.raises(ValueError, match="expected the initialisation uniform or orthogonal, got 'xavier'"):
        fresh("xavier")
