import itertools
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pyarrow.parquet as pq
import pytest
from upath import UPath

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.status import BatchStatus
from greennode_batch.batches.throttle.limits import Limits
from greennode_batch.batches.throttle.queue import SubmitQueue
from greennode_batch.batches.throttle.queue_folder import queue_folder
from greennode_batch.errors import (
    BusyError,
    ConfigError,
    NotFoundError,
    SystematicFailureError,
    UnreadResultsError,
)
from greennode_batch.job.live_mode import Live
from greennode_batch.reconcile.report import check_balanced
from greennode_batch.run import run_to_file
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.enqueued_limit import EnqueuedLimit, EnqueuedLimits
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import read_receipt
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

MODEL = "google/gemma-4-31b-it"
THINKER = "greennode/greenmind-medium-14b-r1"
TEXTS = ["one", "two", "one", "", "three"]


@pytest.fixture
def start(make_job, client, tmp_path, clock):
    def run(*, texts=TEXTS, client=client, sleep=lambda _: None, clock=clock, admit=None, enqueued=None, **job):
        rows = Rows.from_tuples(("id", "text"), iter([list(enumerate(texts))] if texts else []))
        return run_to_file(
            make_job(max_failed_ratio=1.0, **job),
            lambda: rows,
            client,
            run_folder(tmp_path / "staging", "job", "run"),
            tmp_path / "answers.parquet",
            run_id="run",
            admit=admit,
            enqueued=enqueued,
            clock=clock,
            sleep=sleep,
        )

    return run


def test_each_step_goes_by_the_clock_that_it_is_given(start, clock, tmp_path):
    made = start(texts=["one", "two"])
    assert made.started_at == made.ended_at == clock.now
    (cleaned,) = (tmp_path / "staging").rglob("cleaned.json")
    assert json.loads(cleaned.read_bytes())["cleaned_at"] == clock.now


def test_every_row_is_written_in_shards_of_any_size(start, tmp_path, emulator):
    made = start(max_shard_requests=1)
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert sorted(row["id"] for row in rows) == [0, 1, 2, 3, 4]
    assert made.statuses == {"succeeded": 4, "unsent": 1}
    assert (emulator.ledger()["batches_created"], emulator.ledger()["requests_billed"]) == (3, 3)
    assert [path.name for path in tmp_path.glob("*answers*")] == ["answers.parquet"]


def test_a_limit_that_the_server_has_named_before_bounds_the_shards_that_are_built(start, tmp_path, clock, emulator):
    limits = EnqueuedLimits(UPath(tmp_path / "line"))
    limits.note(EnqueuedLimit(model=MODEL, tokens=1, named=True, words="too many", noted_at=clock()))
    start(enqueued=limits)
    assert emulator.ledger()["batches_created"] == 3
    assert not list((tmp_path / "staging").rglob("split.json"))


def test_results_that_cannot_be_read_stop_the_run_and_the_right_profile_ends_it_at_no_cost(start, emulator):
    # The file's metadata in place of its content.
    wrong = ApiProfile(content_path="/files/{file_id}")
    with (
        GreenNodeClient(emulator.base_url, emulator.api_key, profile=wrong, sleep=lambda _: None) as misled,
        pytest.raises(UnreadResultsError, match=r"content_path.*stops/unread-1-"),
    ):
        start(client=misled, texts=["one", "two"])
    ledger = emulator.ledger()
    assert (ledger["batches_created"], ledger["requests_billed"]) == (1, 2)
    assert "DELETE /files/{id}" not in ledger["calls"]
    assert start(texts=None).statuses == {"succeeded": 2}
    assert emulator.ledger()["batches_created"] == 1


