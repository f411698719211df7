"""What files, batches and errors look like on the wire, for ten kinds of server.

`dialect` has the fields of a dialect; `reply_shapes` and `creates` have the parts that several share.

A dialect is a description: names, words and small functions from a neutral record to a reply. Behaviour is the same
in every dialect and lives elsewhere. The variants of such APIs that each dialect plays:

    dialect      create, get     status words            file ids                   counts        times
    openai       bare, bare      OpenAI's                null                       nested        epoch
    together     `job`, bare     upper case              absent                     none          ISO 8601
    novita       bare, bare      upper case, PROGRESS    "", text                   flat, nested  ISO 8601
    mistral      bare, bare      QUEUED ... SUCCESS      output_file, null          *_requests    epoch
    siliconflow  bare, bare      in_queue                null                       null          epoch
    doubleword   201, bare       OpenAI's                null, UUIDs                nested        epoch
    cerebras     bare, bare      OpenAI's                null, no dash              nested, null  epoch
    unknown      `result`, bare  JOB_STATE_*, WRAPPING   result_file_id early, ""   flat, 0       all forms mixed

    dialect      list                       cancel   delete             errors                results
    openai       after/limit, has_more      POST     200, then 404      {"error": {}}         content
    together     bare array, no paging      POST     none               {"error": {}}         content
    novita       data, no paging            POST     none               {code, reason, message}  content
    mistral      page/page_size from 0      POST     200, then 410      {message}, {detail}   content, or a URL in JSON
    siliconflow  after/limit                POST     none               {code, message}, text content
    doubleword   after/limit                POST     204, then 404      plain text            content, or /results
    cerebras     after/limit                DELETE   none               four fields at top    content
    unknown      page/size, listData, late  DELETE   none               six, one with 200     redirect to another port

    dialect      lines                 upload                     result lines
    openai       either form           purpose batch              response wrapper; refused in the same shape
    together     either form           /files/upload, batch-api   response wrapper; refused {custom_id, error}
    novita       either form           purpose batch              response wrapper; refused with error as text
    mistral      model may be left out purpose batch              response wrapper; `response: null`, error an object
    siliconflow  either form           in `data`, with a code     response wrapper
    doubleword   with method and url   201                        /results: response_body, error as text
    cerebras     with method and url   purpose batch              response wrapper
    unknown      custom_id + body      in `result`                response is the body, choices an object, content
                                                                  a list; `response: null`, error as text

The client has presets for these, or is known to work with them. `wrapped` and `presigned` are held back: they show
whether a profile alone is enough for an unknown server. `generated` makes a dialect from any seed.
"""

from collections.abc import Mapping

from greennode_emulator.dialects.cerebras import CEREBRAS
from greennode_emulator.dialects.dialect import Dialect
from greennode_emulator.dialects.doubleword import DOUBLEWORD
from greennode_emulator.dialects.generated import PREFIX, generated_dialect
from greennode_emulator.dialects.mistral import MISTRAL
from greennode_emulator.dialects.novita import NOVITA
from greennode_emulator.dialects.openai import OPENAI
from greennode_emulator.dialects.presigned import PRESIGNED
from greennode_emulator.dialects.siliconflow import SILICONFLOW
from greennode_emulator.dialects.together import TOGETHER
from greennode_emulator.dialects.unknown import UNKNOWN
from greennode_emulator.dialects.wrapped import WRAPPED

__all__ = ["DIALECTS", "HELD_BACK", "OPENAI", "Dialect", "UnknownDialectError", "dialect_names", "find_dialect"]

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (OPENAI, TOGETHER, NOVITA, MISTRAL, SILICONFLOW, DOUBLEWORD, CEREBRAS, UNKNOWN)
}
HELD_BACK: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (WRAPPED, PRESIGNED)}
"""Those for which the client has no preset."""


class UnknownDialectError(Exception):
    """There is no such dialect; the message lists those that exist."""


def dialect_names() -> list[str]:
    """The names that a dialect can have."""
    return [*sorted([*DIALECTS, *HELD_BACK]), f"{PREFIX}SEED"]


def find_dialect(name: str) -> Dialect:
    """The dialect of that name, or UnknownDialectError."""
    seed = name.removeprefix(PREFIX)
    if seed != name and seed.isdecimal():
        return generated_dialect(int(seed))
    dialect = DIALECTS.get(name) or HELD_BACK.get(name)
    if dialect is None:
        raise UnknownDialectError(f"no dialect {name!r}; choose from {', '.join(dialect_names())}")
    return dialect
