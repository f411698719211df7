"""Several targets of one job, from before anything is paid until the report."""

import json
from contextlib import ExitStack

import psycopg
import pyarrow.dataset as ds
import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from upath import UPath

from greennode_batch.answers.answer_reader import AnswerReader
from greennode_batch.api.profile import ApiProfile
from greennode_batch.collect.collect import collect_shard, requested_ids
from greennode_batch.errors import ConfigError
from greennode_batch.plan.build import build
from greennode_batch.reconcile.report import check_balanced, report
from greennode_batch.reconcile.written_targets import written_rows
from greennode_batch.retry.explanations import explanations
from greennode_batch.source.rows import Rows
from greennode_batch.state.row_owner import RowOwner
from greennode_batch.tables.open_table import sql_table
from greennode_batch.write.dataset import Dataset
from greennode_batch.write.join import join_shard
from greennode_batch.write.target_writer import prepare_targets, write_shard

FIELDS = AnswerReader(None).fields
ROWS = [(1, "a"), (2, "b"), (3, "a"), (4, "")]


@pytest.fixture
def connection(database):
    with psycopg.connect(database) as made:
        yield made


@pytest.fixture
def open_both(connection, tmp_path):
    """A table and a dataset, as a run writes them."""

    def opened(run, *, by=()):
        table = sql_table(connection, "answers", ("id",))
        return [table, Dataset(UPath(tmp_path / "answers"), run, partition_by=by)]

    return opened


@pytest.fixture
def carry(ended, client):
    def run(run, plan):
        for planned in plan.shards:
            if planned.requests:
                shard = run.shard(planned.shard_id)
                ended(shard)
                collect_shard(shard, client, None)

    return run


def join(run, plan, targets):
    for planned in plan.shards:
        shard = run.shard(planned.shard_id)
        with join_shard(shard, owner=RowOwner("run_1"), answer_fields=FIELDS) as joined:
            write_shard(shard, joined, targets, key=("id",))


def account(run, targets):
    return report(run, *written_rows(run, targets, run_id="run_1"))


def ids_of(folder):
    return sorted(ds.dataset(folder, partitioning="hive").to_table()["id"].to_pylist())


def test_every_row_is_in_each_target_and_the_report_looks_at_each(make_run, carry, open_both, connection, tmp_path):
    run, plan = make_run(("id", "text"), ROWS, max_shard_requests=1)
    carry(run, plan)
    targets = open_both(run, by=("status",))
    join(run, plan, targets)
    check_balanced(account(run, targets))
    assert ids_of(tmp_path / "answers") == [1, 2, 3, 4]

    connection.execute("DELETE FROM answers WHERE id = 2")
    connection.commit()
    (tmp_path / "answers" / targets[1].files()[0]).unlink()
    table, dataset = account(run, targets).problems
    assert table.startswith("table answers: rows that are not in the target (1): 2.")
    assert dataset.startswith(f"dataset {tmp_path / 'answers'}: rows that are not in the target (")

    join(run, plan, targets)
    check_balanced(account(run, targets))


def test_one_target_is_spoken_of_as_the_target(make_run, carry, open_both, tmp_path):
    run, plan = make_run(("id", "text"), ROWS)
    carry(run, plan)
    (_, dataset) = open_both(run)
    join(run, plan, [dataset])
    (tmp_path / "answers" / dataset.files()[0]).unlink()
    (problem,) = account(run, [dataset]).problems
    assert problem.startswith("rows that are not in the target (4): ")


def test_a_target_that_fails_leaves_the_shard_unjoined_and_a_second_join_mends_it(
    make_run, carry, open_both, connection
):
    run, plan = make_run(("id", "text"), ROWS)
    carry(run, plan)
    table, dataset = open_both(run)
    connection.execute("CREATE TABLE answers (id int)")
    connection.commit()
    with pytest.raises(ConfigError, match="table answers has no column"):
        join(run, plan, [dataset, table])
    assert not run.shard(plan.shards[0].shard_id).joined.exists()
    connection.execute("DROP TABLE answers")
    connection.commit()
    join(run, plan, [dataset, table])
    check_balanced(account(run, [dataset, table]))