def test_a_pilot_of_a_table_that_nobody_has_sent_before_is_read_before_the_rest_is_sent(start, emulator, clock):
    wrong = ApiProfile(content_path="/files/{file_id}")
    texts = [f"text {n}" for n in range(120)]
    with (
        GreenNodeClient(emulator.base_url, emulator.api_key, profile=wrong, sleep=lambda _: None) as misled,
        pytest.raises(UnreadResultsError, match="settle 0 of its 100 requests"),
    ):
        start(client=misled, texts=texts, sleep=clock.sleep)
    assert (emulator.ledger()["batches_created"], emulator.ledger()["requests_billed"]) == (1, 100)
    assert start(texts=None, sleep=clock.sleep).statuses == {"succeeded": 120}
    ledger = emulator.ledger()
    assert (ledger["batches_created"], set(ledger["requests"].values())) == (2, {1})


def test_a_pilot_that_comes_to_nothing_is_asked_again_before_the_rest_is_sent(start, emulator, clock):
    emulator.faults([{"kind": "expired", "fraction": 0.0, "listed": False}])
    made = start(texts=[f"text {n}" for n in range(6)], max_shard_requests=3, sleep=clock.sleep)
    assert made.statuses == {"succeeded": 6}
    assert [attempt.requests for attempt in made.attempts] == [6, 3]
    assert set(emulator.ledger()["requests"].values()) == {1}


def test_a_model_that_answers_nothing_is_paid_once_and_its_rows_are_written(start, emulator, tmp_path):
    emulator.faults([{"kind": "empty_answer"}])
    made = start(texts=[f"text {n}" for n in range(25)])
    assert made.statuses == {"invalid_output": 25}
    assert emulator.ledger()["batches_created"] == 1
    (stop,) = (tmp_path / "staging").rglob("stops/failing-*.json")
    assert "the answers are empty" in stop.read_text()


def test_what_is_not_sent_of_a_model_that_fails_stays_unsent(start, emulator, clock):
    emulator.faults([{"kind": "empty_answer", "batches": None}])

    # Its shards are sent one by one, so that the first tells of the model before the last is sent.
    @contextmanager
    def one_by_one(shard):
        if any(read_receipt(other) and read_receipt(other).state == "created" for other in shards_of(shard.run)):
            raise BusyError("one at a time", retry_after=0.01)
        yield math.inf

    def shards_of(run):
        return [run.shard(shard.shard_id) for shard in read_plan(run).shards]

    with pytest.raises(SystematicFailureError, match=r"20 of 20 requests.*the answers are empty"):
        start(texts=[f"text {n}" for n in range(60)], max_shard_requests=20, admit=one_by_one, sleep=clock.sleep)
    assert emulator.ledger()["batches_created"] == 1


def test_a_second_start_builds_sends_and_fetches_nothing(start, emulator):
    start()
    before = emulator.ledger()["calls"]
    start(texts=None)
    assert emulator.ledger()["calls"] == before


def test_thinking_comes_into_the_target_where_it_is_wanted_also_later_and_at_no_cost(start, tmp_path, emulator):
    def reasoning():
        return set(pq.read_table(tmp_path / "answers.parquet")["reasoning"].to_pylist())

    start(model=THINKER, texts=["one", "two"])
    assert reasoning() == {None}
    before = emulator.ledger()["calls"]
    start(model=THINKER, texts=None, keep_reasoning=True)
    assert len(reasoning()) == 2
    assert all(reasoning())
    assert emulator.ledger()["calls"] == before


def test_an_empty_source_creates_no_batch_and_no_file(start, tmp_path, emulator):
    assert start(texts=[]).rows == 0
    assert emulator.ledger()["batches_created"] == 0
    assert not (tmp_path / "answers.parquet").exists()


def test_an_unknown_model_is_found_before_anything_is_built(start, tmp_path, emulator):
    with pytest.raises(ConfigError, match="is not on the server's list"):
        start(model="no/such-model")
    assert emulator.ledger()["files_uploaded"] == 0
    assert not (tmp_path / "staging").exists()


