"""The key never reaches a file, the report or the output."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

import httpx
import pytest

from greennode_batch.cli.probe_command import show
from greennode_batch.errors import ConfigError
from greennode_emulator.dialects import DIALECTS
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

from .conftest import KEY

SPELLINGS = (KEY, json.dumps(KEY)[1:-1], json.dumps(json.dumps(KEY)[1:-1])[1:-1], quote(KEY, safe=""))


def shown(outcome, folder, said):
    """What the command says of a probe, its error too."""
    try:
        show(outcome, folder, said.append)
    except ConfigError as end:
        said.append(str(end))


def assert_clean(texts):
    assert texts
    for name, text in texts.items():
        for spelling in SPELLINGS:
            assert spelling not in text, name


@pytest.mark.parametrize("dialect", ["openai", "unknown"])
def test_the_key_is_in_no_file_and_not_in_the_output(dialect, clock, probe, written, folder, capsys):
    assert dialect in DIALECTS
    with running(Settings(dialect=dialect, batch_seconds=0.05, api_keys=(KEY,), clock=clock)) as emulator:
        said = []
        outcome = probe(emulator, say=said.append)
        shown(outcome, folder, said)
    assert_clean({**written(), "output": capsys.readouterr().out, "said": "\n".join(said)})


def test_a_server_that_echoes_the_key_everywhere_is_not_believed(probe_answers, written, folder, capsys):
    def echo(request):
        path = request.url.path
        headers = {"x-echo": KEY, "x-request-id": KEY, "location": f"https://x.test/?k={quote(KEY, safe='')}"}
        if path.endswith("/models"):
            return httpx.Response(200, headers=headers, json={"data": [{"id": "m", "note": KEY}, {"id": KEY}]})
        words = {"error": {"message": f"no such key {KEY}", "code": KEY, "bearer": f"Bearer {KEY}"}}
        return httpx.Response(400, headers=headers, json=words)

    said = []
    shown(probe_answers(echo), folder, said)
    assert_clean({**written(), "output": capsys.readouterr().out, "said": "\n".join(said)})


def test_a_key_that_crosses_the_cut_of_a_long_body_is_gone_first(probe_answers, written):
    def long(request):
        return httpx.Response(400, text="x" * 3_990 + KEY + "y" * 100)

    probe_answers(long, model="m")
    assert_clean(written())
    assert KEY[:10] not in "".join(written().values())


def test_a_signed_link_and_secret_headers_are_masked(probe_answers, written):
    def answer(request):
        link = "https://store.test/f?X-Amz-Signature=abcdef123&X-Amz-Credential=AKIA99&part=1"
        return httpx.Response(404, headers={"set-cookie": "session=topsecret"}, json={"error": link})

    probe_answers(answer, model="m")
    texts = "".join(written().values())
    assert "part=1" in texts
    for secret in ("abcdef123", "AKIA99", "topsecret", base64.b64encode(KEY.encode()).decode()):
        assert secret not in texts
