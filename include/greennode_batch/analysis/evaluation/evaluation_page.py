"""Evaluation page: figures and examples as one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from greennode_batch.analysis.evaluation.compared import read_compared
from greennode_batch.analysis.evaluation.examples import Example, choose_examples, read_examples
from greennode_batch.analysis.evaluation.figures import Figures, ModelFigures, count_figures
from greennode_batch.analysis.evaluation.latency import Waits
from greennode_batch.analysis.evaluation.scatter import scatter_of
from greennode_batch.analysis.pages.template import percent, render_page, short_model
from greennode_batch.job.prices import Prices
from greennode_batch.source.rows import Rows


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation."""

    figures: Figures
    examples: Sequence[Example]
    waits: Mapping[str, Waits] = field(default_factory=dict)
    """Latencies by model, from the latest run; without models that it did not ask."""

    @property
    def ranking(self) -> list[ModelFigures]:
        """The models, most accurate first; without labels, best rated first."""
        return sorted(self.figures.models, key=lambda one: (-one.accuracy.value, -(one.mean_score or 0), one.model))

    @property
    def conclusion(self) -> str:
        """Which model is best, and whether there are enough rows to say so."""
        best, *others = self.ranking
        if not self.figures.labelled:
            return f"{short_model(best.model)} is rated best by the judge." if best.judged else ""
        low, high = best.accuracy.interval
        words = (
            f"{short_model(best.model)} is right most often: on {percent(best.accuracy.value)} of "
            f"{best.accuracy.of:,} labelled rows (95 % interval {percent(low)} to {percent(high)})."
        )
        if not others:
            return words
        close = [short_model(one.model) for one in others if one.accuracy.interval[1] >= low]
        if not close:
            return f"{words} No other interval reaches up to that."
        return f"{words} The interval of {_and(close)} overlaps with that: {best.accuracy.of:,} rows do not settle it."


def evaluate(
    read: Callable[[], Rows],
    key: Sequence[str],
    models: Sequence[str],
    *,
    prices: Prices,
    waits: Mapping[str, Waits],
    examples: int = 12,
) -> Evaluation:
    """Evaluate the rows that `read` returns. It is called twice: to count, and to read the examples' texts.

    models: the order in which to show them. Raises ConfigError for rows that `read_compared` rejects.
    """
    frame = read_compared(read(), key)
    figures = count_figures(frame, models, prices)
    chosen = choose_examples(frame, examples)
    return Evaluation(figures, read_examples(read(), key, chosen, [one.model for one in figures.models]), waits)


def evaluation_page(found: Evaluation, *, title: str, origin: str) -> str:
    """Render the page as HTML. origin: a line that says where the rows come from."""
    models = found.figures.models
    return render_page(
        "evaluation.html.j2",
        title=title,
        origin=origin,
        evaluation=found,
        figures=found.figures,
        scatter=scatter_of(models),
        colours={one.model: f"var(--m{index % 6})" for index, one in enumerate(models)},
        has_waits=any(one.model in found.waits for one in models),
    )


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
