from greennode_batch.state.column_limit import ColumnLimit


def test_a_limit_says_in_words_what_its_column_holds():
    words = tuple(f"w{number}" for number in range(30))
    held = {
        ColumnLimit(
            "t", "c", "smallint", "integer", least=-32768, greatest=32767
        ): "whole numbers from -32,768 to 32,767",
        ColumnLimit(
            "t", "c", "numeric(5,2)", "numeric", digits=5, scale=2
        ): "3 digits before the point and 2 behind it",
        ColumnLimit("t", "c", "e", "words", words=words): "one of w0, w1",
        ColumnLimit("t", "c", "timestamp(3)", "timestamp", scale=3): "with 3 digits of a second",
        ColumnLimit("t", "c", "uuid", "uuid"): "the column c of table t (uuid) holds UUIDs",
    }
    for limit, part in held.items():
        assert part in str(limit)
