"""Every variant of the replies that such APIs give, read as the same objects."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greennode_batch.api.wire import (
    Batch,
    BatchStatus,
    Counts,
    Model,
    WireError,
    parse_batch,
    parse_file,
    parse_model,
    parse_page,
    parse_url,
)

PLAIN = {"id": "batch_1", "status": "in_progress", "input_file_id": "file-1"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "data", "status", "job", "errors", "items", "error", "x"]), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "reply",
    [
        PLAIN,
        {"job": PLAIN, "warning": "slow today"},
        {"data": PLAIN},
        {"batch": PLAIN},
        {"result": PLAIN},
        {"code": 20000, "message": "Ok", "data": PLAIN},
        {"data": {"batch": PLAIN}},
        {"batchId": "batch_1", "state": "JOB_STATE_RUNNING", "inputFileId": "file-1"},
        {"id": "batch_1", "status": "RUNNING", "input_files": ["file-1"]},
    ],
)
def test_a_batch_is_read_bare_or_wrapped(reply):
    batch = parse_batch(reply)
    assert (batch.id, batch.status, batch.input_file_id) == ("batch_1", BatchStatus.IN_PROGRESS, "file-1")


@pytest.mark.parametrize("name", ["output_file_id", "output_file", "result_file_id", "outputFileId"])
@pytest.mark.parametrize("value", ["file-out", {"id": "file-out"}])
def test_the_output_file_is_found_under_every_name(name, value):
    assert parse_batch(PLAIN | {name: value}).output_file_id == "file-out"


@pytest.mark.parametrize("name", ["error_file_id", "error_file", "errorFileId"])
def test_the_error_file_is_found_under_every_name(name):
    assert parse_batch(PLAIN | {name: "file-err"}).error_file_id == "file-err"


@pytest.mark.parametrize(
    "none", [{}, {"output_file_id": None, "error_file_id": None}, {"output_file_id": "", "error_file_id": " "}]
)
def test_absent_null_and_empty_file_ids_all_mean_no_file(none):
    batch = parse_batch(PLAIN | none)
    assert (batch.output_file_id, batch.error_file_id) == (None, None)


@pytest.mark.parametrize(
    "counts",
    [
        {"request_counts": {"total": 10, "completed": 7, "failed": 2}},
        {"requestCounts": {"total": "10", "completed": 7.0, "failed": "2"}},
        {"total": 10, "completed": 7, "failed": 2},
        {"total_requests": 10, "completed_requests": 9, "succeeded_requests": 7, "failed_requests": 2},
    ],
)
def test_counts_are_read_nested_or_flat(counts):
    assert parse_batch(PLAIN | counts).counts == Counts(10, 7, 2)


@pytest.mark.parametrize("counts", [{}, {"request_counts": None}, {"request_counts": {}}, {"request_counts": "many"}])
def test_missing_counts_are_zero(counts):
    assert parse_batch(PLAIN | counts).counts == Counts(0, 0, 0)


@pytest.mark.parametrize(
    ("errors", "messages", "codes"),
    [
        (
            {"errors": {"object": "list", "data": [{"code": "bad_line", "line": 3, "message": "no model"}]}},
            ("line 3: no model",),
            ("bad_line",),
        ),
        ({"errors": [{"message": "no model", "count": 12}]}, ("no model (12 times)",), ()),
        ({"errors": ["no model"]}, ("no model",), ()),
        ({"errors": "no model"}, ("no model",), ()),
        ({"error": "no model"}, ("no model",), ()),
        ({"error": {"message": "no model", "code": 404}}, ("no model",), ("404",)),
        ({"errors": None}, (), ()),
        ({"errors": []}, (), ()),
        ({"errors": {"data": []}}, (), ()),
    ],
)
def test_errors_of_a_batch_are_read_in_every_shape(errors, messages, codes):
    batch = parse_batch(PLAIN | errors)
    assert (batch.errors, batch.error_codes) == (messages, codes)


def test_times_deadline_metadata_and_model_are_read():
    batch = parse_batch(
        PLAIN
        | {
            "created_at": "2025-06-15T15:06:40Z",
            "completed_at": 1_750_000_100_000,
            "job_deadline": "1750086400",
            "metadata": {"shard": "s1", "n": 3},
            "model_id": "m",
        },
    )
    assert (batch.created_at, batch.completed_at, batch.expires_at) == (1_750_000_000, 1_750_000_100, 1_750_086_400)
    assert (batch.metadata, batch.model) == ({"shard": "s1", "n": "3"}, "m")


def test_an_unknown_status_keeps_its_word():
    batch = parse_batch({"id": "b", "status": "Marinating"})
    assert (batch.status, batch.raw_status) == (BatchStatus.UNKNOWN, "Marinating")


def test_a_status_without_an_id_belongs_to_the_batch_that_was_asked_for():
    assert parse_batch({"status": "COMPLETED"}, default_id="batch_7").id == "batch_7"
    with pytest.raises(WireError):
        parse_batch({"status": "COMPLETED"})


@pytest.mark.parametrize("reply", [None, [], "ok", 3, {}, {"data": []}, {"error": {"message": "boom"}}, {"data": None}])
def test_a_reply_without_a_batch_says_what_it_holds_instead(reply):
    with pytest.raises(WireError, match="expected a batch"):
        parse_batch(reply, default_id="batch_1")


@given(JSON)
def test_no_reply_raises_anything_but_a_wire_error(reply):
    for parse in (parse_batch, parse_file, parse_model, parse_url, lambda data: parse_page(data, parse_batch)):
        with contextlib.suppress(WireError):
            assert parse(reply)


def test_a_batch_travels_as_json():
    batch = parse_batch(PLAIN)
    assert msgspec.json.decode(msgspec.json.encode(batch), type=Batch) == batch


@pytest.mark.parametrize(
    "reply",
    [
        {"id": "f", "bytes": 12, "filename": "a.jsonl", "purpose": "batch", "status": "processed", "created_at": 5},
        {
            "data": {
                "id": "f",
                "size": "12",
                "file_name": "a.jsonl",
                "purpose": "batch",
                "state": "processed",
                "created_at": 5,
            }
        },
        {
            "file": {
                "file_id": "f",
                "size_bytes": 12,
                "filename": "a.jsonl",
                "purpose": "batch",
                "status": "processed",
                "created_at": "5",
            }
        },
    ],
)
def test_a_file_is_read_bare_or_wrapped(reply):
    file = parse_file(reply)
    assert (file.id, file.bytes, file.filename, file.purpose, file.status, file.created_at) == (
        "f",
        12,
        "a.jsonl",
        "batch",
        "processed",
        5,
    )


def test_models_may_lack_status_and_type():
    listed = parse_page(
        {"data": [{"id": "a", "status": None}, {"id": "b", "status": "on", "model_type": "chat"}, "c"]}, parse_model
    )
    assert listed.items == (Model(id="a"), Model(id="b", status="on", model_type="chat"), Model(id="c"))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda items: items,
        lambda items: {"object": "list", "data": items, "has_more": False},
        lambda items: {"value": items},
        lambda items: {"items": items, "total": 2},
        lambda items: {"listData": items, "totalPage": 1},
        lambda items: {"data": {"items": items}},
        lambda items: {"code": 0, "data": {"list": items}},
        lambda items: {"batches": items},
    ],
)
def test_a_list_is_read_in_every_wrapping(wrap):
    page = parse_page(wrap([PLAIN, PLAIN | {"id": "batch_2"}]), parse_batch)
    assert [batch.id for batch in page.items] == ["batch_1", "batch_2"]


@pytest.mark.parametrize(
    "reply", [[], {"data": []}, {"object": "list", "data": None}, {"data": None, "has_more": False}]
)
def test_an_empty_list_is_empty(reply):
    assert parse_page(reply, parse_batch).items == ()


@pytest.mark.parametrize(
    "reply",
    [
        None,
        {},
        {"error": {"message": "down"}},
        {"data": None},
        {"message": "down"},
        "<html>",
        {"data": [1, 2]},
        {"error": "down", "data": []},
    ],
)
def test_what_is_not_a_list_is_never_taken_for_an_empty_one(reply):
    with pytest.raises(WireError, match="expected"):
        parse_page(reply, parse_batch)


def test_one_unreadable_entry_does_not_hide_the_others():
    page = parse_page({"data": [PLAIN, None, {"status": "x"}]}, parse_batch)
    assert [batch.id for batch in page.items] == ["batch_1"]


def test_equal_unreadable_entries_do_not_hide_what_is_between_them():
    assert [batch.id for batch in parse_page([None, {"id": "b1"}, None], parse_batch).items] == ["b1"]


def test_a_reply_with_odd_names_is_complained_of_in_one_short_line():
    with pytest.raises(WireError) as caught:
        parse_batch({"a\nb\x1b[31m" * 10_000: 1})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("reply", "has_more", "cursor"),
    [
        ({"data": [PLAIN], "has_more": True, "last_id": "batch_1"}, True, "batch_1"),
        ({"data": [PLAIN], "has_more": True, "next_cursor": "c2"}, True, "c2"),
        ({"data": {"items": [PLAIN], "hasMore": False}}, False, None),
        ([PLAIN], None, None),
    ],
)
def test_a_page_tells_how_the_list_goes_on(reply, has_more, cursor):
    page = parse_page(reply, parse_batch)
    assert (page.has_more, page.next_cursor) == (has_more, cursor)


@pytest.mark.parametrize(
    "reply",
    ["https://s/x", {"url": "https://s/x"}, {"data": {"download_url": "https://s/x"}}, {"result": "https://s/x"}],
)
def test_the_url_of_a_file_is_read_in_every_shape(reply):
    assert parse_url(reply) == "https://s/x"


def test_a_batch_is_read_by_the_paths_of_a_profile():
    paths = {"id": "ticket.ref", "status": "ticket.stage", "output_file_id": "links.0.file", "total": "stats.n"}
    data = {
        "payload": 1,
        "ticket": {"ref": 17, "stage": "PARTIAL"},
        "links": [{"file": "out-1"}],
        "stats": {"n": "5"},
    }
    words = {"partial": "completed"}
    for wrapped in (data, {"data": data}):
        batch = parse_batch(wrapped, paths=paths, words=words)
        assert (batch.id, batch.status, batch.raw_status) == ("17", BatchStatus.COMPLETED, "PARTIAL")
        assert batch.counts.total == 5
    assert parse_batch(data, paths=paths).output_file_id == "out-1"


def test_a_path_at_which_nothing_is_gives_nothing_and_the_rest_is_read_as_ever():
    data = {"id": "b1", "status": "running", "output_file_id": "of-something-else", "input_file_id": "file-1"}
    batch = parse_batch(data, paths={"id": "ticket.ref", "output_file_id": "result.file"})
    assert (batch.id, batch.output_file_id, batch.input_file_id) == ("b1", None, "file-1")


def test_a_time_without_an_offset_is_no_age_of_a_batch():
    assert parse_batch({"id": "b1", "createdAt": "2026-11-30 15:04:05"}).created_at is None
    assert parse_batch({"id": "b1", "createdAt": "2026-11-30T15:04:05+07:00"}).created_at == 1_796_025_845.0


def test_a_file_is_read_by_the_paths_of_a_profile():
    file = parse_file({"dataset": {"key": 5, "label": "a.jsonl"}}, paths={"id": "dataset.key", "filename": "label"})
    assert (file.id, file.filename) == ("5", "a.jsonl")


@pytest.mark.parametrize(
    "reply",
    [
        {"code": 0, "data": {"rows": [PLAIN], "total": 1}},
        {"retCode": "0000", "payload": {"content": [PLAIN], "totalElements": 1, "last": True}},
        {"page": {"entries": [PLAIN]}, "errors": []},
    ],
)
def test_a_list_under_a_name_that_nobody_knows_is_the_only_list_of_objects(reply):
    assert [batch.id for batch in parse_page(reply, parse_batch).items] == ["batch_1"]


def test_an_empty_list_under_a_name_that_nobody_knows_needs_pages_beside_it():
    assert parse_page({"data": {"rows": [], "total": 0}}, parse_batch).items == ()
    for reply in ({"data": {"rows": []}}, {"rows": [], "cols": [], "total": 0}, {"id": "b", "outputs": [PLAIN]}):
        with pytest.raises(WireError, match="expected"):
            parse_page(reply, parse_batch)


@pytest.mark.parametrize(
    ("beside", "has_more"), [({"last": True}, False), ({"last": False}, True), ({"hasNext": True}, True)]
)
def test_whether_a_list_goes_on_has_several_names(beside, has_more):
    assert parse_page({"content": [PLAIN], **beside}, parse_batch).has_more is has_more
