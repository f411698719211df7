"""Probes of whole servers: every dialect of the emulator, faults, interruptions, and what is no such API."""

from __future__ import annotations

import json

import httpx
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.api.results.result_lines import iter_lines, parse_line
from greennode_batch.errors import ConfigError, NotFoundError
from greennode_batch.probe.state import LINES_A_BATCH, MAX_BATCHES, MAX_CHATS
from greennode_batch.probe.tiny_requests import tiny_lines
from greennode_emulator.dialects import DIALECTS
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

# Whole programs run here: part of `make test`, not of `make unit`.
pytestmark = pytest.mark.slow

FAR_FROM_THE_DEFAULT = {"together", "mistral", "cerebras"}
MODEL = "google/gemma-4-31b-it"


@pytest.fixture
def emulator(clock):
    with running(Settings(batch_seconds=0.05, clock=clock)) as emulator:
        yield emulator


def client_runs_two_lines(emulator, profile, tmp_path, rest):
    """The client, with this profile and nothing else, brings two answers home, and finds its batch in the list."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes(tiny_lines("main", profile, MODEL))
    with GreenNodeClient(emulator.base_url, emulator.api_key, profile=profile) as client:
        batch = client.create_batch(client.upload_file(path).id, metadata={"a": "b"}, model=MODEL)
        while not batch.status.is_terminal:
            rest(0.1)
            batch = client.get_batch(batch.id)
        output = tmp_path / "output.jsonl"
        assert client.download_results(batch, "output", output)
        if profile.can_list_batches:
            rest(1)
            assert batch.id in {one.id for one in client.list_batches(limit=1)}
    with output.open("rb") as file:
        return {line.custom_id: line.error for line in map(parse_line, iter_lines(file))}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_with_the_profile_that_is_found_the_client_brings_two_answers_home(
    dialect, clock, rest, probe, written, tmp_path
):
    with running(Settings(dialect=dialect, batch_seconds=0.15, clock=clock)) as emulator:
        outcome = probe(emulator)
        if dialect in FAR_FROM_THE_DEFAULT:
            assert outcome.found.preset == dialect
        assert (outcome.state.ended, outcome.waits, outcome.state.pending) == (None, False, {})
        assert_cost_is_as_said(outcome, emulator.ledger(summary=True))
        profile = ApiProfile.from_extra(json.loads(written()["profile.json"]))
        assert profile == outcome.found.profile
        assert_only_what_is_named_is_left(outcome, emulator, profile)
        assert client_runs_two_lines(emulator, profile, tmp_path, rest) == {"probe-1": None, "probe-2": None}


def assert_cost_is_as_said(outcome, ledger):
    assert 0 < ledger["chat_requests_billed"] <= outcome.state.chats <= MAX_CHATS
    assert 0 < ledger["batches_created"] == len(outcome.state.batches) <= MAX_BATCHES
    assert ledger["requests_billed"] <= len(outcome.state.batches) * LINES_A_BATCH


def assert_only_what_is_named_is_left(outcome, emulator, profile):
    with GreenNodeClient(emulator.base_url, emulator.api_key, profile=profile) as client:
        assert list(client.list_files()) == []
        for one in outcome.state.batches:
            try:
                left = client.get_batch(one.id).id
            except NotFoundError:
                left = None
            assert (left == one.id) == any(one.id in words for words in outcome.state.left)


def test_the_openai_dialect_is_found_as_the_preset_has_it(emulator, probe):
    outcome = probe(emulator, profile=PRESETS["openai"])
    # The emulator deletes batches, which OpenAI's reference does not have.
    assert outcome.found.extra == {"profile": "openai", "delete_style": "delete"}
    assert {"purpose", "list_style", "cancel_style", "line_format", "result_style", "json_schema"} <= set(
        outcome.state.seen
    )


def test_what_greennode_is_taken_for_is_found_as_the_default(emulator, probe):
    outcome = probe(emulator)
    assert outcome.found.extra == {"profile": "greennode"}
    assert "a connection needs no extra" in outcome.text


def test_the_report_says_what_holds(emulator, probe, written):
    text = probe(emulator, model=MODEL.upper()).text
    assert text == written()["report.md"]
    for words in (
        f"The list spells {MODEL.upper()} as {MODEL}",
        "max_tokens or max_completion_tokens",
        "json_schema is accepted",
        "purpose 'batch' stores a file",
        "purpose 'batch-api' is refused: HTTP 400",
        "Metadata is accepted and comes back",
        "Without endpoint it is refused",
        "Pages use after and limit",
        "The bad line is in the error file (status 400",
        "ends as 'completed'",
        "POST /batches/{batch_id}/cancel cancels a batch",
        "Cancelling a finished batch returns HTTP 409",
        "A second DELETE of it returns HTTP 404",
        "x-request-id",
    ):
        assert words in text


def test_every_exchange_is_written_in_the_order_it_was_made(emulator, probe, written):
    outcome = probe(emulator)
    exchanges = sorted(name for name in written() if name[:2].isdigit())
    assert len(exchanges) == outcome.state.calls == len({int(name.split("-")[0]) for name in exchanges})
    shown = {name for finding in outcome.state.findings for name in finding.shown_by}
    assert shown
    assert shown <= set(exchanges)
    first = json.loads(written()["01-list-models.json"])
    assert (first["request"]["method"], first["reply"]["status"]) == ("GET", 200)


def test_without_a_list_the_report_says_that_it_could_not_find_out(emulator, probe):
    emulator.faults([{"endpoint": "GET /batches", "kind": "status", "status": 404, "count": None}])
    outcome = probe(emulator)
    assert outcome.found.profile.can_list_batches is False
    not_found_out = outcome.text.partition("## Not found out")[2]
    assert "How soon a new batch shows in the list: there is no list" in not_found_out
    assert "The pages of the list" in not_found_out


def test_without_chat_and_models_the_batches_are_probed_all_the_same(emulator, probe):
    emulator.faults(
        [
            {"endpoint": "POST /chat/completions", "kind": "status", "status": 404, "count": None},
            {"endpoint": "GET /models", "kind": "status", "status": 404, "count": None},
        ]
    )
    outcome = probe(emulator, model=MODEL)
    assert outcome.state.ended is None
    assert {"the list of models", "structured output"} <= set(outcome.state.open)
    assert "2 of 2 good lines" in outcome.text


def test_a_create_that_was_accepted_and_then_dropped_is_not_sent_again(emulator, probe):
    emulator.faults([{"endpoint": "POST /batches", "kind": "reset_after"}])
    outcome = probe(emulator)
    assert len(outcome.state.batches) == emulator.ledger()["batches_created"] == 3
    assert "but the list shows its batch" in outcome.text


def test_a_create_of_unknown_outcome_is_not_followed_by_another_before_the_list_is_looked_at_again(emulator, probe):
    emulator.faults([{"endpoint": "POST /batches", "kind": "html", "status": 502}])
    first = probe(emulator)
    assert first.waits
    assert "a create had no clear answer (HTTP 502" in first.state.ended
    assert emulator.ledger()["calls"]["POST /batches"] == 1
    second = probe(emulator)
    assert (second.state.ended, second.waits) == (None, False)
    assert emulator.ledger()["batches_created"] == 3


def test_without_a_list_a_create_of_unknown_outcome_is_never_repeated(emulator, probe):
    emulator.faults(
        [
            {"endpoint": "POST /batches", "kind": "reset_after"},
            {"endpoint": "GET /batches", "kind": "status", "status": 404, "count": None},
        ]
    )
    assert "no list shows its batch" in probe(emulator).state.ended
    again = probe(emulator)
    assert emulator.ledger()["batches_created"] == 1
    assert "may exist" in again.text.partition("## Left behind")[2]


def test_an_account_without_credit_is_said_in_the_apis_words_and_asked_once(emulator, probe):
    actual_cost = {"kind": "status", "status": 402, "message": "Out of credit", "count": None}
    emulator.faults([{"endpoint": name, **actual_cost} for name in ("POST /chat/completions", "POST /batches")])
    outcome = probe(emulator)
    assert outcome.state.create_calls == 1
    assert outcome.text.count("Out of credit") >= 2
    assert "Out of credit" in outcome.state.open["everything about batches"]


def test_a_model_that_refuses_native_schemas_is_found_and_quoted(emulator, probe):
    emulator.faults(
        [
            {
                "endpoint": "POST /chat/completions",
                "kind": "status",
                "status": 400,
                "message": "'messages' must contain the word 'json'",
                "skip": 2,
            }
        ]
    )
    outcome = probe(emulator)
    assert outcome.found.profile.json_schema == "prompt"
    assert "must contain the word 'json'" in outcome.text


def test_open_batches_are_looked_at_again_and_nothing_is_made_twice(clock, probe, written):
    with running(Settings(batch_seconds=1.0, clock=clock)) as emulator:
        first = probe(emulator, wait_seconds=0)
        assert first.waits
        assert "is still" in first.text.partition("## Not found out")[2]
        assert "resume.json" in written()
        made = emulator.ledger(summary=True)
        second = probe(emulator)
        assert (second.waits, second.state.pending) == (False, {})
        assert "2 of 2 good lines" in second.text
        after = emulator.ledger(summary=True)
        for name in ("batches_created", "chat_requests_billed", "files_uploaded"):
            assert after[name] == made[name]


@pytest.mark.parametrize("step", ["cancel it", "results"])
def test_a_probe_that_is_stopped_keeps_what_it_found_and_goes_on(step, emulator, probe, written):
    def say(words):
        if words.startswith(step):
            raise KeyboardInterrupt

    stopped = probe(emulator, say=say)
    assert stopped.waits
    assert stopped.state.ended == "it was stopped by hand"
    assert "The key is accepted" in written()["report.md"]
    done = probe(emulator)
    assert (done.state.ended, done.waits) == (None, False)
    assert emulator.ledger()["batches_created"] == len(done.state.batches) == 3


def test_a_create_that_is_stopped_in_the_middle_is_found_again(emulator, probe):
    class Stopping(httpx.HTTPTransport):
        def handle_request(self, request):
            response = super().handle_request(request)
            if request.method == "POST" and request.url.path.endswith("/batches"):
                raise KeyboardInterrupt
            return response

    assert probe(emulator, transport=Stopping()).waits
    assert emulator.ledger()["batches_created"] == 1
    assert probe(emulator).state.ended is None
    assert emulator.ledger()["batches_created"] == 3


def test_a_folder_of_another_server_is_refused(emulator, probe):
    probe(emulator, wait_seconds=1)
    with running(Settings()) as other, pytest.raises(ConfigError, match="is a probe of"):
        probe(other)


def test_kept_batches_and_files_stay(emulator, probe):
    outcome = probe(emulator, keep=True)
    ledger = emulator.ledger(summary=True)
    assert (ledger["files_deleted"], ledger["calls"].get("DELETE /batches/{id}", 0)) == (0, 0)
    assert outcome.state.open["what deleting a batch returns"] == "everything was to be kept"


def test_a_refused_key_ends_it_with_one_sentence_and_no_cost(emulator, probe):
    outcome = probe(emulator, key="wrong-key")
    assert outcome.state.ended.startswith("the server refuses the key")
    assert not outcome.waits
    assert outcome.state.calls == 1
    assert emulator.ledger()["chat_requests_billed"] == 0


def test_a_model_that_is_not_listed_ends_it_with_the_nearest_name(emulator, probe):
    outcome = probe(emulator, model="gemma-4-31b")
    assert f"near: {MODEL}" in outcome.state.ended
    assert emulator.ledger()["chat_requests_billed"] == 0


def test_html_everywhere_ends_it_with_what_the_page_says(probe_answers):
    page = "<html><head><title>Welcome</title></head><body>hello</body></html>"
    outcome = probe_answers(lambda _: httpx.Response(200, html=page), model="m")
    assert "HTML page: Welcome" in outcome.state.ended
    assert "not a web page" in outcome.state.ended


def test_404_everywhere_ends_it_with_the_base_url_in_doubt_and_no_profile(probe_answers, written):
    outcome = probe_answers(lambda _: httpx.Response(404, json={"message": "no Route matched"}), model="m")
    assert "no Route matched" in outcome.state.ended
    assert "Is the base URL complete" in outcome.state.ended
    assert "learned too little to make a profile" in outcome.text
    assert "profile.json" not in written()


def test_a_server_without_a_model_list_asks_for_a_model(probe_answers):
    outcome = probe_answers(lambda _: httpx.Response(404, text="not found"))
    assert "name one with the parameter model" in outcome.state.ended


def test_dropped_connections_end_it_after_a_few(probe_answers):
    calls = []

    def drop(request):
        calls.append(request)
        raise httpx.ReadError("connection reset by peer")

    outcome = probe_answers(drop, model="m")
    assert "the server does not answer: no reply (api.test: ReadError" in outcome.state.ended
    assert len(calls) <= 6


def test_a_server_that_refuses_nothing_and_ends_nothing_well_costs_no_more_than_was_said(probe_answers):
    counted = {"chat": 0, "create": 0, "all": 0}

    def answer(request):
        counted["all"] += 1
        path = request.url.path
        if path.endswith("/chat/completions"):
            counted["chat"] += 1
            return httpx.Response(400, json={"error": {"message": "try again with another parameter"}})
        if request.method == "POST" and path.endswith("/batches"):
            counted["create"] += 1
        if "/batches" in path:
            return httpx.Response(
                200, json={"id": f"b{counted['create']}", "status": "failed", "errors": ["line 1: bad"]}
            )
        if path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "m"}]})
        return httpx.Response(200, json={"id": "f1"})

    outcome = probe_answers(answer)
    assert 0 < counted["chat"] <= MAX_CHATS
    assert 0 < counted["create"] <= MAX_BATCHES
    assert counted["create"] == len(outcome.state.batches)
    assert counted["all"] < 150


def test_a_server_that_refuses_every_create_is_asked_a_bounded_number_of_times(probe_answers):
    creates = []

    def answer(request):
        path = request.url.path
        if request.method == "POST" and "batch" in path:
            creates.append(path)
            return httpx.Response(422, json={"detail": "metadata, model and endpoint are wrong"})
        if path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "m"}]})
        if "/files" in path:
            return httpx.Response(200, json={"id": "f1", "status": "processed"})
        return httpx.Response(404, json={"message": "nothing here"})

    outcome = probe_answers(answer)
    assert 3 < len(creates) <= 30
    assert "no create was accepted" in outcome.state.open["everything about batches"]


def test_a_batch_that_never_ends_is_waited_for_no_longer_than_was_said(probe_answers):
    looks = []

    def answer(request):
        path = request.url.path
        if request.method == "GET" and "/batches/" in path:
            looks.append(path)
        if "/batches" in path:
            return httpx.Response(200, json={"id": "b1", "status": "pondering"})
        if path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "m"}]})
        return httpx.Response(200, json={"id": "f1", "choices": [{"message": {"content": "ok"}}]})

    outcome = probe_answers(answer, wait_seconds=600)
    assert outcome.waits
    assert 5 < len(looks) < 100 * len(outcome.state.batches)
    assert "does not know this word" in outcome.text


def test_a_server_without_batches_is_said_to_have_none(clock, probe):
    with running(Settings(batches=False, clock=clock)) as emulator:
        outcome = probe(emulator)
    assert any("has no batches" in finding.words for finding in outcome.state.findings)
