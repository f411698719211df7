from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.analysis.evaluation.figures import ModelFigures, Share
from greennode_batch.analysis.evaluation.scatter import scatter_of


def model(name: str, right: int, tokens: int, cost: float | None) -> ModelFigures:
    return ModelFigures(
        model=name,
        rows=100,
        statuses={},
        accuracy=Share(right, 100),
        classes=(),
        confusion=(),
        scores=(0, 0, 0, 0, 0),
        right_score=None,
        wrong_score=None,
        prompt_tokens=tokens,
        completion_tokens=0,
        cost=cost,
    )


MODELS = st.lists(
    st.builds(
        model, st.just("m"), st.integers(0, 100), st.integers(0, 10**9), st.none() | st.just(0.0) | st.floats(1e-6, 1e9)
    ),
    max_size=6,
)


@given(MODELS)
def test_points_and_ticks_lie_within_the_chart_and_labels_apart(models: list[ModelFigures]) -> None:
    chart = scatter_of(models)
    for point in chart.points:
        assert chart.left <= point.x <= chart.right
        assert chart.top <= point.y <= chart.bottom
    for indexes, low, high in ((chart.x_ticks, chart.left, chart.right), (chart.y_ticks, chart.top, chart.bottom)):
        assert 2 <= len(indexes) <= 7
        assert all(low <= index <= high for index, _ in indexes)
    assert chart.y_ticks[-1] == (chart.top, 1)
    labels = sorted(point.label_y for point in chart.points)
    assert all(0 <= index < chart.bottom for index in labels)
    assert all(below - above >= 15.9 for above, below in itertools.pairwise(labels))


def test_cost_is_the_measure_only_where_all_prices_are_known() -> None:
    known, unknown = model("a", 90, 1000, 5.0), model("b", 80, 500, None)
    assert scatter_of([known]).by_cost
    chart = scatter_of([known, unknown])
    assert not chart.by_cost
    assert chart.points[0].x > chart.points[1].x
    assert chart.points[0].y < chart.points[1].y
