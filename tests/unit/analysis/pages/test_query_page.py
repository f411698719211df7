from __future__ import annotations

from pathlib import Path

import pytest

from greennode_batch.analysis.pages.query_page import query_page
from greennode_batch.errors import ConfigError
from greennode_batch.source.rows import Rows


def rows() -> Rows:
    return Rows.from_tuples(("n", "text"), [[(1, "<b>"), (2, "x")], [(3, "y")]])


def test_each_row_is_a_mapping_of_its_columns_beside_the_other_values(tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text("{{ title }}:{% for row in rows %} {{ row.n }}={{ row.text }}{% endfor %}")
    page = query_page(rows(), "own.html", max_rows=3, title="Rows", jobs_folder=tmp_path)
    assert page == "Rows: 1=&lt;b&gt; 2=x 3=y"


def test_a_page_of_too_many_rows_is_refused_before_they_are_all_held() -> None:
    with pytest.raises(
        ConfigError, match=r"any\.html: the query gives more than 2 rows; add a LIMIT to it, or raise max_rows"
    ):
        query_page(rows(), "any.html", max_rows=2)
