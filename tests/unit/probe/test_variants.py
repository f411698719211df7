from __future__ import annotations

import pytest

from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.probe import variants

OWN = variants.own_create(ApiProfile())


def following(words, *, refused=None, not_there=False, tried=()):
    return variants.next_create(refused or OWN, words, not_there=not_there, tried=[*tried, refused or OWN])


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        ("metadata: Extra inputs are not permitted", "metadata", False),
        ("Unknown parameter: 'completion_window'", "completion_window", None),
        ("completion_window must be '48h'", "completion_window", "48h"),
        ("endpoint is not allowed", "endpoint", None),
        ("endpoint: expected '/chat/completions'", "endpoint", "/chat/completions"),
        ("body.model: Field required", "model_in_create", True),
        ("Missing required field 'input_files'", "input_file_field", "input_files"),
        ("input_file_id: Input should be a valid list", "input_file_as_list", True),
    ],
)
def test_what_a_refusal_asks_for_is_tried_next(words, field, value):
    assert following(words)[field] == value


def test_a_missing_path_is_not_asked_again():
    tried = [OWN]
    while (variant := variants.next_create(tried[-1], "no such path", not_there=True, tried=tried)) is not None:
        assert variant["batches_path"] not in {one["batches_path"] for one in tried}
        tried.append(variant)
    assert {one["batches_path"] for one in tried} >= {"/batches", "/batch/jobs"}


def test_a_refusal_that_says_nothing_is_tried_simpler_and_the_tries_end():
    tried = [OWN]
    while (variant := variants.next_create(tried[-1], "bad request", not_there=False, tried=tried)) is not None:
        assert variant not in tried
        tried.append(variant)
        assert len(tried) < 200
    assert any(one["metadata"] is False for one in tried)
    assert any(one["completion_window"] is None and one["endpoint"] is None for one in tried)


def test_uploads_begin_with_the_profiles_own_way():
    ways = variants.uploads(PRESETS["together"])
    assert (ways[0]["upload_path"], ways[0]["purpose"]) == ("/files/upload", "batch-api")
    assert {one["purpose"] for one in ways} == {"batch", "batch-api", None}


def test_delete_is_the_last_way_to_cancel():
    assert [one["cancel_style"] for one in variants.cancels(ApiProfile())] == ["post", "post", "post", "delete"]


@pytest.mark.parametrize(
    ("words", "about"),
    [("line 1: missing field 'method'", True), ("url: Field required", True), ("insufficient credit", False)],
)
def test_words_about_lines_are_told_from_others(words, about):
    assert variants.speaks_of_lines(words) is about


def test_fields_that_a_server_does_not_know_are_not_sent_again():
    tried, unknown, variant = [], set(), OWN
    wanted = {"inputFileId", "metadata"}
    while sent_by(variant) != wanted:
        tried.append(variant)
        words = f"unknown parameter: {min(sent_by(variant) - wanted)}"
        unknown |= variants.unknown_fields(variant, words)
        variant = variants.next_create(variant, words, not_there=False, tried=tried, unknown=unknown)
        assert not sent_by(variant) & unknown
    assert len(tried) < 8


def sent_by(variant):
    optional = {"model": variant["model_in_create"]} | {
        name: variant[name] for name in ("endpoint", "completion_window", "metadata")
    }
    return {variant["input_file_field"], *(name for name, value in optional.items() if value)}


def test_a_field_of_which_a_refusal_says_something_good_is_not_unknown():
    sent = {**OWN, "input_file_field": "fileId"}
    assert variants.unknown_fields(sent, "'completion_window' is not a field; 'fileId' is") == {"completion_window"}
    assert variants.unknown_fields(sent, "fileId is required") == set()


def test_an_upload_in_steps_is_begun_with_what_a_refusal_asks_for():
    (first, *_) = variants.presigned(
        variants.uploads(ApiProfile())[0], "fileName, fileSize and contentType are required"
    )
    assert first["upload_fields"] == {
        "fileName": "{filename}",
        "fileSize": "{bytes}",
        "contentType": "application/jsonl",
    }
    (better,) = variants.asked_for_at_begin(first, "expected 'name' in place of it")
    assert better["upload_fields"] == {"fileSize": "{bytes}", "contentType": "application/jsonl", "name": "{filename}"}
    assert variants.asked_for_at_begin(better, "no") == []
