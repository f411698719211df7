from typing import Literal

import httpx
import pytest
from pydantic import BaseModel

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import AuthError, ConfigError, CreditError
from greennode_batch.plan.preflight import check_models, try_canaries


def client_with(status, body):
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=body))
    return GreenNodeClient("https://host/v1", "key", transport=transport, sleep=lambda _: None)


def test_models_of_the_list_pass(client):
    check_models(client, ["google/gemma-4-31b-it", "zai/glm-5.2"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GreenNode/GreenMind-Medium-14B-R1", "did you mean 'greennode/greenmind-medium-14b-r1'"),
        ("google/gemma-4-31b", "did you mean 'google/gemma-4-31b-it'"),
        ("x", "it has google/gemma-4-31b-it, openai/gpt-oss-120b"),
    ],
)
def test_a_model_that_is_not_listed_is_named_before_anything_is_paid(client, name, hint):
    with pytest.raises(ConfigError, match=f"model '{name}' is not on the server's list: {hint}.*Nothing was sent"):
        check_models(client, ["zai/glm-5.2", name])


@pytest.mark.parametrize(("status", "body"), [(404, {}), (200, {"data": []})])
def test_an_api_without_a_list_passes(status, body):
    check_models(client_with(status, body), ["anything"])


def test_a_list_of_models_that_is_broken_stops_nothing_and_one_that_is_not_to_be_checked_is_not_asked_for():
    broken = client_with(500, {"error": "broken"})
    check_models(broken, ["anything"])
    unasked = GreenNodeClient(
        "https://host/v1", "key", profile=ApiProfile(check_models=False), transport=httpx.MockTransport(unreachable)
    )
    check_models(unasked, ["anything"])


def unreachable(_request):
    raise AssertionError("nothing should be asked")


def test_a_wrong_key_is_not_taken_for_an_api_without_a_list():
    with pytest.raises(AuthError):
        check_models(client_with(401, {"error": "bad key"}), ["anything"])


def canaries(run, plan, client, *, count=1, answer=None):
    return try_canaries(run, plan, client, AnswerReader(answer), count=count)


class Label(BaseModel):
    kind: Literal["a", "b"]


def test_the_first_requests_of_each_model_are_tried_with_the_jobs_own_parameters(make_run, client, emulator):
    models = ("google/gemma-4-31b-it", "zai/glm-5.2")
    run, plan = make_run(("id", "text"), [(n, f"text {n}") for n in range(5)], model=models, params={"max_tokens": 3})
    tried = canaries(run, plan, client, count=2)
    assert [canary.model for canary in tried] == ["google/gemma-4-31b-it"] * 2 + ["zai/glm-5.2"] * 2
    # The emulated model has more to say than three tokens.
    assert {(canary.status, canary.completion_tokens) for canary in tried} == {("truncated", 3)}
    assert emulator.ledger(summary=True)["chat_requests_billed"] == 4


def test_what_was_tried_for_a_run_is_not_paid_again(make_run, client, emulator):
    run, plan = make_run(("id", "text"), [(1, "hello")])
    assert canaries(run, plan, client) == canaries(run, plan, client)
    assert emulator.ledger(summary=True)["chat_requests_billed"] == 1


def test_no_canary_is_no_call(make_run, client, emulator):
    run, plan = make_run(("id", "text"), [(1, "hello")])
    assert canaries(run, plan, client, count=0) == ()
    assert emulator.ledger(summary=True)["chat_requests_billed"] == 0


def test_an_empty_table_has_nothing_to_try(make_run, client):
    run, plan = make_run(("id", "text"), [])
    assert canaries(run, plan, client) == ()


def test_a_request_that_the_model_refuses_is_named_by_its_row_with_the_apis_words(make_run, client):
    run, plan = make_run(("a", "b", "text"), [(1, "x", "hello")], key=("a", "b"), params={"temperature": 9})
    with pytest.raises(ConfigError, match=r"rejected the request of row a, b = 1, x: .*temperature.*No batch was"):
        canaries(run, plan, client)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 404, "shape": "html"},
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429},
        {"kind": "reset_before"},
    ],
)
def test_a_server_that_cannot_be_asked_in_real_time_is_only_a_warning(fault, make_run, client, emulator, caplog):
    run, plan = make_run(("id", "text"), [(1, "hello")])
    emulator.faults([{"endpoint": "POST /chat/completions", **fault}])
    # A 503 and a reset leave it open whether it was answered, and billed: it is not asked again.
    assert {canary.status for canary in canaries(run, plan, client)} <= {"unknown"}
    assert caplog.records[-1].levelname == "WARNING"


def test_a_key_without_credit_stops_before_anything_is_sent(make_run, client, emulator):
    run, plan = make_run(("id", "text"), [(1, "hello")])
    emulator.faults([{"endpoint": "POST /chat/completions", "kind": "status", "status": 402, "message": "no credit"}])
    with pytest.raises(CreditError):
        canaries(run, plan, client)


def test_an_answer_that_would_not_count_is_a_warning_that_says_why(make_run, client, caplog):
    run, plan = make_run(("id", "text"), [(1, "hello")], answer=Label, params={"max_tokens": 1})
    (tried,) = canaries(run, plan, client, answer=Label)
    assert tried.status == "truncated"
    assert "row id = 1 did not succeed: truncated" in caplog.text


def test_a_canary_whose_asker_was_killed_is_not_paid_for_again(make_run, client, emulator, monkeypatch):
    run, plan = make_run(("id", "text"), [(1, "text")])
    ask = client.chat

    def chat(body):
        ask(body)
        raise KeyboardInterrupt

    monkeypatch.setattr(client, "chat", chat)
    with pytest.raises(KeyboardInterrupt):
        canaries(run, plan, client)
    monkeypatch.undo()
    assert [canary.status for canary in canaries(run, plan, client)] == ["unknown"]
    assert emulator.ledger(summary=True)["chat_requests_billed"] == 1


def test_a_canary_that_was_turned_away_is_asked_at_the_next_try(make_run, client, emulator):
    run, plan = make_run(("id", "text"), [(1, "text")])
    emulator.faults([{"endpoint": "POST /chat/completions", "kind": "status", "status": 402}])
    with pytest.raises(CreditError):
        canaries(run, plan, client)
    assert [canary.status for canary in canaries(run, plan, client)] == ["succeeded"]
