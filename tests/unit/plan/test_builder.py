import datetime
import hashlib
import itertools
import json
import uuid
from decimal import Decimal

import msgspec
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError, RowError
from greennode_batch.plan.bloom_filter import BloomFilter
from greennode_batch.plan.build import build
from greennode_batch.plan.request_index import RequestIndex
from greennode_batch.source.rows import Rows
from greennode_batch.source.sql import read_sql
from greennode_batch.staging.folders import run_folder
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import latest_claim

MODELS = ("google/gemma-4-31b-it", "openai/gpt-oss-120b")


def lines_of(run, planned):
    return [json.loads(line) for line in run.shard(planned.shard_id).requests.read_bytes().split(b"\n")[:-1]]


def source_of(run, planned):
    return pq.ParquetFile(str(run.shard(planned.shard_id).source)).read(use_threads=False)


def all_rows(run, plan):
    return [row for planned in plan.shards for row in source_of(run, planned).to_pylist()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.sampled_from(["", " ", "a", "b", "c" * 90, "d", "é", "e" * 900]), max_size=25),
    models=st.sampled_from([MODELS, MODELS[:1], MODELS[0]]),
    samples=st.integers(1, 3),
    max_requests=st.integers(1, 5),
    max_bytes=st.integers(150, 700),
)
def test_every_row_is_in_one_shard_and_every_distinct_request_is_sent_once(
    make_run, texts, models, samples, max_requests, max_bytes
):
    run, plan = make_run(
        ("id", "text"),
        list(enumerate(texts)),
        model=models,
        samples=samples,
        max_shard_requests=max_requests,
        max_shard_bytes=max_bytes,
    )
    # Rows: each one for each model and sample, none twice, none lost.
    rows = all_rows(run, plan)
    models = [models] if isinstance(models, str) else models
    assert sorted((row["id"], row["model"], row.get("sample", 1)) for row in rows) == sorted(
        itertools.product(range(len(texts)), models, range(1, samples + 1))
    )
    assert all(("sample" in row) == (samples > 1) for row in rows)
    assert plan.rows == len(rows) == sum(shard.rows for shard in plan.shards)
    assert plan.unsent == sum(row["custom_id"] is None for row in rows)
    assert all((row["custom_id"] is None) == (row["unsent"] is not None) for row in rows)
    assert len({shard.shard_id for shard in plan.shards}) == len(plan.shards)
    sent = []
    for planned in plan.shards:
        content = run.shard(planned.shard_id).requests.read_bytes()
        lines = lines_of(run, planned)
        # Limits, and the identity of a shard.
        assert len(lines) == planned.requests <= max_requests
        assert len(content) == planned.bytes <= max_bytes
        assert planned.shard_id == hashlib.sha256(content).hexdigest()[:32]
        assert {line["body"]["model"] for line in lines} <= {planned.model}
        # A row lies beside the shard that answers it.
        requested = {row["custom_id"] for row in source_of(run, planned).to_pylist()} - {None}
        assert requested == {line["custom_id"] for line in lines}
        sent += [(planned.model, line["custom_id"]) for line in lines]
    assert len({custom_id for _, custom_id in sent}) == len(sent) == plan.requests
    # Concatenated, the shards of a model are its distinct requests in the order in which they were first asked.
    for model in models:
        asked_in_order = {
            row["custom_id"]: None
            for row in sorted(rows, key=lambda row: (row.get("sample", 1), row["id"]))
            if row["model"] == model and row["custom_id"]
        }
        assert [custom_id for name, custom_id in sent if name == model] == list(asked_in_order)


def test_a_row_that_asks_what_a_closed_shard_asks_joins_that_shard(make_run):
    run, plan = make_run(("id", "text"), [(1, "a"), (2, "b"), (3, "a")], max_shard_requests=1)
    assert [(shard.requests, shard.rows) for shard in plan.shards] == [(1, 2), (1, 1)]
    assert source_of(run, plan.shards[0])["id"].to_pylist() == [1, 3]
    assert (plan.rows, plan.requests, plan.repeated, plan.unsent) == (3, 2, 1, 0)


def test_samples_are_requests_of_their_own_whose_bodies_are_the_same(make_run):
    run, plan = make_run(("id", "text"), [(1, "a"), (2, "b"), (3, "a"), (4, "")], samples=3)
    assert (plan.rows, plan.requests, plan.repeated, plan.unsent) == (12, 6, 3, 3)
    assert plan.target_key == ("id", "sample")
    (planned,) = plan.shards
    bodies = [json.dumps(line["body"]) for line in lines_of(run, planned)]
    assert [bodies.count(body) for body in sorted(set(bodies))] == [3, 3]
    source = source_of(run, planned)
    assert source.column_names[:2] == ["id", "sample"]
    assert source.schema.field("sample").type == pa.int64()
    ids = {(row["id"], row["sample"]): row["custom_id"] for row in source.to_pylist()}
    assert all(ids[1, sample] == ids[3, sample] for sample in (1, 2, 3))
    # What was asked before there were samples is the first of them.
    _, plain = make_run(("id", "text"), [(1, "a")])
    assert plain.target_key == ("id",)
    _, one = make_run(("id", "text"), [(1, "a")], samples=1)
    assert one == msgspec.structs.replace(plain, created_at=one.created_at)
    assert plan.prompt_tokens[MODELS[0]] == pytest.approx(6 * plain.prompt_tokens[MODELS[0]], abs=3)


