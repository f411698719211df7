import json
from pathlib import Path

from greennode_batch.collect.anomalies import AnomalyLog, count_anomalies


def test_a_line_is_kept_with_its_file_and_counted_by_kind(make_shard):
    shard = make_shard()
    with AnomalyLog(Path(str(shard.anomalies))) as log:
        log.note("not_json", Path("work/output.jsonl"), b"<html>")
        log.note("unknown custom_id", Path("work/errors.jsonl"), b'{"custom_id": "x"}', "x")
        log.note("not_json", Path("work/output.jsonl"), b"\xff\n")
    assert log.counts == count_anomalies(shard) == {"not_json": 2, "unknown custom_id": 1}
    kept = [json.loads(line) for line in shard.anomalies.read_text().splitlines()]
    assert kept == [
        {"kind": "not_json", "file": "output.jsonl", "custom_id": None, "line": "<html>"},
        {"kind": "unknown custom_id", "file": "errors.jsonl", "custom_id": "x", "line": '{"custom_id": "x"}'},
        {"kind": "not_json", "file": "output.jsonl", "custom_id": None, "line": "\\xff\n"},
    ]


def test_of_a_long_line_some_thousand_bytes_are_kept(make_shard):
    shard = make_shard()
    with AnomalyLog(Path(str(shard.anomalies))) as log:
        log.note("not_json", Path("output.jsonl"), b"x" * 1_000_000)
    assert 1_000 < shard.anomalies.stat().st_size < 10_000


def test_without_an_anomaly_there_is_no_file(make_shard):
    shard = make_shard()
    with AnomalyLog(Path(str(shard.anomalies))) as log:
        pass
    assert not shard.anomalies.exists()
    assert log.counts == count_anomalies(shard) == {}
