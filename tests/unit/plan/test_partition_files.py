import datetime
import itertools
import uuid
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greennode_batch.api.profile import ApiProfile
from greennode_batch.cleanup.remote_files import remove_remote_files
from greennode_batch.errors import ConfigError, RowError
from greennode_batch.job.sources import SqlSource
from greennode_batch.plan.build import build
from greennode_batch.plan.partition_files import read_parts, write_part
from greennode_batch.source.partition import Part
from greennode_batch.source.rows import Rows
from greennode_batch.staging.folders import run_folder, write_json
from greennode_batch.state.plan import read_plan
from greennode_batch.state.receipts import Receipt, is_sent, write_receipt
from greennode_batch.state.run_identity import RemovedRun
from greennode_batch.state.run_report import RunReport

MODELS = ("google/gemma-4-31b-it", "openai/gpt-oss-120b")
COLUMNS = ("id", "text")


def rows_of(rows, *, columns=COLUMNS, batch=3, origin=""):
    batches = (rows[start : start + batch] for start in range(0, len(rows), batch))
    made = Rows.from_tuples(columns, batches)
    return Rows(made.columns, made.batches, origin)


class Parted:
    """A run whose source is read in parts: each is a list of rows."""

    def __init__(self, root, make_job, **job):
        self.run = run_folder(root, "job", "run")
        self.job = make_job(**job)

    def read(self, number, rows, **options):
        part = Part(number, self.job.partitions)
        return write_part(self.job, rows_of(rows, **options), self.run, part, profile=ApiProfile())

    def read_all(self, parts, **options):
        return [self.read(number, rows, **options) for number, rows in enumerate(parts)]

    def file(self, number):
        (path,) = Path(str(self.run.part(number, self.job.partitions))).glob("*.arrows")
        return path

    def build(self):
        def rows():
            return read_parts(self.job, self.run, profile=ApiProfile())

        return build(self.job, rows, self.run, run_id="run_1", profile=ApiProfile(), clock=lambda: 1.0)


def files_of(run):
    folder = Path(str(run.shards))
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def requests_of(run):
    """The requests' files, by shard."""
    return {path: content for path, content in files_of(run).items() if path.suffix == ".jsonl"}


def lines_of(run):
    """All lines of the requests' files."""
    return sorted(line for content in requests_of(run).values() for line in content.splitlines())


