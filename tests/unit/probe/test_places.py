"""What stands where in a reply, found by what is known of it."""

import pytest

from greennode_batch.api.fields import at
from greennode_batch.probe.places import batch_places, id_place, is_whole_number, line_places, url_place

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


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ({"code": 0, "requestId": "r", "data": {"inferenceId": 5, "fileUrl": "oss://b/x"}}, "inferenceId"),
        ({"result": {"fileUrl": "oss://b/x", "fileName": "x"}}, "fileUrl"),
        ({"key": "in/x", "put": "https://store.example"}, "key"),
        ({"code": 0, "traceId": "t"}, None),
    ],
)
def test_an_id_is_found_by_how_its_field_is_called(reply, name):
    assert id_place(reply) == name


def test_files_are_found_by_what_is_around_them():
    raw = {"answers": {"fileId": 7}, "failures": {"link": "https://s/x"}, "error": {"requestId": "r"}, "in": 5}
    assert batch_places(raw, "5") == {
        "input_file_id": "in",
        "output_file_id": "answers.fileId",
        "error_file_id": "failures.link",
    }
