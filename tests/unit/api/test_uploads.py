import base64
import email.parser
import email.policy
import hashlib
import tracemalloc

import httpx
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import PRESETS, ApiProfile
from greennode_batch.api.uploads import CHUNK_BYTES, Upload
from greennode_batch.errors import ConfigError, RejectedError, RetryableError

LINES = '{"custom_id": "1", "body": {"a": "tiếng Việt\u2028"}}\n'.encode() * 3


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "requests.jsonl"
    path.write_bytes(LINES)
    return path


def client_of(handler, slept=None, **options):
    return GreenNodeClient(
        "https://api.example/v1", "sk-1", transport=httpx.MockTransport(handler), sleep=(slept or []).append, **options
    )


def parts_of(content_type, body):
    """Name -> (filename, content), as Python's own reader of MIME takes the body apart."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    return {
        part.get_param("name", header="content-disposition"): (part.get_filename(), part.get_payload(decode=True))
        for part in message.iter_parts()
    }


def uploaded(path, profile, **options):
    seen = []

    def handler(request):
        body = request.read()
        seen.append((request, body))
        return httpx.Response(200, json={"id": "file-1", "bytes": path.stat().st_size})

    file = client_of(handler, profile=profile).upload_file(path, **options)
    ((request, body),) = seen
    assert file.id == "file-1"
    assert int(request.headers["content-length"]) == len(body)
    assert "transfer-encoding" not in request.headers
    return request.url.path, parts_of(request.headers["content-type"], body)


def test_the_file_is_sent_byte_for_byte_with_its_purpose(path):
    url, parts = uploaded(path, ApiProfile(), filename="shard-1.jsonl")
    assert url == "/v1/files"
    assert parts == {"purpose": (None, b"batch"), "file": ("shard-1.jsonl", LINES)}


def test_the_profile_decides_path_purpose_and_further_fields(path):
    url, parts = uploaded(path, PRESETS["together"])
    assert url == "/v1/files/upload"
    assert parts == {
        "purpose": (None, b"batch-api"),
        "file_name": (None, b"requests.jsonl"),
        "file_type": (None, b"jsonl"),
        "file": ("requests.jsonl", LINES),
    }


def test_a_filename_cannot_break_the_form(path):
    body = b"".join(Upload(path, filename='a"b\r\nX: y.jsonl', fields={}))
    assert b'filename="a%22b%0D%0AX: y.jsonl"\r\n' in body


@pytest.mark.parametrize("size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_every_size_is_sent_whole(tmp_path, size):
    path = tmp_path / "f"
    path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    upload = Upload(path, filename=None, fields={"purpose": "batch"})
    body = b"".join(upload)
    assert len(body) == int(upload.headers["content-length"])
    assert path.read_bytes() in body


def test_an_upload_holds_one_chunk(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    tracemalloc.start()
    total = sum(len(chunk) for chunk in Upload(path, filename=None, fields={}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 50_000_000
    assert peak < 4 * CHUNK_BYTES


@pytest.mark.parametrize("size", [0, 101])
def test_a_file_of_a_wrong_size_is_not_sent(tmp_path, size):
    path = tmp_path / "f"
    path.write_bytes(b"x" * size)
    sent = []
    with pytest.raises(ConfigError, match="a file may have 1 to 100"):
        client_of(sent.append, profile=ApiProfile(max_file_bytes=100)).upload_file(path)
    assert sent == []


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(path):
    chunks = iter(Upload(path, filename=None, fields={}))
    next(chunks)
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="became shorter"):
        next(chunks)


@pytest.mark.parametrize("lost", [httpx.ReadTimeout("late"), httpx.WriteError("reset"), httpx.ConnectError("refused")])
def test_an_upload_that_got_no_reply_is_sent_again_and_said_to_be(path, lost, caplog):
    tries = []

    def handler(request):
        tries.append(request.read())
        if len(tries) == 1:
            raise lost
        return httpx.Response(200, json={"id": "file-2"})

    assert client_of(handler).upload_file(path, filename="shard-1.jsonl").id == "file-2"
    assert tries[0] == tries[1]
    assert "upload shard-1.jsonl" in caplog.text


def test_an_upload_that_is_refused_is_not_sent_again(path):
    tries = []

    def handler(request):
        tries.append(request.read())
        return httpx.Response(413, text="<title>413 Request Entity Too Large</title>")

    with pytest.raises(RejectedError, match="413 Request Entity Too Large"):
        client_of(handler).upload_file(path)
    assert len(tries) == 1


def test_a_refusal_that_comes_before_the_file_was_sent_is_read(tmp_path, serve):
    """nginx answers 413 from the headers alone and closes; the reply must win over the broken pipe."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(20_000_000)
    server = serve(early=serve.answer(413, b"too large"))
    with (
        GreenNodeClient(server.base_url, "sk-1", sleep=[].append) as client,
        pytest.raises(RejectedError, match="too large"),
    ):
        client.upload_file(path)