@pytest.fixture
def parted(tmp_path, make_job):
    count = itertools.count()
    return lambda **job: Parted(tmp_path / f"staging_{next(count)}", make_job, **{"partitions": 3, **job})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.sampled_from(["", " ", "a", "b", "é\u2028", "c" * 90, "d" * 900, None]), max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    models=st.sampled_from([MODELS, MODELS[:1]]),
    samples=st.integers(1, 2),
    key=st.sampled_from([int, str, uuid.UUID, Decimal]),
    max_requests=st.integers(1, 5),
    max_bytes=st.integers(150, 700),
    held=st.sampled_from([None, 1, 2]),
)
def test_what_is_read_in_parts_becomes_the_very_files_of_a_build_in_one_task(
    tmp_path_factory, make_job, texts, cuts, models, samples, key, max_requests, max_bytes, held
):
    """held: how many rows are held at a time, where the prompt is long. Of several models fewer are read at once then:

    what is asked is the same, but rows that are not sent may lie beside other shards, and the samples of
    fewer rows come one after the other.
    """

    def key_of(number):
        return uuid.UUID(int=number) if key is uuid.UUID else key(number)

    rows = [(key_of(number), text, number % 3) for number, text in enumerate(texts)]
    ends = [*sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    parts = [rows[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    fields = {
        "model": models,
        "samples": samples,
        "max_shard_requests": max_requests,
        "max_shard_bytes": max_bytes,
        "carry": ("text", "more"),
    }
    columns = (*COLUMNS, "more")
    root = tmp_path_factory.mktemp("staging")
    plain_run = run_folder(root / "plain", "job", "run")
    parted = Parted(root / "parted", make_job, partitions=len(parts), **fields)
    with pytest.MonkeyPatch.context() as patch:
        if held:
            patch.setattr("greennode_batch.plan.builder.HELD_BYTES", held * 150)
            patch.setattr("greennode_batch.plan.partition_files.HELD_BYTES", held * 150)
        plain = build(
            make_job(**fields),
            # The batches of the parts, one after the other.
            lambda: Rows(columns, (batch for part in parts for batch in rows_of(part, columns=columns).batches)),
            plain_run,
            run_id="run_1",
            profile=ApiProfile(),
            clock=lambda: 1.0,
        )
        assert parted.read_all(parts, columns=columns) == [len(part) for part in parts]
        made = parted.build()
    if held and len(models) > 1:
        if samples == 1:
            assert requests_of(parted.run) == requests_of(plain_run)
        assert lines_of(parted.run) == lines_of(plain_run)
        assert (made.rows, made.requests, made.unsent) == (plain.rows, plain.requests, plain.unsent)
    else:
        assert made == plain
        assert files_of(parted.run) == files_of(plain_run)


def test_a_long_prompt_is_held_some_rows_at_a_time_and_gives_the_same_files(parted, make_run, monkeypatch):
    for module in ("builder", "partition_files"):
        monkeypatch.setattr(f"greennode_batch.plan.{module}.HELD_BYTES", 1 << 20)
    prompt = "{{ text }}" + "x" * (400 << 10)
    rows = [(number, f"row {number}") for number in range(7)]
    long = parted(partitions=2, prompt=prompt)
    long.read_all([rows[:5], rows[5:]], batch=5)
    long.build()
    run, _ = make_run(COLUMNS, rows, prompt=prompt)
    assert files_of(run).keys() == files_of(long.run).keys()


def test_rows_without_their_image_are_told_apart_and_fields_come_from_columns_also_in_parts(parted, make_run):
    image = {"type": "image_url", "image_url": {"url": "{{ text }}"}}
    job = {
        "prompt": None,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}],
        "row_params": {"seed": "id"},
    }
    made = parted(**job)
    made.read_all([[(1, "https://x/1.png"), (2, None)], [(3, "https://x/3.png")], [(4, "")]])
    plan = made.build()
    assert plan.unsent == 2
    whole, _ = make_run(COLUMNS, [(1, "https://x/1.png"), (2, None), (3, "https://x/3.png"), (4, "")], **job)
    assert files_of(made.run) == files_of(whole)


def test_equal_requests_of_different_parts_are_asked_once(parted):
    same = parted(model=MODELS)
    same.read_all([[(1, "a"), (2, "b")], [(3, "a")], [(4, "b"), (5, "a")]])
    plan = same.build()
    assert (plan.rows, plan.requests, plan.repeated) == (10, 4, 6)


def test_a_key_in_two_parts_is_refused_by_name(parted):
    twice = parted()
    twice.read_all([[(1, "a"), (2, "b")], [(3, "c")], [(2, "d")]])
    with pytest.raises(RowError, match="row id = 2: this key comes twice"):
        twice.build()
    assert read_plan(twice.run) is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(1, "a"), (None, "b")], "row id = NULL: a key may not be NULL"),
        ([(1, "a"), (2, "b"), (1, "c")], "row id = 1: this key comes twice"),
        ([(n, "a") for n in range(5)] + [(1, "c")], "row id = 1: this key comes twice"),
        ([({"a": 1}, "a")], "a key may not be JSON or an array"),
        ([(1, "a"), (2, "\ud800")], "row id = 2: the text holds half of a surrogate pair"),
    ],
)
def test_a_row_that_a_build_would_refuse_is_refused_where_it_is_read(parted, rows, words):
    odd = parted()
    with pytest.raises(RowError, match=words):
        odd.read(1, rows)
    with pytest.raises(ConfigError, match=r"part\(s\) 0, 1, 2 of 3 are not in"):
        odd.build()


@pytest.mark.parametrize(
    "keys", [[1, "one"], [True, 1.5, "x"], [2**70, 1], [Decimal(10) ** 80, Decimal(1)], [1, datetime.date(2026, 1, 31)]]
)
def test_a_key_that_might_be_kept_in_two_ways_is_refused_since_two_equal_ones_would_not_be_seen(parted, keys):
    with pytest.raises(ConfigError, match="the key id has values of several types, or numbers too large"):
        parted().read(0, [(key, "text") for key in keys])


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (uuid.UUID(int=1), uuid.UUID(int=1)),
        (1, Decimal("1.0")),
        (Decimal("1.0"), Decimal("1.00")),
        (1, 1.0),
        (
            datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
            datetime.datetime(2026, 1, 31, 10, tzinfo=datetime.UTC),
        ),
        (datetime.timedelta(days=1), datetime.timedelta(hours=24)),
    ],
)
def test_equal_keys_of_different_parts_are_seen_whatever_their_type(parted, first, again):
    equal = parted(partitions=2)
    equal.read_all([[(first, "a")], [(again, "b")]])
    with pytest.raises(RowError, match="this key comes twice"):
        equal.build()


def test_a_source_that_lacks_a_column_is_refused_where_it_is_read(parted):
    with pytest.raises(ConfigError, match=r"the source has no column nope \(it has id, text\)"):
        parted(carry=("nope",)).read(0, [(1, "a")])


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Another: {{ text }}"},
        {"model": MODELS[1]},
        {"params": {"max_tokens": 7}},
        {"row_params": {"max_tokens": "id"}},
        {"carry": ("text",)},
        {"source": SqlSource(conn_id="warehouse", sql="SELECT 1 AS id")},
    ],
)
def test_parts_of_another_version_of_the_job_are_refused_by_their_numbers(parted, make_job, change):
    changed = parted()
    changed.read_all([[(1, "a")], [], [(2, "b")]])
    changed.job = make_job(partitions=3, **change)
    changed.read(1, [])
    words = r"part\(s\) 0, 2 of 3 were made by another version of the job.*Clear the tasks read_part of these numbers"
    with pytest.raises(ConfigError, match=words):
        changed.build()