def test_files_of_shards_that_a_later_build_took_back_are_removed(make_job, make_run, open_both, tmp_path):
    run, plan = make_run(("id", "text"), [(1, ""), (2, "")])
    (_, dataset) = open_both(run)
    join(run, plan, [dataset])
    assert ids_of(tmp_path / "answers") == [1, 2]

    def source():
        return Rows.from_tuples(("id", "text"), iter([[(2, ""), (3, "")]]))

    again = build(make_job(), source, run, run_id="run_1", profile=ApiProfile())
    assert [one.shard_id for one in again.shards] != []
    join(run, again, [dataset])
    check_balanced(account(run, [dataset]))
    assert ids_of(tmp_path / "answers") == [2, 3]


def test_files_are_left_while_a_shard_is_not_joined(make_run, carry, open_both, tmp_path):
    run, plan = make_run(("id", "text"), ROWS, max_shard_requests=1)
    carry(run, plan)
    (_, dataset) = open_both(run)
    join(run, plan, [dataset])
    shard = run.shard(plan.shards[0].shard_id)
    shard.joined.unlink()
    with join_shard(shard, owner=RowOwner("r"), answer_fields=FIELDS) as joined:
        (stray,) = dataset.write(joined, "stray")
    account(run, [dataset])
    assert stray in dataset.files()


def test_what_cannot_take_the_answers_is_found_before_anything_is_paid(make_run, open_both, connection, tmp_path):
    run, plan = make_run(("id", "text"), [(number, "a") for number in range(1_001)])
    with ExitStack() as stack:
        stack.callback(connection.rollback)
        prepare_targets(open_both(run), run, plan, answer_fields=FIELDS, create=False)
        assert connection.execute("SELECT to_regclass('answers')").fetchone() == (None,)
    assert not (tmp_path / "answers").exists()
    with pytest.raises(ConfigError, match="partition_by id splits one shard into 1,001 partitions"):
        prepare_targets(open_both(run, by=("id",)), run, plan, answer_fields=FIELDS)
    prepare_targets(open_both(run, by=("status",)), run, plan, answer_fields=FIELDS)
    connection.execute("DROP TABLE answers; CREATE TABLE answers (id int)")
    connection.commit()
    with pytest.raises(ConfigError, match="table answers has no column"):
        prepare_targets(open_both(run), run, plan, answer_fields=FIELDS)


def test_keys_are_compared_in_a_table_that_was_just_made_where_they_could_not_be_before(make_run, database):
    engine = sa.create_engine(database.replace("postgresql", "postgresql+psycopg", 1))
    try:
        (long, short), fits = ("x" * 256, "y"), sql_table(engine, "others", ("id",))
        run, plan = make_run(("id", "text"), [(short, "a"), (long, "b")])
        with pytest.raises(ConfigError, match=r"table answers cannot hold the key x+… \(256 characters\)"):
            prepare_targets([sql_table(engine, "answers", ("id",))], run, plan, answer_fields=FIELDS)
        run, plan = make_run(("id", "text"), [(short, "a"), (long[:255], "b")])
        prepare_targets([fits], run, plan, answer_fields=FIELDS)
    finally:
        engine.dispose()


class Reading(BaseModel):
    amount: int
    label: str


def answer_with(shard, *answers):
    """Put these answers in place of those that the server gave, in their order."""
    lines = [json.loads(line) for line in shard.output.read_bytes().splitlines()]
    for line, answer in zip(lines, answers, strict=True):
        line["response"]["body"]["choices"][0]["message"]["content"] = json.dumps(answer)
    shard.output.write_text("".join(json.dumps(line) + "\n" for line in lines))
    shard.results.unlink()