@pytest.fixture
def patient(emulator):
    """Makes sleeps that first wait for the emulator: however fast the hours pass, it has time to do its work."""
    with GreenNodeClient(emulator.base_url, emulator.api_key) as client:

        def is_at_work(number):
            is_answered = emulator.ledger()["requests_billed"] >= number
            return not is_answered or any(one.status is BatchStatus.CANCELLING for one in client.list_batches())

        def made(sleep, number):
            def wait(seconds):
                while is_at_work(number):
                    pass
                sleep(seconds)

            return wait

        yield made


def test_a_batch_that_does_not_end_is_cancelled_at_its_deadline_and_only_the_rest_is_asked_again(
    start, clock, emulator, patient
):
    emulator.faults([{"kind": "stuck", "status": "in_progress", "fraction": 0.5}])
    sleep = patient(clock.sleep, 10)
    made = start(texts=[f"text {n}" for n in range(20)], sleep=sleep, deadline_hours=3)
    assert made.statuses == {"succeeded": 20}
    assert [attempt.requests for attempt in made.attempts] == [20, 10]
    ledger = emulator.ledger()
    assert (ledger["batches_created"], set(ledger["requests"].values())) == (2, {1})


def test_whatever_passes_between_two_looks_at_the_clock_no_sleep_is_negative(start, emulator, patient):
    emulator.faults([{"kind": "stuck", "status": "in_progress", "fraction": 0.5}])
    moments, slept = itertools.count(time.time(), 4.0), []
    sleep = patient(slept.append, 1)
    made = start(texts=["one", "two"], sleep=sleep, clock=lambda: next(moments), deadline_hours=3, attempts=1)
    assert made.statuses == {"succeeded": 1, "cancelled": 1}
    assert len(slept) > 10
    assert min(slept) > 0


def test_several_models_are_each_asked_several_times_and_nothing_twice(start, tmp_path, emulator):
    models = ["google/gemma-4-31b-it", "openai/gpt-oss-120b"]
    made = start(model=models, samples=3, max_shard_requests=4)
    check_balanced(made)
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert sorted((row["id"], row["model"], row["sample"]) for row in rows) == sorted(
        itertools.product(range(len(TEXTS)), models, (1, 2, 3))
    )
    assert made.statuses == {"succeeded": 24, "unsent": 6}
    ledger = emulator.ledger()
    assert (len(ledger["requests"]), set(ledger["requests"].values())) == (18, {1})
    assert start(model=models, samples=3, max_shard_requests=4).statuses == made.statuses
    assert emulator.ledger()["requests"] == ledger["requests"]


def test_of_a_batch_that_expires_the_samples_that_are_finished_are_kept(start, tmp_path, emulator):
    emulator.faults([{"kind": "expired", "fraction": 0.5, "count": 1}])
    made = start(texts=["one", "two", "one", "three"], samples=4, canary=0)
    check_balanced(made)
    assert made.statuses == {"succeeded": 16}
    assert [attempt.requests for attempt in made.attempts] == [12, 6]
    assert set(emulator.ledger()["requests"].values()) == {1}
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    ids = {(row["id"], row["sample"]): row["custom_id"] for row in rows}
    assert len(ids) == 16
    assert len(set(ids.values())) == 12
    assert all(ids[0, sample] == ids[2, sample] for sample in (1, 2, 3, 4))


def test_an_output_that_cannot_be_written_whole_leaves_the_old_one(start, tmp_path, monkeypatch):
    start(max_shard_requests=1)
    before = (tmp_path / "answers.parquet").read_bytes()
    shards = list(tmp_path.rglob("source.1.parquet"))
    shards[-1].write_bytes(b"broken")
    with pytest.raises(Exception, match="Parquet"):
        start(max_shard_requests=1)
    assert (tmp_path / "answers.parquet").read_bytes() == before
    assert not list(tmp_path.glob(".*part"))