def test_parts_of_another_division_are_not_taken_for_these(parted, make_job):
    changed = parted()
    changed.read_all([[(1, "a")], [(2, "b")], [(3, "c")]])
    changed.job = make_job(partitions=2)
    with pytest.raises(ConfigError, match=r"part\(s\) 0, 1 of 2 are not in"):
        changed.build()
    changed.read_all([[(1, "a"), (3, "c")], [(2, "b")]])
    assert changed.build().rows == 3


def test_parts_that_saw_different_files_are_refused_since_a_file_may_be_in_none_of_them(parted):
    files = parted(partitions=2)
    files.read(0, [(1, "a")], origin="a.csv b.csv")
    files.read(1, [(2, "b")], origin="a.csv c.csv")
    with pytest.raises(ConfigError, match="files came or went while they were read"):
        files.build()


@pytest.mark.parametrize("submitted", [0, 1, 2.5, 9, 9.9, 10])
def test_a_part_that_was_cut_off_is_never_taken_for_a_shorter_one(parted, submitted):
    """submitted: how many batches of a row each."""
    cut = parted(partitions=1)
    cut.read(0, [(number, f"row {number}") for number in range(10)], batch=1)
    path = cut.file(0)
    ends = []
    with pa.OSFile(str(path)) as file:
        while file.tell() < file.size():
            with pa.ipc.open_stream(file) as stream:
                assert sum(batch.num_rows for batch in stream) == (len(ends) < 10)
            ends.append(file.tell())
    assert len(ends) == 11
    whole = int(submitted)
    starts = [0, *ends]
    size = starts[whole] + int((submitted - whole) * (starts[whole + 1] - starts[whole]))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ConfigError, match=r"\.arrows: is damaged .* Clear the task read_part"):
        cut.build()


def test_a_part_lands_whole_or_not_at_all_and_what_a_killed_task_left_goes(parted):
    killed = parted(partitions=2)
    killed.read_all([[(1, "a")], [(2, "b")]])

    def breaks():
        yield [(3, "c")]
        raise ConnectionError("the database went away")

    folder = killed.file(0).parent
    (folder / ".work-killed").mkdir()
    (folder / ".work-killed" / "rows.arrows").write_bytes(b"half")
    with pytest.raises(ConnectionError):
        write_part(killed.job, Rows.from_tuples(COLUMNS, breaks()), killed.run, Part(0, 2), profile=ApiProfile())
    assert list(folder.iterdir()) == [killed.file(0)]
    assert killed.build().rows == 2


def test_built_again_from_parts_that_were_read_again_a_run_keeps_what_was_sent(parted):
    again = parted(max_shard_requests=2, model=MODELS)
    again.read_all([[(1, "a"), (2, "b")], [(3, "c")], []])
    first = again.build()
    sent = again.run.shard(first.shards[0].shard_id)
    write_receipt(sent, Receipt(sent.shard_id, "created", "file-1", batch_id="batch_1"))
    before = sent.requests.read_bytes()
    again.read(1, [(3, "another text")])
    again.read(2, [(4, "d"), (5, "a")])
    second = again.build()
    assert is_sent(sent)
    assert sent.shard_id in {shard.shard_id for shard in second.shards}
    assert sent.requests.read_bytes() == before
    assert (second.rows, second.requests) == (10, 8)
    # Built alone, from the same parts, it is the same.
    assert again.build() == second


def test_parts_go_when_the_run_is_cleaned_up_and_a_build_then_says_how_to_get_them_back(parted, client):
    run = parted()
    run.read_all([[(1, "a")], [], []])
    run.build()
    remove_remote_files(run.run, client, keep=True)
    assert run.build().rows == 1  # no report says yet that all rows are in the target
    write_json(run.run.report, RunReport("job", "run_1", 1, 1, 1, {"succeeded": 1}, 0, 0))
    remove_remote_files(run.run, client, keep=True)
    assert not run.run.parts.exists()
    with pytest.raises(ConfigError, match=r"part\(s\) 0, 1, 2 of 3 are not in .*Clear the tasks read_part"):
        run.build()


def test_a_run_whose_staging_was_removed_is_not_read_again(parted):
    removed = parted()
    write_json(removed.run.removed, RemovedRun(removed_at=0.0))
    with pytest.raises(ConfigError, match="this run's staging was removed"):
        removed.read(0, [(1, "a")])


def test_no_rows_at_all_are_a_build_of_nothing(parted):
    empty = parted()
    empty.read_all([[], [], []])
    plan = empty.build()
    assert (plan.rows, plan.shards) == (0, ())
    assert msgspec.json.decode(empty.run.plan.read_bytes())["rows"] == 0
