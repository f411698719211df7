import httpx
import pytest

from greennode_emulator.server import running
from greennode_emulator.settings import Settings


@pytest.fixture(scope="module")
def server():
    with running(Settings(dialect="unknown")) as server:
        yield server


@pytest.fixture
def location(server):
    """Where a file's content is redirected to."""
    headers = {"authorization": f"Bearer {server.api_key}"}
    with httpx.Client(base_url=server.base_url, headers=headers, trust_env=False) as http:
        reply = http.post("/files", files={"file": ("x", b"content")}, data={"purpose": "batch"}).json()
        redirect = http.get(f"/files/{reply['result']['file_id']}/content")
    assert redirect.status_code == 302
    return redirect.headers["location"]


def test_the_store_is_another_origin_and_needs_no_key(server, location):
    assert not location.startswith(server.root_url)
    assert server.api_key not in location
    assert httpx.get(location, trust_env=False).content == b"content"
    assert httpx.get(location, headers={"range": "bytes=3-"}, trust_env=False).content == b"tent"


def test_the_store_refuses_the_key_of_the_api(server, location):
    reply = httpx.get(location, headers={"authorization": f"Bearer {server.api_key}"}, trust_env=False)
    assert reply.status_code == 400


@pytest.mark.parametrize("signature", ["", "?signature=wrong"])
def test_without_the_signature_nothing_is_handed_out(location, signature):
    assert httpx.get(location.partition("?")[0] + signature, trust_env=False).status_code == 403


def test_downloads_can_go_wrong_too(server, location):
    server.faults([{"endpoint": "GET /_storage/{id}", "kind": "html"}])
    assert httpx.get(location, trust_env=False).status_code == 502
    assert httpx.get(location, trust_env=False).status_code == 200