def test_images_fields_of_a_row_and_tools_reach_the_model(make_job, client, tmp_path, emulator):
    tool = {"type": "function", "function": {"name": "label", "parameters": {"type": "object", "properties": {}}}}
    image = {"type": "image_url", "image_url": {"url": "{{ photo | data_url }}", "detail": "{{ detail }}"}}
    job = make_job(
        prompt=None,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is {{ name }}?"}, image]},
        ],
        params={"max_tokens": 40, "tools": [tool], "tool_choice": "auto"},
        row_params={"max_tokens": "words"},
        max_failed_ratio=1.0,
    )
    png = b"\x89PNG\r\n\x1a\n"
    rows = [(1, "a cat", png, "low", 2), (2, "a dog", png, "high", None), (3, "a gap", None, "low", 5)]
    run, out = run_folder(tmp_path / "staging", "job", "run"), tmp_path / "answers.parquet"

    def source():
        return Rows.from_tuples(("id", "name", "photo", "detail", "words"), iter([rows]))

    made = run_to_file(job, source, client, run, out, run_id="run", sleep=lambda _: None)
    answers = {row["id"]: row for row in pq.read_table(out).to_pylist()}
    assert [answers[number]["status"] for number in (1, 2, 3)] == ["truncated", "succeeded", "unsent"]
    assert answers[3]["error"] == "messages[1].content[1].image_url.url is empty"
    assert emulator.ledger()["requests_billed"] == 2
    (requests,) = run.path.glob("shards/*/requests.jsonl")
    bodies = [json.loads(line)["body"] for line in requests.read_text().splitlines()]
    assert [body["max_tokens"] for body in bodies] == [2, 40]
    assert bodies[0]["tools"] == [tool]
    assert bodies[0]["messages"][1]["content"] == [
        {"type": "text", "text": "What is a cat?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}},
    ]
    assert f"Hash of the prompt: {made.prompt_hash}" in str(made)


def test_two_runs_before_one_line_have_no_more_batches_open_than_may_be_and_both_end(make_job, emulator, tmp_path):
    staging, most = tmp_path / "staging", []

    class Watched(GreenNodeClient):
        def create_batch(self, *args, **options):
            made = super().create_batch(*args, **options)
            most.append(sum(not batch.status.is_terminal for batch in self.list_batches()))
            return made

    def start(name):
        rows = Rows.from_tuples(("id", "text"), iter([[(number, f"{name} {number}") for number in range(3)]]))
        with Watched(emulator.base_url, emulator.api_key) as client:
            return run_to_file(
                make_job(name=name, max_shard_requests=1, canary=0),
                lambda: rows,
                client,
                run_folder(staging, name, "run"),
                tmp_path / f"{name}.parquet",
                run_id="run",
                admit=SubmitQueue(queue_folder(UPath(staging), "c"), Limits(max_batches_in_flight=1), client).admit,
                sleep=lambda _: None,
            )

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(start, ["one", "other"]))
    assert [run.statuses for run in made] == [{"succeeded": 3}] * 2
    assert len(most) == 6
    assert max(most) <= 1


def test_a_job_that_is_answered_live_only_needs_no_batches(start, make_job, tmp_path):
    with running(Settings(batches=False)) as server, GreenNodeClient(server.base_url, server.api_key) as client:
        made = start(client=client, live=Live(only=True), clock=time.time)
        assert made.statuses == {"succeeded": 4, "unsent": 1}
        # One of three is the canary, which is asked twice.
        assert server.ledger()["chat_requests_billed"] == 4
    rows = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert {row["batch_id"] for row in rows if row["status"] == "succeeded"} == {"live"}


def test_a_retry_of_a_few_requests_goes_live(start, emulator):
    emulator.faults([{"kind": "line_error", "status": 500, "rate": 1.0, "batches": 1, "count": 1}])
    made = start(live=Live(under=2), canary=0, clock=time.time)
    assert made.statuses == {"succeeded": 4, "unsent": 1}
    assert (emulator.ledger()["batches_created"], emulator.ledger()["chat_requests_billed"]) == (1, 1)


