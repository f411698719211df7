import argparse
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.profile import PRESETS
from greennode_batch.cli.declared_job import job_of
from greennode_batch.cli.job_options import (
    add_job_options,
    json_object,
    names,
    prices,
    profile,
)
from greennode_batch.errors import ConfigError


@pytest.fixture
def declared(tmp_path):
    """The job of a command line: options by name, beside a file of rows and one with the prompt."""
    (tmp_path / "tickets 1.csv").write_text("id,text,more\n1,one,x\n2,two,y\n")
    (tmp_path / "prompt.md").write_text("{{ text }}")

    def make(**changes):
        options = {
            "in": tmp_path / "tickets 1.csv", "key": "id", "prompt": tmp_path / "prompt.md", "model": "m", **changes
        }  # fmt: skip
        parser = argparse.ArgumentParser()
        add_job_options(parser)
        parser.set_defaults(parser=parser)
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return job_of(parser.parse_args(words), out="answers.parquet")

    return make


def test_a_job_is_what_the_options_say(declared, tmp_path):
    (tmp_path / "system.md").write_text("Be brief.")
    job = declared(
        key="id, more", carry="text", params='{"max_tokens": 5}', samples=2, system=tmp_path / "system.md",
        **{"max-cost": "1.5", "max-rows": 7},
    )  # fmt: skip
    assert (job.key_columns, job.carry, job.models, job.samples) == (("id", "more"), ("text",), ("m",), 2)
    assert (job.prompt, job.system, job.params) == ("{{ text }}", "Be brief.", {"max_tokens": 5})
    assert (job.budget.max_cost, job.budget.max_rows) == (1.5, 7)
    assert job.name.startswith("tickets_1")


def test_a_file_is_read_as_the_options_say_under_the_names_that_a_source_has(declared):
    given = {"format": "csv", "types": '{"id": "integer"}', "delimiter": ";", "quote": "'", "escape": "\\"}
    source = declared(**given, encoding="cp1252").source
    assert (source.format, source.types) == ("csv", {"id": "integer"})
    assert source.dialect == (";", "'", "\\", "cp1252")


@given(st.lists(st.text("abc é", max_size=4), max_size=4))
def test_names_stand_between_commas_with_or_without_spaces(words):
    assert names(" , ".join(words)) == tuple(word.strip() for word in words if word.strip())


@pytest.mark.parametrize(("words", "said"), [("{max_tokens: 5}", "not JSON"), ("[5]", "not a JSON object such as")])
def test_what_is_no_json_object_is_wrong_usage(words, said):
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        json_object(words)


@pytest.mark.parametrize("name", PRESETS)
def test_a_profile_is_a_presets_name_or_a_file_that_says_the_same(tmp_path, name):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"profile": name}))
    assert profile(name) == profile(str(path)) == PRESETS[name]


@pytest.mark.parametrize("content", ['{"profile": "nobody"}', '{"line_format": "x"}', "[]"])
@pytest.mark.parametrize("read", [profile, prices])
def test_a_file_that_says_no_profile_or_prices_is_wrong_usage(tmp_path, read, content):
    path = tmp_path / "said.json"
    path.write_text(content)
    with pytest.raises(argparse.ArgumentTypeError):
        read(str(path))


def test_prices_are_read_from_a_file(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text('{"m": [10, 20], "currency": "USD"}')
    read = prices(str(path))
    assert (read.currency, read.by_model["m"].prompt, read.by_model["m"].completion) == ("USD", 10, 20)


def test_a_prompt_that_cannot_be_read_is_named(declared, tmp_path):
    for path, words in ((tmp_path / "gone.md", "no such file"), (tmp_path, "cannot be read as UTF-8 text")):
        with pytest.raises(ConfigError, match=words):
            declared(prompt=path)
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match=r"latin\.md: cannot be read as UTF-8 text"):
        declared(prompt=tmp_path / "latin.md")
