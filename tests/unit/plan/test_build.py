import datetime
import itertools
import json
import tempfile
import uuid
from decimal import Decimal

import msgspec
import psycopg
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.halves import split
from greennode_batch.batches.submit import submit
from greennode_batch.errors import ConfigError, RowError, SplitError
from greennode_batch.incremental.target_lookup import TableLookup
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.plan.build import build
from greennode_batch.source.rows import Rows
from greennode_batch.source.sql import read_sql
from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.build_turn import SupersededError
from greennode_batch.state.plan import LongestRequest, read_plan
from greennode_batch.state.receipts import (
    Claim,
    NumberedClaim,
    Receipt,
    is_sent,
    latest_claim,
    read_receipt,
    take_claim,
    write_receipt,
)
from greennode_batch.state.run_identity import RemovedRun
from greennode_batch.state.split import SplitBegun, halves_of
from greennode_batch.state.withdrawn import is_withdrawn as is_withdrawn_now
from greennode_batch.tables.open_table import sql_table

MODELS = ("google/gemma-4-31b-it", "openai/gpt-oss-120b")


class Staged:
    """A run that is built over and over, each time from the rows that its source has then."""

    def __init__(self, root):
        self.run = run_folder(root, "job", "run")

    def build(self, rows, *, columns=("id", "text"), meanwhile=lambda: None, clock=None, max_shard_tokens=None, **job):
        """meanwhile: happens after the first row was read, once."""
        events = iter([meanwhile])

        def batches():
            yield rows[:1]
            next(events, lambda: None)()
            yield rows[1:]

        declared = {"key": "id", "model": MODELS[0], "prompt": "{{ text }}", "max_shard_requests": 2}
        return build(
            BatchJob(
                name="job",
                source=FileSource(path="rows"),
                target=FileTarget(path="answers"),
                **{**declared, **job},
            ),
            lambda: Rows.from_tuples(tuple(columns), batches()),
            self.run,
            run_id="run_1",
            profile=ApiProfile(),
            max_shard_tokens=max_shard_tokens,
            **({"clock": clock} if clock else {}),
        )

    def shards(self):
        """Every shard that has a folder."""
        return [self.run.shard(path.name) for path in self.run.shards.iterdir()] if self.run.shards.exists() else []

    def shard(self, planned):
        return self.run.shard(planned.shard_id)

    def claim(self, planned, *, released=False):
        """What a worker leaves that is about to create the shard's batch."""
        shard = self.shard(planned)
        last = latest_claim(shard)
        claim = Claim(token="worker", file_id="file-1", claimed_at=1.0, released=released)
        assert take_claim(shard, NumberedClaim(last.number + 1 if last else 1, claim))

    def send(self, planned):
        """What a worker leaves that has created the shard's batch."""
        self.claim(planned)
        receipt = Receipt(planned.shard_id, "created", "file-1", batch_id=f"batch_{planned.shard_id}")
        write_receipt(self.shard(planned), receipt)

    def source(self, planned):
        return self.rows_of(self.shard(planned))

    @staticmethod
    def rows_of(shard):
        # Of a small file a third of what read_table takes, which can do more.
        return pq.ParquetFile(str(shard.source)).read(use_threads=False).to_pylist()

    def ids(self, planned, column="id"):
        return [row[column] for row in self.source(planned)]

    def texts(self, planned):
        lines = self.shard(planned).requests.read_bytes().splitlines()
        return [json.loads(line)["body"]["messages"][-1]["content"] for line in lines]

    def files(self):
        """What there is of each shard, but for its receipts and claims."""
        files = {
            path: path.read_bytes()
            for shard in self.shards()
            for path in (shard.requests, shard.results)
            if path.exists()
        }
        return files | {shard.shard_id: shard.source.read_bytes() for shard in self.shards()}


@pytest.fixture
def staged(tmp_path):
    return Staged(tmp_path)


class Ledger:
    """What was sent of a run by now: the bytes of a shard's requests, and its rows, with those that joined it."""

    def __init__(self, staged):
        self._staged = staged
        self._sent = {}

    def note(self):
        for shard in self._staged.shards():
            if is_sent(shard):
                rows = self._staged.rows_of(shard)
                self._sent[shard.shard_id] = shard.requests.read_bytes(), rows

    def stayed(self, plan):
        """Check that all of it is in the plan as it was; returns the rows' keys."""
        assert self._sent.keys() <= {planned.shard_id for planned in plan.shards}
        for shard_id, (requests, rows) in self._sent.items():
            shard = self._staged.run.shard(shard_id)
            assert shard.requests.read_bytes() == requests
            assert self._staged.rows_of(shard)[: len(rows)] == rows
        return {index_of(row) for _, rows in self._sent.values() for row in rows}


