"""Servers that nobody has seen, each with a plain client that reads what the server's choices are."""

import gzip
import io
import json
import zipfile

import httpx
import msgspec
import pytest

from greennode_emulator.answers import answer_for
from greennode_emulator.dialects import DIALECTS, UnknownDialectError, find_dialect
from greennode_emulator.dialects.choices import SPACE, Choices, choices_of, consistent, describe
from greennode_emulator.dialects.generated import dialect_of, generated_dialect
from greennode_emulator.records import Phase
from greennode_emulator.reshaping import camel
from greennode_emulator.server import running
from greennode_emulator.settings import Settings

CHAT = "/v1/chat/completions"
MARK = {"mark": "ours", "run_id": "r_1"}
SEEDS = range(8)
SEVENTEEN = (
    "wrapper=own, wraps_all, file_status=upper, endpoint=false, window=false, metadata=false, "
    "output_name=output_file, none_is=absent, ids_early, words=job_state, counts=flat, times=local, "
    "list_items=value, deleted_status=204, late_cancel_status=400, camel_lines"
)


def at(reply, path):
    for name in path.split("."):
        reply = reply[name]
    return reply


class PlainClient:
    """Speaks to one server, by its choices alone."""

    def __init__(self, server, choices):
        self.choices = choices
        self.server = server
        name, _, value = choices.key_header.partition(": ")
        headers = {name: value.replace("{key}", server.api_key)}
        self.http = httpx.Client(base_url=server.base_url, headers=headers, trust_env=False, timeout=60)

    def name(self, path):
        return camel(path) if self.choices.camel_case else path

    def read(self, reply, own="", *, written=False):
        """The reply out of its wrapper."""
        assert reply.is_success, reply.text
        body, choices = reply.json(), self.choices
        if not choices.wrapper or not (written or choices.wraps_all):
            return body
        return body[{"envelope": "data", "own": own}.get(choices.wrapper, choices.wrapper)]

    def upload(self, content):
        choices, path = self.choices, self.choices.files_path + self.choices.upload_suffix
        form = {"purpose": choices.purpose} if choices.purpose else {}
        if choices.upload == "form":
            reply = self.http.post(path, files={"file": ("in.jsonl", content)}, data=form)
            return self.read(reply, "file", written=True)[self.name(choices.file_id_name)]
        reply = self.http.post(path, json=form | {self.name(choices.upload_filename): "in.jsonl"})
        file = self.read(reply, "file", written=True)
        url = at(file, self.name(choices.upload_url))
        assert url.startswith(self.server.root_url) != choices.upload_elsewhere
        assert httpx.put(url, content=content, trust_env=False).is_success
        file_id = file[self.name(choices.file_id_name)]
        if choices.upload == "signed_commit":
            assert self.http.post(f"{choices.files_path}/{file_id}/complete").is_success
        return file_id

    def create(self, file_id):
        choices = self.choices
        wish = {self.name(choices.input_file): [file_id] if choices.input_file == "input_files" else file_id}
        wish |= {"endpoint": CHAT} if choices.endpoint else {}
        wish |= {self.name("completion_window"): "24h"} if choices.window else {}
        wish |= {"metadata": MARK} if choices.metadata else {}
        wish |= {"model": "google/gemma-4-31b-it"} if choices.model_in_create else {}
        # The third call of an upload is a look at the file too.
        for _ in range(choices.processing_looks - (choices.upload == "signed_commit")):
            assert self.http.post(choices.batches_path, json=wish).status_code == choices.processing_status
        reply = self.http.post(choices.batches_path, json=wish)
        assert reply.status_code == choices.create_status
        return self.read(reply, "job", written=True)

    def get(self, batch_id):
        return self.read(self.http.get(f"{self.choices.batches_path}/{batch_id}"), "job")

    def listed(self):
        choices = self.choices
        params = {choices.page_name: choices.first_page, choices.size_name: 5} if choices.paging == "page" else {}
        body = self.http.get(choices.batches_path, params=params).json()
        if choices.wraps_all and choices.wrapper not in ("", "own"):
            body = body["data" if choices.wrapper == "envelope" else choices.wrapper]
        return body[choices.list_items] if choices.list_items else body

    def content(self, path):
        reply = self.http.get(path)
        url = None
        if self.choices.results == "redirect":
            url = reply.headers["location"]
        elif self.choices.results == "url":
            url = at(reply.json(), self.name(self.choices.results_url))
        if url is not None:
            assert url.startswith(self.server.root_url) != self.choices.results_elsewhere
            reply = httpx.get(url, trust_env=False)
        assert reply.status_code == 200
        content = gzip.decompress(reply.content) if self.choices.results_gzip == "undeclared" else reply.content
        match self.choices.results_form:
            case "zip":
                return zipfile.ZipFile(io.BytesIO(content)).read("results.jsonl")
            case "lines":
                return content
            case form:
                lines = json.loads(content)["data"]["items"] if form == "wrapped" else json.loads(content)
                return b"\n".join(json.dumps(line).encode() for line in lines)

    def lines(self, batch):
        """The lines of both files."""
        choices = self.choices
        if choices.results == "batch":
            found = [self.content(f"{choices.batches_path}/{batch[self.name(choices.batch_id_name)]}/results")]
        else:
            ids = [batch.get(self.name(name)) for name in (choices.output_name, choices.error_name)]
            assert all(ids)
            found = [self.content(f"{choices.files_path}/{one}/content") for one in ids]
        lines = [json.loads(line) for text in found for line in text.split(b"\n") if line]
        return [line[choices.line_wrapper] if choices.line_wrapper else line for line in lines]

    def answers(self, lines):
        """The text of each answer, by the id of its request; None for one that was refused."""
        choices, found = self.choices, {}
        for line in lines:
            cased = camel if choices.camel_lines else str
            body = line[cased(choices.line_answer)]
            if choices.response == "wrapped" and body is not None:
                body = body["body"]
            custom_id = at(line, cased(choices.line_id))
            found[custom_id] = self.text(body) if body and "choices" in body else None
        return found

    def text(self, body):
        choice = body["choices"] if self.choices.answer == "object" else body["choices"][0]
        content = choice["message"]["content"]
        return content[0]["text"] if self.choices.answer == "parts" else content


