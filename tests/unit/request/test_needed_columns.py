import pytest

from greennode_batch.errors import ConfigError
from greennode_batch.request.needed_columns import needed_columns, refuse_missing


def test_what_a_job_needs_are_the_columns_of_all_its_strings_files_and_fields(jobs, make_job):
    (jobs / "question.md").write_text("{% include 'rules.md' %}{% set own = a %}{{ own }}")
    (jobs / "rules.md").write_text("{{ b }}{% macro m(x) %}{{ x }}{% endmacro %}")
    image = {"type": "image_url", "image_url": {"url": "{{ photo | data_url }}", "detail": "{{ detail }}"}}
    job = make_job(
        prompt=None,
        messages=[{"role": "user", "name": "{{ who }}", "content": [{"type": "text", "text": "question.md"}, image]}],
        row_params={"max_tokens": "words"},
        carry=("day",),
    )
    assert needed_columns(job) == {"id", "day", "a", "b", "photo", "detail", "who", "words"}


def test_names_behind_row_are_needed_also_those_in_messages_and_files(jobs, make_job):
    (jobs / "question.md").write_text("{% include 'rules.md' %}{{ row['Title (en)'] }}")
    (jobs / "rules.md").write_text("{% if row['Is New'] %}{{ row.size }}{% endif %}")
    image = {"type": "image_url", "image_url": {"url": "{{ row['The Photo'] | data_url }}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "question.md"}, image]}]
    needed = needed_columns(make_job(prompt=None, messages=messages))
    assert needed >= {"id", "Title (en)", "Is New", "size", "The Photo"}


def test_a_prompt_that_is_no_jinja_is_refused_before_the_source_is_read(make_job):
    with pytest.raises(ConfigError, match="line 1"):
        needed_columns(make_job(prompt="{% if %}"))


def test_columns_that_the_source_lacks_are_named_once_beside_those_that_it_has(make_job):
    job = make_job(key=("id", "day"), carry=("text",), row_params={"max_tokens": "words", "seed": "day"})
    with pytest.raises(ConfigError, match=r"job job: the source has no column day, words \(it has id, text\)"):
        refuse_missing(job, ("id", "text"))
    refuse_missing(job, ("id", "text", "day", "words", "other"))
