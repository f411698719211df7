"""What a trial says; that it asks and writes nothing else is tested with the command and the operator."""

from greennode_batch.interactive.trial import Trial, trial_job, trial_page, trial_text
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.budget import Budget
from greennode_batch.job.prices import read_prices
from greennode_batch.job.sources import FileSource
from greennode_batch.job.targets import FileTarget
from greennode_batch.state.run_report import RunReport

JOB = BatchJob(
    name="notes",
    source=FileSource(path="/rows.csv"),
    key="id",
    model="m",
    prompt="{{ text }}",
    target=FileTarget(path="/out.parquet"),
)


def row(number, **changes):
    answered = {"status": "succeeded", "answer": "<b>fine</b>", "error": None, "reasoning": "since it is"}
    used = {"prompt_tokens": 1000, "completion_tokens": 20, "custom_id": f"c{number}"}
    return {"id": number, **answered, **used, **changes}


def trial(*rows, cost=None):
    report = RunReport(
        "notes", "r", len(rows), len(rows), 1, {"succeeded": len(rows)}, 2000, 40, cost=cost, currency="VND"
    )
    return Trial(job=JOB, report=report, prices=read_prices({"m": [1, 1]}), answers=rows, seconds={"c1": 0.51})


REFUSED = {"status": "refused", "answer": None, "error": "not allowed", "reasoning": None}


def test_the_page_shows_what_the_model_said_as_text_and_why_there_is_no_answer():
    page = trial_page(trial(row(1), row(2, **REFUSED)), dag_id="d", run_id="r")
    assert "A try of 2 rows: nothing was written" in page
    assert "&lt;b&gt;fine&lt;/b&gt;" in page
    assert "<b>fine" not in page
    assert "refused: not allowed" in page
    assert "since it is" in page


def test_the_log_has_the_same_as_a_table():
    text = trial_text(trial(row(1), row(2, **REFUSED)))
    assert all(part in text for part in ("<b>fine</b>", "refused: not allowed", "1,000 + 20", "0.5"))


def test_the_cost_of_a_table_is_that_of_its_rows_in_batches_and_live():
    assert trial(row(1), row(2), cost=4.0).of_table(10) == (
        "The whole table (10 rows): about 10,000 prompt and 200 completion tokens, about 10 VND in batches, 20 VND live"
    )
    assert trial(row(1), row(2)).of_table() == (
        "1,000 rows like these: about 1,000,000 prompt and 20,000 completion tokens"
    )
    assert trial().of_table() == "1,000 rows like these: none of the first asks anything"


def test_a_trial_asks_nobody_so_what_needs_approval_is_its_limit():
    job = BatchJob(
        name="notes",
        source=JOB.source,
        key="id",
        model="m",
        prompt="{{ text }}",
        target=JOB.target,
        budget=Budget(max_cost=9, approve_over=2, max_live_cost=5),
    )
    assert trial_job(job, keeps_reasoning=False).budget == Budget(max_cost=2, max_live_cost=5)
