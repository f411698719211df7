"""What stands where in a reply, found by what is known of it."""

import pytest

from greennode_batch.api.fields import at
from greennode_batch.probe.places import batch_places, is_whole_number, line_places, url_place

CHAT = {"choices": [{"message": {"content": "ok"}}]}


def test_a_url_is_found_wherever_it_stands():
    assert url_place({"dataset": {"id": 1}, "upload": {"put": "https://store/1"}}) == "upload.put"
    assert url_place([{"a": "https://store/1"}]) == "0.a"
    assert url_place({"a": "no url", "b": 3}) is None


def test_the_files_of_a_batch_are_found_by_their_names_and_the_id_that_is_known():
    raw = {"id": "b", "src": {"ref": 5}, "resultDataset": 7, "failureFileId": "f", "error_message": "no file"}
    assert batch_places(raw, "5") == {
        "input_file_id": "src.ref",
        "output_file_id": "resultDataset",
        "error_file_id": "failureFileId",
    }
    assert batch_places({"id": "b", "output_file_id": None, "result": ""}, "5") == {}


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        ({"key": "p", "output": {"statusCode": 200, "body": CHAT}},
         {"custom_id": "key", "body": "output.body", "status_code": "output.statusCode"}),
        ({"row": {"ref": "p", "answer": CHAT}}, {"custom_id": "row.ref", "body": "row.answer", "error": "row.error"}),
        ({"key": "p", "output": {}}, {}),
        ({"key": "other", "output": CHAT}, {}),
        ("no object", {}),
    ],
)  # fmt: skip
def test_the_parts_of_a_result_line_are_found_by_the_id_that_was_sent(line, paths):
    assert line_places(line, {"p", "q"}) == paths
    assert all(at(line, path) is not None for name, path in paths.items() if name != "error")


@pytest.mark.parametrize(
    ("reply", "whole"), [({"id": 5}, True), ({"id": "5"}, False), ({"id": True}, False), ({}, False)]
)
def test_an_id_that_is_a_number_is_told_from_one_in_text(reply, whole):
    assert is_whole_number(reply) is whole
