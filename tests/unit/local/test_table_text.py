import pytest

from greennode_local.table_text import cell_text, cut, fits, format_records, format_table, text_width


def test_numbers_stand_right_and_text_left() -> None:
    table = format_table(["name", "n"], [["a", 5], ["long name", 12]], width=80)
    assert table.splitlines() == ["name        n", "---------  --", "a           5", "long name  12"]


def test_the_widest_column_is_cut_until_the_table_fits() -> None:
    table = format_table(["key", "text"], [["k-1", "x" * 200]], width=40)
    assert [text_width(line) for line in table.splitlines()][1:] == [40, 40]
    assert table.endswith("…")
    assert "k-1" in table


def test_a_value_of_several_lines_stays_on_one() -> None:
    assert cell_text("a\n\n  b\tc") == "a b c"
    assert cell_text(None) == ""


@pytest.mark.parametrize(("text", "width"), [("Mất mạng", 8), ("Ma\u0302\u0301t", 3), ("請求", 4), ("ok", 2)])
def test_width_counts_terminal_columns(text: str, width: int) -> None:
    assert text_width(text) == width


def test_a_cut_text_never_exceeds_its_width() -> None:
    assert [text_width(cut("請求書です", width)) <= width for width in range(1, 12)] == [True] * 11
    assert cut("請求書", 5) == "請求…"


def test_no_rows_give_a_heading() -> None:
    assert format_table(["a"], [], width=80).splitlines() == ["a", "-"]


def test_many_columns_are_shown_row_by_row_in_full_and_without_those_that_are_empty():
    columns = [f"column_{number}" for number in range(17)]
    assert not fits(columns, width=120)
    assert fits(columns[:8], width=120)
    words = "the driver called twice " * 8
    rows = [["T-1", words, None, *range(14)], ["T-2", "", 0, *range(14)]]
    shown = format_records(columns, rows, width=60)
    lines = shown.splitlines()
    assert max(map(text_width, lines)) <= 60
    assert lines[0].startswith("-- row 1 -")
    assert lines[1].split() == ["column_0", "T-1"]
    first, second = shown.split("-- row 2 -")
    assert " ".join(first.split()).count("the driver called twice") == 8
    assert "column_2" not in first
    assert "column_1 " not in second
    assert "column_2   0" in second


@pytest.mark.parametrize("text", ["x" * 100, "請求書" * 30, "a " + "b" * 50, "word " * 40, ""])
def test_a_long_value_is_wrapped_and_nothing_of_it_is_lost(text):
    shown = format_records(["key", "value"], [["k", text]], width=30)
    assert all(text_width(line) <= 30 for line in shown.splitlines())
    kept = "".join(line[5:] for line in shown.splitlines()[2:])
    assert kept.replace(" ", "") == text.replace(" ", "")
