from __future__ import annotations

from pathlib import Path

import pytest
from upath import UPath

from greennode_batch.analysis.pages.template import duration, number, percent, render_page, write_page
from greennode_batch.errors import ConfigError
from greennode_batch.staging.folders import remove_work_folders


@pytest.fixture
def render(tmp_path: Path):
    """Renders a text as a template of the jobs folder."""

    def rendered(template: str, **values: object) -> str:
        (tmp_path / "own.html").write_text(template)
        return render_page("own.html", jobs_folder=tmp_path, **values)

    return rendered


def test_what_a_template_shows_is_escaped(render) -> None:
    assert render("<p>{{ text }}</p>", text="<b>&") == "<p>&lt;b&gt;&amp;</p>"


def test_a_template_of_a_user_takes_the_look_of_the_others(render) -> None:
    page = render('{% extends "base.html.j2" %}{% block body %}{{ 1234 | number }}{% endblock %}')
    assert page.startswith("<!doctype html>")
    assert "1,234" in page


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ nothing }}", "own.html: 'nothing' is undefined"),
        ("line\n{% if %}", "own.html, line 2: "),
        ('{% extends "other.html" %}', "other.html: no such template below the jobs folder"),
        ("{{ ''.__class__ }}", "own.html: "),
    ],
    ids=["an unknown name", "no Jinja", "an unknown file", "what a template may not reach"],
)
def test_a_template_that_is_wrong_says_where(render, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        render(text)
    assert str(raised.value).startswith(words)


def test_a_template_cannot_leave_the_jobs_folder(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "secret.html").write_text("secret")
    with pytest.raises(ConfigError, match="no such template"):
        render_page("../secret.html", jobs_folder=tmp_path / "jobs")


def test_a_page_lands_whole_in_a_folder_that_is_made_for_it(tmp_path: Path) -> None:
    path = UPath(tmp_path / "dag" / "run" / "page.html")
    write_page("ô", path)
    assert path.read_bytes() == "ô".encode()
    assert [other.name for other in path.parent.iterdir()] == ["page.html"]


def test_numbers_are_written_for_people() -> None:
    assert [percent(0.876), percent(0.876, 1), number(12345.6, 1)] == ["88 %", "87.6 %", "12,345.6"]
    assert [duration(seconds) for seconds in (42, 119, 130, 7199, 7200)] == [
        "42 s",
        "119 s",
        "2 min",
        "120 min",
        "2.0 h",
    ]
    assert {percent(None), number(None), duration(None)} == {"\N{EN DASH}"}


def test_a_page_that_is_written_while_a_run_is_cleaned_up_lands(tmp_path, monkeypatch):
    real = Path.replace

    def replace(self, target):
        remove_work_folders(UPath(tmp_path))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_page("page", UPath(tmp_path) / "page.html")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "page")]
