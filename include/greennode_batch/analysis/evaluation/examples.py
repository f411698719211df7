"""Examples: some rows of each class on which the models differ, with all their texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from greennode_batch.analysis.evaluation.compared import NEEDED, NUMBERS, row_names, shown_key
from greennode_batch.analysis.evaluation.figures import disagreed_rows
from greennode_batch.source.rows import Rows

_OWN = frozenset({*NEEDED, *NUMBERS, "reason", "custom_id"})


@dataclass
class Example:
    """One source row with the answers of all models."""

    name: str
    expected: Any
    texts: dict[str, Any] = field(default_factory=dict)
    """The columns with the same value for all models."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """Each model's row of the query, with `is_right` and the model's own `texts`. `score` and `reason` may be None."""


def choose_examples(frame: pd.DataFrame, count: int) -> list[str]:
    """Choose up to `count` rows on which the models differ, in turn from each class; first those a model has right."""
    disagreed = frame[frame["row"].isin(disagreed_rows(frame))]
    rows = disagreed.groupby("row", observed=True).agg(expected=("expected", "first"), right=("right", "any"))
    rows = rows.reset_index().sort_values(["right", "row"], ascending=[False, True], kind="stable")
    turn = rows.groupby(["right", "expected"], observed=True, dropna=False).cumcount()
    rows = rows.assign(turn=turn).sort_values(["right", "turn", "row"], ascending=[False, True, True], kind="stable")
    return [str(row) for row in rows["row"].head(count)]


def read_examples(rows: Rows, key: Sequence[str], chosen: Sequence[str], models: Sequence[str]) -> list[Example]:
    """Read the chosen rows with their texts, in the order chosen. Reads all rows and holds the chosen ones."""
    wanted = dict.fromkeys(chosen)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    for batch in rows.batches:
        names = row_names(batch, key).to_pylist()
        indexes = [index for index, name in enumerate(names) if name in wanted]
        columns = {name: batch.values(name) for name in rows.columns if name not in key}
        for index in indexes:
            found[names[index]].append({name: values[index] for name, values in columns.items()})
    return [_example(name, _in_order(answers, models)) for name, answers in found.items() if answers]


def _in_order(answers: Iterable[dict[str, Any]], models: Sequence[str]) -> list[dict[str, Any]]:
    indexes = {model: index for index, model in enumerate(models)}
    return sorted(answers, key=lambda answer: indexes.get(answer["model"], len(indexes)))


def _example(name: str, answers: Sequence[dict[str, Any]]) -> Example:
    texts = [column for column in answers[0] if column not in _OWN]
    shared = [column for column in texts if all(answer[column] == answers[0][column] for answer in answers)]
    made = Example(shown_key(name), answers[0]["expected"], {column: answers[0][column] for column in shared})
    for answer in answers:
        is_right = answer["said"] is not None and str(answer["said"]) == str(answer["expected"])
        own = {column: answer[column] for column in texts if column not in shared}
        made.answers.append({"score": None, "reason": None, **answer, "is_right": is_right, "texts": own})
    return made
