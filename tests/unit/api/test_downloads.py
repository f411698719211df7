import dataclasses
import gzip
import hashlib
import io
import json
import zipfile

import httpx
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.wire import Batch, BatchStatus
from greennode_batch.errors import (
    AuthError,
    NotFoundError,
    RejectedError,
    RetryableError,
)

DATA = b'{"custom_id": "1"}\n' * 1000
KEY = "sk-live-0123456789abcdef"
CONTENT = "/v1/files/file-1/content"


class Cut(httpx.SyncByteStream):
    """A body that breaks off."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        yield self.data
        raise httpx.RemoteProtocolError("peer closed connection")


class Host:
    """Serves DATA with whatever the test's answers do to it; keeps the requests."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []
        self.slept = []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer(request) if callable(answer) else answer

    def client(self, **options):
        return GreenNodeClient(
            "https://api.example/v1", KEY, transport=httpx.MockTransport(self), sleep=self.slept.append, **options
        )


def whole(request):
    return httpx.Response(200, content=DATA)


def cut_at(size, **headers):
    fields = {"content_length": str(len(DATA)), "accept_ranges": "bytes", "etag": '"v1"'} | headers
    named = {name.replace("_", "-"): value for name, value in fields.items() if value}
    return lambda _: httpx.Response(200, stream=Cut(DATA[:size]), headers=named)