def lines_of(choices, bodies):
    more = {"method": "POST", "url": CHAT} if choices.line_form == "full" else {}
    lines = [json.dumps({"custom_id": name, **more, "body": one}) for name, one in bodies.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def carry(choices, dialect, body, until):
    """One batch, from its upload to its answers, and what is left of it."""
    bodies = {"a": body("a"), "b": body("b"), "hot": body(temperature=3)}
    content = lines_of(choices, bodies)
    with running(Settings(dialect=dialect, batch_seconds=0.05)) as server:
        client = PlainClient(server, choices)
        with client.http:
            file_id = client.upload(content)
            created = client.create(file_id)
            batch_id = created[client.name(choices.batch_id_name)]
            swapped = created[client.name(choices.input_file)] not in (file_id, [file_id])
            assert swapped == (choices.gateway == "swaps")
            end = find_dialect(dialect).words[Phase.COMPLETED]
            until(lambda: client.get(batch_id)[choices.status_name] == end)
            batch = client.get(batch_id)
            expected = {name: answer_for(one).content for name, one in bodies.items() if name != "hot"}
            assert client.answers(client.lines(batch)) == expected | {"hot": None}
            assert batch.get("metadata") == (MARK if choices.metadata else None)
            if choices.list_empty:
                assert client.listed() == []
            else:
                until(lambda: [one[client.name(choices.batch_id_name)] for one in client.listed()] == [batch_id])
            path = f"{choices.batches_path}/{batch_id}"
            late = client.http.request(
                "DELETE" if choices.cancel == "delete" else choices.cancel_method,
                path if choices.cancel == "delete" else f"{path}/cancel",
            )
            assert late.status_code == choices.late_cancel_status
            if choices.delete:
                assert client.http.delete(path).status_code == choices.deleted_status
                assert client.http.get(path).status_code == choices.gone_status
            models = {"listed": 200, "missing": 404, "broken": 500}[choices.models]
            assert client.http.get("/models").status_code == models
            assert server.ledger()["requests"] == {"a": 1, "b": 1}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_server_of_any_seed_carries_a_batch_for_a_client_that_reads_its_choices(seed, body, until):
    carry(choices_of(seed), f"generated:{seed}", body, until)


WAYS = [(name, way) for name, ways in SPACE.items() for way, _ in ways if way != getattr(Choices(), name)]
# What a way needs beside it to have an effect.
WITH = {
    "wraps_all": {"wrapper": "data"},
    "upload_elsewhere": {"upload": "signed"},
    "upload_filename": {"upload": "signed"},
    "upload_url": {"upload": "signed", "camel_case": True},
    "processing_status": {"processing_looks": 2},
    "page_name": {"paging": "page"},
    "size_name": {"paging": "page"},
    "first_page": {"paging": "page"},
    "results_elsewhere": {"results": "url"},
    "results_url": {"results": "url", "camel_case": True},
    "list_items": {"wrapper": "envelope", "wraps_all": True, "errors": "coded"},
}


def packed(left):
    """As few servers as will have all of these ways, as many of them together as can be."""
    while left:
        chosen = {}
        for name, way in left:
            trial = {**WITH.get(name, {}), name: way}
            if all(chosen.get(other, value) == value for other, value in trial.items()):
                trial |= chosen
                made = consistent(msgspec.structs.replace(Choices(), **trial))
                chosen = trial if all(getattr(made, other) == value for other, value in trial.items()) else chosen
        yield msgspec.structs.replace(Choices(), **chosen)
        left = [(name, way) for name, way in left if name not in chosen or chosen[name] != way]


PACKED = list(packed(WAYS))


@pytest.mark.parametrize("number", range(len(PACKED)))
def test_every_way_of_every_choice_carries_a_batch(number, body, until, monkeypatch):
    monkeypatch.setitem(DIALECTS, "packed", dialect_of(PACKED[number], name="packed"))
    carry(PACKED[number], "packed", body, until)


FAULTS = [
    {"kind": "expired", "fraction": 0.5},
    {"kind": "file_error_line"},
    *({"kind": kind, "count": 1} for kind in ("duplicate", "unknown_id", "null_response", "status_zero", "line_error")),
]


@pytest.mark.parametrize("number", range(3))
def test_lines_that_faults_make_have_the_shape_of_the_servers_other_lines(number, body, until, monkeypatch):
    choices = PACKED[number]
    monkeypatch.setitem(DIALECTS, "packed", dialect_of(choices, name="packed"))
    bodies = {f"r{row}": body(str(row)) for row in range(20)}
    with running(Settings(dialect="packed", batch_seconds=0.05)) as server:
        client = PlainClient(server, choices)
        with client.http:
            server.faults(FAULTS)
            content = lines_of(choices, bodies)
            batch_id = client.create(client.upload(content))[client.name(choices.batch_id_name)]
            end = find_dialect("packed").words[Phase.EXPIRED]
            until(lambda: client.get(batch_id)[choices.status_name] == end)
            answers = client.answers(client.lines(client.get(batch_id)))
    # An id that nobody sent may be there, and a line for the whole file has none.
    assert set(bodies) <= set(answers) <= {*bodies, None, *(f"unknown-{name}" for name in bodies)}
    assert {answers[name] for name in bodies} <= {None, *(answer_for(one).content for one in bodies.values())}
    assert 5 <= sum(answers[name] is not None for name in bodies) <= 10


def test_many_seeds_draw_every_way_of_every_choice():
    drawn = [choices_of(seed) for seed in range(200)]
    missing = [(name, way) for name, way in WAYS if all(getattr(one, name) != way for one in drawn)]
    assert missing == []
    assert len(set(drawn)) == len(drawn)


def test_a_seed_means_the_same_server_everywhere_and_always():
    """With another version of Python, and after a field is added, whose own value comes behind these."""
    assert describe(choices_of(17)).startswith(SEVENTEEN)
    assert generated_dialect(17).description == describe(choices_of(17))


def test_what_is_as_usual_says_so():
    assert describe(Choices()) == "as usual"
    assert describe(msgspec.structs.replace(Choices(), purpose=None, camel_case=True)) == "camel_case, purpose=none"


@pytest.mark.parametrize("name", ["generated:", "generated:x", "generated:-1", "generated", "klingon"])
def test_what_is_no_seed_is_no_dialect(name):
    with pytest.raises(UnknownDialectError, match="generated:SEED"):
        find_dialect(name)


def test_a_server_says_what_it_does_differently():
    with running(Settings(dialect="generated:3")) as server:
        reply = httpx.get(f"{server.root_url}/_emulator/health", trust_env=False).json()
    assert reply == {"status": "ok", "dialect": "generated:3", "description": describe(choices_of(3))}
