import pytest

from greennode_emulator.answers import answer_for


def test_chat_answers_as_a_batch_would_and_is_billed_apart(caller, body, emulator):
    reply = caller.http.post("/chat/completions", json=body("how?"))
    assert reply.json()["choices"][0]["message"]["content"] == answer_for(body("how?")).content
    ledger = emulator.ledger()
    assert (ledger["chat_requests_billed"], ledger["requests_billed"]) == (1, 0)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "nobody"}, 404, "model_not_found"),
        ({"temperature": -1}, 400, "invalid_value"),
        ({"messages": None}, 400, "invalid_value"),
    ],
)
def test_a_bad_request_is_refused_and_not_billed(caller, body, emulator, change, status, code):
    reply = caller.http.post("/chat/completions", json=body() | change)
    assert reply.status_code == status
    assert reply.json()["error"]["code"] == code
    assert emulator.ledger()["chat_requests_billed"] == 0


def test_a_body_that_is_not_json_is_refused(caller):
    reply = caller.http.post("/chat/completions", content=b"{")
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "invalid_json"


def test_a_model_id_may_hold_slashes(caller):
    assert caller.http.get("/models/zai/glm-5.2").json()["id"] == "zai/glm-5.2"
    assert caller.http.get("/models/zai/none").json()["error"]["code"] == "model_not_found"