FINISH_BY = Live(finish_by=timedelta(hours=6))
STUCK = {"kind": "stuck", "status": "in_progress", "seconds": None, "fraction": 0.5}


def test_a_batch_that_does_not_end_is_cancelled_in_time_and_the_rest_answered_live(start, emulator, clock, patient):
    emulator.faults([STUCK])
    texts = [f"text {number}" for number in range(40)]
    sleep = patient(clock.sleep, 20)
    made = start(texts=texts, live=FINISH_BY, canary=0, clock=clock, sleep=sleep)
    assert made.statuses == {"succeeded": 40}
    assert made.ended_at <= made.started_at + 6 * 3600
    ledger = emulator.ledger()
    assert (ledger["requests_billed"], ledger["chat_requests_billed"]) == (20, 20)


def test_the_rows_of_a_batch_that_cannot_be_cancelled_are_not_paid_for_twice(start, emulator, clock):
    emulator.faults([STUCK, {"kind": "status", "endpoint": "POST /batches/{id}/cancel", "status": 400, "count": None}])
    made = start(texts=["one", "two"], live=FINISH_BY, canary=0, clock=clock, sleep=clock.sleep)
    assert made.statuses == {"expired": 2}
    assert made.lost == {"overdue": 1}
    assert emulator.ledger()["chat_requests_billed"] == 0


def test_they_are_where_the_job_says_so(start, emulator, clock):
    emulator.faults([STUCK, {"kind": "status", "endpoint": "POST /batches/{id}/cancel", "status": 400, "count": None}])
    live = replace(FINISH_BY, pay_twice=True)
    made = start(texts=["one", "two"], live=live, canary=0, clock=clock, sleep=clock.sleep)
    assert made.statuses == {"succeeded": 2}
    assert made.lost == {"overdue": 1}


def test_live_answers_cost_the_full_price(start):
    prices = {"google/gemma-4-31b-it": [1_000_000, 1_000_000]}
    made = start(live=Live(only=True), prices=prices, canary=0, clock=time.time)
    assert made.cost == made.prompt_tokens + made.completion_tokens
    assert made.saving == 0
    assert made.live.requests == 3
    assert f"Of this, 3 requests were answered live: {made.prompt_tokens} prompt" in str(made)


def test_a_run_that_was_answered_live_asks_the_server_for_no_files(start, emulator):
    start(live=Live(only=True), canary=0, clock=time.time)
    assert not [call for call in emulator.ledger()["calls"] if "files" in call]


def test_the_report_has_live_and_batch_apart_and_how_many_may_be_paid_twice(start, emulator):
    prices = {"google/gemma-4-31b-it": [1_000_000, 1_000_000]}
    emulator.faults(
        [
            {"kind": "line_error", "status": 500, "rate": 1.0, "batches": 1, "count": 1},
            {"kind": "reset_after", "endpoint": "POST /chat/completions", "count": 1},
        ]
    )
    made = start(live=Live(under=2), prices=prices, canary=0, clock=time.time)
    assert made.live.cost == made.live.prompt_tokens + made.live.completion_tokens
    assert made.live.requests == made.live.may_be_paid_twice == 1
    batch_tokens = made.prompt_tokens + made.completion_tokens - made.live.cost
    assert made.cost == made.live.cost + batch_tokens / 2
    assert made.saving == batch_tokens / 2
    assert "At most 1 live request may have been billed more than once" in str(made)


def test_a_job_on_a_server_without_batches_is_told_of_live(start):
    with (
        running(Settings(batches=False)) as server,
        GreenNodeClient(server.base_url, server.api_key) as client,
        pytest.raises(NotFoundError, match=r"live=Live\(only=True\)"),
    ):
        start(client=client, clock=time.time)
