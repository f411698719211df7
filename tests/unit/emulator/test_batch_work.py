import json

import msgspec
import pytest

from greennode_emulator.batch_work import BatchWork, Shop, input_name
from greennode_emulator.dialects.openai import OPENAI
from greennode_emulator.ledger import Ledger
from greennode_emulator.models import EmulatedModel
from greennode_emulator.records import BatchRecord, Phase
from greennode_emulator.result_files import result_file_id
from greennode_emulator.settings import DEFAULT_MODELS, Settings
from greennode_emulator.store import Store

LINES = 2500


@pytest.fixture
def store(tmp_path, body, jsonl):
    store = Store(tmp_path)
    bodies = {f"r{row}": body(f"row {row}") for row in range(LINES)}
    bodies["r7"] = bodies["r7"] | {"temperature": 9}
    store.path(input_name("b")).write_bytes(jsonl(bodies))
    store.batches.add(
        BatchRecord(
            id="b",
            input_file_id="f",
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata=None,
            created_at=1000,
            seconds=100,
        )
    )
    yield store
    store.close()


def make_work(store):
    model = EmulatedModel(DEFAULT_MODELS)
    return BatchWork("b", Shop(store=store, ledger=Ledger(store), dialect=OPENAI, settings=Settings(), model=model))


def run_until(work, now):
    """Step until the batch wants to rest."""
    while (rest := work.step(now)) == 0:
        pass
    return rest


def test_a_batch_goes_through_its_phases_by_the_clock(store):
    work = make_work(store)
    phases = []
    for now in (1005, 1010, 1050, 1089, 1090, 1099, 1100):
        run_until(work, now)
        phases.append((store.batches.get("b").phase.value, store.batches.get("b").done))
    assert phases == [
        ("validating", 0),
        ("in_progress", 0),
        ("in_progress", LINES // 2),
        ("in_progress", 2468),
        ("finalizing", LINES),
        ("finalizing", LINES),
        ("completed", LINES),
    ]
    batch = store.batches.get("b")
    assert (batch.completed, batch.failed) == (LINES - 1, 1)
    assert not store.path(input_name("b")).exists()


@pytest.mark.parametrize("created_at", [1000, 1_780_134_364.2441125, 1_780_847_433.7369373])
@pytest.mark.parametrize("seconds", [0.05, 0.1, 1.8])
def test_a_batch_whose_steps_come_just_when_they_are_due_ends_with_all_of_its_lines(store, created_at, seconds):
    store.batches.update("b", lambda one: msgspec.structs.replace(one, created_at=created_at, seconds=seconds))
    work, now = make_work(store), created_at
    while (rest := work.step(now)) is not None:
        now += rest
    batch = store.batches.get("b")
    assert batch.phase is Phase.COMPLETED
    assert (batch.total, batch.completed, batch.failed) == (LINES, LINES - 1, 1)


def test_a_step_is_short(store):
    work = make_work(store)
    run_until(work, 1010)
    work.step(1090)
    assert store.batches.get("b").done == EmulatedModel.lines_a_step


def test_another_process_goes_on_where_one_was_killed_in_mid_write(store):
    first = make_work(store)
    run_until(first, 1050)
    committed = store.batches.get("b")
    # Killed after writing and before committing: lines on disk that no record knows of.
    with store.path(result_file_id("b", "output", OPENAI)).open("ab") as file:
        file.write(b'{"custom_id": "half a li')
    second = make_work(store)
    assert run_until(second, 2000) is None
    batch = store.batches.get("b")
    assert (batch.phase, batch.done) == (Phase.COMPLETED, LINES)
    assert batch.output_bytes > committed.output_bytes
    content = store.path(batch.output_file_id).read_bytes()
    assert content.endswith(b"}\n")
    ids = [json.loads(line)["custom_id"] for line in content.split(b"\n")[:-1]]
    assert sorted(ids) == sorted(f"r{row}" for row in range(LINES) if row != 7)
    bills = Ledger(store).read(now=2000)
    assert set(bills["requests"].values()) == {1}
    assert bills["requests_billed"] == LINES - 1


def test_results_come_in_another_order_that_is_the_same_after_a_restart(store):
    orders = [list(make_work(store)._order) for _ in range(2)]
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])
    assert sorted(orders[0]) == list(range(LINES))


def test_a_breakdown_ends_the_batch_with_a_reason(store):
    make_work(store).fail("disk full", 1001)
    batch = store.batches.get("b")
    assert batch.phase is Phase.FAILED
    assert [problem.code for problem in batch.problems] == ["internal_error"]
