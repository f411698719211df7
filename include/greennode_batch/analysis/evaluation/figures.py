"""Figures: counts and scores of compared rows, per model and per class."""

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
# 95 % of a normal distribution lie within this many standard deviations.
_Z95 = 1.959964


@dataclass(frozen=True)
class Share:
    """A share, `count` of `of`, with its 95 % confidence interval (Wilson's)."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share; 0 of 0 is 0."""
        return self.count / self.of if self.of else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The lower and upper end of the confidence interval."""
        if not self.of:
            return 0.0, 1.0
        z = _Z95**2 / self.of
        middle = (self.value + z / 2) / (1 + z)
        half = _Z95 / (1 + z) * math.sqrt(self.value * (1 - self.value) / self.of + z / (4 * self.of))
        # Rounding errors must not move an end beyond the value itself, nor beyond 0 or 1.
        return max(0.0, min(self.value, middle - half)), min(1.0, max(self.value, middle + half))


@dataclass(frozen=True)
class ClassFigures:
    """How well one model recognises one class, in rows."""

    name: str
    expected: int
    """Rows of the class."""
    said: int
    """Rows that the model put into the class."""
    right: int
    """Rows of the class that the model put into it."""

    @property
    def precision(self) -> float | None:
        """The share of correct rows among those that the model put into the class; None if there are none."""
        return self.right / self.said if self.said else None

    @property
    def recall(self) -> float | None:
        """The share of the class's rows that the model found; None if there are none."""
        return self.right / self.expected if self.expected else None

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        both = self.expected + self.said
        return 2 * self.right / both if both else 0.0


@dataclass(frozen=True)
class ModelFigures:
    """The figures of one model."""

    model: str
    rows: int
    statuses: Mapping[str, int]
    """Rows by status."""
    accuracy: Share
    """The share of labelled rows that are right. A row without an answer is wrong."""
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Rows by expected class (in the order of `classes`) and by answered class (in the order of `said_classes`)."""
    scores: tuple[int, ...]
    """How many answers the judge gave each score, from 1 to 5."""
    right_score: float | None
    """The judge's mean score of rows that are right."""
    wrong_score: float | None
    """The judge's mean score of rows that are wrong."""
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """In the currency of the prices; None if the model has no price."""

    @property
    def answered(self) -> int:
        """How many rows have an answer."""
        return self.statuses.get(RowStatus.SUCCEEDED.value, 0)

    @property
    def judged(self) -> int:
        """How many answers have a score."""
        return sum(self.scores)

    @property
    def mean_score(self) -> float | None:
        """The mean score, from 1 to 5; None without scores."""
        total = sum(score * count for score, count in zip(SCORES, self.scores, strict=True))
        return total / self.judged if self.judged else None

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that have rows. Each class counts the same, however rare."""
        found = [one.f1 for one in self.classes if one.expected]
        return sum(found) / len(found) if found else 0.0

    @property
    def tokens_a_row(self) -> float:
        """Prompt and completion tokens per row."""
        return (self.prompt_tokens + self.completion_tokens) / self.rows


@dataclass(frozen=True)
class Duel:
    """Two models on the same labelled rows: how many only one has right, only the other, both, and neither."""

    one: str
    other: str
    only_one: int
    only_other: int
    both: int
    neither: int


@dataclass(frozen=True)
class Figures:
    """The figures of all models."""

    rows: int
    """Source rows."""
    labelled: int
    """Source rows with a label."""
    disagreed: int
    """Source rows on which the models differ."""
    models: tuple[ModelFigures, ...]
    """In the order to show them."""
    classes: tuple[str, ...]
    """Largest first."""
    said_classes: tuple[str, ...]
    """The classes, followed by what else was answered."""
    duels: tuple[Duel, ...]
    """One for each pair of models."""
    currency: str


def count_figures(frame: pd.DataFrame, models: Sequence[str], prices: Prices) -> Figures:
    """Count a frame of `read_compared`. models: the order in which to show them; models without rows are left out."""
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
    """The rows to which the models gave different answers."""
    different = frame.groupby("row", observed=True)["said"].nunique()
    return different[different > 1].index


def _classes(labelled: pd.DataFrame) -> tuple[tuple[str, ...], str]:
    """The classes, largest first, and the name for all other answers."""
    if labelled.empty:
        return (), "(another)"
    sizes = labelled.drop_duplicates("row")["expected"].astype(str).value_counts()
    named = sorted(sizes.index, key=lambda name: (-int(sizes[name]), name))
    if len(named) <= _MOST_CLASSES:
        return tuple(named), "(another)"
    rest = f"({len(named) - _MOST_CLASSES + 1} smaller classes)"
    return (*named[: _MOST_CLASSES - 1], rest), rest


def _said_classes(labelled: pd.DataFrame, classes: Sequence[str], rest: str) -> tuple[str, ...]:
    """The classes, followed by what else was answered."""
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