def test_an_answer_beyond_a_column_is_invalid_and_explained_and_the_others_are_written(
    make_run, ended, client, connection, emulator
):
    run, plan = make_run(("id", "text"), [(1, "a"), (2, "b"), (3, "c")], answer=Reading)
    (shard,) = [run.shard(planned.shard_id) for planned in plan.shards]
    table, fields = sql_table(connection, "answers", ("id",)), AnswerReader(Reading).fields
    assert prepare_targets([table], run, plan, answer_fields=fields).answer_limits == ()
    connection.execute("ALTER TABLE answers ALTER amount TYPE smallint, ALTER label TYPE varchar(5)")
    connection.commit()
    plan = prepare_targets([table], run, plan, answer_fields=fields)
    assert [limit.type for limit in plan.answer_limits] == ["smallint", "character varying(5)"]
    ended(shard)
    collect_shard(shard, client, Reading)
    good = {"amount": 5, "label": "fine"}
    answer_with(shard, good, {"amount": 70_000, "label": "fine"}, {"amount": 5, "label": "too long"})

    assert collect_shard(shard, client, Reading) == {"succeeded": 1, "invalid_output": 2}
    with join_shard(shard, owner=RowOwner("run_1"), answer_fields=fields) as joined:
        write_shard(shard, joined, [table], key=("id",))
    written = connection.execute("SELECT status, amount, error FROM answers ORDER BY status, error").fetchall()
    connection.commit()
    assert [(status, amount) for status, amount, _ in written] == [
        ("invalid_output", None), ("invalid_output", None), ("succeeded", 5),
    ]  # fmt: skip
    amount = "amount: the column amount of table answers (smallint) holds whole numbers from -32,768 to 32,767"
    assert written[0][2].startswith(f"{amount}; the answer was: ")
    assert written[1][2].startswith("label: the column label of table answers (character varying(5)) holds texts of at")
    (messages,) = explanations(shard, set(requested_ids(shard)))
    assert any(amount in bytes(words).decode() for _, words in messages.values())

    connection.execute("ALTER TABLE answers ALTER amount TYPE bigint")
    connection.commit()
    prepare_targets([table], run, plan, answer_fields=fields)
    assert collect_shard(shard, client, Reading) == {"succeeded": 2, "invalid_output": 1}
    assert emulator.ledger()["calls"]["GET /files/{id}/content"] == 1


GRADE = "CREATE DOMAIN grade AS text CHECK (VALUE IN ('fine', '(1,2)')); ALTER TABLE answers ALTER label TYPE grade"
PAIR = "CREATE TYPE pair AS (a int, b int); ALTER TABLE answers ALTER label TYPE pair USING NULL"
REFERENCE = """CREATE TABLE labels (label text PRIMARY KEY); INSERT INTO labels VALUES ('(1,2)');
ALTER TABLE answers ADD FOREIGN KEY (label) REFERENCES labels DEFERRABLE INITIALLY DEFERRED"""


@pytest.mark.parametrize(
    ("change", "bad", "column", "reason"),
    [
        (GRADE, "so-so", "label of table answers (grade)", "value for domain grade violates check constraint"),
        (PAIR, "(1,x)", "label of table answers (pair)", "invalid input syntax for type integer:"),
        ("ALTER TABLE answers ADD CHECK (amount < 10)", 11, "amount of table answers (bigint)", "new row for relation"),
        (REFERENCE, "so-so", "label of table answers (text)", "insert or update on table"),
    ],
    ids=["domain", "composite", "check", "foreign key"],
)
def test_an_answer_that_only_the_write_shows_to_be_refused_keeps_no_other_row_out(
    make_run, ended, client, open_both, connection, change, bad, column, reason, tmp_path
):
    run, plan = make_run(("id", "text"), [(1, "a"), (2, "b"), (3, "c")], answer=Reading)
    (shard,) = [run.shard(planned.shard_id) for planned in plan.shards]
    (table, dataset), fields = open_both(run), AnswerReader(Reading).fields
    targets = [dataset, table]
    prepare_targets(targets, run, plan, answer_fields=fields)
    connection.execute(change)
    connection.commit()
    ended(shard)
    collect_shard(shard, client, Reading)
    good, name = {"amount": 5, "label": "(1,2)"}, column.partition(" ")[0]
    answer_with(shard, good, {**good, name: bad}, good)
    assert collect_shard(shard, client, Reading) == {"succeeded": 3}

    def write():
        with join_shard(shard, owner=RowOwner("run_1"), answer_fields=fields) as joined:
            return write_shard(shard, joined, targets, key=("id",)).statuses

    for _ in range(2):
        assert write() == {"succeeded": 2, "invalid_output": 1}
    query = "SELECT status, amount, label::text, error FROM answers ORDER BY status"
    rows = connection.execute(query).fetchall()
    connection.commit()
    assert rows[0][:3] == ("invalid_output", None, None)
    assert rows[0][3].startswith(f"{name}: the column {column} refuses it: {reason}")
    assert rows[0][3].endswith(f"; the answer was: {bad}")
    assert rows[1:] == [("succeeded", *good.values(), None)] * 2
    held = ds.dataset(tmp_path / "answers").to_table().sort_by("status").to_pylist()
    assert [(row["status"], row["amount"], row["label"], row["error"]) for row in held] == rows
    made = account(run, targets)
    check_balanced(made)
    assert made.statuses == {"succeeded": 2, "invalid_output": 1}
