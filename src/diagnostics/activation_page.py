"""neurons.html: the test text colored by the activation of a hidden unit, in one file for a browser."""

import base64
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from src.data.corpus import Corpus
from src.diagnostics.unit_analysis import Unit, collect_activations, features, rank_units
from src.evaluation.text_quality import final_split
from src.rnn.parameters import Array, RNNConfig

TEMPLATE = Path(__file__).with_name("activation_page.html")
CHARACTERS = 3000  # of the text: some two pages
BYTES = 1_000_000  # of activations: of a large network the units that are explained best
TOP_K = 5  # characters shown of each distribution


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
            describe_unit(unit, scale) for (_, unit), scale in zip(shown, scales.tolist(), strict=True)
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


def describe_unit(unit: Unit, scale: float) -> dict[str, Any]:
    """scale: the activation of largest magnitude, as which 127 is to be read."""
    return {
        "layer": unit.layer,
        "number": unit.number,
        "feature": unit.feature,
        "r": round(unit.r, 4),
        "scale": float(f"{scale:.5g}"),
    }


def to_base64(values: NDArray[Any], dtype: str) -> str:
    """Numbers as base64, row after row."""
    return base64.b64encode(np.ascontiguousarray(values.astype(dtype)).tobytes()).decode("ascii")
