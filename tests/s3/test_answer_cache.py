import numpy as np

from greennode_batch.incremental.answer_cache import answer_cache_path, read_answer_cache, write_answer_cache
from greennode_batch.incremental.answered import ANSWERED
from greennode_batch.incremental.row_hashes import ROW_HASHES
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.table_digest import TableDigest


def test_a_note_in_an_object_store_is_replaced_whole_and_read_from_a_copy(bucket, tmp_path):
    path = answer_cache_path(run_folder(bucket, "dag", "run"), "answers")
    table = TableDigest(2, 5)
    assert read_answer_cache(path, tmp_path, valid_for="v", table=table) is None
    for answer in (5, 6):
        entries = np.array([(1, answer), (2, 7)], ROW_HASHES)
        write_answer_cache(path, tmp_path, [entries], valid_for="v", table=table, orphaned=None)
        note = read_answer_cache(path, tmp_path, valid_for="v", table=table)
        assert note is not None
        assert (note.settled(entries, None) == ANSWERED).all()
