import dataclasses

import msgspec
import pytest

from greennode_batch.api.exchange import Reply
from greennode_batch.api.paging import NOT_WHOLE
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.protocol import Operations
from greennode_batch.errors import ConfigError, RejectedError

ENTRIES = [{"id": f"b{n}", "status": "completed"} for n in range(7)]


def walk(profile, server, page_size=3):
    """(ids of the list, parameters of each call) when the server answers like this."""
    pager = Operations(profile, seconds=1.0).batches(page_size)
    ids, requested = [], []
    while (operation := pager.next_page()) is not None:
        call = next(operation)
        requested.append(dict(call.params))
        assert len(requested) < 20
        with pytest.raises(StopIteration) as done:
            operation.send(Reply(200, {}, server(call.params)))
        ids += [batch.id for batch in pager.take(done.value.value)]
    return ids, requested


encode = msgspec.json.encode


def by_cursor(params, size=3):
    start = next((n + 1 for n, entry in enumerate(ENTRIES) if entry["id"] == params.get("after")), 0)
    return ENTRIES[start : start + size], start + size < len(ENTRIES)


ALL = [entry["id"] for entry in ENTRIES]


def test_a_list_with_has_more_is_walked_to_its_end_and_no_further():
    def server(params):
        data, more = by_cursor(params)
        return encode({"data": data, "has_more": more})

    ids, requested = walk(ApiProfile(), server)
    assert ids == ALL
    assert requested == [{"limit": 3}, {"limit": 3, "after": "b2"}, {"limit": 3, "after": "b5"}]


def test_a_list_without_has_more_is_walked_to_its_end():
    assert walk(ApiProfile(), lambda params: encode({"data": by_cursor(params)[0]}))[0] == ALL


def test_a_server_that_caps_the_page_hides_nothing():
    assert walk(ApiProfile(), lambda params: encode({"data": by_cursor(params, 2)[0]}), page_size=100)[0] == ALL


def test_a_server_that_ignores_the_cursor_and_shows_everything_ends_the_list():
    ids, requested = walk(ApiProfile(), lambda _: encode({"data": ENTRIES}))
    assert (ids, len(requested)) == (ALL, 2)


@pytest.mark.parametrize(
    "page",
    [
        {"data": ENTRIES, "has_more": True},
        {"data": ENTRIES[:2], "has_more": True, "next_cursor": "same"},
        {"data": [], "has_more": True},
        {"data": ENTRIES[:3]},
        {"data": ENTRIES[:2], "total": 7},
        {"data": {"listData": ENTRIES[:2], "totalPage": 2}},
        {"data": ENTRIES[:2], "pagination": {"totalPages": 4}},
        {"result": {"items": ENTRIES[:2], "total_count": "7"}},
    ],
)
def test_a_list_that_says_that_there_is_more_and_shows_nothing_new_is_not_taken_as_whole(page):
    pager = Operations(ApiProfile(), seconds=1.0).batches(3)
    for _ in range(3):
        if pager.ended:
            break
        operation = pager.next_page()
        next(operation)
        with pytest.raises(StopIteration) as done:
            operation.send(Reply(200, {}, encode(page)))
        pager.take(done.value.value)
    with pytest.raises(RejectedError, match=r"not read to its end.*list_style") as error:
        pager.next_page()
    assert error.value.code == NOT_WHOLE


@pytest.mark.parametrize(
    "page",
    [
        {"data": ENTRIES[:2], "total": 2, "totalPage": 1},
        {"data": ENTRIES[:3], "total": 3},
        {"data": [*ENTRIES[:2], "odd"], "total": 3},
        {"data": []},
        {"data": ENTRIES[:2], "has_more": False, "total": 2},
    ],
)
def test_a_list_that_shows_all_that_it_says_to_have_is_whole(page):
    assert len(walk(ApiProfile(), lambda _: encode(page))[0]) == len([one for one in page["data"] if one != "odd"])


def test_an_entry_that_slid_to_the_next_page_is_given_once():
    def server(params):
        return encode(
            {"data": ENTRIES[0:3] if "after" not in params else ENTRIES[2:5], "has_more": "after" not in params}
        )

    assert walk(ApiProfile(), server)[0] == ALL[:5]


@pytest.mark.parametrize("first", [0, 1])
def test_a_list_by_page_number_is_walked(first):
    profile = dataclasses.replace(ApiProfile(), list_style="page", first_page=first, size_parameter="size")

    def server(params):
        start = (params["page"] - first) * 3
        return encode({"items": ENTRIES[start : start + 3], "total": 7})

    ids, requested = walk(profile, server)
    assert ids == ALL
    assert requested[0] == {"page": first, "size": 3}


def test_a_list_without_paging_is_asked_once_and_without_parameters():
    profile = dataclasses.replace(ApiProfile(), list_style="none")
    assert walk(profile, lambda _: encode(ENTRIES)) == (ALL, [{}])


def test_an_api_that_cannot_list_is_not_asked():
    with pytest.raises(ConfigError, match="cannot list batches"):
        Operations(dataclasses.replace(ApiProfile(), can_list_batches=False), seconds=1.0).batches(3)