def index_of(row):
    return row["id"], row["model"], row.get("sample", 1)


def check_requests(staged, plan):
    """Each request is in one file, beside the rows that ask it, and the plan says how many there are."""
    requested = []
    for planned in plan.shards:
        content = staged.shard(planned).requests.read_bytes()
        ids = [json.loads(line)["custom_id"] for line in content.splitlines()]
        assert (len(ids), len(content)) == (planned.requests, planned.bytes)
        assert set(ids) == set(staged.ids(planned, "custom_id")) - {None}
        requested += ids
    assert len(set(requested)) == len(requested) == plan.requests


def check_claims(staged, plan):
    """Whoever comes with a shard of an earlier build is stopped; whoever comes with one of this build is not."""
    planned = {shard.shard_id for shard in plan.shards}
    for shard in staged.shards():
        last = latest_claim(shard)
        is_withdrawn = last is not None and is_withdrawn_now(shard, last.claim)
        assert is_withdrawn == (shard.shard_id not in planned)
        assert is_withdrawn or (shard.requests.exists() and shard.source.exists())


SOURCES = st.dictionaries(st.integers(0, 8), st.sampled_from(["", "a", "b", "c", "d", "e"]), max_size=9)
WORKERS = st.lists(st.sampled_from(["idle", "claim", "send"]), min_size=6, max_size=6)


