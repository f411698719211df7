"""Explanations: the messages of a retry to a model whose answer did not fit.

Two messages are appended to the request: the answer, as the assistant's, and what is wrong with it, as the user's. Both
are needed: some chat templates refuse two user messages in a row, and without its answer the model could not know what
is meant.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping

import msgspec
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greennode_batch.answers.answer_reader import reasons_in
from greennode_batch.answers.reasoning import split_reasoning
from greennode_batch.source.formats.batch_limits import together
from greennode_batch.staging.folders import ShardFolder, local_copy
from greennode_batch.staging.parquet import read_pieces

# Of an answer and of its errors: enough to recognise them, and little beside a model's context.
_ANSWER_CHARACTERS = 4_000
_REASON_CHARACTERS = 1_000
_HELD_CHARACTERS = 8 << 20

Explanation = tuple[msgspec.Raw, msgspec.Raw]
"""The two messages."""


def explanations(shard: ShardFolder, ids: Collection[str]) -> Iterator[Mapping[str, Explanation]]:
    """By custom_id, for those of the requests whose answers did not fit; some megabytes at a time.

    An empty answer, or one with reasoning only, leaves nothing to explain.
    """
    return map(dict, together(_explanations(shard, ids), lambda one: (sum(map(len, one[1])),), _HELD_CHARACTERS))


def _explanations(shard: ShardFolder, ids: Collection[str]) -> Iterator[tuple[str, Explanation]]:
    with local_copy(shard.results) as path, pq.ParquetFile(path) as file:
        for rows in read_pieces(file, ["custom_id", "error", "raw_answer"]):
            for row in rows.filter(pc.is_valid(rows["raw_answer"])).to_pylist():
                answer = split_reasoning(row["raw_answer"]).answer
                if row["custom_id"] in ids and answer and not answer.isspace():
                    yield row["custom_id"], _explanation(answer, reasons_in(row["error"]))


def explained(line: bytes, explanation: Explanation) -> bytes:
    """A request line with an explanation after its messages; everything else in it stays, byte for byte."""
    request = _fields(line)
    body = _fields(request["body"])
    body["messages"] = msgspec.Raw(_encode([*_items(body["messages"]), *explanation]))
    return _encode({**request, "body": msgspec.Raw(_encode(body))}) + b"\n"


def _explanation(answer: str, reasons: str) -> Explanation:
    words = (
        f"That answer does not fit: {reasons[:_REASON_CHARACTERS]}. Answer again, in full, in the form that was asked "
        "for, and with nothing else."
    )
    return _message("assistant", answer[:_ANSWER_CHARACTERS]), _message("user", words)


def _message(role: str, content: str) -> msgspec.Raw:
    # In ASCII, which has no line separator at which a server could cut the file.
    return msgspec.Raw(json.dumps({"role": role, "content": content}, separators=(",", ":")).encode())


_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
