from __future__ import annotations

import dataclasses

import pytest

from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.probe.found import ALWAYS_UNSEEN, found

BASE = ApiProfile()


def seen_of(profile: ApiProfile) -> dict:
    return {
        field.name: getattr(profile, field.name)
        for field in dataclasses.fields(profile)
        if field.name not in ALWAYS_UNSEEN
    }


@pytest.mark.parametrize("name", PRESETS)
def test_what_works_is_what_the_profile_says(name):
    made = found(seen_of(PRESETS[name]), {}, base=BASE).profile
    assert seen_of(made) == seen_of(PRESETS[name])


@pytest.mark.parametrize("name", PRESETS)
def test_limits_are_never_taken_over_from_another_api(name):
    made = found(seen_of(PRESETS[name]), {}, base=BASE).profile
    assert (made.max_requests, made.max_file_bytes) == (BASE.max_requests, BASE.max_file_bytes)


def test_nothing_seen_is_the_profile_that_was_begun_with():
    assert found({}, {}, base=BASE).extra == {"profile": "greennode"}
    assert found({}, {}, base=PRESETS["mistral"]).extra == {"profile": "mistral"}


def test_a_value_that_works_as_well_is_no_override():
    seen = {"token_parameter": "max_completion_tokens"}
    assert found(seen, {}, base=BASE).overrides == seen
    assert found(seen, {"token_parameter": ["max_tokens"]}, base=BASE).overrides == {}


def test_one_odd_field_does_not_change_the_preset():
    made = found({**seen_of(BASE), "cancel_style": "delete"}, {}, base=BASE)
    assert made.extra == {"profile": "greennode", "cancel_style": "delete"}


def test_fields_that_nothing_was_seen_of_are_named():
    assert "cancel_path" in found({"purpose": "batch"}, {}, base=BASE).unseen
    assert "purpose" not in found({"purpose": "batch"}, {}, base=BASE).unseen


def test_what_the_profile_that_it_begins_with_says_of_itself_stays():
    said = {"extra_headers": {"x-gateway": "eu"}, "status_words": {"OUT": "completed"}, "upload_headers": {"a": "b"}}
    base = ApiProfile.from_extra({"profile": "mistral", **said, "batches_path": "/jobs"})
    made = found({"batches_path": "/tasks"}, {}, base=base)
    assert made.extra == {"profile": "mistral", **said, "batches_path": "/tasks"}
    assert found({}, {}, base=ApiProfile()).extra == {"profile": "greennode"}