def test_an_upload_is_reset_and_ends_as_retryable(path, serve):
    server = serve(serve.reset, serve.reset, serve.reset)
    with GreenNodeClient(server.base_url, "sk-1", sleep=[].append) as client, pytest.raises(RetryableError):
        client.upload_file(path)
    assert len(server.requests) == 3


def test_an_upload_goes_over_a_real_connection(path, serve):
    server = serve(serve.answer(200, b'{"id": "file-1"}'))
    with GreenNodeClient(server.base_url, "sk-1") as client:
        assert client.upload_file(path).id == "file-1"
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    content_type = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-type")).decode()
    assert parts_of(content_type.partition(": ")[2], body)["file"] == ("requests.jsonl", LINES)


PRESIGNED = ApiProfile(
    upload_style="presigned",
    upload_path="/datasets",
    upload_fields={"name": "{filename}"},
    upload_commit_path="/datasets/{file_id}/complete",
    purpose=None,
    file_fields={"upload_url": "upload.href"},
)


def presigned(request, *, url="https://store.example/put/7?sig=s3cret"):
    if request.url.path == "/v1/datasets":
        return httpx.Response(201, json={"dataset": {"id": 7}, "upload": {"href": url}})
    return httpx.Response(200, json={})


def test_a_file_goes_to_the_url_that_the_server_names_without_the_key(path):
    sent = []

    def handler(request):
        sent.append((request.method, str(request.url), request.headers.get("authorization"), request.read()))
        return presigned(request)

    remote = client_of(handler, profile=PRESIGNED).upload_file(path, filename="a.jsonl")
    assert remote.id == "7"
    assert sent == [
        ("POST", "https://api.example/v1/datasets", "Bearer sk-1", b'{"name":"a.jsonl"}'),
        ("PUT", "https://store.example/put/7?sig=s3cret", None, LINES),
        ("POST", "https://api.example/v1/datasets/7/complete", "Bearer sk-1", b""),
    ]


@pytest.mark.parametrize("url", ["http://store.example/put/7", "https://169.254.169.254/put", "https://localhost/put"])
def test_a_file_goes_to_no_url_that_is_not_encrypted_or_out_of_reach(path, url):
    def handler(request):
        assert request.method == "POST"
        return presigned(request, url=url)

    with pytest.raises(RejectedError, match="the server points to"):
        client_of(handler, profile=PRESIGNED).upload_file(path)


def test_a_url_for_an_upload_that_fails_stays_out_of_the_error(path):
    def handler(request):
        return httpx.Response(403, text="<Error/>") if request.method == "PUT" else presigned(request)

    with pytest.raises(RejectedError, match=r"send the bytes of a\.jsonl: HTTP 403") as error:
        client_of(handler, profile=PRESIGNED).upload_file(path, filename="a.jsonl")
    assert "s3cret" not in str(error.value)


def test_the_bytes_are_sent_again_after_a_reset(path):
    puts = iter([httpx.ReadError("reset"), httpx.Response(200)])

    def handler(request):
        if request.method != "PUT":
            return presigned(request)
        assert request.read() == LINES
        reply = next(puts)
        if isinstance(reply, Exception):
            raise reply
        return reply

    assert client_of(handler, profile=PRESIGNED).upload_file(path).id == "7"


def test_a_signed_upload_has_the_headers_that_the_reply_and_the_profile_name_and_says_its_size(path):
    signed = {"Content-Type": "application/x-ndjson", "x-blob": "block", "Content-Length": "1", "host": "x", "bad": "é"}
    begun, put = [], []

    def handler(request):
        if request.method == "PUT":
            put.append((request.headers, request.read()))
            return httpx.Response(200)
        begun.append(request.read())
        return httpx.Response(
            201, json={"data": {"id": "f", "upload": {"url": "https://store.example/7", "headers": signed}}}
        )

    profile = ApiProfile(
        upload_style="presigned",
        purpose=None,
        upload_fields={"name": "{filename}", "size": "{bytes}", "note": "{bytes} B"},
        upload_headers={"X-More": "1"},
    )
    client_of(handler, profile=profile).upload_file(path, filename="a")
    size = len(LINES)
    assert begun == [b'{"name":"a","size":%d,"note":"%d B"}' % (size, size)]
    ((headers, body),) = put
    assert body == LINES
    names = ("content-type", "x-blob", "x-more", "content-length", "host")
    assert [headers.get(name) for name in names] == ["application/x-ndjson", "block", "1", str(size), "store.example"]
    assert headers.get_list("content-type") == ["application/x-ndjson"]
    assert not {"authorization", "bad"} & headers.keys()


