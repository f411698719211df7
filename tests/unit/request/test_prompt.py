import json
import subprocess
import sys
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.errors import ConfigError, RowError
from greennode_batch.request.prompt import Prompt
from greennode_batch.source.rows import Rows


def render(text, **row):
    """What a template makes of a row, which is the same whether its pieces are joined or Jinja renders it."""
    prompt = Prompt(text, list(row))
    (rendered,) = prompt.texts(batch_of(row))
    pieces = [piece if isinstance(piece, str) else piece.texts(batch_of(row))[0] for piece in prompt.pieces]
    assert "".join(pieces) == rendered
    return rendered


def batch_of(*rows):
    return next(Rows.from_tuples(list(rows[0]), [[tuple(row.values()) for row in rows]]).batches)


def test_a_missing_column_is_named_beside_the_columns_that_there_are():
    with pytest.raises(RowError, match=r"prompt: 'titel' is undefined.*columns id, title") as caught:
        render("{{ titel }}", id=1, title="x")
    assert "fix the prompt or add the column" in str(caught.value)


def test_a_missing_field_of_a_json_column_is_named():
    with pytest.raises(RowError, match="has no attribute 'colour'"):
        render("{{ meta.colour }}", meta={"size": 1})


@pytest.mark.parametrize(
    "expression",
    ["x", "x | trim", "x | upper", "x ~ ''", "x | truncate(10)", "[x] | join(',')", "x | default('')", "x or ''"],
)
def test_null_renders_as_nothing_also_through_filters(expression):
    assert render(f"<{{{{ {expression} }}}}>", x=None) == "<>"


def test_numbers_of_a_json_column_keep_their_digits_also_as_json():
    row = {"meta": {"b": [Decimal("0.1234567890123456789"), 2**70], "a": 1.5}}
    assert render("{{ meta | tojson }}", **row) == '{"a": 1.5, "b": [0.1234567890123456789, 1180591620717411303424]}'
    assert render("{{ meta.b[0] }}", **row) == "0.1234567890123456789"


def test_null_inside_of_a_json_column_renders_as_nothing():
    assert render("<{{ meta.x }}>", meta={"x": None}) == "<>"


@pytest.mark.parametrize("condition", ["x is none", "x == none", "not x", "x is defined", "none == x"])
def test_null_is_told_apart_by_conditions(condition):
    assert render(f"{{% if {condition} %}}yes{{% else %}}no{{% endif %}}", x=None) == "yes"


@pytest.mark.parametrize("condition", ["x is none", "x == none"])
def test_an_empty_text_is_not_null(condition):
    assert render(f"{{% if {condition} %}}yes{{% else %}}no{{% endif %}}", x="") == "no"


def test_what_one_row_sets_does_not_reach_the_next():
    prompt = Prompt("{% if n == 1 %}{% set seen = 'leaked' %}{% endif %}{{ seen is defined }}", ["n"])
    assert prompt.texts(batch_of({"n": 1}, {"n": 2})) == ["True", "False"]


def test_a_row_that_fails_leaves_nothing_for_the_next():
    prompt = Prompt("{% set seen = n %}{{ 10 // n }}{{ seen }}", ["n"])
    with pytest.raises(RowError, match="ZeroDivisionError") as caught:
        prompt.texts(batch_of({"n": 5}, {"n": 0}))
    assert caught.value.row == 1
    assert prompt.texts(batch_of({"n": 5})) == ["25"]


@pytest.mark.parametrize(
    "text",
    ["{{ ''.__class__.__mro__ }}", "{{ x.append(1) }}", "{{ x.__init__.__globals__ }}"],
)
def test_a_template_cannot_leave_the_sandbox_or_change_a_row(text):
    with pytest.raises(RowError):
        render(text, x=[])


@pytest.mark.parametrize("text", ["{{ range(1, 9) | random }}", "{{ x | random }}"])
def test_what_gives_another_text_each_time_is_refused(text):
    with pytest.raises((ConfigError, RowError), match="random"):
        render(text, x=[1, 2])


@pytest.mark.parametrize(
    ("text", "value"),
    [("{{ x.items }}", {"a": 1}), ("{{ x | map('upper') }}", ["a"]), ("{{ x.upper }}", "a"), ("{{ x }}", b"raw")],
)
def test_what_would_show_a_memory_address_is_refused(text, value):
    with pytest.raises(RowError, match="has no text form"):
        render(text, x=value)


def test_a_syntax_error_names_the_line():
    with pytest.raises(ConfigError, match=r"prompt of job j, line 2"):
        Prompt("one\n{% if %}", ["a"], name="prompt of job j")


def test_a_filter_used_wrongly_is_a_row_error():
    with pytest.raises(RowError, match="prompt"):
        render("{{ x | batch }}", x="a")


