import pytest

from greennode_batch.errors import ConfigError, RowError
from greennode_batch.request.prompt import Prompt
from greennode_batch.request.prompt_files import names_in, read_prompt
from greennode_batch.source.rows import Rows


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files below a jobs folder, the prompt first, and reads the prompt."""
    jobs = tmp_path / "jobs"
    monkeypatch.setattr("greennode_batch.job.texts.find_job_text.__kwdefaults__", {"folder": jobs})

    def made(prompt, **files):
        (jobs / "tickets").mkdir(parents=True, exist_ok=True)
        for name, text in {"prompt.md": prompt, **files}.items():
            (jobs / "tickets" / name).parent.mkdir(exist_ok=True)
            (jobs / "tickets" / name).write_text(text)
        return read_prompt("tickets/prompt.md", name="prompt of job j")

    return made


def texts_of(text, *rows):
    return Prompt(text, list(rows[0])).texts(batch_of(*rows))


def batch_of(*rows):
    return next(Rows.from_tuples(list(rows[0]), [[tuple(row.values()) for row in rows]]).batches)


def test_a_prompt_includes_files_of_its_folder_and_of_folders_below_it(write):
    said = write(
        "{% include 'rules.md' %}\n{{ body }}",
        **{"rules.md": "Rules for {{ product }}:\n{% include 'parts/tone.md' %}\n", "parts/tone.md": "Be kind.\n"},
    )
    assert texts_of(said, {"product": "VPS", "body": "x"}) == ["Rules for VPS:\nBe kind.\nx"]
    assert names_in(said, name="") == {"product", "body"}


def test_a_prompt_that_includes_texts_and_columns_alone_needs_no_jinja_for_a_row(write):
    said = write("{% include 'rules.md' %} {{ a }}", **{"rules.md": "Be kind to {{ b }}."})
    prompt = Prompt(said, ["a", "b"])
    assert prompt.constants == ["Be kind to ", ".", " "]
    (rendered,) = prompt.texts(batch_of({"a": 1, "b": None}))
    pieces = [
        piece if isinstance(piece, str) else piece.texts(batch_of({"a": 1, "b": None}))[0] for piece in prompt.pieces
    ]
    assert "".join(pieces) == rendered == "Be kind to . 1"


@pytest.mark.parametrize("load", ["{% import 'm.j2' as m %}{{ m.field('T', title) }}",
                                  "{% from 'm.j2' import field %}{{ field('T', title) }}"])  # fmt: skip
def test_macros_are_imported_and_their_own_names_are_no_columns(write, load):
    said = write(load, **{"m.j2": "{% macro field(label, value) %}{{ label }}={{ value or other }}{% endmacro %}"})
    assert names_in(said, name="") == {"title"}
    assert texts_of(said, {"title": "a"}, {"title": "b"}) == ["T=a", "T=b"]


def test_an_import_with_context_sees_the_row(write):
    macros = "{% macro who() %}{{ name }}{% endmacro %}"
    said = write("{% import 'm.j2' as m with context %}{{ m.who() }}", **{"m.j2": macros})
    assert names_in(said, name="") == {"name"}
    assert texts_of(said, {"name": "An"}, {"name": "Bo"}) == ["An", "Bo"]


def test_a_prompt_extends_a_file_again_and_again(write):
    base = "Be {% block how %}brief{% endblock %}. {{ a }}{% block end %}{% endblock %}"
    said = write("{% extends 'base.md' %}{% block how %}{{ super() }} and {{ b }}{% endblock %}", **{"base.md": base})
    assert names_in(said, name="") == {"a", "b"}
    rows = [{"a": number, "b": "kind"} for number in range(100)]
    prompt = Prompt(said, ["a", "b"])
    assert prompt.texts(batch_of(*rows)) == [f"Be brief and kind. {number}" for number in range(100)]
    assert len(prompt._context.blocks["how"]) == 2


COUNTER = "{% set seen = namespace(n=0) %}{% macro count() %}{% set seen.n = seen.n + 1 %}{{ seen.n }}{% endmacro %}"


@pytest.mark.parametrize(
    "prompt",
    [
        "{% import 'm.j2' as m %}{{ m.count() }}",
        "{% import 'n.j2' as n %}{{ n.count() }}",
        "{% include 'uses.md' %}",
        "{% include 'uses.md' without context %}",
    ],
)
def test_what_a_macro_counts_in_one_row_does_not_reach_the_next(write, prompt):
    said = write(
        prompt + "{{ a }}",
        **{
            "m.j2": COUNTER,
            "n.j2": "{% import 'm.j2' as m %}{% macro count() %}{{ m.count() }}{% endmacro %}",
            "uses.md": "{% import 'm.j2' as m %}{{ m.count() }}",
        },
    )
    assert texts_of(said, {"a": "x"}, {"a": "x"}, {"a": "y"}) == ["1x", "1x", "1y"]


def test_a_file_may_include_itself_while_a_condition_holds(write):
    said = write(
        "{% include 'down.md' %}",
        **{"down.md": "{{ n }}{% if n %}{% set n = n - 1 %}{% include 'down.md' %}{% endif %}"},
    )
    assert texts_of(said, {"n": 3}, {"n": 0}) == ["3210", "0"]


def test_a_file_that_includes_itself_for_ever_is_a_row_error(write):
    with pytest.raises(RowError, match="RecursionError"):
        texts_of(write("{% include 'round.md' %}", **{"round.md": "{% include 'round.md' %}"}), {"a": 1})


@pytest.mark.parametrize("name", ["../other/rules.md", "/etc/hostname", "../../outside.md", "link.md", "folder/x.md"])
def test_nothing_outside_of_the_prompts_folder_is_read(write, tmp_path, name):
    write("")
    jobs = tmp_path / "jobs"
    (jobs / "other").mkdir()
    for outside in (jobs / "other" / "rules.md", tmp_path / "outside.md", jobs / "other" / "x.md"):
        outside.write_text("secret")
    (jobs / "tickets" / "link.md").symlink_to(tmp_path / "outside.md")
    (jobs / "tickets" / "folder").symlink_to(jobs / "other")
    with pytest.raises(ConfigError, match=f"prompt of job j: {name}: lies outside the prompt's folder"):
        write(f"{{% include '{name}' %}}")


def test_a_missing_file_is_named_with_its_folder(write):
    with pytest.raises(
        ConfigError, match=r"prompt of job j: rules.md: no such file below the prompt's folder .*tickets"
    ):
        write("{% include 'rules.md' %}")


@pytest.mark.parametrize(
    "text", ["{% include a %}", "{% include ['a', 'b'] %}", "{% import a ~ '.j2' as m %}", "{% extends a %}"]
)
def test_a_row_cannot_choose_a_file(write, text):
    with pytest.raises(ConfigError, match=r"prompt of job j, line 2: .*needs the name of one file"):
        write(f"\n{text}")


@pytest.mark.parametrize("text", ["{% include 'rules.md' %}", "{% from 'rules.md' import x %}"])
def test_a_prompt_that_stands_in_the_job_has_no_files(text):
    with pytest.raises(
        ConfigError,
        match=r"prompt of job j: names the file rules\.md. Only a prompt that is itself a file below include/jobs",
    ):
        read_prompt(text, name="prompt of job j")


def test_a_syntax_error_names_the_file_and_its_line(write):
    with pytest.raises(ConfigError, match=r"prompt of job j: rules\.md, line 2"):
        write("{% include 'rules.md' %}", **{"rules.md": "\n{% if %}"})


def test_included_files_are_in_the_sandbox_too(write):
    with pytest.raises(RowError):
        texts_of(write("{% include 'rules.md' %}", **{"rules.md": "{{ ''.__class__.__mro__ }}"}), {"a": 1})
    with pytest.raises(RowError, match="'b' is undefined"):
        texts_of(write("{% include 'rules.md' %}", **{"rules.md": "{{ b }}"}), {"a": 1})


@pytest.mark.parametrize("prompt", ["Be {% include 'rules.md' %}", "{% extends 'rules.md' %}"])
def test_what_follows_a_prompt_is_said_after_all_of_it(write, prompt):
    said = write(prompt, **{"rules.md": "brief, {{ a }}."}).followed_by("\n\nAnswer in JSON.")
    assert texts_of(said, {"a": "An"})[0].endswith("brief, An.\n\nAnswer in JSON.")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{% set x = a %}{{ x }}", {"a"}),
        ("{% for x in rows %}{{ x }}{{ loop.index }}{% endfor %}{{ x }}", {"rows", "x"}),
        ("{% if a %}{% set x = 1 %}{% endif %}{{ x }}", {"a", "x"}),
        (
            "{% macro m(x) %}{{ x }}{{ y }}{{ caller() }}{% endmacro %}{% call m(b) %}{{ c }}{% endcall %}",
            {"y", "b", "c"},
        ),
        ("{{ range }} {{ dict }}", {"range", "dict"}),
        ("{% block x %}{{ a }}{% endblock %}", {"a"}),
    ],
)
def test_the_names_are_those_that_a_row_is_asked_for(text, names):
    assert names_in(text, name="") == names
