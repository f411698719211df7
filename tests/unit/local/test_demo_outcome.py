import psycopg
import pytest

from greennode_local.demo_outcome import Outcome, first_rows, read_outcome
from greennode_local.local_error import LocalError
from greennode_local.samples import SAMPLES

PACKAGES = SAMPLES["package_sections"]


@pytest.fixture
def tables(connection: psycopg.Connection) -> psycopg.Connection:
    connection.execute(
        """
        CREATE TABLE packages (package text, version text, summary text);
        INSERT INTO packages VALUES ('a', '1', 's'), ('a', '2', 's'), ('b', '1', 's');
        CREATE TABLE package_labels (
            package text, version text, section text, status text, prompt_tokens int, completion_tokens int,
            custom_id text
        );
        INSERT INTO package_labels VALUES
            ('a', '1', 'libs', 'succeeded', 10, 2, 'q1'), ('a', '2', NULL, 'failed', NULL, NULL, 'q2'),
            ('b', '1', 'games', 'succeeded', 20, 3, 'q3')
        """
    )
    return connection


def test_a_whole_run_is_counted_and_passes(tables: psycopg.Connection) -> None:
    outcome = read_outcome(tables, PACKAGES)
    outcome.check()
    assert outcome == Outcome(3, 3, 0, {"succeeded": 2, "failed": 1}, 30, 5)
    assert outcome.succeeded == 2


def test_a_lost_row_is_found_though_the_counts_agree(tables: psycopg.Connection) -> None:
    tables.execute("UPDATE package_labels SET version = '9' WHERE package = 'b'")
    outcome = read_outcome(tables, PACKAGES)
    assert outcome.rows_in == outcome.rows_out
    with pytest.raises(LocalError, match="1 of the source missing"):
        outcome.check()


def test_rows_that_share_a_request_have_used_its_tokens_once(tables: psycopg.Connection) -> None:
    tables.execute(
        "UPDATE package_labels SET (status, prompt_tokens, completion_tokens, custom_id) = "
        "('succeeded', 10, 2, 'q1') WHERE version = '2'"
    )
    outcome = read_outcome(tables, PACKAGES)
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (30, 5)


def test_a_row_too_many_is_found(tables: psycopg.Connection) -> None:
    tables.execute("INSERT INTO package_labels VALUES ('c', '1', NULL, 'missing')")
    with pytest.raises(LocalError, match="3 rows in, 4 rows out"):
        read_outcome(tables, PACKAGES).check()


@pytest.mark.parametrize("statement", ["UPDATE package_labels SET status = 'failed'", "DELETE FROM packages"])
def test_nothing_answered_or_nothing_read_does_not_pass(tables: psycopg.Connection, statement: str) -> None:
    tables.execute(statement)
    with pytest.raises(LocalError):
        read_outcome(tables, PACKAGES).check()


def test_the_first_rows_show_key_answer_and_status(tables: psycopg.Connection) -> None:
    columns, rows = first_rows(tables, PACKAGES, limit=2)
    assert columns == ["package", "version", "section", "status"]
    assert rows == [("a", "1", "libs", "succeeded"), ("a", "2", None, "failed")]
