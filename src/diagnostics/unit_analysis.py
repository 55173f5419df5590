"""Analysis of hidden units: correlation of their activations with properties of the text, and neurons.html.

Karpathy, Johnson and Li (2015), "Visualizing and understanding recurrent networks", section 4.1, found cells
that keep track of lines and quotes by looking at them. Here each unit gets a score: how much of the variance
of its activation such a property of the text explains. The page neurons.html shows the test text colored by
the activation of a unit.
"""

import base64
import unicodedata
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.common.page import render_template
from src.data.corpus import Corpus
from src.evaluation.text_quality import final_split
from src.rnn.loss import log_softmax
from src.rnn.network import Buffers, forward, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten

Ids = NDArray[np.integer]

CHUNK = 250  # characters read at once
MIN_LINES = 3
MIN_SAMPLES = 30  # characters of each kind that a correlation needs
VOWELS = "aeiouy"
APOSTROPHES = "'\u2019"
CHARACTERS = 3000  # of the text on the page: about two printed pages
BYTES = 1_000_000  # of activations on the page: a large network shows only the best explained units
TOP_K = 5  # most probable characters shown of each distribution


@dataclass(frozen=True)
class Feature:
    """Property of a text."""

    name: str  # description for the page, for example `inside a word`
    values: NDArray[np.float64]  # at each character, shape (N,)
    where: NDArray[np.bool_]  # characters to which the property applies, shape (N,)


@dataclass(frozen=True)
class Unit:
    """Hidden unit and the feature that explains it best."""

    layer: int  # from 1
    number: int  # in its layer, from 0
    feature: str  # empty for a text without features
    r: float  # correlation with the feature; r^2 is the share of the variance that the feature explains


def collect_activations(architecture: RNNConfig, params: Array, ids: Ids) -> tuple[Array, Array]:
    """Read a text from a zero state and collect the activations.

    Args:
        architecture: Sizes and cell of the network.
        params: Weights, shape (n,).
        ids: Token ids of the text, shape (N,).

    Returns:
        Activation of each unit after each character, layer by layer, shape (L*H, N): h, or for the LSTM
            tanh(c), its memory, as in Karpathy, Johnson and Li (2015); and the probabilities of the next
            character, shape (N, V). Both are in the dtype of `params`.
    """
    p, activations, probabilities = unflatten(architecture, params), [], []
    state = zero_state(architecture, 1, params.dtype)
    for start in range(0, ids.size, CHUNK):
        piece = ids[start : start + CHUNK, None].astype(np.intp)
        buffers = Buffers.allocate(architecture, len(piece), 1, params.dtype)
        buffers.set_state(state)
        z = forward(p, piece, buffers)
        state = buffers.state()
        shown = [c.extra if architecture.cell == "lstm" else c.h[1:] for c in buffers.caches]
        activations.append(np.concatenate([a[:, 0].T for a in shown]))
        probabilities.append(np.exp(log_softmax(z)).T)
    return np.concatenate(activations, axis=1), np.concatenate(probabilities)


def features(text: str) -> list[Feature]:
    """Return the features that a text has.

    A feature needs at least 30 characters that differ from its most frequent value. The distance to the start
    of the line also needs at least 3 line breaks.

    Args:
        text: Text of N characters.

    Returns:
        The features, each over all N characters; empty for a text that is too short.
    """
    # A letter, or a mark that belongs to one, of any script.
    letter = np.array([unicodedata.category(c)[0] in "LM" for c in text], bool)
    word = letter | np.array([c in APOSTROPHES for c in text], bool)
    newline = np.array([c == "\n" for c in text], bool)
    # Accents are removed first. In an alphabet without these letters, no character is a vowel.
    vowel = np.array([unicodedata.normalize("NFD", c)[0].lower() in VOWELS for c in text], bool)
    upper = np.array([c.isupper() for c in text], bool)
    everywhere = np.ones(len(text), bool)
    ends = word & ~np.append(word[1:], True)
    candidates = [
        Feature("inside a word", word.astype(np.float64), everywhere),
        Feature("distance to the word's start", _distance_to(~word), word),
        Feature("last letter of a word", ends.astype(np.float64), word),
        Feature("vowel, not consonant", vowel.astype(np.float64), letter),
        Feature("capital, not small letter", upper.astype(np.float64), letter),
    ]
    if newline.sum() >= MIN_LINES:
        candidates.append(Feature("distance to the line's start", _distance_to(newline), everywhere))
    return [feature for feature in candidates if _has_enough_samples(feature)]


def _has_enough_samples(feature: Feature) -> bool:
    """Return whether at least 30 characters have another value than the most frequent one."""
    _, counts = np.unique(feature.values[feature.where], return_counts=True)
    return int(counts.sum() - counts.max(initial=0)) >= MIN_SAMPLES and counts.size > 1


