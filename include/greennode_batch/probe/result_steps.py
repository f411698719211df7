"""Results of a batch: result files, where a bad line ends up, and what remains of a cancelled batch."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx

from greennode_batch.api.bounds import MAX_REPLY_BYTES
from greennode_batch.api.downloads import as_lines
from greennode_batch.api.endpoint import may_use
from greennode_batch.api.error_body import decode
from greennode_batch.api.fields import at
from greennode_batch.api.results.normal_shape import in_normal_shape
from greennode_batch.api.results.result_line import ResultLine
from greennode_batch.api.results.result_lines import iter_lines, parse_line
from greennode_batch.api.wire import Batch, BatchStatus, WireError, parse_url
from greennode_batch.errors import ApiError
from greennode_batch.probe import shapes, variants
from greennode_batch.probe.places import batch_places, line_places, url_place
from greennode_batch.probe.session import Answer, Session
from greennode_batch.probe.state import ProbeBatch
from greennode_batch.probe.tiny_requests import IDS

RESULTS = "Results"
BAD_LINE = "One bad line"
CANCELLED = "What a cancel leaves"
_TRIES = 3
_PAUSE_SECONDS = 1.0
_MAX_HOPS = 3
Which = Literal["output", "error"]


@dataclasses.dataclass(frozen=True)
class _File:
    """The lines of a result file, raw and parsed."""

    raw: tuple[bytes, ...]
    results: tuple[ResultLine, ...]
    shown_by: str

    @property
    def ids(self) -> list[str]:
        return [one.custom_id for one in self.results]


def results(session: Session) -> None:
    """The lines of the main batch."""
    state, one = session.state, session.state.current("main")
    if one is None:
        return
    batch = _with_files(session, one)
    if one.gone or batch.errors:
        state.add(RESULTS, f"The main batch ended as {batch.raw_status!r}: {'; '.join(batch.errors) or 'it is gone'}.")
    output, error = _read(session, one, "output"), _read(session, one, "error")
    lines = output or error
    if lines is None or not lines.results:
        state.open["the form of result lines"] = f"the main batch ended as {batch.raw_status!r} without any"
        return
    where = "output" if output else "error"
    state.add(RESULTS, f"A line of the {where} file: {shapes.result_line(decode(lines.raw[0]))}.", lines.shown_by)
    answered = [result for result in lines.results if result.error is None]
    state.add(
        RESULTS, f"{len(answered)} of {len(IDS['main'])} good lines ({one.line_format}) are answered.", lines.shown_by
    )
    if answered and batch.status is BatchStatus.UNKNOWN:
        state.seen["status_words"] = {**state.seen.get("status_words", {}), batch.raw_status: "completed"}
        state.add(RESULTS, f"The word {batch.raw_status!r} is final: the answers exist.", lines.shown_by)
    if answered:
        state.seen["line_format"] = one.line_format
        state.has_read_answers = len(answered) == len(IDS["main"])
        order = "as they were sent" if lines.ids == list(IDS["main"]) else "in another order than they were sent"
        state.add(RESULTS, f"They come {order} (two lines prove little).", lines.shown_by)
        if not any(result.prompt_tokens for result in answered):
            state.add(RESULTS, "Result lines have no usage.", lines.shown_by)
    for result in lines.results:
        if result.error is not None:
            state.add(
                RESULTS,
                f"{result.custom_id} failed with {result.status_code}: {result.error.rstrip('.')}.",
                lines.shown_by,
            )
    if output and error is None:
        named = "empty" if batch.error_file_id is None else "named but not readable"
        state.add(RESULTS, f"Without a failed line the error file is {named}.")


def bad_line(session: Session) -> None:
    """Where the line ends up that no server should answer, and what becomes of its batch."""
    state, one = session.state, session.state.current("bad_line")
    if one is None:
        return
    batch = _with_files(session, one)
    words = f"With one bad line of two a batch ends as {batch.raw_status!r}"
    state.add(BAD_LINE, words + (f": {'; '.join(batch.errors)}." if batch.errors else "."))
    counted = f"{batch.counts.completed} completed and {batch.counts.failed} failed of {batch.counts.total}"
    state.add(BAD_LINE, f"Its counts say {counted}.")
    indexes: dict[str, str] = {}
    for which in ("output", "error"):
        lines = _read(session, one, which)
        for result in lines.results if lines else ():
            fate = "answered" if result.error is None else f"status {result.status_code}, {result.error.rstrip('.')}"
            indexes[result.custom_id] = f"in the {which} file ({fate})"
            if result.custom_id == IDS["bad_line"][1] and lines:
                raw = lines.raw[lines.results.index(result)]
                state.add(BAD_LINE, f"The bad line's result: {shapes.result_line(decode(raw))}.", lines.shown_by)
    for name, what in zip(IDS["bad_line"], ("good", "bad"), strict=True):
        state.add(BAD_LINE, f"The {what} line is {indexes.get(name, 'in no file')}.")


def cancelled(session: Session) -> None:
    """What remains of a cancelled batch."""
    state, one = session.state, session.state.current("cancelled")
    if one is None or one.gone:
        return
    _with_files(session, one)
    word = one.batch.raw_status
    state.add(CANCELLED, f"It ended as {word!r}.")
    running = {seen.word for other in state.batches if other.role != "cancelled" for seen in other.words}
    if one.batch.status is BatchStatus.UNKNOWN and one.is_cancelled and word not in running:
        state.seen["status_words"] = {**state.seen.get("status_words", {}), word: "cancelled"}
    for which in ("output", "error"):
        lines = _read(session, one, which)
        words = f"{len(lines.raw)} lines" if lines else "not there"
        state.add(CANCELLED, f"Its {which} file: {words}.", lines.shown_by if lines else "")


def _with_files(session: Session, one: ProbeBatch) -> Batch:
    """A batch that has ended; its files may have names that the client does not know."""
    state = session.state
    batch = one.batch
    named = batch_places(one.raw, one.file_id)
    known = {
        "input_file_id": batch.input_file_id,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
    }
    missing = {field: path for field, path in named.items() if known[field] is None}
    if missing:
        state.seen["batch_fields"] = {**state.seen.get("batch_fields", {}), **missing}
        shown = ", ".join(f"{field} in `{path}`" for field, path in missing.items())
        state.add(RESULTS, f"A batch has its {shown}.")
    one.paths = state.seen.get("batch_fields", {})
    return one.batch


def _read(session: Session, one: ProbeBatch, which: Which) -> _File | None:
    """A file of an ended batch, by any way that works."""
    batch, state = one.batch, session.state
    file_id = batch.output_file_id if which == "output" else batch.error_file_id
    answer: Answer[bytes] | None = None
    if file_id is not None:
        if not file_id.startswith(("https://", "http://")):
            state.files.setdefault(file_id, f"{which} of {one.role}")
        answer = _content(session, file_id, f"{which} of {one.role}")
    if (answer is None or not answer.ok) and which == "output" and state.seen.get("result_style") in {None, "results"}:
        by_batch = results_of_batch(session, one)
        if by_batch is not None:
            return by_batch
    if answer is None:
        return None
    lines = _lines(session, answer) if answer.ok else None
    if not answer.ok or (lines is None and answer.value):
        why = f"it is there, but holds no result line ({answer.file})" if answer.ok else answer.says
        state.open[f"the {which} file of the {one.role} batch"] = why
    return lines


def results_of_batch(session: Session, one: ProbeBatch) -> _File | None:
    """The lines of a batch where the API has one list of them for it, or the URL of it."""
    for path in variants.results_paths(session.profile):
        profile = variants.laid_over(session.profile, {"results_path": path, "result_style": "results"})
        answer = session.fetch(f"results of {one.role}", session.with_profile(profile).results_path(one.id))
        lines = _lines(session, answer) if answer.ok else None
        if lines is None and answer.ok and isinstance(answer.json, dict):
            lines = _behind(session, answer, f"results of {one.role}")
        if lines is not None:
            session.state.works(profile, "result_style", "results_path")
            session.state.add(RESULTS, f"Results are read at {path}.", answer.file)
            return lines
    return None


def _behind(session: Session, answer: Answer[bytes], name: str) -> _File | None:
    """The lines at the URL that a reply in JSON names in their place."""
    url, place = _named_url(session)
    if url is None:
        return None
    followed = _follow(session, name, url)
    lines = _lines(session, followed) if followed.ok else None
    if lines is not None and place is not None:
        session.state.seen["file_fields"] = {**session.state.seen.get("file_fields", {}), "url": place}
    if lines is not None:
        session.state.add(RESULTS, f"The reply is a URL in JSON ({shapes.fields(answer.json)}).", answer.file)
    return lines


def _content(session: Session, file_id: str, name: str) -> Answer[bytes]:
    if file_id.startswith(("https://", "http://")):
        return _follow(session, name, file_id)
    answer: Answer[bytes] | None = None
    for attempt in range(_TRIES):
        for path in variants.contents(session.profile):
            profile = variants.laid_over(session.profile, {"content_path": path})
            answer = session.fetch(f"read {name}", session.with_profile(profile).content_path(file_id))
            if answer.ok:
                return _arrived(session, answer, path, name)
            if not answer.not_there:
                return answer
        session.sleep(_PAUSE_SECONDS * 2**attempt)
    assert answer is not None
    return answer


def _arrived(session: Session, answer: Answer[bytes], path: str, name: str) -> Answer[bytes]:
    """The file itself, if the reply redirects to it or holds its URL in JSON."""
    state = session.state
    state.seen |= {"content_path": path, "result_style": "file"}
    assert answer.reply is not None
    if not answer.reply.is_success:
        target = session.location()
        state.add(RESULTS, f"{path} redirects to {httpx.URL(target).host}.", answer.file)
        return _follow(session, name, target)
    if isinstance(answer.json, dict) and "custom_id" not in answer.json and len(answer.json) > 0:
        named, place = _named_url(session)
        if named is None:
            return answer
        target = named
        if place is not None:
            state.seen["file_fields"] = {**state.seen.get("file_fields", {}), "url": place}
        state.seen["result_style"] = "url"
        state.add(RESULTS, f"{path} answers with a URL in JSON ({shapes.fields(answer.json)}).", answer.file)
        return _follow(session, name, target)
    return answer


def _named_url(session: Session) -> tuple[str | None, str | None]:
    """The URL in the last reply, and its path if the profile has to name it."""
    data = session.raw_json()
    with contextlib.suppress(WireError):
        return parse_url(data), None
    place = url_place(data)
    return (None, None) if place is None else (at(data, place), place)


def _follow(session: Session, name: str, url: str) -> Answer[bytes]:
    """The bytes behind a URL that the server named; the key is sent to the API itself only."""
    answer: Answer[bytes] | None = None
    for _ in range(_MAX_HOPS):
        if not may_use(urlsplit(url), session.connection.allow_http_hosts):
            session.state.open[f"the file {name}"] = f"the server points to {urlsplit(url).netloc}, without encryption"
            break
        answer = session.fetch(f"follow to {name}", url)
        if not answer.ok or answer.reply is None or answer.reply.is_success:
            return answer
        url = session.location()
    return answer or Answer()


def _lines(session: Session, answer: Answer[bytes]) -> _File | None:
    """The result lines of a file. If their shape is unknown, the ids that were sent show where their parts are."""
    state = session.state
    lines = _as_lines(answer.value or b"", state.seen.get("result_fields", {}))
    found = _parsed(lines, state.seen.get("result_fields", {}), answer.file)
    sent = {name for names in IDS.values() for name in names}
    if lines and (found is None or not any(one.custom_id in sent and one.error is None for one in found.results)):
        guesses = (line_places(decode(line), sent) for line in lines)
        fields = next((guess for guess in guesses if guess), {})
        better = _parsed(lines, fields, answer.file) if fields else None
        if better is not None and any(one.error is None for one in better.results):
            state.seen["result_fields"] = fields
            shown = ", ".join(f"{field} in `{path}`" for field, path in fields.items())
            state.add(RESULTS, f"A result line has its {shown}.", answer.file)
            return better
    return found


def _as_lines(content: bytes, fields: dict[str, str]) -> list[bytes]:
    """The lines of a file, or of the JSON document or ZIP in their place."""
    with tempfile.TemporaryDirectory(prefix="greennode-probe-") as scratch:
        path = Path(scratch) / "results"
        path.write_bytes(content)
        # What cannot be unpacked stays as it came, and holds no line.
        with contextlib.suppress(ApiError):
            as_lines(path, len(content), "results", MAX_REPLY_BYTES, id_path=fields.get("custom_id"))
        return list(iter_lines(io.BytesIO(path.read_bytes())))


def _parsed(lines: list[bytes], fields: dict[str, str], shown_by: str) -> _File | None:
    raw, results_ = [], []
    for line in lines:
        parsed = parse_line(in_normal_shape(line, fields) if fields else line)
        if isinstance(parsed, ResultLine):
            raw.append(line)
            results_.append(parsed)
    return _File(tuple(raw), tuple(results_), shown_by) if raw else None
