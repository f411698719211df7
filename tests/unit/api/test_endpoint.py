import base64
import copy
import html
import json
import pickle
import re
from urllib.parse import quote

import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.api.endpoint import ApiKey, check_base_url
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError

KEY = "sk-live-0123456789abcdef"


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://host/v1", "https://host/v1"),
        ("https://host/v1/", "https://host/v1"),
        (" https://host/openai/v1// ", "https://host/openai/v1"),
        ("https://host/v1beta", "https://host/v1beta"),
        ("https://host:8443/api/v2.1", "https://host:8443/api/v2.1"),
        ("http://127.0.0.1:8089/v1", "http://127.0.0.1:8089/v1"),
        ("http://127.9.9.9/v1", "http://127.9.9.9/v1"),
        ("http://[::1]:8089/v1", "http://[::1]:8089/v1"),
        ("http://localhost:8089/v1", "http://localhost:8089/v1"),
    ],
)
def test_a_good_base_url_is_taken(given, used):
    assert check_base_url(given) == used


@pytest.mark.parametrize("allowed", ["emulator", "EMULATOR", "emulator:8089"])
def test_http_is_allowed_for_a_host_by_name(allowed):
    assert check_base_url("http://emulator:8089/v1", allow_http_hosts=[allowed]) == "http://emulator:8089/v1"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        (None, "is empty"),
        ("host/v1", "has no scheme; write it as https://host/v1"),
        ("ftp://host/v1", "has no scheme"),
        ("https:///v1", "has no scheme"),
        ("https://[::1/v1", "cannot be read"),
        ("https://host:99999/v1", "cannot be read"),
        ("http://host/v1", "use https://, or allow http"),
        ("http://localhost.evil.example/v1", "unencrypted"),
        ("http://128.0.0.1/v1", "unencrypted"),
        ("https://host", "add /v1: https://host/v1"),
        ("https://host/api/", "add /v1: https://host/api/v1"),
        ("https://host/v1/chat/completions", "leave out what follows it: https://host/v1\\."),
        ("https://host/v1?key=1", "query or fragment"),
    ],
)
def test_a_wrong_base_url_is_refused_with_the_way_out(url, words):
    with pytest.raises(ConfigError, match=words):
        check_base_url(url)


@pytest.mark.parametrize("url", ["https://host", "https://host/maas/inference", "https://host/v1"])
def test_a_base_url_without_a_version_is_taken_where_the_profile_says_so(url):
    with GreenNodeClient(url, KEY, profile=ApiProfile(base_url_version=False)) as client:
        assert client.base_url == url


def test_a_base_url_without_a_version_names_the_field_of_the_profile():
    with pytest.raises(ConfigError, match='"base_url_version": false in the profile'):
        check_base_url("https://host/maas")


def test_a_password_in_the_url_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="user or password") as caught:
        check_base_url(f"https://me:{KEY}@host/v1")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", None, f"{KEY}\n", f" {KEY}", f"{KEY} x", f"{KEY}\x00", f"{KEY}é"])
def test_a_bad_key_is_refused_and_not_shown(key):
    with pytest.raises(ConfigError) as caught:
        ApiKey(key)
    assert KEY not in str(caught.value)


def test_a_key_shows_itself_only_in_the_header():
    key = ApiKey(KEY)
    assert KEY not in f"{key!r} {key} {vars(ApiKey)}"
    assert key.in_header("Bearer {key}") == f"Bearer {KEY}"
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.deepcopy(key)


def test_an_echoed_key_is_redacted():
    redacted = ApiKey(KEY).redact(f"Incorrect API key provided: {KEY}. Header was 'Authorization: Bearer other-token'")
    assert redacted == "Incorrect API key provided: ***. Header was 'Authorization: Bearer ***'"


@pytest.mark.parametrize("length", range(4, len(KEY)))
def test_what_is_left_of_a_key_where_a_message_was_cut_is_redacted(length):
    shown = ApiKey(KEY).redact(f"no such key: {KEY[:length]}… Look at the … console")
    assert shown == "no such key: ***… Look at the … console"


ODD_KEY = 'gn+key/"q\\z"&<x>=%7E~0123'


def spelled(key):
    """The ways in which a server may write a key that it echoes, by name."""
    data, basic = key.encode(), f"user:{key}".encode()
    return {
        "url": quote(key, safe=""),
        "url, lower case": re.sub("%..", lambda code: code[0].lower(), quote(key, safe="")),
        "url, path": quote(key),
        "url, every character": "".join(f"%{byte:02X}" for byte in data),
        "url, twice": quote(quote(key, safe=""), safe=""),
        "json": json.dumps(key),
        "json in json": json.dumps(json.dumps(key)),
        "json, slashes": json.dumps(key).replace("/", "\\/"),
        "json, every character": "".join(f"\\u{byte:04X}" for byte in data),
        "repr": repr(key),
        "bytes": repr(data),
        "html": html.escape(key),
        "html, numbers": "".join(f"&#{byte};" for byte in data),
        "html, hex": "".join(f"&#x{byte:X};" for byte in data),
        "base64": base64.b64encode(data).decode(),
        "base64 of basic authentication": base64.b64encode(basic).decode(),
        "base64 of the header": base64.b64encode(f"Bearer {key}".encode()).decode(),
        "base64 of more": base64.b64encode(f"ab{key}cde".encode()).decode(),
        "base64 without padding": base64.b64encode(data).decode().rstrip("="),
        "base64 for urls": base64.urlsafe_b64encode(data).decode(),
        "base64 in a url": quote(base64.b64encode(data).decode(), safe=""),
        "hex": data.hex(),
        "hex, upper case": data.hex().upper(),
    }


@pytest.mark.parametrize("key", [KEY, ODD_KEY])
@pytest.mark.parametrize("way", spelled(KEY))
def test_a_key_is_redacted_however_it_is_written(key, way):
    written = spelled(key)[way]
    shown = ApiKey(key).redact(f"rejected: {written} (see the docs)")
    assert shown.startswith("rejected: ")
    assert shown.endswith("(see the docs)")
    middle = shown.removeprefix("rejected: ").removesuffix(" (see the docs)")
    assert "***" in middle
    # What is left of base64 is of the text around the key.
    core = middle.replace("***", "")
    assert not any(written[at : at + 6] in core for at in range(10, len(written) - 16))


@pytest.mark.parametrize("key", [KEY, ODD_KEY])
@pytest.mark.parametrize("way", spelled(KEY))
def test_what_is_left_of_it_where_a_message_was_cut_is_redacted_too(key, way):
    written = spelled(key)[way]
    shown = ApiKey(key).redact(f"rejected: {written[: len(written) * 2 // 3]}… (see the docs)")
    assert "***…" in shown
    assert len(shown) < len("rejected: ***… (see the docs)") + 12


def test_words_that_are_like_a_key_stay():
    words = "the key sk-liv is not sk-dead-0123456789abcdef; base64 c2stZGVhZA== is fine… and so is sk-l"
    assert ApiKey(KEY).redact(words) == words


def test_redacting_takes_no_time_to_speak_of_whatever_the_text():
    key = ApiKey("\\" * 20 + "a%2525" * 10)
    for words in ("\\" * 4000, "%25" * 2000, "&amp;" * 2000, "a" * 8000, ("\\" * 500 + "…") * 8):
        key.redact(words)
