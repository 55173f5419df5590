"""Creativity against stability: what the samples are like at temperatures from 0.1 to 2."""

from matplotlib.figure import Figure

from src.lab.findings.arms import Measures
from src.lab.sweep_rows import Row


def measures(rows: list[Row]) -> Measures:
    raise NotImplementedError


def figure(rows: list[Row]) -> Figure:
    raise NotImplementedError