def test_text_is_not_escaped_for_html():
    assert render("{{ x }}", x='<b> & "q" \'') == '<b> & "q" \''


@given(st.dictionaries(st.sampled_from("abc"), st.none() | st.text() | st.integers() | st.floats(), min_size=3))
def test_one_row_gives_the_same_text_every_time(row):
    text = "{{ a }}|{{ b }}|{% for one in [a, b] %}{{ loop.index }}{{ one }}{% endfor %}{{ c }}"
    first, second = Prompt(text, list(row)).texts(batch_of(row, row))
    assert first == second == render(text, **row)


VALUES = st.one_of(
    st.none(), st.text(), st.integers(), st.floats(), st.booleans(), st.decimals(), st.datetimes(), st.dates(),
    st.uuids(), st.lists(st.none() | st.text()), st.dictionaries(st.text(), st.integers()),
)  # fmt: skip


@given(VALUES, VALUES, st.text('ab }\n"é\u2028', max_size=9))
def test_texts_and_columns_alone_are_written_as_jinja_writes_them(a, b, constant):
    text = f"{constant}{{{{ a }}}} {constant}{{{{- b -}}}} \n{{{{ a }}}}{constant}\n"
    assert len(Prompt(text, ["a", "b"]).pieces) > 1
    render(text, a=a, b=b)


@pytest.mark.parametrize("text", ["{{ a | upper }}", "{% if a %}x{% endif %}", "{{ a ~ 'x' }}", "{{ 1 }}", "{{ x }}"])
def test_whatever_is_more_than_texts_and_columns_is_left_to_jinja(text):
    prompt = Prompt(text, ["a"])
    assert prompt.pieces == (prompt,)


def test_another_process_gives_the_same_text():
    code = (
        "from greennode_batch.request.prompt import Prompt;from greennode_batch.source.sql import Rows;"
        "batch = next(Rows.from_tuples('xyz', [[({'b': 1, 'a': {2}}, {'d': 1}, 0.1)]]).batches);"
        "print(*Prompt('{{ x }} {{ y | tojson }} {{ z }}', 'xyz').texts(batch))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {b"{'b': 1, 'a': {2}} {\"d\": 1} 0.1\n"}


ODD_NAMES = ["Item ID", "user.name", "2nd choice", "đủ-size", 'a"b', "it's", "row ", "none", "self", "_id", "items"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("value", ["x", None, 7])
def test_any_column_is_reached_by_its_name_behind_row(name, value):
    quoted = json.dumps(name, ensure_ascii=False)
    shown = "" if value is None else str(value)
    row = {"id": 1, name: value}
    assert render(f"<{{{{ row[{quoted}] }}}}>", **row) == f"<{shown}>"
    assert render(f"<{{{{ row[{quoted}] ~ id }}}}>{{% set x = 1 %}}", **row) == f"<{shown}1>"
    assert render(f"{{% macro m() %}}{{{{ row[{quoted}] }}}}{{% endmacro %}}{{{{ m() }}}}", **row) == shown


def test_the_bytes_of_a_column_with_any_name_are_a_data_url():
    assert (
        render('{{ row["The Photo"] | data_url("image/png") }}', **{"The Photo": b"x"}) == "data:image/png;base64,eA=="
    )


def test_a_column_that_is_named_row_hides_the_row():
    assert render('{{ row }}{{ row["b"] }}', row={"b": 5}, b=1) == "{'b': 5}5"


def test_another_variable_that_is_named_row_is_no_column():
    assert render("{% for row in tags %}{{ row.size }},{% endfor %}", tags=[{"size": 1}, {"size": 2}]) == "1,2,"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{{ row["Review text"] }}',
            r'row\["Review text"\] is undefined.*columns id, Review Text;.*row\["Review Text"\]',
        ),
        ("{{ review }}", r"'review' is undefined.*row\[\"Review Text\"\]"),
        ("{% set name = 'Review Text' %}{{ row[name] }}", "name of a column stands in quotes right behind row"),
        ("{{ row }}", "a row has no text form; name one of its columns"),
        ("{% for name in row %}{% endfor %}", "not iterable"),
        ("{{ row.items() }}", r'row\["items"\] is undefined'),
    ],
)
def test_a_column_that_is_not_reached_is_an_error_that_says_how_to_write_it(text, words):
    with pytest.raises(RowError, match=words):
        render(text, **{"id": 1, "Review Text": "x"})


@pytest.mark.parametrize("text", ["{{ Review Text }}", "{{ 2nd-choice }}", "{{ what? }}"])
def test_a_name_that_jinja_cannot_read_is_an_error_that_says_how_to_write_it(text):
    with pytest.raises(ConfigError, match=r'line 1: .*row\["Any Name"\]'):
        render(text, **{"Review Text": "x"})
