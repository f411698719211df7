"""Which rows of a table stay when another run writes the same keys, in every kind of database."""

import itertools

import pyarrow as pa
import pytest
from tests.unit.tables.conftest import ENGINES, OWN

NAMES = ("answer", "status", "custom_id", "run_id", "greennode_job", "greennode_order", "greennode_final")
SCHEMA = pa.schema([("id", pa.int64()), *((name, pa.string()) for name in NAMES)])

OLD = {
    "answer": "old",
    "status": "succeeded",
    "custom_id": "c",
    "run_id": "r1",
    "job": "j",
    "order": "1",
    "final": None,
}
NEW = {**OLD, "answer": "new", "run_id": "r2", "order": "2"}
FAILED = {"answer": None, "status": "failed"}


def rows_of(*rows):
    names = {"job": "greennode_job", "order": "greennode_order", "final": "greennode_final"}
    made = [{"id": number, **{names.get(k, k): v for k, v in row.items()}} for number, row in enumerate(rows)]
    return pa.Table.from_pylist(made, schema=SCHEMA)


CASES = [
    ("a later run writes over a good answer with another", {}, {}, False),
    ("an older run does not write over a later one's row", {"order": "3"}, {}, True),
    ("an older run does not write over a later one's failure", {"order": "3", **FAILED}, {}, True),
    ("a row of a version before has no order, and is older", {"order": None, "job": None}, {}, False),
    ("a failure does not take the place of the answer to the same request", {}, FAILED, True),
    ("nor a final one", {}, {**FAILED, "final": "x"}, True),
    ("nor of the answer to another request, if it may still pass", {"custom_id": "d"}, FAILED, True),
    ("but a final outcome does", {"custom_id": "d"}, {**FAILED, "final": "x"}, False),
    ("a failure takes the place of a failure", FAILED, FAILED, False),
    ("a run writes over rows that are its own", {"run_id": "r2"}, FAILED, False),
    ("an equal run id of another job is not its own", {"run_id": "r2", "job": "k"}, FAILED, True),
    ("nobody knows whose a row of a version before was", {"run_id": "r2", "job": None}, FAILED, False),
]


@pytest.mark.parametrize("kind", [*OWN, *ENGINES])
def test_rows_stay_as_the_rule_says(open_database, kind):
    db = open_database(kind)
    old = rows_of(*({**OLD, **before} for _, before, _, _ in CASES))
    new = rows_of(*({**NEW, **after} for _, _, after, _ in CASES))
    table = db.written(old)
    stay = sum(stays for *_, stays in CASES)
    made = table.write([new.slice(0, 5), new.slice(5)])
    # Some drivers do not count.
    assert made == (len(CASES) - stay, stay) or (kind.startswith("postgresql") and made == (len(CASES), 0))
    held = dict(db.fetch("SELECT id, greennode_order FROM answers"))
    for number, (why, before, after, stays) in enumerate(CASES):
        expected = {**OLD, **before} if stays else {**NEW, **after}
        assert held[number] == expected["order"], why


@pytest.mark.parametrize(("kind", "lacking"), list(itertools.product([*OWN, "sqlite:qmark"], [1, 2, 3])))
def test_a_table_of_a_version_before_goes_without_the_columns_that_it_lacks(open_database, kind, lacking):
    db = open_database(kind)
    before = SCHEMA.names[:-lacking]
    table = db.written(rows_of(OLD, OLD).select(before))
    statements = table.prepare(SCHEMA)
    assert len(statements) == lacking
    assert all(name in statement for name, statement in zip(SCHEMA.names[-lacking:], statements, strict=True))
    new = rows_of({**NEW, **FAILED}, NEW)
    assert table.write([new]) == (1, 1)
    assert db.fetch("SELECT id, run_id FROM answers ORDER BY id") == [(0, "r1"), (1, "r2")]
    db.run(*statements)
    assert table.prepare(SCHEMA) == []
    table.write([rows_of({**NEW, "order": "4"}, {**NEW, "order": "4"})])
    assert table.write([new]) == (0, 2)


@pytest.mark.parametrize("kind", [*OWN, "sqlite:qmark"])
def test_a_job_that_may_add_columns_adds_them(open_database, kind):
    db = open_database(kind)
    db.written(rows_of(OLD).select(SCHEMA.names[:-3]))
    table = db.table(add_columns=True)
    assert len(table.prepare(SCHEMA, create=False)) == 3
    assert table.prepare(SCHEMA) == []
    table.write([rows_of(NEW)])
    assert db.fetch("SELECT greennode_job, greennode_order FROM answers") == [("j", "2")]


def test_a_table_that_may_not_be_altered_goes_without_them(open_database):
    db = open_database("psycopg")
    db.run("CREATE TABLE answers (id bigint PRIMARY KEY, answer text, status text, custom_id text, run_id text)")
    table = db.table(add_columns=True)
    db.run(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$",
        "CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION refuse()",
    )
    try:
        assert len(table.prepare(SCHEMA)) == 3
    finally:
        db.run("DROP EVENT TRIGGER refuse", "DROP FUNCTION refuse")
    assert table.write([rows_of(OLD)]) == (1, 0)