def _distance_to(boundary: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the number of characters since the last boundary, or since the character before the text."""
    places = np.arange(boundary.size)
    return (places - np.maximum.accumulate(np.where(boundary, places, -1))).astype(np.float64)


def correlations(activations: Array, feature: Feature) -> NDArray[np.float64]:
    """Compute Pearson's r of each unit with a feature.

    For a feature with two values this is the point-biserial correlation.

    Args:
        activations: Activation of each unit after each character, shape (U, N).
        feature: Feature of the same N characters; only those in `feature.where` are compared.

    Returns:
        Correlations, -1 to 1, shape (U,); 0 for a unit whose activation is constant on these characters.
    """
    a = activations[:, feature.where].astype(np.float64)
    a -= a.mean(axis=1, keepdims=True)
    x = feature.values[feature.where]
    x = x - x.mean()
    length = np.sqrt((a * a).sum(axis=1) * (x @ x))
    # a unit that is constant except for rounding has no variance to explain
    varies = np.sqrt((a * a).mean(axis=1)) > 1e-6
    r: NDArray[np.float64] = np.zeros(len(a))
    np.divide(a @ x, length, out=r, where=varies & (length > 0))
    return r


def rank_units(activations: Array, features: list[Feature], hidden: int) -> list[tuple[int, Unit]]:
    """Rank the units by the share of their variance that a single feature explains.

    Args:
        activations: Activation of each unit after each character, layer by layer, shape (L*H, N).
        features: Features of the same N characters; may be empty.
        hidden: Hidden units per layer H.

    Returns:
        Row of each unit in `activations`, and the unit with its best feature, the best explained unit first;
        in the order of the rows if there are no features.
    """
    if not features:
        return [(k, Unit(k // hidden + 1, k % hidden, "", 0.0)) for k in range(len(activations))]
    r = np.stack([correlations(activations, feature) for feature in features])
    best = abs(r).argmax(axis=0)
    units = [
        Unit(k // hidden + 1, k % hidden, features[f].name, float(r[f, k]))
        for k, f in enumerate(best.tolist())
    ]
    return sorted(enumerate(units), key=lambda pair: -(pair[1].r ** 2))


def render_page(title: str, architecture: RNNConfig, params: Array, corpus: Corpus) -> str:
    """Render the page neurons.html: how the network reads the beginning of the final split.

    Args:
        title: Name of the run in the heading.
        architecture: Sizes and cell of the network.
        params: Weights, shape (n,).
        corpus: Corpus with the final split and its vocabulary.

    Returns:
        The page as HTML, with all data in it.
    """
    ids: Ids = np.array(corpus.split(corpus.final_split)[:CHARACTERS])
    read, probabilities = collect_activations(architecture, params, ids)
    named_features = features(corpus.vocabulary.decode(ids))
    shown = rank_units(read, named_features, architecture.hidden)[: max(1, BYTES // ids.size)]
    activations = read[[row for row, _ in shown]]
    scales = np.maximum(abs(activations).max(axis=1), 1e-12)
    likeliest, shares = top_k(probabilities)
    data = {
        "characters": list(corpus.vocabulary.characters),
        "ids": _to_base64(ids, "<u2"),
        "units": [
            {**asdict(unit), "r": round(unit.r, 4), "scale": float(f"{scale:.5g}")}
            for (_, unit), scale in zip(shown, scales.tolist(), strict=True)  # 127 stands for the scale
        ],
        "activations": _to_base64(np.rint(activations / scales[:, None] * 127), "<i1"),
        "likeliest": _to_base64(likeliest, "<u2"),
        "shares": _to_base64(np.rint(shares * 65535), "<u2"),
    }
    layers, hidden = architecture.layers, architecture.hidden
    sizes = f"{layers} x {hidden}" if layers > 1 else f"{hidden}"
    return render_template(
        "diagnostics/activation_page.html",
        title=f"Neurons of run {title}: {architecture.cell}, {sizes} units",
        layers=layers,
        units=layers * hidden,
        shown=len(shown),
        quantity="tanh(c), the memory cell" if architecture.cell == "lstm" else "h, the hidden state",
        corpus=corpus.name,
        split=final_split(corpus),
        count=ids.size,
        features=[feature.name for feature in named_features],
        data=data,
    )


def top_k(probabilities: Array) -> tuple[NDArray[np.intp], Array]:
    """Select the most probable characters after each position.

    Args:
        probabilities: Probabilities of the next character, shape (N, V).

    Returns:
        Token ids and their probabilities in descending order, shape (N, min(5, V)) each.
    """
    count = min(TOP_K, probabilities.shape[1])
    some = np.argpartition(-probabilities, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(probabilities, some, axis=1), axis=1, kind="stable")
    likeliest = np.take_along_axis(some, order, axis=1)
    return likeliest, np.take_along_axis(probabilities, likeliest, axis=1)


def _to_base64(values: NDArray[Any], dtype: str) -> str:
    """Return numbers as base64, row after row, in a NumPy dtype such as `<u2` (little-endian, 16 bits)."""
    return base64.b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode("ascii")
