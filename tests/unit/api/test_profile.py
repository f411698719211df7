import pickle

import pytest

from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.errors import ConfigError


def test_the_default_is_greennode_as_its_article_shows_it():
    profile = ApiProfile()
    assert profile == PRESETS["greennode"]
    assert profile.line_format == "custom_id+body"
    assert profile.endpoint == "/v1/chat/completions"
    assert profile.max_requests == 50_000
    assert profile.max_file_bytes < 100 * 1000 * 1000


def test_every_preset_bears_the_name_it_is_chosen_by():
    assert {name: preset.name for name, preset in PRESETS.items()} == {name: name for name in PRESETS}
    assert set(PRESETS) == {
        "greennode",
        "openai",
        "together",
        "novita",
        "mistral",
        "siliconflow",
        "doubleword",
        "cerebras",
    }


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_reached_by_name_and_survives_a_pickle(name):
    profile = ApiProfile.from_extra({"profile": name})
    assert profile == PRESETS[name]
    assert hash(profile) == hash(PRESETS[name])
    assert pickle.loads(pickle.dumps(profile)) == profile


def test_overrides_lie_over_a_preset():
    profile = ApiProfile.from_extra(
        {"profile": "together", "purpose": "batch", "completion_window": None, "max_requests": "100"}
    )
    assert (profile.purpose, profile.completion_window, profile.max_requests) == ("batch", None, 100)
    assert profile.upload_path == PRESETS["together"].upload_path


def test_form_fields_may_be_text():
    profile = ApiProfile.from_extra({"can_list_batches": "false", "metadata": "true", "max_file_bytes": "1000"})
    assert (profile.can_list_batches, profile.metadata, profile.max_file_bytes) == (False, True, 1000)


def test_nothing_set_is_the_default():
    assert ApiProfile.from_extra({}) == ApiProfile()
    assert ApiProfile.from_extra({"profile": ""}) == ApiProfile()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"profile": "opneai"}, "unknown profile 'opneai'; choose one of greennode, openai"),
        ({"profile": 3}, "unknown profile 3"),
        ({"purpos": "batch"}, "no field 'purpos'; did you mean 'purpose'"),
        ({"zzzzz": 1}, "no field 'zzzzz'; fields are name,"),
        ({"max_requests": "many"}, r"max_requests"),
        ({"list_style": "offset"}, r"list_style"),
        ({"extra_headers": "x: y"}, r"extra_headers"),
        ({"files_path": "files"}, "files_path must start with '/'"),
        ({"max_file_bytes": 0}, "at least 1"),
        ({"status_words": {"PARTIAL": "done"}}, "maps 'PARTIAL' to 'done'; the meanings are validating, .*cancelled$"),
        ({"status_words": {"PARTIAL": "unknown"}}, "the meanings are"),
        ({"batch_fields": {"output": "a.b"}}, "batch_fields has no field 'output'; it can locate id, status"),
        ({"file_fields": {"output_file_id": "a"}}, "file_fields has no field 'output_file_id'"),
        ({"result_fields": {"answer": "a"}}, "result_fields has no field 'answer'"),
        ({"result_fields": {"body": "data..output"}}, r"'data..output' for body; write a dotted path"),
        ({"upload_style": "signed"}, "upload_style"),
        ({"input_file_type": "number"}, "input_file_type"),
        ({"match_by": "name"}, "match_by"),
        ({"match_by": "metadata", "metadata": False}, "match_by is 'metadata', and metadata is not sent"),
        ({"list_trust": "yes"}, "list_trust"),
        ({"upload_commit_path": "done"}, "upload_commit_path must start with '/'"),
        ({"upload_commit_path": "put /done"}, "or with a method before that, as 'PUT /path'"),
        ({"batch_path": "POST /x"}, "batch_path must start with '/', below the base URL$"),
        ({"key_header": "apikey"}, r"key_header must be a header with {key} in the place of the API key"),
        ({"key_header": "apikey: {key}{key}"}, "key_header must be"),
        ({"key_header": "a\nb: {key}"}, "key_header must be"),
    ],
)
def test_a_wrong_setting_is_named(extra, words):
    with pytest.raises(ConfigError, match=words):
        ApiProfile.from_extra(extra)


def test_overrides_do_not_reach_the_preset():
    ApiProfile.from_extra({"create_fields": {"a": 1}}).create_fields["b"] = 2
    ApiProfile.from_extra({}).extra_headers["x"] = "y"
    assert PRESETS["greennode"] == ApiProfile()
