"""The note of what a table has answered, as a file."""

import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from greennode_batch.incremental import answer_cache as answered_note
from greennode_batch.incremental.answer_cache import (
    RepeatedKeyError,
    answer_cache_path,
    cached_hashes,
    read_answer_cache,
    validity,
    write_answer_cache,
)
from greennode_batch.incremental.answered import ANSWERED, FINAL_CODES
from greennode_batch.incremental.row_hashes import ROW_HASHES
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.plan import OrphanedRows
from greennode_batch.state.table_digest import TableDigest

TABLE = TableDigest(5, 2**64 - 1)
WORDS = st.integers(0, 2**64 - 1)


def entries(*rows):
    return np.array(list(rows), ROW_HASHES)


@pytest.fixture
def cache(tmp_path):
    """Writes entries and reads them again: (pieces) -> AnswerCache | None."""

    def make(*pieces, table=TABLE, orphaned=None):
        path = UPath(tmp_path / "note")
        write_answer_cache(path, tmp_path, pieces, valid_for="v", table=table, orphaned=orphaned)
        assert {one.name for one in tmp_path.iterdir()} == {"note"}
        return read_answer_cache(path, tmp_path, valid_for="v", table=table)

    return make


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(WORDS.filter(bool), WORDS, min_size=1, max_size=40), st.data())
def test_it_holds_what_was_written_in_whatever_order_pieces_and_buckets(cache, monkeypatch, rows, data):
    monkeypatch.setattr(answered_note, "_BUCKET_ROWS", data.draw(st.integers(1, 50)))
    shuffled = data.draw(st.permutations(list(rows.items())))
    cut = data.draw(st.integers(0, len(rows)))
    made = cache(entries(*shuffled[:cut]), entries(*shuffled[cut:]), table=TableDigest(len(rows), 7))
    requested = data.draw(st.dictionaries(st.sampled_from(list(rows)) | WORDS, st.sampled_from([0, *rows.values()])))
    same = made.settled(entries(*requested.items()), "model") == ANSWERED
    assert same.tolist() == [given != 0 and rows.get(key) == given for key, given in requested.items()]
    assert made.seen == len(requested.keys() & rows.keys())


def test_a_row_without_a_good_answer_is_there_and_is_never_unchanged(cache):
    made = cache(entries((1, 0), (2, 5)))
    assert made.settled(entries((1, 0), (2, 0), (0, 5)), "model").tolist() == [0, 0, 0]
    assert made.seen == 2


def test_a_final_outcome_is_one_by_its_status_and_answer_model_and_no_answer(cache):
    rows = entries(*((number, 10 + number) for number in range(1, 9)))
    codes = np.array([ANSWERED, *FINAL_CODES, 0, 2], np.uint8)
    made = cache(cached_hashes(rows, codes, "model"))
    assert made.settled(rows, "model").tolist() == codes.tolist()
    answered = [ANSWERED, 0, 0, 0, 0, 0, 0, 0]
    for other in ("another model", None):
        assert cache(cached_hashes(rows, codes, "model")).settled(rows, other).tolist() == answered
    changed = rows.copy()
    changed["input"] += 1
    assert not cache(cached_hashes(rows, codes, "model")).settled(changed, "model").any()
    # Whose input is not told stays so.
    rows["input"] = 0
    assert not cached_hashes(rows, codes, "model")["input"].any()


def test_two_rows_of_one_key_are_not_told_apart(cache):
    with pytest.raises(RepeatedKeyError):
        cache(entries((1, 5), (2, 6))).settled(entries((2, 7), (1, 5), (2, 6)), "model")
    made = cache(entries((1, 5), (2, 6)))
    assert made.settled(entries((2, 6)), "model").tolist() == [ANSWERED]
    with pytest.raises(RepeatedKeyError):
        made.settled(entries((3, 1), (2, 7)), "model")


def test_two_rows_of_one_key_are_not_noted(cache):
    with pytest.raises(RepeatedKeyError):
        cache(entries((1, 5), (2, 6)), entries((3, 7), (2, 8)))


def test_a_row_whose_key_is_not_told_is_not_noted(cache):
    made = cache(entries((0, 5), (2, 6), (0, 7)))
    assert (made.rows, made.settled(entries((0, 5), (2, 6)), "model").tolist()) == (1, [0, ANSWERED])


def test_what_left_the_source_is_kept_beside_it(cache):
    orphaned = OrphanedRows(2, "7, 8", removed=False)
    assert cache(entries((1, 5)), orphaned=orphaned).header.orphaned == orphaned


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data[:-1], "not a readable answer cache"),
        (lambda data: data + b"\0" * 16, "not a readable answer cache"),
        (lambda data: data[:150], "not a readable answer cache"),
        (lambda data: data[:20], "not a readable answer cache"),
        (lambda data: data[:0], "not a readable answer cache"),
        (lambda data: b"\xff" * len(data), "not a readable answer cache"),
        (lambda data: data.replace(b"(2, 2)", b"(2, 1)"), "not a readable answer cache"),
        (lambda data: data.replace(b"(2, 2)", b"(2,-2)"), "not a readable answer cache"),
        # As a version before wrote it.
        (
            lambda data: (
                b'{"version":1,"valid_for":"v","table":[5,18446744073709551615],"rows":2,"left":null}\n' + data[-16:]
            ),
            "not a readable answer cache",
        ),
        (lambda data: data.replace(b'"valid_for":"v"', b'"valid_for":"w"'), "another setting of the requests changed"),
        (
            lambda data: data.replace(b'"table":[5', b'"table":[6'),
            "The table changed after its answer cache was written",
        ),
    ],
)
def test_one_that_is_spoilt_or_about_something_else_counts_for_nothing(tmp_path, caplog, spoil, words):
    caplog.set_level(logging.INFO)
    path = UPath(tmp_path / "note")
    write_answer_cache(path, tmp_path, [entries((1, 5), (2, 6))], valid_for="v", table=TABLE, orphaned=None)
    assert read_answer_cache(path, tmp_path, valid_for="v", table=TABLE) is not None
    path.write_bytes(spoil(path.read_bytes()))
    assert read_answer_cache(path, tmp_path, valid_for="v", table=TABLE) is None
    assert words in caplog.text


def test_no_note_and_a_note_of_nothing_count_for_nothing(cache, tmp_path):
    assert read_answer_cache(UPath(tmp_path / "none"), tmp_path, valid_for="v", table=TABLE) is None
    assert cache(entries()) is None


def test_no_run_has_its_place(tmp_path):
    path = answer_cache_path(run_folder(tmp_path, "dag", "run"), "schema.table")
    assert path.parent == run_folder(tmp_path, "dag", "other").path.parent
    assert run_folder(tmp_path, "dag", path.name).path.name != path.name
    assert path != answer_cache_path(run_folder(tmp_path, "dag", "run"), "table")


def test_it_is_valid_for_the_very_same_requests_alone():
    parts = ["m", {"temperature": 0, "top_p": 1}, ["a"]]
    others = [["n", *parts[1:]], ["m", {"temperature": 0.0, "top_p": 1}, ["a"]], ["m", parts[1], ["a", "b"]]]
    # The order of parameters is that of the request's bytes.
    others.append(["m", {"top_p": 1, "temperature": 0}, ["a"]])
    assert len({validity(*one) for one in (parts, *others)}) == 5
    assert validity(*parts) == validity(*parts)
