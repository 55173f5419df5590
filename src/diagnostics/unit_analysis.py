"""Analysis of hidden units: correlation of their activations with properties of the text, and neurons.html.

Karpathy, Johnson and Li (2015), "Visualizing and understanding recurrent networks", section 4.1, found by eye
cells that keep track of lines and quotes; here a unit is scored by how much of its activation such a property
of the text explains. The page neurons.html shows the test text colored by the activation of a unit.
"""

import base64
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from src.data.corpus import Corpus
from src.evaluation.text_quality import final_split
from src.rnn.loss import log_softmax
from src.rnn.network import Buffers, forward, zero_state
from src.rnn.parameters import Array, RNNConfig, unflatten

CHUNK = 250  # characters read at once
MIN_LINES = 3
MIN_SAMPLES = 30  # characters of each kind that a correlation needs
VOWELS = "aeiouy"
APOSTROPHES = "'\u2019"
TEMPLATE = Path(__file__).with_name("activation_page.html")
CHARACTERS = 3000  # of the text: some two pages
BYTES = 1_000_000  # of activations: of a large network the units that are explained best
TOP_K = 5  # characters shown of each distribution


@dataclass(frozen=True)
class Activations:
    """The activations of a network that reads a text statefully from the start.

    Attributes:
        activations: Of each unit after each character, layer by layer, (L*H, N): h, and of the LSTM tanh(c),
            its memory, as in the paper above.
        probabilities: Of the next character, (N, V).
    """

    activations: Array
    probabilities: Array


@dataclass(frozen=True)
class Feature:
    """A property of a text.

    Attributes:
        name: In words.
        values: At each character, (N,).
        where: The characters that it concerns, (N,).
    """

    name: str
    values: NDArray[np.float64]
    where: NDArray[np.bool_]


@dataclass(frozen=True)
class Unit:
    """A hidden unit and the feature that explains it best.

    Attributes:
        layer: From 1.
        number: From 0.
        feature: Name of the feature.
        r: The correlation with it, whose square is the share of the activation's variance that it explains.
    """

    layer: int
    number: int
    feature: str
    r: float


def collect_activations(architecture: RNNConfig, params: Array, ids: NDArray[np.integer]) -> Activations:
    """Read ids (N,) from a zero state."""
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
    return Activations(np.concatenate(activations, axis=1), np.concatenate(probabilities))


def features(text: str) -> list[Feature]:
    """Return the features that a text has: MIN_SAMPLES characters of each of two kinds, or some lines."""
    # A letter, or a mark that belongs to one, of any script.
    letter = np.array([unicodedata.category(c)[0] in "LM" for c in text], bool)
    word = letter | np.array([c in APOSTROPHES for c in text], bool)
    newline = np.array([c == "\n" for c in text], bool)
    # A vowel is one without its accents: of an alphabet without them no character is.
    vowel = np.array([unicodedata.normalize("NFD", c)[0].lower() in VOWELS for c in text], bool)
    upper = np.array([c.isupper() for c in text], bool)
    everywhere = np.ones(len(text), bool)
    ends = word & ~np.append(word[1:], True)
    candidates = [
        Feature("inside a word", word.astype(np.float64), everywhere),
        Feature("distance to the word's start", distance_to(~word), word),
        Feature("last letter of a word", ends.astype(np.float64), word),
        Feature("vowel, not consonant", vowel.astype(np.float64), letter),
        Feature("capital, not small letter", upper.astype(np.float64), letter),
    ]
    if newline.sum() >= MIN_LINES:
        candidates.append(Feature("distance to the line's start", distance_to(newline), everywhere))
    return [feature for feature in candidates if has_enough_samples(feature)]


def has_enough_samples(feature: Feature) -> bool:
    """Return whether the feature takes at least two values often enough."""
    _, counts = np.unique(feature.values[feature.where], return_counts=True)
    return int(counts.sum() - counts.max(initial=0)) >= MIN_SAMPLES and counts.size > 1


def distance_to(boundary: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Characters since the last boundary (or the start), 0 at a boundary."""
    places = np.arange(boundary.size)
    return (places - np.maximum.accumulate(np.where(boundary, places, -1))).astype(np.float64)


def correlations(activations: Array, feature: Feature) -> NDArray[np.float64]:
    """Pearson's r of each unit with a feature, (U,); of two kinds it is the point-biserial one. 0 for a unit
    that does not vary there."""
    a = activations[:, feature.where].astype(np.float64)
    a -= a.mean(axis=1, keepdims=True)
    x = feature.values[feature.where]
    x = x - x.mean()
    length = np.sqrt((a * a).sum(axis=1) * (x @ x))
    # a unit that is constant but for rounding has nothing to explain
    varies = np.sqrt((a * a).mean(axis=1)) > 1e-6
    r: NDArray[np.float64] = np.zeros(len(a))
    np.divide(a @ x, length, out=r, where=varies & (length > 0))
    return r


def rank_units(activations: Array, features: list[Feature], hidden: int) -> list[tuple[int, Unit]]:
    """Row of the activations and what it responds to, the unit that is explained best first."""
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
    """The page as HTML: the beginning of the final split as the network, weights params (n,), reads it."""
    ids: NDArray[np.integer] = np.array(corpus.split(corpus.final_split)[:CHARACTERS])
    reading = collect_activations(architecture, params, ids)
    named_features = features(corpus.vocabulary.decode(ids))
    shown = rank_units(reading.activations, named_features, architecture.hidden)[: max(1, BYTES // ids.size)]
    activations = reading.activations[[row for row, _ in shown]]
    scales = np.maximum(abs(activations).max(axis=1), 1e-12)
    likeliest, shares = top_k(reading.probabilities)
    data = {
        "characters": list(corpus.vocabulary.characters),
        "ids": to_base64(ids, "<u2"),
        "units": [
            {**asdict(unit), "r": round(unit.r, 4), "scale": float(f"{scale:.5g}")}
            for (_, unit), scale in zip(shown, scales.tolist(), strict=True)  # 127 is to be read as the scale
        ],
        "activations": to_base64(np.rint(activations / scales[:, None] * 127), "<i1"),
        "likeliest": to_base64(likeliest, "<u2"),
        "shares": to_base64(np.rint(shares * 65535), "<u2"),
    }
    layers, hidden = architecture.layers, architecture.hidden
    sizes = f"{layers} x {hidden}" if layers > 1 else f"{hidden}"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
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
    """The most likely characters after each position and their probabilities, (N, TOP_K) each, descending."""
    count = min(TOP_K, probabilities.shape[1])
    some = np.argpartition(-probabilities, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(probabilities, some, axis=1), axis=1, kind="stable")
    likeliest = np.take_along_axis(some, order, axis=1)
    return likeliest, np.take_along_axis(probabilities, likeliest, axis=1)


def to_base64(values: NDArray[Any], dtype: str) -> str:
    """Numbers as base64, row after row."""
    return base64.b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode("ascii")