def test_a_size_is_text_in_a_form(path):
    _, parts = uploaded(path, ApiProfile(upload_fields={"size": "{bytes}"}))
    assert parts["size"] == (None, str(len(LINES)).encode())


@pytest.mark.parametrize(
    ("end", "fields", "file_id"),
    [
        ({}, {}, "up-1"),
        ({"id": "up-1", "file": {"id": "file-9"}}, {}, "file-9"),
        ({"data": {"id": "up-1", "fileId": "file-9"}}, {}, "file-9"),
        ({"stored": {"as": "file-9"}}, {"committed_id": "stored.as"}, "file-9"),
    ],
)
def test_the_end_of_an_upload_may_name_the_file(path, end, fields, file_id):
    def handler(request):
        if request.url.path.endswith("/complete"):
            return httpx.Response(200, json=end)
        return httpx.Response(200, json={"id": "up-1", "uploadUrl": "https://store.example/7"})

    profile = ApiProfile(upload_style="presigned", upload_commit_path="/uploads/{file_id}/complete", file_fields=fields)
    assert client_of(handler, profile=profile).upload_file(path).id == file_id


def test_a_store_may_send_the_bytes_to_another_of_its_hosts(path):
    sent = []

    def handler(request):
        if request.url.path == "/v1/datasets":
            return presigned(request)
        sent.append((request.method, request.url.host, request.headers.get("authorization"), request.read()))
        if request.url.host == "store.example":
            return httpx.Response(307, headers={"location": "https://eu.store.example/put/7"})
        return httpx.Response(200, json={})

    client_of(handler, profile=PRESIGNED).upload_file(path)
    assert sent[:2] == [("PUT", "store.example", None, LINES), ("PUT", "eu.store.example", None, LINES)]


def test_a_store_that_always_sends_elsewhere_is_given_up(path):
    def handler(request):
        if request.method == "PUT":
            return httpx.Response(307, headers={"location": "https://store.example/again"})
        return presigned(request)

    with pytest.raises(RejectedError, match=r"send the bytes of .*: HTTP 307"):
        client_of(handler, profile=PRESIGNED).upload_file(path)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"upload": {"url": "https://store.example/post", "fields": {"key": "k", "policy": "p"}}}, {}),
        ({"uploadUrl": "https://store.example/post", "formData": [{"name": "key", "value": "k"}]}, {}),
        ({"url": "https://store.example/post", "signed": {"key": "k"}}, {"upload_form": "signed"}),
    ],
)
def test_the_bytes_may_go_by_a_form_of_the_fields_that_the_reply_names(path, said, place):
    posted = []

    def handler(request):
        if request.url.host == "api.example":
            return httpx.Response(201, json={"id": "f-1", "headers": {"content-type": "x"}, **said})
        posted.append((request.method, parts_of(request.headers["content-type"], request.read())))
        return httpx.Response(204)

    profile = ApiProfile(upload_style="presigned", file_fields=place)
    assert client_of(handler, profile=profile).upload_file(path, filename="a").id == "f-1"
    ((method, parts),) = posted
    assert (method, parts["key"], parts["file"]) == ("POST", (None, b"k"), ("a", LINES))
    assert list(parts)[-1] == "file"


def test_the_checksums_of_the_bytes_are_sent_where_the_profile_wants_them(path):
    begun, put = [], []

    def handler(request):
        (put if request.method == "PUT" else begun).append(request)
        request.read()
        return httpx.Response(200, json={"id": "f", "uploadUrl": "https://store.example/7"})

    profile = ApiProfile(
        upload_style="presigned",
        upload_path="GET /files/new",
        upload_fields={"a": "{md5}", "b": "{sha256}"},
        upload_headers={"Content-MD5": "{content_md5}"},
        purpose=None,
    )
    client_of(handler, profile=profile).upload_file(path)
    ((begin,), (sent,)) = (begun, put)
    assert (begin.method, begin.content) == ("GET", b"")
    digest = hashlib.md5(LINES, usedforsecurity=False)
    assert dict(begin.url.params) == {"a": digest.hexdigest(), "b": hashlib.sha256(LINES).hexdigest()}
    assert base64.b64decode(sent.headers["content-md5"]) == digest.digest()


@pytest.mark.parametrize(
    ("said", "method"),
    [
        ({}, "PUT"),
        ({"method": "post"}, "POST"),
        ({"upload": {"method": "PUT"}, "complete": {"method": "POST"}}, "PUT"),
    ],
)
def test_the_method_of_the_bytes_is_the_replys_and_not_that_of_another_call(path, said, method):
    sent = []

    def handler(request):
        sent.append(request.method)
        return httpx.Response(200, json={"id": "f", "uploadUrl": "https://store.example/7", **said})

    client_of(handler, profile=ApiProfile(upload_style="presigned")).upload_file(path)
    assert sent == ["POST", method]
