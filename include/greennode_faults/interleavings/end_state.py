"""End state: everything that a schedule has left in staging, in the targets and at the server, as one digest.

Schedules that differ only in names, or in seconds that decide nothing, have the same digest.
"""

from __future__ import annotations

import hashlib
import re

from greennode_faults.interleavings.ground import Ground

_PARQUET = b"PAR1"
_TOKEN = re.compile(rb"0{20}[0-9a-f]{12}")
_TIME = re.compile(rb"\b1[89]\d{8}(?:\.\d+)?\b")
# Waits for staging or the server are no shorter, except those that end with the batches.
_COARSE_SECONDS = 1800.0


def end_state(ground: Ground) -> str:
    """The digest. A time counts as the half hours since then; a token counts by which others equal it."""
    seen: dict[bytes, bytes] = {}

    def coarse(found: re.Match[bytes]) -> bytes:
        return b"<%d>" % ((ground.clock.now - float(found[0])) // _COARSE_SECONDS)

    def renamed(found: re.Match[bytes]) -> bytes:
        return seen.setdefault(found[0], b"<token %d>" % len(seen))

    made = hashlib.blake2b(digest_size=16)
    parts = [(name.encode(), data) for name, data in ground.contents().items()]
    parts.append((b"the table", repr(ground.rows_of_table()).encode()))
    parts.append((b"the server", ground.api.state().encode()))
    for name, data in sorted(parts, key=lambda part: (_TOKEN.sub(b"", part[0]), part[1])):
        for text in (name, data):
            steady = text if text.startswith(_PARQUET) else _TOKEN.sub(renamed, _TIME.sub(coarse, text))
            made.update(b"%d:" % len(steady) + steady)
    return made.hexdigest()