def test_a_column_of_the_source_may_be_called_sample_where_there_is_one(make_run):
    run, plan = make_run(("id", "sample"), [(1, "blood")], prompt="{{ sample }}", carry=("sample",))
    assert source_of(run, plan.shards[0])["sample"].to_pylist() == ["blood"]


def test_no_two_models_share_a_folder_though_nothing_can_be_sent(make_run):
    run, plan = make_run(("id", "text"), [(1, ""), (2, " ")], model=MODELS)
    assert plan.submitted_shards == 0
    assert len(all_rows(run, plan)) == plan.rows == 4


def test_an_empty_table_gives_a_plan_without_shards(make_run):
    run, plan = make_run(("id", "text"), [])
    assert plan.shards == ()
    assert read_plan(run) == plan
    assert str(plan).startswith("0 rows: 0 requests in 0 shards")


def test_an_empty_prompt_is_not_sent_though_there_is_a_system_message(make_run):
    run, plan = make_run(("id", "text"), [(1, "\n "), (2, "x"), (3, None)], system="Be brief.")
    assert [row["unsent"] for row in all_rows(run, plan)] == ["the prompt is empty", None, "the prompt is empty"]


def test_a_row_too_large_for_a_file_is_not_sent_and_says_how_large_it_is(make_run):
    run, plan = make_run(("id", "text"), [(1, "x" * 5_000), (2, "y")], profile=ApiProfile(max_file_bytes=1_000))
    assert all_rows(run, plan)[0]["unsent"].startswith("the request has 5,1")
    assert "a whole file may have 1,000" in all_rows(run, plan)[0]["unsent"]
    assert plan.requests == 1


def test_a_job_may_not_raise_the_limits_of_the_api(make_run):
    _, plan = make_run(
        ("id", "text"), [(n, str(n)) for n in range(4)], max_shard_requests=10, profile=ApiProfile(max_requests=2)
    )
    assert [shard.requests for shard in plan.shards] == [2, 2]


def test_a_composite_key_may_repeat_in_its_parts(make_run):
    run, plan = make_run(("a", "b", "text"), [(1, "x", "t"), (1, "y", "u"), (2, "x", "v")], key=("a", "b"))
    assert [(row["a"], row["b"]) for row in all_rows(run, plan)] == [(1, "x"), (1, "y"), (2, "x")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(1, "x", "t"), (1, "x", "u")], r"row a, b = 1, x: this key comes twice.*Nothing was sent"),
        ([(1, None, "t")], r"row a, b = 1, NULL: a key may not be NULL.*Nothing was sent"),
        ([(1, ["x"], "t")], r"row a, b = 1, \['x'\]: a key may not be JSON or an array.*Nothing was sent"),
        ([(1, "x", "\ud800")], r"row a, b = 1, x: the text holds half of a surrogate pair.*Nothing was sent"),
    ],
)
def test_a_row_that_cannot_be_asked_is_named(make_run, rows, message):
    with pytest.raises(RowError, match=message):
        make_run(("a", "b", "text"), rows, key=("a", "b"))


def test_a_key_or_carried_column_that_is_not_there_is_named_beside_those_that_are(make_run):
    with pytest.raises(ConfigError, match=r"no column ticket_id, when \(it has id, text\).*Nothing was sent"):
        make_run(("id", "text"), [], key="ticket_id", carry=("when",))


def test_a_failed_build_leaves_no_plan_and_no_work_folder(make_run, tmp_path):
    with pytest.raises(RowError):
        make_run(("id", "text"), [(1, "x"), (1, "y")])
    assert not list(tmp_path.rglob("plan*.json"))
    assert not list(tmp_path.rglob(".work-*"))


def test_a_column_that_is_null_in_one_shard_has_the_type_of_the_others(make_run):
    run, plan = make_run(
        ("id", "text", "n", "never"),
        [(1, "a", None, None), (2, "b", 5, None), (3, "c", 2.5, None)],
        carry=("n", "never"),
        max_shard_requests=1,
    )
    schemas = [source_of(run, planned).schema for planned in plan.shards]
    assert schemas[0] == schemas[1] == schemas[2]
    assert schemas[0].field("n").type == pa.float64()
    assert schemas[0].field("never").type == pa.string()
    assert [row["n"] for row in all_rows(run, plan)] == [None, 5, 2.5]


def test_a_column_of_mixed_types_is_text_in_all_shards(make_run):
    run, plan = make_run(("id", "text", "x"), [(1, "a", 1), (2, "b", "two")], carry=("x",), max_shard_requests=1)
    assert [row["x"] for row in all_rows(run, plan)] == ["1", "two"]