def rest(request):
    """As a server does that allows ranges."""
    start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
    headers = {"content-range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
    return httpx.Response(206, content=DATA[start:], headers=headers)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "output.jsonl"


def nothing_left(target):
    return list(target.parent.iterdir()) == []


def test_a_file_lands_whole_under_its_name(target):
    host = Host(whole)
    assert host.client().download_file("file-1", target) == len(DATA)
    assert target.read_bytes() == DATA
    assert list(target.parent.iterdir()) == [target]
    assert host.requests[0].url.path == CONTENT
    assert host.requests[0].headers["accept-encoding"] == "identity"


def test_an_empty_file_is_a_file(target):
    assert Host(httpx.Response(200)).client().download_file("file-1", target) == 0
    assert target.read_bytes() == b""


def test_a_cut_off_download_goes_on_where_it_ended(target):
    host = Host(cut_at(5000), rest)
    assert host.client().download_file("file-1", target) == len(DATA)
    assert target.read_bytes() == DATA
    assert host.requests[1].headers["range"] == "bytes=5000-"
    assert host.requests[1].headers["if-range"] == '"v1"'
    assert len(host.slept) == 1


@pytest.mark.parametrize(
    "second",
    [
        whole,
        lambda _: httpx.Response(416),
        lambda _: httpx.Response(206, content=b"zzz", headers={"content-range": "bytes 7-9/19000"}),
        lambda _: httpx.Response(206, content=b"zzz", headers={"content-range": f"bytes 5000-5002/{len(DATA) + 1}"}),
        lambda _: httpx.Response(206, content=b"zzz"),
        lambda _: httpx.Response(500),
        cut_at(100),
    ],
)
def test_a_resume_that_does_not_fit_starts_again(target, second):
    host = Host(cut_at(5000), second, lambda request: rest(request) if "range" in request.headers else whole(request))
    assert host.client().download_file("file-1", target) == len(DATA)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("headers", [{"accept_ranges": ""}, {"accept_ranges": "none"}, {"content_length": ""}])
def test_without_leave_to_resume_it_starts_again(target, headers):
    host = Host(cut_at(5000, **headers), whole)
    assert host.client().download_file("file-1", target) == len(DATA)
    assert target.read_bytes() == DATA
    assert "range" not in host.requests[1].headers


def test_a_resumed_part_that_ends_early_is_gone_on_with(target):
    def some(request):
        return httpx.Response(206, content=DATA[5000:9000], headers={"content-range": f"bytes 5000-8999/{len(DATA)}"})

    host = Host(cut_at(5000), some, rest)
    host.client().download_file("file-1", target)
    assert target.read_bytes() == DATA
    assert host.requests[2].headers["range"] == "bytes=9000-"


def test_a_body_shorter_than_its_length_is_never_taken_for_whole(target):
    host = Host(lambda _: httpx.Response(200, content=iter([DATA[:-5]]), headers={"content-length": str(len(DATA))}))
    with pytest.raises(RetryableError, match=f"cut off after {len(DATA) - 5} of {len(DATA)} bytes"):
        host.client().download_file("file-1", target)
    assert nothing_left(target)
    assert len(host.requests) == 5


def test_a_file_that_was_there_stays_if_the_download_fails(target):
    target.write_bytes(b"old")
    with pytest.raises(NotFoundError):
        Host(httpx.Response(404, json={"error": "no"})).client().download_file("file-1", target)
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("named", [{"content-encoding": "gzip"}, {}])
@pytest.mark.parametrize(
    "body",
    [gzip.compress(DATA), gzip.compress(DATA[:700]) + gzip.compress(DATA[700:])],
    # The bytes hold the time, and a test's name may not: workers compare the names that they collect.
    ids=["one member", "two members"],
)
def test_gzip_that_was_not_asked_for_is_unpacked(target, named, body):
    host = Host(lambda _: httpx.Response(200, stream=httpx.ByteStream(body), headers=named))
    assert host.client().download_file("file-1", target) == len(DATA)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("damage", [lambda body: body[:-9], lambda body: body[:30] + b"!!!!" + body[34:]])
def test_broken_gzip_is_never_taken_for_whole(target, damage):
    body = damage(gzip.compress(DATA + hashlib.sha512(DATA).digest()))
    host = Host(lambda _: httpx.Response(200, stream=httpx.ByteStream(body)), whole)
    host.client().download_file("file-1", target)
    assert target.read_bytes() == DATA
    assert len(host.requests) == 2


def test_an_encoding_that_cannot_be_read_is_refused(target):
    host = Host(lambda _: httpx.Response(200, stream=httpx.ByteStream(b"\x0b\x02"), headers={"content-encoding": "br"}))
    with pytest.raises(RejectedError, match="sends br"):
        host.client().download_file("file-1", target)
    assert nothing_left(target)


@pytest.mark.parametrize(
    "bad",
    [
        lambda _: httpx.Response(502, text="<title>502 Bad Gateway</title>"),
        lambda _: httpx.Response(200, html="<html>try later</html>"),
        lambda _: httpx.Response(409, json={"message": "not ready"}),
        lambda _: httpx.Response(200, content=DATA[:100], headers={"x-incomplete": "true"}),
    ],
)
def test_a_bad_moment_is_waited_out(target, bad):
    host = Host(bad, bad, whole)
    host.client().download_file("file-1", target)
    assert target.read_bytes() == DATA
    assert len(host.slept) == 2


@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (401, AuthError), (400, RejectedError)])
def test_a_definite_no_is_raised_at_once_and_leaves_nothing(target, status, error):
    host = Host(httpx.Response(status, json={"error": {"message": "no"}}))
    with pytest.raises(error):
        host.client().download_file("file-1", target)
    assert nothing_left(target)
    assert len(host.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_stays_with_the_api_when_a_file_lies_elsewhere(target, status):
    profile = dataclasses.replace(ApiProfile(), extra_headers={"x-secret": "s"})
    host = Host(httpx.Response(status, headers={"location": "https://store.example/f?sig=1"}), whole)
    host.client(profile=profile).download_file("file-1", target)
    api, store = host.requests
    assert api.headers["authorization"] == f"Bearer {KEY}"
    assert (store.url.host, store.url.query) == ("store.example", b"sig=1")
    assert not {"authorization", "x-secret", "cookie"} & set(store.headers)
    assert KEY.encode() not in b"".join(value for _, value in store.headers.raw)


def test_a_key_in_another_header_stays_with_the_api_as_well(target):
    profile = dataclasses.replace(ApiProfile(), key_header="X-Api-Key: {key}")
    host = Host(httpx.Response(302, headers={"location": "https://store.example/f"}), whole)
    host.client(profile=profile).download_file("file-1", target)
    api, store = host.requests
    assert (api.headers["x-api-key"], "authorization" in api.headers) == (KEY, False)
    assert KEY.encode() not in b"".join(value for _, value in store.headers.raw)


@pytest.mark.parametrize("location", ["/v1/other", "https://api.example:443/v1/other"])
def test_a_redirect_within_the_api_keeps_the_key(target, location):
    host = Host(httpx.Response(302, headers={"location": location}), whole)
    host.client().download_file("file-1", target)
    assert host.requests[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "location", ["https://api.example:8443/f", "https://api.example.evil.example/f", "https://xapi.example/f"]
)
def test_another_port_or_a_similar_name_is_another_host(target, location):
    host = Host(httpx.Response(302, headers={"location": location}), whole)
    host.client().download_file("file-1", target)
    assert "authorization" not in host.requests[1].headers


@pytest.mark.parametrize(
    "location", ["http://store.example/f", "http://api.example/v1/f", "ftp://store.example/f", "file:///etc/passwd"]
)
def test_a_redirect_to_what_is_not_encrypted_is_refused(target, location):
    host = Host(httpx.Response(302, headers={"location": location}), whole)
    with pytest.raises(RejectedError, match="not encrypted"):
        host.client().download_file("file-1", target)
    assert len(host.requests) == 1
    assert nothing_left(target)


def test_redirects_without_end_are_given_up(target):
    with pytest.raises(RejectedError, match="more than 5 redirects"):
        Host(httpx.Response(302, headers={"location": "/v1/x"})).client().download_file("file-1", target)


def test_an_expired_link_is_asked_for_again(target):
    to_store = httpx.Response(302, headers={"location": "https://store.example/f"})
    host = Host(to_store, httpx.Response(503), to_store, whole)
    host.client().download_file("file-1", target)
    assert [request.url.host for request in host.requests] == ["api.example", "store.example"] * 2


def test_a_file_id_that_is_a_url_is_downloaded_without_the_key(target):
    host = Host(whole)
    host.client().download_file("https://store.example/f?sig=1", target)
    assert host.requests[0].url.host == "store.example"
    assert "authorization" not in host.requests[0].headers


def test_a_url_in_json_is_followed_where_the_profile_says_so(target):
    host = Host(httpx.Response(200, json={"data": {"url": "https://store.example/f"}}), whole)
    host.client(profile=dataclasses.replace(ApiProfile(), result_style="url")).download_file("file-1", target)
    assert [str(request.url) for request in host.requests] == [
        f"https://api.example{CONTENT}",
        "https://store.example/f",
    ]
    assert target.read_bytes() == DATA


def batch(**changes):
    return Batch(id="batch_1", status=BatchStatus.COMPLETED, **changes)


def test_results_come_from_the_batchs_files(target):
    host = Host(whole)
    client = host.client()
    assert client.download_results(batch(output_file_id="file-1"), "output", target) == len(DATA)
    assert client.download_results(batch(output_file_id="file-1"), "error", target) is None
    assert client.download_results(batch(error_file_id="file-2"), "error", target) == len(DATA)
    assert [request.url.path for request in host.requests] == [CONTENT, "/v1/files/file-2/content"]


def test_results_may_be_a_list_of_the_batch(target):
    host = Host(whole)
    client = host.client(profile=dataclasses.replace(ApiProfile(), result_style="results"))
    assert client.download_results(batch(), "output", target) == len(DATA)
    assert client.download_results(batch(), "error", target) is None
    assert [request.url.path for request in host.requests] == ["/v1/batches/batch_1/results"]


def test_a_real_download_that_is_cut_off_is_gone_on_with(target, serve):
    ranges = {"Accept-Ranges": "bytes", "ETag": '"v1"'}
    content_range = {"Content-Range": f"bytes 5000-{len(DATA) - 1}/{len(DATA)}"}
    server = serve(
        serve.answer(200, DATA[:5000], headers=ranges, length=len(DATA)),
        serve.answer(206, DATA[5000:], headers=content_range),
    )
    with GreenNodeClient(server.base_url, KEY, sleep=[].append) as client:
        assert client.download_file("file-1", target) == len(DATA)
    assert target.read_bytes() == DATA
    assert b"range: bytes=5000-" in server.requests[1].lower()


def test_a_real_length_that_lies_is_an_error(target, serve):
    server = serve(*[serve.answer(200, DATA, length=len(DATA) + 7)] * 5)
    with GreenNodeClient(server.base_url, KEY, sleep=[].append) as client, pytest.raises(RetryableError):
        client.download_file("file-1", target)
    assert nothing_left(target)
    assert len(server.requests) == 5


@pytest.mark.parametrize("shape", [{"url": "%s"}, {"data": {"downloadUrl": "%s"}}, "%s"])
def test_a_url_where_lines_were_expected_is_followed_and_its_host_never_gets_the_key(shape, tmp_path):
    text = json.dumps(shape).replace("%s", "https://store.example/signed?token=1")
    host = Host(lambda request: httpx.Response(200, text=text) if request.url.host == "api.example" else whole(request))
    with host.client() as client:
        assert client.download_file("file-1", tmp_path / "out") == len(DATA)
    assert (tmp_path / "out").read_bytes() == DATA
    assert ["authorization" in request.headers for request in host.requests] == [True, False]


def test_a_url_that_is_out_of_reach_is_not_asked_and_leaves_no_file(tmp_path):
    host = Host(httpx.Response(200, json={"url": "http://store.example/signed"}))
    with host.client() as client, pytest.raises(RejectedError, match="which is not encrypted"):
        client.download_file("file-1", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", [{"custom_id": "1", "url": "https://x.example/"}, {"response": {}, "url": "https://x.example/"}]
)
def test_the_only_line_of_a_file_is_no_url_whatever_it_holds(line, tmp_path):
    host = Host(httpx.Response(200, json=line))
    with host.client() as client:
        client.download_file("file-1", tmp_path / "out")
    assert len(host.requests) == 1


@pytest.mark.parametrize(
    ("broken", "max_bytes", "words"), [(True, 1000, "ZIP archive is broken"), (False, 200, "larger")]
)
def test_an_archive_that_cannot_be_unpacked_leaves_nothing(target, broken, max_bytes, words):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lines", "0123456789" * 100)
    host = Host(httpx.Response(200, content=packed.getvalue()[: -20 if broken else None]))
    with pytest.raises((RetryableError, RejectedError), match=words):
        host.client().download_file("file-1", target, max_bytes=max_bytes)
    assert nothing_left(target)


def test_one_page_of_a_file_is_not_taken_for_all_of_it(target):
    host = Host(httpx.Response(200, json={"data": [{"custom_id": "1"}], "has_more": True}))
    with pytest.raises(RejectedError, match="set result_style 'results' and results_path"):
        host.client().download_file("file-1", target)
    assert nothing_left(target)
