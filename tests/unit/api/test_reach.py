import socket

import httpx
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.api.reach import ForbiddenAddressError, Reach
from greennode_batch.errors import RejectedError

KEY = "sk-live-0123456789abcdef"
INSIDE = [
    "127.0.0.1", "127.8.8.8", "[::1]", "localhost", "LOCALHOST.", "x.localhost", "0.0.0.0", "[::]", "10.0.0.5",
    "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.100.100.200",
    "[fe80::1]", "[fd00:ec2::254]", "[::ffff:127.0.0.1]",
    "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "224.0.0.1",
]  # fmt: skip


@pytest.fixture
def names(monkeypatch):
    """Name servers that know what the test tells them, and nothing else."""
    known = {}
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *args, **kwargs):
        if host in known:
            return [entry for address in known[host] for entry in real(address, port, *args, **kwargs)]
        if host.replace(".", "").isdigit():
            return real(host, port, *args, **kwargs)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.parametrize("host", INSIDE)
@pytest.mark.parametrize("way", ["redirect", "in JSON", "file id"])
def test_what_the_server_names_inside_is_not_asked(host, way, tmp_path, names):
    requested = []
    url = f"https://{host}:8443/secrets"

    def handler(request):
        requested.append(request.url.host)
        if way == "redirect":
            return httpx.Response(302, headers={"location": url})
        return httpx.Response(200, json={"url": url})

    client = GreenNodeClient(
        "https://api.example/v1",
        KEY,
        transport=httpx.MockTransport(handler),
        profile=ApiProfile(result_style="url" if way == "in JSON" else "file"),
    )
    with pytest.raises(RejectedError, match=r"not on the public internet.*Nothing is lost.*allow_http_hosts"):
        client.download_file(url if way == "file id" else "file-1", tmp_path / "out")
    assert set(requested) <= {"api.example"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["redirect", "file id", "a redirect of a redirect"])
@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "169.254.169.254"])
def test_a_name_is_looked_through_when_it_is_connected_to(way, address, tmp_path, names, serve):
    hop = serve.answer(302, headers={"Location": "https://inside.example/secrets"})
    server = serve(*[serve.answer(302, headers={"Location": "/v1/next"})] if "of a" in way else [], hop)
    port = server.base_url.rpartition(":")[2].removesuffix("/v1")
    # The host of the base URL is the user's own word.
    names |= {"api.example": ["127.0.0.1"], "inside.example": ["8.8.8.8", address]}
    with (
        GreenNodeClient(f"http://api.example:{port}/v1", KEY, allow_http_hosts=["api.example"]) as client,
        pytest.raises(RejectedError, match=rf"inside\.example \({address}\), which is not on the public internet"),
    ):
        client.download_file("https://inside.example/f" if way == "file id" else "file-1", tmp_path / "out")


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000/v1", "http://localhost:8000/v1", "https://[::1]/v1"])
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.5", "minio.example"])
def test_where_the_base_url_is_on_loopback_everything_may_be_asked(base, host):
    reach = Reach(base, [])
    reach.check_name(host)
    assert reach.addresses(host, 443) == [host]


def test_the_host_of_the_base_url_and_those_allowed_by_name_may_be_anywhere(names):
    names |= {"llm.corp": ["10.0.0.1"], "minio.corp": ["10.0.0.2"]}
    reach = Reach("https://llm.corp/v1", ["minio.corp:9000", "10.0.0.9"])
    for host in ("llm.corp", "minio.corp", "10.0.0.9"):
        reach.check_name(host)
        assert reach.addresses(host, 443) == [host]


def test_from_a_private_base_url_private_hosts_may_be_asked_but_not_this_machine_nor_its_links(names):
    names |= {"llm.corp": ["10.0.0.1"], "minio.corp": ["10.0.0.2"], "evil.corp": ["127.0.0.1"]}
    reach = Reach("https://llm.corp/v1", [])
    reach.check_name("10.0.0.7")
    assert reach.addresses("minio.corp", 443) == ["10.0.0.2"]
    for host in ("169.254.169.254", "127.0.0.1", "localhost"):
        with pytest.raises(ForbiddenAddressError):
            reach.check_name(host)
    with pytest.raises(ForbiddenAddressError):
        reach.addresses("evil.corp", 443)


def test_hosts_of_the_internet_are_asked_at_the_address_that_was_looked_at(names):
    names |= {"storage.example": ["8.8.8.8", "8.8.4.4"]}
    assert Reach("https://api.example/v1", []).addresses("storage.example", 443) == ["8.8.8.8", "8.8.4.4"]
