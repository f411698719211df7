"""Scatter: the chart of accuracy by cost, with labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from greennode_batch.analysis.evaluation.figures import ModelFigures

WIDTH, HEIGHT = 350, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 20, 14, 40
_LABEL_HEIGHT = 16


@dataclass(frozen=True)
class Point:
    """The point and the label of one model."""

    model: str
    x: float
    y: float
    label_y: float
    anchor: str
    """`start` if the label is to the right of the point, `end` if it is to the left."""


@dataclass(frozen=True)
class Scatter:
    """A chart. Ticks are pairs of coordinate and value."""

    points: tuple[Point, ...]
    x_ticks: tuple[tuple[float, float], ...]
    y_ticks: tuple[tuple[float, float], ...]
    by_cost: bool
    """Whether the x axis is the cost of 1,000 rows; otherwise it is tokens per row."""

    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    width, height = WIDTH, HEIGHT


def scatter_of(models: Sequence[ModelFigures]) -> Scatter:
    """Make the chart of accuracy by the cost of 1,000 rows, or by tokens per row if a price is unknown."""
    by_cost = all(one.cost is not None for one in models)
    values = [1000 * (one.cost or 0) / one.rows if by_cost else one.tokens_a_row for one in models]
    x_step = _step(max(values, default=0))
    x_end = x_step * max(1, math.ceil(max(values, default=0) / x_step * 1.02))
    # In tenths: the axis shows every one or every second one, at most five.
    lowest = math.floor(10 * min((one.accuracy.value for one in models), default=0) - 0.5)
    step = 1 if lowest >= 5 else 2  # noqa: PLR2004 - as said
    y_low = max(0, lowest // step * step) / 10
    return Scatter(
        points=_points(models, [value / x_end for value in values], y_low),
        x_ticks=tuple((_across(x / x_end), x) for x in _ticks(0, x_end, x_step)),
        y_ticks=tuple((_up((y - y_low) / (1 - y_low)), y) for y in _ticks(y_low, 1, step / 10)),
        by_cost=by_cost,
    )


def _points(models: Sequence[ModelFigures], across: Sequence[float], y_low: float) -> tuple[Point, ...]:
    indexes = [
        (_across(x), _up((one.accuracy.value - y_low) / (1 - y_low))) for one, x in zip(models, across, strict=True)
    ]
    labels = _apart([y for _, y in indexes])
    return tuple(
        Point(one.model, x, y, labels[index], "start" if x < WIDTH / 2 else "end")
        for index, (one, (x, y)) in enumerate(zip(models, indexes, strict=True))
    )


def _apart(indexes: Sequence[float]) -> list[float]:
    """Label positions that are near to these but do not overlap, within the chart if there is room."""
    order = sorted(range(len(indexes)), key=lambda one: indexes[one])
    free = -math.inf
    labels = list(indexes)
    for one in order:
        free = labels[one] = max(indexes[one], free + _LABEL_HEIGHT)
    free = HEIGHT - _BOTTOM - _LABEL_HEIGHT / 2 + _LABEL_HEIGHT
    for one in reversed(order):
        free = labels[one] = min(labels[one], free - _LABEL_HEIGHT)
    return labels


def _across(share: float) -> float:
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _up(share: float) -> float:
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - _TOP), 1)


def _step(most: float) -> float:
    """A round step that divides the whole into two to five parts."""
    if most <= 0:
        return 1.0
    power: float = 10 ** math.floor(math.log10(most))
    return next(step * power for step in (0.2, 0.5, 1, 2) if most / (step * power) <= 5)  # noqa: PLR2004 - as said


def _ticks(start: float, end: float, step: float) -> list[float]:
    return [round(start + index * step, 10) for index in range(round((end - start) / step) + 1)]
