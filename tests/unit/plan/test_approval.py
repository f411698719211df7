import re

import msgspec
import pytest

from greennode_batch.cost.estimated_plan import estimated
from greennode_batch.errors import BudgetError
from greennode_batch.job.budget import Budget
from greennode_batch.job.prices import read_prices
from greennode_batch.plan.approval import approval_text, must_be_approved, note_answer, note_approval_request
from greennode_batch.staging.folders import write_json
from greennode_batch.state.approval_record import refuse_rejected
from greennode_batch.state.receipts import Receipt, write_receipt

ONE, TWO = "google/gemma-4-31b-it", "qwen/qwen3.6-flash"
PRICES = {ONE: [100_000_000, 200_000_000], TWO: [50_000_000, 50_000_000]}
BUDGET = Budget(approve_over=1_000)


@pytest.fixture
def built(make_run):
    """Builds a run with its estimate: (texts, **job) -> (run, plan)."""

    def make(*texts, **changes):
        said = {"params": {"max_tokens": 10}, "budget": BUDGET, **changes}
        run, plan = make_run(("id", "text"), list(enumerate(texts, 1)), **said)
        plan = estimated(plan, run, read_prices(PRICES))
        write_json(run.plan, plan)
        return run, plan

    return make


def send(run, plan, index=0):
    shard = run.shard(plan.shards[index].shard_id)
    write_receipt(shard, Receipt(shard_id=shard.shard_id, state="created", file_id="f", batch_id="b"))


def test_a_person_is_asked_over_the_sum_and_only_then(built):
    run, plan = built("one", "two")
    assert must_be_approved(run, plan, BUDGET)
    assert not must_be_approved(run, plan, Budget(approve_over=plan.estimate.cost))
    assert not must_be_approved(run, plan, Budget(max_cost=1e9))
    assert not must_be_approved(run, plan, None)


def test_what_was_approved_and_is_being_sent_is_not_asked_about_again(built):
    run, plan = built("one", "two", max_shard_requests=1)
    note_approval_request(run, plan)
    note_answer(run, approved=True, by="ann", at=0)
    # Cleared before anything was sent: the person may think otherwise by now.
    assert must_be_approved(run, plan, BUDGET)
    send(run, plan)
    assert not must_be_approved(run, plan, BUDGET)
    more = msgspec.structs.replace(plan.estimate, cost=plan.estimate.cost + 1)
    assert must_be_approved(run, msgspec.structs.replace(plan, estimate=more), BUDGET)
    send(run, plan, 1)
    assert not must_be_approved(run, msgspec.structs.replace(plan, estimate=more), BUDGET)


def test_a_part_that_was_sent_without_a_yes_is_no_yes_to_the_rest(built):
    run, plan = built("one", "two", max_shard_requests=1)
    send(run, plan)
    assert must_be_approved(run, plan, BUDGET)


def test_a_no_counts_until_a_smaller_run_needs_no_yes(built):
    run, plan = built("one", "two")
    refuse_rejected(run)
    note_approval_request(run, plan)
    refuse_rejected(run)
    note_answer(run, approved=False, by="ann", at=0)
    with pytest.raises(BudgetError, match=r"ann rejected .* VND on 1970-01-01 at 00:00 UTC: nothing was submitted"):
        refuse_rejected(run)
    assert not must_be_approved(run, plan, Budget(approve_over=1e9))
    refuse_rejected(run)


def test_a_yes_is_to_what_was_shown(built):
    run, plan = built("one", "two")
    note_approval_request(run, plan)
    more = msgspec.structs.replace(plan.estimate, cost=plan.estimate.cost + 1)
    write_json(run.plan, msgspec.structs.replace(plan, estimate=more))
    with pytest.raises(BudgetError, match="built again after its approval was requested"):
        note_answer(run, approved=True, by="ann", at=0)
    assert note_answer(run, approved=False, by="ann", at=0).approved is False


def test_the_text_has_the_numbers_and_the_first_prompt_of_each_model(built):
    run, plan = built(*(f"text {number}" for number in range(9)), model=[ONE, TWO], system="Be brief.")
    text = approval_text(run, plan, BUDGET)
    assert "| estimated cost | **about " in text
    assert "1,000 VND (`approve_over`)" in text
    assert "| rows | 18 |" in text
    assert "| requests | 18 |" in text
    assert "| shards | 2 |" in text
    assert f"{ONE} (9 requests), {TWO} (9 requests)" in text
    assert text.count("```text\n") == 3
    assert f"row id = 1, model {ONE}\n[system]\nBe brief.\n[user]\ntext 0\n```" in text
    assert f"row id = 1, model {TWO}\n" in text
    assert f"row id = 2, model {ONE}\n" in text


def test_the_text_says_how_many_rows_are_asked_again(built):
    run, plan = built("one", "two")
    assert "sent again" not in approval_text(run, plan, BUDGET)
    text = approval_text(run, msgspec.structs.replace(plan, answered_before=1), BUDGET)
    assert "| sent again | 1 row has a good answer in a target already" in text


def test_no_prompt_ends_the_block_that_it_is_shown_in(built):
    prompts = ["```\n# a heading", "````text\n``````\n**bold**", "x" * 5_000]
    blocks, outside = [], []
    fence = None
    for line in approval_text(*built(*prompts), BUDGET).splitlines():
        if fence is None and (opened := re.fullmatch("(```+)text", line)):
            fence = opened[1]
            blocks.append([])
        elif fence is not None and re.fullmatch(f"{fence}`*", line):
            fence = None
        else:
            (outside if fence is None else blocks[-1]).append(line)
    assert fence is None
    assert not any("heading" in line or "bold" in line or "xx" in line for line in outside)
    assert [block[2:] for block in blocks[:2]] == [prompt.split("\n") for prompt in prompts[:2]]
    assert blocks[2][2].endswith("characters in all)")
    assert len(blocks[2][2]) < 1_100
