"""Figures: what is counted in compared rows, per model and per class."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from greennode_batch.analysis.evaluation.compared import NO_ANSWER
from greennode_batch.job.prices import Prices
from greennode_batch.state.row_status import RowStatus

SCORES = (1, 2, 3, 4, 5)
_MOST_CLASSES = 24
# Of a normal distribution: 95 % lie within so many standard deviations.
_Z95 = 1.959964


@dataclass(frozen=True)
class Share:
    """`count` of `of`, with the interval in which the true share lies with 95 % certainty (Wilson's)."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share; 0 of 0 is 0."""
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its lower and upper end."""
        if not self.of:
            return 0.0, 1.0
        z = _Z95**2 / self.of
        middle = (self.value + z / 2) / (1 + z)
        half = _Z95 / (1 + z) * math.sqrt(self.value * (1 - self.value) / self.of + z / (4 * self.of))
        # At 0 and 1 it ends there, but for what floats lose.
        return max(0.0, min(self.value, middle - half)), min(1.0, max(self.value, middle + half))


@dataclass(frozen=True)
class ClassFigures:
    """How well one model tells one class: rows that are of it, are said to be, and both."""

    name: str
    expected: int
    said: int
    right: int

    @property
    def precision(self) -> float | None:
        """Of the rows said to be of the class, the share that is; None where none was."""
        return self.right / self.said if self.said else None

    @property
    def recall(self) -> float | None:
        """Of the rows of the class, the share that was found; None where there are none."""
        return self.right / self.expected if self.expected else None

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.expected + self.said
        return 2 * self.right / both if both else 0.0


@dataclass(frozen=True)
class ModelFigures:
    """One model. accuracy: of the labelled rows; one without an answer is a wrong one. scores: how many of 1 to 5.

    confusion: rows by expected class and by what was said, in the order of the classes and of `said_classes`. cost: in
    the currency of the prices, None where the model has none. right_score, wrong_score: the judge's mean where the
    label is right and where it is not.
    """

    model: str
    rows: int
    statuses: Mapping[str, int]
    accuracy: Share
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    scores: tuple[int, ...]
    right_score: float | None
    wrong_score: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float | None

    @property
    def answered(self) -> int:
        """Rows with an answer."""
        return self.statuses.get(RowStatus.SUCCEEDED.value, 0)

    @property
    def judged(self) -> int:
        """Answers that have a score."""
        return sum(self.scores)

    @property
    def mean_score(self) -> float | None:
        """The mean score, of 5."""
        total = sum(score * count for score, count in zip(SCORES, self.scores, strict=True))
        return total / self.judged if self.judged else None

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have rows: each counts the same, however rare."""
        found = [one.f1 for one in self.classes if one.expected]
        return sum(found) / len(found) if found else 0.0

    @property
    def tokens_a_row(self) -> float:
        """Prompt and completion tokens for a row."""
        return (self.prompt_tokens + self.completion_tokens) / self.rows


@dataclass(frozen=True)
class Duel:
    """Two models on the same labelled rows: how many only the one has right, only the other, both, and neither."""

    one: str
    other: str
    only_one: int
    only_other: int
    both: int
    neither: int


@dataclass(frozen=True)
class Figures:
    """All models in their order, the classes by their size, and each pair of models. rows: different ones."""

    rows: int
    labelled: int
    disagreed: int
    models: tuple[ModelFigures, ...]
    classes: tuple[str, ...]
    said_classes: tuple[str, ...]
    duels: tuple[Duel, ...]
    currency: str


def count_figures(frame: pd.DataFrame, models: Sequence[str], prices: Prices) -> Figures:
    """Count a frame of `read_compared`. models: in the order to show them in; those without rows are left out."""
    present = [*dict.fromkeys([*models, *sorted(frame["model"].unique())])]
    by_model = {model: rows for model in present if len(rows := frame[frame["model"] == model])}
    labelled = frame[frame["expected"].notna()]
    classes, rest = _classes(labelled)
    said = _said_classes(labelled, classes, rest)
    return Figures(
        rows=frame["row"].nunique(),
        labelled=labelled["row"].nunique(),
        disagreed=len(disagreed_rows(frame)),
        models=tuple(
            _model(model, rows, prices, classes=classes, said=said, rest=rest) for model, rows in by_model.items()
        ),
        classes=classes,
        said_classes=said,
        duels=tuple(_duel(labelled, one, other) for one, other in itertools.combinations(by_model, 2)),
        currency=prices.currency,
    )


def disagreed_rows(frame: pd.DataFrame) -> pd.Index:
    """The rows on which the models do not say the same."""
    different = frame.groupby("row", observed=True)["said"].nunique()
    return different[different > 1].index


def _classes(labelled: pd.DataFrame) -> tuple[tuple[str, ...], str]:
    """The classes, the largest first, and the name for what is said beside them."""
    if labelled.empty:
        return (), "(another)"
    sizes = labelled.drop_duplicates("row")["expected"].astype(str).value_counts()
    named = sorted(sizes.index, key=lambda name: (-int(sizes[name]), name))
    if len(named) <= _MOST_CLASSES:
        return tuple(named), "(another)"
    rest = f"({len(named) - _MOST_CLASSES + 1} smaller classes)"
    return (*named[: _MOST_CLASSES - 1], rest), rest


def _said_classes(labelled: pd.DataFrame, classes: Sequence[str], rest: str) -> tuple[str, ...]:
    """The classes, and what else was said."""
    said = {str(name) for name in labelled["said"].unique()}
    others = [rest] if said - {*classes, NO_ANSWER} and rest not in classes else []
    return (*classes, *others, *([NO_ANSWER] if NO_ANSWER in said else []))


def _model(
    model: str, rows: pd.DataFrame, prices: Prices, *, classes: Sequence[str], said: Sequence[str], rest: str
) -> ModelFigures:
    labelled = rows[rows["expected"].notna()]
    expected = _within(labelled["expected"], classes, rest)
    answers = _within(labelled["said"], (*classes, NO_ANSWER), rest)
    table = pd.crosstab(expected, answers).reindex(index=list(classes), columns=list(said), fill_value=0)
    confusion = {name: tuple(map(int, table.loc[name])) for name in classes}
    right = labelled["right"].groupby(expected).sum()
    by_class = tuple(
        ClassFigures(name, sum(confusion[name]), int(table[name].sum()), int(right.get(name, 0))) for name in classes
    )
    prompt, completion = (int(rows[name].sum()) for name in ("prompt_tokens", "completion_tokens"))
    scores = rows["score"].value_counts()
    return ModelFigures(
        model=model,
        rows=len(rows),
        statuses={str(name): int(count) for name, count in rows["status"].value_counts().items() if count},
        accuracy=Share(int(labelled["right"].sum()), len(labelled)),
        classes=by_class,
        confusion=tuple(confusion.values()),
        scores=tuple(int(scores.get(score, 0)) for score in SCORES),
        right_score=_mean(labelled[labelled["right"]]["score"]),
        wrong_score=_mean(labelled[~labelled["right"]]["score"]),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost=_cost(model, prompt, completion, prices),
    )


def _within(values: pd.Series[str], names: Sequence[str], rest: str) -> pd.Series[str]:
    texts = values.astype(str)
    return texts.where(texts.isin(list(names)), rest)


def _mean(values: pd.Series[float]) -> float | None:
    return float(values.mean()) if values.notna().any() else None


def _cost(model: str, prompt_tokens: int, completion_tokens: int, prices: Prices) -> float | None:
    price = prices.by_model.get(model)
    return None if price is None else prices.in_batch(price.of(prompt_tokens, completion_tokens))


def _duel(labelled: pd.DataFrame, one: str, other: str) -> Duel:
    right = [labelled[labelled["model"] == model].set_index("row")["right"] for model in (one, other)]
    both = pd.concat(right, axis="columns", join="inner", keys=["one", "other"])
    counts = both.value_counts()
    return Duel(
        one=one,
        other=other,
        only_one=int(counts.get((True, False), 0)),
        only_other=int(counts.get((False, True), 0)),
        both=int(counts.get((True, True), 0)),
        neither=int(counts.get((False, False), 0)),
    )