# Each example builds some runs.
@settings(max_examples=settings.default.max_examples // 2)
@given(
    generations=st.lists(st.tuples(SOURCES, WORKERS, st.integers(0, 9)), min_size=2, max_size=4),
    models=st.sampled_from([MODELS, MODELS[:1]]),
    most=st.sampled_from([1, 1, 3]),
    max_requests=st.integers(1, 3),
    data=st.data(),
)
def test_whatever_changes_between_builds_what_was_sent_stays_and_each_row_has_one_place(
    generations, models, most, max_requests, data
):
    with tempfile.TemporaryDirectory() as root:
        staged = Staged(root)
        ledger = Ledger(staged)
        plan = None
        for source, workers, late in generations:

            def work(planned, how):
                if planned.requests and how != "idle" and not is_sent(staged.shard(planned)):
                    getattr(staged, how)(planned)
                    ledger.note()

            def meanwhile(plan=plan, late=late):
                # A task of the build before sends its shard while this one reads the source.
                for planned in plan.shards[late : late + 1] if plan else ():
                    work(planned, "claim")

            samples = data.draw(st.integers(2, most)) if most > 1 else 1
            plan = staged.build(
                list(source.items()),
                meanwhile=meanwhile,
                model=models,
                samples=samples,
                max_shard_requests=max_requests,
                max_shard_tokens=dict.fromkeys(models, data.draw(st.integers(1, 3))),
            )
            assert read_plan(staged.run) == plan
            rows = [row for planned in plan.shards for row in staged.source(planned)]
            indexes = list(map(index_of, rows))
            assert len(set(indexes)) == len(indexes) == plan.rows == sum(planned.rows for planned in plan.shards)
            requested = set(itertools.product(source, models, range(1, samples + 1)))
            assert set(indexes) == ledger.stayed(plan) | requested
            assert plan.unsent == sum(row["custom_id"] is None for row in rows)
            check_requests(staged, plan)
            check_claims(staged, plan)
            ledger.note()
            for planned, how in zip(plan.shards, workers, strict=False):
                work(planned, how)


def test_a_row_that_was_sent_keeps_its_request_though_it_has_changed_or_left(staged):
    (shard,) = staged.build([(1, "a"), (2, "b")]).shards
    staged.send(shard)
    before = staged.files()
    plan = staged.build([(1, "changed"), (3, "c")])
    submitted, new = plan.shards
    assert submitted == shard
    assert {path: staged.files()[path] for path in before} == before
    assert (staged.ids(new), staged.texts(new)) == ([3], ["c"])
    assert (plan.rows, plan.requests, plan.unsent) == (3, 3, 0)


def test_a_row_that_was_sent_to_one_model_is_asked_of_the_other_alone(staged):
    first, other = staged.build([(1, "a")], model=MODELS).shards
    staged.send(first)
    plan = staged.build([(1, "changed")], model=MODELS)
    submitted, new = plan.shards
    assert submitted == first
    assert (new.model, staged.texts(new)) == (other.model, ["changed"])


def test_a_row_that_was_sent_is_not_asked_of_the_model_that_the_job_names_instead(staged):
    (shard,) = staged.build([(1, "a")], model=MODELS[0]).shards
    staged.send(shard)
    submitted, new = staged.build([(1, "a"), (2, "b")], model=MODELS[1]).shards
    assert submitted == shard
    assert (new.model, staged.ids(new)) == (MODELS[1], [2])


def test_rows_that_were_sent_to_several_models_need_a_key_with_the_model(staged):
    plan = staged.build([(1, "a")], model=MODELS)
    for shard in plan.shards:
        staged.send(shard)
    with pytest.raises(ConfigError, match=r"have the key id, model; the job's is id now, so one key .* Undo that"):
        staged.build([(1, "a")], model=MODELS[0])
    assert read_plan(staged.run) == plan


def test_where_samples_are_raised_only_the_rest_is_built(staged):
    (two,) = staged.build([(1, "a")], samples=2).shards
    staged.send(two)
    submitted, new = staged.build([(1, "a"), (2, "a")], samples=3, max_shard_requests=9).shards
    assert (submitted.requests, new.requests) == (2, 1)
    assert sorted(zip(staged.ids(submitted), staged.ids(submitted, "sample"), strict=True)) == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert sorted(zip(staged.ids(new), staged.ids(new, "sample"), strict=True)) == [(1, 3), (2, 3)]
    # A row that was sent without a sample has no place in the target that has them.
    with pytest.raises(ConfigError, match=r"have the columns id, sample; .* are now id\. Undo this change"):
        staged.build([(1, "a")])


def test_a_new_row_that_asks_what_was_sent_joins_its_answer_and_is_not_paid(staged):
    (shard,) = staged.build([(1, "a"), (2, "b")]).shards
    requests = staged.shard(shard).requests.read_bytes()
    staged.send(shard)
    plan = staged.build([(1, "a"), (2, "b"), (3, "a")])
    assert plan.shards == (msgspec.structs.replace(shard, rows=3),)
    assert staged.ids(shard) == [1, 2, 3]
    assert staged.source(shard)[2]["custom_id"] == staged.source(shard)[0]["custom_id"]
    assert staged.shard(shard).requests.read_bytes() == requests
    assert (plan.rows, plan.requests, plan.repeated) == (3, 2, 1)


def test_new_rows_that_cannot_be_sent_lie_beside_what_was_sent_and_make_no_shard(staged):
    (shard,) = staged.build([(1, "a"), (2, "")]).shards
    staged.send(shard)
    plan = staged.build([(1, "a"), (2, ""), (3, " ")])
    assert [planned.shard_id for planned in plan.shards] == [shard.shard_id]
    assert [row["unsent"] for row in staged.source(shard)] == [None, "the prompt is empty", "the prompt is empty"]
    assert (plan.rows, plan.requests, plan.unsent) == (3, 1, 2)


def test_a_finished_run_that_is_built_again_is_not_touched(staged):
    rows = [(1, "a"), (2, "b"), (3, "c"), (4, "")]
    plan = staged.build(rows, model=MODELS)
    for planned in plan.shards:
        staged.send(planned)
    before = staged.files()
    assert staged.build(rows, model=MODELS) == plan
    assert staged.files() == before


def test_a_run_of_which_nothing_was_sent_is_built_as_if_for_the_first_time(staged):
    staged.build([(1, "a"), (2, "b"), (3, "c")])
    (shard,) = staged.build([(1, "changed")]).shards
    assert (staged.ids(shard), staged.texts(shard)) == ([1], ["changed"])


def test_a_shard_stays_below_the_limit_of_tokens_and_a_request_above_it_is_alone(staged):
    # Two tokens, one, one, and ten.
    rows = [(1, "a" * 8), (2, "b" * 4), (3, "c" * 4), (4, "d" * 40)]
    plan = staged.build(rows, max_shard_requests=100, max_shard_tokens={MODELS[0]: 3})
    assert [staged.ids(planned) for planned in plan.shards] == [[1, 2], [3], [4]]
    assert [planned.prompt_tokens for planned in plan.shards] == [3, 1, 10]


@pytest.mark.parametrize(("first", "later"), [({MODELS[0]: 1}, {MODELS[0]: 2}), ({}, {MODELS[0]: 1})])
def test_a_limit_that_is_learned_after_the_first_build_changes_no_shard(staged, first, later):
    rows = [(1, "a" * 4), (2, "b" * 4), (3, "c" * 4)]
    plan = staged.build(rows, max_shard_tokens=first)
    assert staged.build(rows, max_shard_tokens=later) == plan


def test_an_upload_alone_does_not_keep_a_shard_nor_does_a_create_that_was_refused(staged):
    first, second = staged.build([(1, "a"), (2, "b"), (3, "c")]).shards
    write_receipt(staged.shard(first), Receipt(first.shard_id, "uploaded", "file-1"))
    staged.claim(second, released=True)
    (shard,) = staged.build([(1, "changed")]).shards
    assert staged.texts(shard) == ["changed"]


def test_what_is_not_planned_any_more_is_withdrawn_and_its_files_stay(staged):
    (shard,) = staged.build([(1, "a")]).shards
    receipt = write_receipt(staged.shard(shard), Receipt(shard.shard_id, "uploaded", "file-1"))
    staged.claim(shard, released=True)
    staged.build([(1, "b")])
    assert latest_claim(staged.shard(shard)).claim.withdrawn
    assert {path.name for path in staged.shard(shard).path.iterdir()} == {
        "creating.1.json",
        "creating.2.json",
        "receipt.1.json",
        "requests.jsonl",
        "source.1.parquet",
    }
    assert read_receipt(staged.shard(shard)) == receipt


def test_a_shard_that_is_planned_again_after_it_was_withdrawn_can_be_sent(staged, client, emulator):
    (shard,) = staged.build([(1, "a")]).shards
    staged.build([(1, "b")])
    assert staged.build([(1, "a")]).shards == (shard,)
    assert submit(staged.shard(shard), client).state == "created"
    assert emulator.ledger()["batches_created"] == 1


def halved(staged, planned):
    """Split a shard as a worker does whose batch would be too large; returns its halves."""
    why = SplitBegun(prompt_tokens=planned.prompt_tokens, limit=planned.prompt_tokens - 1, words="too large")
    split(staged.shard(planned), why)
    return halves_of(staged.shard(planned))


def test_a_shard_that_was_split_is_built_again_while_no_half_is_sent(staged, client):
    (shard,) = staged.build([(1, "a"), (2, "b")]).shards
    halves = halved(staged, shard)
    (other,) = staged.build([(1, "changed"), (2, "b")]).shards
    assert staged.texts(other) == ["changed", "b"]
    for half in halves:
        with pytest.raises(ConfigError, match="withdrawn"):
            submit(half, client)


@pytest.mark.parametrize("sent", [0, 1])
def test_a_shard_of_which_a_half_is_sent_stays_with_all_its_rows(staged, client, sent):
    (shard,) = staged.build([(1, "a"), (2, "b")]).shards
    halves = halved(staged, shard)
    submit(halves[sent], client)
    plan = staged.build([(1, "changed"), (2, "changed"), (3, "c")])
    assert plan.shards[0] == shard
    assert [staged.texts(planned) for planned in plan.shards] == [["a", "b"], ["c"]]
    assert submit(halves[1 - sent], client).state == "created", "and its other half is sent"


def test_a_half_that_is_sent_while_the_source_is_read_keeps_its_shard(staged, client):
    (shard,) = staged.build([(1, "a"), (2, "b")]).shards
    halves = halved(staged, shard)
    plan = staged.build([(1, "changed"), (2, "b")], meanwhile=lambda: submit(halves[1], client))
    assert plan.shards == (shard,)
    assert submit(halves[0], client).state == "created"


def test_a_shard_that_was_split_and_withdrawn_is_sent_in_halves_once_it_is_planned_again(staged, client, emulator):
    (shard,) = staged.build([(1, "a"), (2, "b")]).shards
    halves = halved(staged, shard)
    staged.build([(1, "other")])
    assert staged.build([(1, "a"), (2, "b")]).shards == (shard,)
    with pytest.raises(SplitError):
        submit(staged.shard(shard), client)
    assert [submit(half, client).state for half in halves] == ["created", "created"]
    assert emulator.ledger()["batches_created"] == 2


def test_a_half_that_a_later_build_plans_as_a_shard_is_one(staged, client):
    (shard,) = staged.build([(1, "a"), (2, "b")]).shards
    halves = halved(staged, shard)
    first, second = staged.build([(1, "a"), (2, "b")], max_shard_requests=1).shards
    assert [first.shard_id, second.shard_id] == [half.shard_id for half in halves]
    assert submit(staged.shard(second), client).state == "created"
    plan = staged.build([(1, "new"), (2, "new")], max_shard_requests=1)
    assert second in plan.shards
    assert [staged.texts(planned) for planned in plan.shards] == [["b"], ["new"]]


def test_a_shard_that_is_sent_while_the_source_is_read_is_built_around(staged):
    (shard,) = staged.build([(1, "a")]).shards
    submitted, new = staged.build([(1, "changed"), (2, "b")], meanwhile=lambda: staged.claim(shard)).shards
    assert submitted == shard
    assert (staged.ids(submitted), staged.texts(submitted)) == ([1], ["a"])
    assert (staged.ids(new), staged.texts(new)) == ([2], ["b"])


def test_a_shard_that_would_be_built_anew_byte_for_byte_keeps_its_rows_if_it_is_sent_meanwhile(staged):
    (shard,) = staged.build([(1, "a"), (2, "b")]).shards
    plan = staged.build([(9, "a"), (2, "b")], meanwhile=lambda: staged.claim(shard))
    assert plan.shards == (msgspec.structs.replace(shard, rows=3),)
    assert staged.ids(shard) == [1, 2, 9]


def test_a_shard_that_is_claimed_in_the_moment_before_it_is_withdrawn_is_built_around(staged):
    (shard,) = staged.build([(1, "a")]).shards
    sending = iter([lambda: None, lambda: None, lambda: staged.claim(shard)])

    def clock():
        # Asked when the build begins, for the plan, and then for the claim that withdraws the shard.
        next(sending, lambda: None)()
        return 5.0

    plan = staged.build([(1, "b")], clock=clock)
    assert next(sending, None) is None
    assert plan.shards == (shard,)
    assert staged.texts(shard) == ["a"]
    assert not latest_claim(staged.shard(shard)).claim.withdrawn


def test_the_source_is_opened_once_more_only_for_each_time_that_something_was_sent_meanwhile(staged, make_job):
    (shard,) = staged.build([(1, "a")]).shards
    opened = []

    def rows():
        opened.append(1)
        if len(opened) == 1:
            staged.send(shard)
        return Rows.from_tuples(("id", "text"), iter([[(2, "b")]]))

    for count in (2, 3):
        build(make_job(), rows, staged.run, run_id="run_1", profile=ApiProfile())
        assert len(opened) == count


@pytest.mark.parametrize("index", ["disk", "object store"])
def test_a_build_that_was_given_up_and_wakes_changes_nothing_of_what_its_retry_has_built_and_sent(index, tmp_path):
    staged = Staged(tmp_path if index == "disk" else f"memory://{uuid.uuid4().hex}")
    made = []

    def retry():
        made.append(staged.build([(1, "newer"), (2, "b")]))
        staged.send(made[0].shards[0])

    with pytest.raises(SupersededError, match="another build of this run began after this one"):
        staged.build([(1, "older"), (2, "b")], meanwhile=retry)
    assert read_plan(staged.run) == made[0]
    (paid,) = made[0].shards
    assert is_sent(staged.shard(paid))
    assert staged.shard(paid).source.exists()
    # Nor does what it left confuse the next build.
    assert staged.build([(1, "newer"), (2, "b")]) == made[0]


def test_a_build_that_fails_changes_neither_the_plan_nor_what_it_lists(staged):
    plan = staged.build([(1, "a"), (2, "b"), (3, "c")])
    staged.send(plan.shards[0])
    before = staged.files()
    with pytest.raises(RowError, match="id = 5: this key comes twice"):
        staged.build([(4, "a"), (5, "y"), (5, "z")])
    assert read_plan(staged.run) == plan
    assert {path: staged.files()[path] for path in before} == before
    assert latest_claim(staged.shard(plan.shards[1])) is None


def test_a_row_that_was_sent_is_no_error_though_it_could_not_be_asked_today(staged):
    (shard,) = staged.build([(1, "a")]).shards
    staged.send(shard)
    assert staged.build([(1, "\ud800")]).shards == (shard,)


def test_mapped_tasks_keep_their_shards(staged):
    rows = [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"), (6, "f")]
    first, second, third = staged.build(rows).shards
    staged.send(third)
    # All is built again as it was: nothing moves, though the last alone was sent.
    assert staged.build(rows).shards == (first, second, third)
    staged.send(first)
    # The second is not: what stays moves up, and what is new comes last.
    *stay, new = staged.build([*rows[:2], (3, "x"), *rows[3:]]).shards
    assert stay == [first, third]
    assert staged.texts(new) == ["x", "d"]


def test_what_was_sent_is_found_without_the_plan(staged):
    plan = staged.build([(1, "a"), (2, ""), (3, "a"), (4, "b"), (5, "c" * 400)], model=MODELS)
    for planned in plan.shards:
        staged.send(planned)
    staged.run.plan.unlink()
    again = staged.build([(1, "changed")], model=MODELS)
    assert {shard.shard_id: shard for shard in again.shards}.keys() == {shard.shard_id for shard in plan.shards}
    for shard in again.shards:
        (was,) = [planned for planned in plan.shards if planned.shard_id == shard.shard_id]
        # Its tokens are estimated anew, by its bytes.
        assert msgspec.structs.replace(shard, prompt_tokens=was.prompt_tokens) == was
        assert shard.prompt_tokens == round(shard.bytes / 4)
    assert (again.rows, again.requests, again.unsent, again.bytes) == (
        plan.rows,
        plan.requests,
        plan.unsent,
        plan.bytes,
    )


def test_the_plan_counts_what_stays(staged):
    first = staged.build([(1, "a" * 400), (2, "")])
    staged.send(first.shards[0])
    plan = staged.build([(3, "b" * 40), (4, "")])
    assert (plan.rows, plan.requests, plan.unsent) == (4, 2, 2)
    assert plan.bytes == sum(shard.bytes for shard in plan.shards) > first.bytes
    assert plan.shards[0] == msgspec.structs.replace(first.shards[0], rows=plan.shards[0].rows)
    assert plan.prompt_tokens[MODELS[0]] > first.prompt_tokens[MODELS[0]] > 90
    assert plan.longest == first.longest == LongestRequest(first.longest.bytes, "id = 1")


def test_a_model_that_the_job_asks_no_more_still_counts(staged):
    plan = staged.build([(1, "a")], model=MODELS)
    for planned in plan.shards:
        staged.send(planned)
    again = staged.build([(1, "a")], model=MODELS[1:])
    assert again.requests_by_model == {MODELS[0]: 1, MODELS[1]: 1}
    assert set(again.shards) == set(plan.shards)


def test_a_plan_of_before_there_was_a_target_key_is_read(staged):
    for models, key in ((MODELS, ("id", "model")), (MODELS[0], ("id",))):
        plan = staged.build([(1, "a")], model=models)
        assert plan.target_key == key
        before = json.loads(staged.run.plan.read_bytes())
        del before["target_key"]
        staged.run.plan.write_text(json.dumps(before))
        assert read_plan(staged.run) == plan


def test_it_says_what_was_kept(staged, caplog):
    caplog.set_level("INFO")
    plan = staged.build([(number, str(number)) for number in range(5)])
    assert "Kept" not in caplog.text
    for planned in plan.shards:
        staged.send(planned)
    staged.build([(9, "new")])
    assert "Kept 3 shards (5 requests) sent earlier; built 1 new" in caplog.text


UTC = datetime.UTC
HANOI = datetime.timezone(datetime.timedelta(hours=7))


@pytest.mark.parametrize(
    ("sent", "again", "new"),
    [
        ([1, 2**40], [2**40, 1], 3),
        (["a", "é"], ["é", "a"], "A"),
        ([uuid.UUID(int=1)], [uuid.UUID(int=1)], uuid.UUID(int=2)),
        ([uuid.UUID(int=1)], [str(uuid.UUID(int=1))], uuid.UUID(int=2)),
        # The column's scale is that of its longest value, this time and last time.
        ([Decimal("1.5"), Decimal("12345.678")], [Decimal("1.500"), Decimal("12345.678")], Decimal("1.501")),
        ([Decimal("1.5")], [Decimal("1.50")], Decimal("1.5000001")),
        ([Decimal(10) ** 45], [Decimal(10) ** 45], Decimal(10) ** 46),
        ([datetime.date(2024, 2, 29)], [datetime.date(2024, 2, 29)], datetime.date(2024, 3, 1)),
        (
            [datetime.datetime(2024, 1, 1, tzinfo=UTC)],
            [datetime.datetime(2024, 1, 1, 7, tzinfo=HANOI)],
            datetime.datetime(2024, 1, 1, tzinfo=HANOI),
        ),
        ([datetime.time(1, 2, 3)], [datetime.time(1, 2, 3)], datetime.time(1, 2, 4)),
        ([1.5, 2.0], [2.0, 1.5], 2.5),
        ([1.5, 2], [2, 1.5], 3),
        ([True], [True], False),
        # A column of several types is text, whatever lies beside a value.
        ([1, "x", 2.5], [2.5, 1, "x"], 3.5),
        ([True, "x", False], [False, True], 5),
        ([1, "x"], [1], "1x"),
        # The column has another type by now.
        ([1, 2], ["1", "2"], "02"),
        ([1, 2], [Decimal("1.0"), Decimal("2.0")], Decimal("2.5")),
        ([datetime.date(2024, 1, 1)], [datetime.datetime(2024, 1, 1)], datetime.datetime(2024, 1, 1, 10)),  # noqa: DTZ001
    ],
    ids=lambda values: repr(values)[:40].replace(":", "."),
)
def test_a_key_is_known_again_whatever_its_type_and_another_is_not_taken_for_it(staged, sent, again, new):
    (shard,) = staged.build([(key, "a") for key in sent]).shards
    staged.send(shard)
    # All ask something new now, which shows only in those whose key is not known.
    submitted, made = staged.build([(key, f"changed {index}") for index, key in enumerate([*again, new])]).shards
    assert submitted == shard
    assert staged.texts(made) == [f"changed {len(again)}"]


def test_a_key_that_is_kept_as_text_is_known_however_it_was_written(staged):
    # Shard by shard: floats alone, which Arrow writes as 2, and then text, beside which Python writes 2.0.
    plan = staged.build([(2.0, "a"), (1.5, "b"), ("x", "c"), (3.0, "d")])
    assert [staged.ids(shard) for shard in plan.shards] == [["2", "1.5"], ["x", "3.0"]]
    for planned in plan.shards:
        staged.send(planned)
    assert staged.build([("x", "p"), (3.0, "q"), (2.0, "r"), (1.5, "s")]) == plan


def test_a_composite_key_is_known_by_all_its_parts(staged):
    columns, key = ("a", "b", "text"), ("a", "b")
    one, other = uuid.UUID(int=1), uuid.UUID(int=2)
    (shard,) = staged.build([(1, one, "x"), (2, other, "y")], columns=columns, key=key).shards
    staged.send(shard)
    submitted, new = staged.build([(1, one, "p"), (1, other, "q"), (2, other, "r")], columns=columns, key=key).shards
    assert submitted == shard
    assert staged.texts(new) == ["q"]


def test_the_keys_of_a_real_table_are_known_again_in_another_session(staged, database, make_job):
    query = """
        SELECT n::bigint AS a, 'k' || n AS b, md5(n::text)::uuid AS c, (n / 8.0)::numeric AS d,
               DATE '2024-02-28' + n AS e, TIMESTAMPTZ '2024-03-31 00:30+00' + n * INTERVAL '1 hour' AS f,
               TIMESTAMP '2024-01-01' + n * INTERVAL '1.5 s' AS g, n / 4.0::float8 AS h, n % 2 = 0 AS i,
               'text ' || n || '{text}' AS text
        FROM generate_series(1, 40) n ORDER BY {order}
    """
    job = make_job(key=tuple("abcdefghi"), max_shard_requests=7)

    def built(zone, **parts):
        with psycopg.connect(database) as connection:
            connection.execute(f"SET TIME ZONE '{zone}'")
            return build(
                job,
                lambda: read_sql(connection, query.format(**parts), max_rows=9),
                staged.run,
                run_id="run_1",
                profile=ApiProfile(),
            )

    plan = built("UTC", order="n", text="")
    for planned in plan.shards:
        staged.send(planned)
    assert built("Asia/Ho_Chi_Minh", order="n DESC", text=" changed") == plan


def test_a_column_whose_type_has_grown_has_that_type_in_all_shards(staged):
    columns = ("id", "text", "n")
    (shard,) = staged.build([(1, "a", 1)], columns=columns, carry=("n",)).shards
    staged.send(shard)
    plan = staged.build([(2, "b", 2.5)], columns=columns, carry=("n",))
    schemas = [pq.read_schema(str(staged.shard(planned).source)) for planned in plan.shards]
    assert schemas[0] == schemas[1]
    assert [staged.ids(planned, "n") for planned in plan.shards] == [[1.0], [2.5]]


def test_rows_that_were_sent_with_other_columns_are_named_beside_the_way_out(staged):
    (shard,) = staged.build([(1, "a", 5)], columns=("id", "text", "n"), carry=("n",)).shards
    staged.send(shard)
    with pytest.raises(
        ConfigError, match=r"have the columns id, n; .* are now id\. Undo this change, .* trigger a new run"
    ):
        staged.build([(1, "a")])


@pytest.mark.parametrize("file", ["requests", "source"])
def test_a_shard_that_was_sent_and_has_lost_a_file_is_named(staged, file):
    (shard,) = staged.build([(1, "a")]).shards
    staged.send(shard)
    getattr(staged.shard(shard), file).unlink()
    with pytest.raises(ConfigError, match=rf"{shard.shard_id}/{file}\.\w+: is missing, although this shard was sent"):
        staged.build([(1, "a")])


def test_a_run_whose_staging_was_removed_is_not_paid_again_unawares(staged):
    write_json(staged.run.removed, RemovedRun(removed_at=1_700_000_000.0))
    with pytest.raises(ConfigError, match=r"removed on 2023-11-14.*send all its rows again.*removed\.json"):
        staged.build([(1, "a")])
    assert not staged.run.shards.exists()
    staged.run.removed.unlink()
    assert staged.build([(1, "a")]).requests == 1


def test_what_was_sent_keeps_the_hash_of_its_prompt_when_the_build_is_cleared(staged):
    first = staged.build([(1, "a"), (2, "b")], prompt="old {{ text }}")
    for shard in first.shards:
        staged.send(shard)
    again = staged.build([(1, "a"), (2, "b")], prompt="new {{ text }}")
    assert again.shards == first.shards
    assert again.prompt_hash == first.prompt_hash
    assert staged.build([(1, "a"), (2, "b"), (3, "c")], prompt="new {{ text }}").prompt_hash != first.prompt_hash


def built_with_pilot(run, make_job, count, pilot_requests=2, **job):
    rows = [(n, f"text {n}") for n in range(count)]

    def source():
        return Rows.from_tuples(("id", "text"), iter([rows]))

    return build(make_job(**job), source, run, run_id="run", profile=ApiProfile(), pilot_requests=pilot_requests)


def test_where_nothing_was_read_before_the_first_of_several_shards_is_a_small_pilot(staged, make_job):
    plan = built_with_pilot(staged.run, make_job, 5)
    assert [shard.requests for shard in plan.shards] == [2, 3]
    assert plan.pilot == plan.shards[0].shard_id
    assert "A pilot of 2 requests goes first; its results are read before the rest" in str(plan)
    assert built_with_pilot(staged.run, make_job, 5) == plan
    assert read_plan(staged.run) == plan


def test_of_several_models_one_has_the_pilot(staged, make_job):
    plan = built_with_pilot(staged.run, make_job, 5, model=MODELS)
    assert [(shard.model, shard.requests) for shard in plan.shards] == [(MODELS[0], 2), (MODELS[0], 3), (MODELS[1], 5)]
    assert plan.pilot == plan.shards[0].shard_id


@pytest.mark.parametrize(("count", "pilot_requests", "shards"), [(2, 2, 1), (5, 0, 1), (0, 2, 0)])
def test_a_run_of_one_shard_has_no_pilot(count, pilot_requests, shards, staged, make_job):
    plan = built_with_pilot(staged.run, make_job, count, pilot_requests)
    assert (len(plan.shards), plan.pilot) == (shards, None)
    assert "pilot" not in str(plan)


def test_a_pilot_that_is_sent_stays_the_pilot_and_one_that_told_nothing_is_followed_by_another(
    staged, make_job, client
):
    pilot = built_with_pilot(staged.run, make_job, 5).pilot
    receipt = submit(staged.run.shard(pilot), client)
    again = built_with_pilot(staged.run, make_job, 9)
    assert ([shard.requests for shard in again.shards], again.pilot) == ([2, 7], pilot)
    write_receipt(staged.run.shard(pilot), msgspec.structs.replace(receipt, state="collected"))
    last = built_with_pilot(staged.run, make_job, 9)
    assert [shard.requests for shard in last.shards] == [2, 2, 5]
    assert last.pilot == last.shards[1].shard_id


@pytest.mark.parametrize(
    ("kind", "keys", "words"),
    [
        ("numeric(10,2)", [1.001, 1.002], "takes different keys of the source for one: 1.001 and 1.002"),
        ("varchar(3)", ["abc", "abcd"], "cannot hold the key abcd"),
    ],
)
def test_keys_that_a_table_does_not_keep_are_named_before_any_shard_is_planned(
    make_job, database, tmp_path, kind, keys, words
):
    run = run_folder(tmp_path, "tagging", "run_1")
    with psycopg.connect(database) as connection:
        connection.execute(f"CREATE TABLE answers (id {kind} PRIMARY KEY, custom_id text, status text, run_id text)")
        connection.commit()
        table = TableLookup(sql_table(connection, "answers", ("id",)))
        rows = [(key, "a") for key in keys]
        with pytest.raises(ConfigError, match=words):
            build(
                make_job(),
                lambda: Rows.from_tuples(("id", "text"), iter([rows[:1], rows[1:]])),
                run,
                run_id="run_1",
                profile=ApiProfile(),
                target_lookups=[table],
            )
    assert read_plan(run) is None
