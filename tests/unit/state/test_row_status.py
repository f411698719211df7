import re
from pathlib import Path

from greennode_batch.state.row_status import RowStatus

PROJECT = Path(__file__).parents[3]


def test_each_status_without_an_answer_has_its_row_in_the_operations_page():
    page = (PROJECT / "docs" / "how-to" / "operations.md").read_text()
    table = page.partition("## Rows without an answer")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(firsts))
    assert sorted(named) == sorted(set(RowStatus) - {RowStatus.SUCCEEDED})