@pytest.fixture
def forgetful(monkeypatch):
    """A builder that remembers two requests, and whose filter calls most of the rest perhaps repeated."""

    def index(submitted):
        return RequestIndex(submitted, recent=1, older=BloomFilter(1))

    monkeypatch.setattr("greennode_batch.plan.shard_set.RequestIndex", index)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.sampled_from([*"abcdefghijklm", ""]), max_size=6), max_size=12),
    st.integers(1, 5),
    st.sampled_from([MODELS, MODELS[:1]]),
    st.integers(1, 2),
)
def test_a_request_is_sent_once_however_long_ago_it_was_asked(
    forgetful, make_job, tmp_path_factory, batches, max_requests, models, samples
):
    texts = [text for batch in batches for text in batch]
    numbered = iter(range(len(texts)))
    rows = Rows.from_tuples(("id", "text"), [[(next(numbered), text) for text in batch] for batch in batches])
    run = run_folder(tmp_path_factory.mktemp("staging"), "job", "run")
    job = make_job(model=models, samples=samples, max_shard_requests=max_requests)
    plan = build(job, lambda: rows, run, run_id="r", profile=ApiProfile())
    stored = all_rows(run, plan)
    assert sorted((row["id"], row["model"], row.get("sample", 1)) for row in stored) == [
        *itertools.product(range(len(texts)), sorted(models), range(1, samples + 1))
    ]
    assert plan.requests == len({text for text in texts if text}) * len(models) * samples
    sent = [line["custom_id"] for planned in plan.shards for line in lines_of(run, planned)]
    assert len(sent) == len(set(sent)) == plan.requests
    for planned in plan.shards:
        requested = {row["custom_id"] for row in source_of(run, planned).to_pylist()} - {None}
        assert requested == {line["custom_id"] for line in lines_of(run, planned)}


def test_a_build_begun_anew_leaves_nothing_of_an_interrupted_one_that_could_be_sent(make_job, tmp_path):
    run = run_folder(tmp_path, "job", "run")

    def built(batches):
        rows = Rows.from_tuples(("id", "text"), batches)
        return build(make_job(max_shard_requests=1), lambda: rows, run, run_id="r", profile=ApiProfile())

    def interrupted():
        yield [(1, "left"), (2, "open")]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(interrupted())
    (orphaned,) = run.shards.iterdir()
    (tmp_path / "job/run/.work-1-killed").mkdir()
    (final,) = built(iter([[(1, "final")]])).shards
    assert {final.shard_id} != {orphaned.name}
    assert latest_claim(run.shard(orphaned.name)).claim.withdrawn
    assert not list(tmp_path.rglob(".work-*"))


def test_the_types_of_a_real_table_reach_source_parquet(database, make_job, tmp_path):
    values = """
        1::bigint AS id, 'hello'::text AS text, 12.50::numeric(10,2) AS price, DATE '2024-02-29' AS day,
        TIMESTAMPTZ '2024-01-01 07:00+07' AS at, TIMESTAMP '2024-01-01 12:00' AS local, TRUE AS flag,
        '{"a": [1, null]}'::jsonb AS doc, '11111111-2222-3333-4444-555555555555'::uuid AS uid,
        ARRAY[1.5, 2] AS list, 0.1::float8 AS score, '10.0.0.1'::inet AS host, INTERVAL '90 min' AS took,
        NULL::int AS nothing, ROW(1, 'x') AS pair
    """
    carried = ["price", "day", "at", "local", "flag", "doc", "uid", "list", "score", "host", "took", "nothing", "pair"]
    run = run_folder(tmp_path, "job", "run")
    with psycopg.connect(database) as connection:
        plan = build(
            make_job(carry=tuple(carried), prompt="{{ text }} {{ price }} {{ doc.a[0] }}"),
            lambda: read_sql(connection, f"SELECT {values}"),
            run,
            run_id="r",
            profile=ApiProfile(),
        )
    (row,) = all_rows(run, plan)
    assert row["price"] == Decimal("12.50")
    assert row["day"] == datetime.date(2024, 2, 29)
    assert row["at"] == datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    assert row["local"] == datetime.datetime(2024, 1, 1, 12)  # noqa: DTZ001 - it has no zone
    assert row["flag"] is True
    assert json.loads(row["doc"]) == {"a": [1, None]}
    assert uuid.UUID(row["uid"]) == uuid.UUID("11111111-2222-3333-4444-555555555555")
    assert json.loads(row["list"]) == [1.5, 2]
    assert (row["score"], row["host"], row["took"], row["nothing"]) == (0.1, "10.0.0.1", "1:30:00", None)
    assert isinstance(row["pair"], str)
    assert lines_of(run, plan.shards[0])[0]["body"]["messages"][0]["content"] == "hello 12.50 1"


@pytest.mark.parametrize("values", [(b"raw",), ("text", b"raw"), (None, memoryview(b"raw"))])
def test_a_column_of_bytes_is_refused_by_name(make_run, values):
    rows = [(number, "t", value) for number, value in enumerate(values)]
    with pytest.raises(ConfigError, match="column blob holds bytes; encode it as text"):
        make_run(("id", "text", "blob"), rows, carry=("blob",))
