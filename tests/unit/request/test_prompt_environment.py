import jinja2
import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.request.prompt_environment import ENVIRONMENT, NULL, syntax_errors


def render(text, **names):
    return ENVIRONMENT.from_string(text).render(names)


@pytest.mark.parametrize("text", ["{{ x }}", "{{ x | upper }}", "{{ x ~ '' }}", "{{ [x] | join }}", "{{ x or '' }}"])
def test_null_is_an_empty_text_to_every_filter(text):
    assert render(text, x=NULL) == ""


@pytest.mark.parametrize("text", ["{{ x is none }}", "{{ x == none }}", "{{ none == x }}", "{{ not x }}"])
def test_null_is_told_from_an_empty_text(text):
    assert render(text, x=NULL) == render(text, x=None) == "True"
    if "not" not in text:
        assert render(text, x="") == "False"


def test_null_is_looked_up_in_a_table_of_words_as_none():
    assert render("{{ {none: 'unknown', 'a': 'A'}[x] }}", x=NULL) == "unknown"


def test_a_name_that_there_is_not_is_an_error_and_no_empty_text():
    with pytest.raises(jinja2.UndefinedError, match="'titel' is undefined"):
        render("{{ titel }}", title="x")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ x.items }}", {"a": 1}),
        ("{{ x | map('upper') }}", ["a"]),
        ("{{ x }}", b"raw"),
        ("{{ x }}", memoryview(b"x")),
    ],
)
def test_what_would_write_a_memory_address_or_bytes_says_the_way_out(text, value):
    with pytest.raises(TypeError, match=r"has no text form; .*\| join or \| list.*\| data_url"):
        render(text, x=value)


@pytest.mark.parametrize("text", ["{{ x | random }}", "{{ lipsum() }}"])
def test_what_gives_another_text_at_each_call_is_not_there(text):
    with pytest.raises((jinja2.TemplateSyntaxError, jinja2.UndefinedError, jinja2.TemplateAssertionError)):
        render(text, x=[1])


@pytest.mark.parametrize("text", ["{{ ''.__class__.__mro__ }}", "{{ x.append(1) }}", "{{ x.__init__.__globals__ }}"])
def test_a_template_cannot_leave_the_sandbox_or_change_a_row(text):
    with pytest.raises(jinja2.exceptions.SecurityError):
        render(text, x=[])


def test_bytes_become_a_data_url_where_a_template_says_so():
    assert render("{{ x | data_url }}", x=b"\x89PNG\r\n\x1a\n").startswith("data:image/png;base64,")


def test_what_is_no_jinja_is_named_with_its_line():
    with pytest.raises(ConfigError, match=r"^prompt of job j, line 2: "), syntax_errors("prompt of job j"):
        ENVIRONMENT.parse("one\n{% if %}")
