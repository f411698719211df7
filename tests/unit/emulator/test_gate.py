import logging

import pytest


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic abc"}, {"authorization": "Bearer"}]
)
@pytest.mark.parametrize("path", ["/models", "/batches", "/nowhere"])
def test_without_the_key_nothing_opens(caller, headers, path):
    del caller.http.headers["authorization"]
    reply = caller.http.get(path, headers=headers)
    assert reply.status_code == 401
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_every_reply_has_its_own_request_id(caller):
    replies = [caller.http.get("/models"), caller.http.get("/files/nope"), caller.http.get("/nowhere")]
    assert len({reply.headers["x-request-id"] for reply in replies}) == 3


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/files", 405)])
def test_an_unknown_path_is_an_error_in_the_same_shape(caller, method, path, status):
    reply = caller.http.request(method, path)
    assert reply.status_code == status
    assert f"Invalid URL ({method} /v1{path})" in reply.json()["error"]["message"]


def test_the_log_has_one_line_a_request_at_debug_and_never_the_key(caller, emulator, caplog, until):
    def logged():
        return [record for record in caplog.records if record.name.startswith("greennode_emulator")]

    with caplog.at_level(logging.DEBUG):
        caller.http.get("/models")
        # The line is written once the reply is on its way.
        lines = until(logged)
    assert [record.levelno for record in lines] == [logging.DEBUG]
    assert "GET /v1/models 200" in lines[0].getMessage()
    assert emulator.api_key not in caplog.text
