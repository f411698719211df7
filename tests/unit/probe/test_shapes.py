from __future__ import annotations

import pytest

from greennode_batch.probe import shapes


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"id": "b"}, "bare"),
        ({"job": {"id": "b"}}, "in `job`"),
        ({"result": {"data": {"batch_id": "b"}}}, "in `result.data`"),
        ({"status": "ok"}, "without an id"),
    ],
)
def test_wrappers_are_named(data, words):
    assert shapes.wrapper(data) == words


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "a bare array"),
        ({"data": [], "has_more": False}, "under `data`, beside has_more"),
        ({"listData": []}, "under `listData`"),
        ({"result": {"items": []}}, "in `result`: under `items`"),
        ("x", "not a list but str"),
    ],
)
def test_lists_are_named(data, words):
    assert shapes.list_shape(data) == words


def test_times_are_told_apart():
    words = shapes.times(
        {
            "created_at": 1_700_000_000,
            "completedAt": 1_700_000_000_000,
            "expires_at": "2026-01-01T00:00:00Z",
            "started_at": "1700000000",
            "failed_at": None,
            "status": "x",
        }
    )
    assert words == (
        "epoch seconds: created_at; epoch milliseconds: completedAt; ISO 8601: expires_at; "
        "epoch seconds as text: started_at; empty: failed_at"
    )


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"request_counts": {"total": 2, "failed": 0}}, "`request_counts` with total, failed"),
        ({"request_counts": None}, "`request_counts` is None"),
        ({"total_requests": 2, "failed_requests": 0}, "flat: total_requests, failed_requests"),
        ({}, "none"),
    ],
)
def test_counts_are_told_apart(batch, words):
    assert shapes.counts(batch) == words


@pytest.mark.parametrize(
    ("content", "message", "words"),
    [
        ("<think>x</think>ok", {}, "<think> in the content"),
        ("ok", {"reasoning_content": "x"}, "reasoning_content"),
        ("ok", {"reasoning": None}, "none seen"),
        (None, {"reasoning": "x"}, "reasoning"),
    ],
)
def test_the_place_of_thinking_is_named(content, message, words):
    assert shapes.reasoning_style(content, message) == words


def test_result_lines_are_told_apart():
    assert shapes.result_line({"custom_id": "a", "response": {"body": {}}}) == "custom_id, response; `response.body`"
    assert shapes.result_line({"response": {"choices": []}}).endswith("`response` is the body itself")
    assert shapes.result_line({"response": None, "error": "x"}).endswith("`response` is null")
    assert shapes.result_line(None) == "not an object but NoneType"
