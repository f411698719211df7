"""What was called, billed and wasted: the evidence that nothing is paid for twice.

A billed request is wasted if the server destroyed its answer before any client could use it: by a fault of its
line, or because its batch is lost and no client began to download the batch's results after it was billed. So
`requests` less `wasted` is the number of usable answers that were paid for.
"""

import json
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from greennode_emulator.batch_view import is_lost
from greennode_emulator.records import BatchRecord
from greennode_emulator.store import Store

CALL = "call "
TOTALS = (
    "batches_created",
    "requests_billed",
    "chat_requests_billed",
    "chat_requests_lost",
    "chat_requests_refused",
    "chat_prompt_tokens",
    "chat_completion_tokens",
    "prompt_tokens",
    "completion_tokens",
    "files_uploaded",
    "files_deleted",
    "files_copied",
    "batches_repeated",
)

_BATCH_FIELDS = ("id", "input_file_id", "requests_billed", "repeat_of")
# The parameter is a JSON list of the lost batches. `served` is the last bill before results were downloaded.
_WASTED = """
    FROM billed WHERE wasted OR (
        batch_id IN (SELECT value FROM json_each(?))
        AND billed.rowid > (SELECT served FROM created WHERE created.id = billed.batch_id)
    )
"""


class Ledger:
    """Counters in the state folder, which outlive files, batches and processes; and the current calls of this one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chats = 0
        self._most_chats = 0

    def clear(self) -> None:
        """Forget what is not in the state folder."""
        self._most_chats = 0

    def count(self, name: str, n: int = 1) -> None:
        """Add to one counter."""
        self._add(**{name: n})

    def count_call(self, endpoint: str) -> None:
        """Add one call of an endpoint, whatever its outcome."""
        self.count(CALL + endpoint)

    def add_batch(self, batch: BatchRecord) -> None:
        """Add a batch; it stays here after it is deleted."""
        with self._store.transaction() as database:
            database.execute(
                "INSERT INTO created (id, input_file_id, at, billed, repeat_of) VALUES (?, ?, ?, 0, ?)",
                (batch.id, batch.input_file_id, batch.created_at, batch.repeat_of),
            )
            self.count("batches_created")
            if batch.repeat_of is not None:
                self.count("batches_repeated")

    def knows_batch(self, batch_id: str) -> bool:
        """Whether there is or was such a batch."""
        with self._store.transaction() as database:
            return database.execute("SELECT 1 FROM created WHERE id = ?", (batch_id,)).fetchone() is not None

    def add_served(self, batch_id: str) -> None:
        """Record that a client gets the results that a batch has now; they stay useful if it is lost."""
        with self._store.transaction() as database:
            database.execute(
                "UPDATE created SET served = (SELECT coalesce(max(rowid), 0) FROM billed) WHERE id = ?", (batch_id,)
            )

    def bill(
        self,
        batch_id: str,
        custom_ids: Collection[str],
        *,
        wasted: Collection[str],
        prompt_tokens: int,
        completion_tokens: int,
    ) -> None:
        """Bill answered lines of a batch, some of them wasted; call it in the transaction that marks them as done."""
        with self._store.transaction() as database:
            rows = [(custom_id, batch_id, custom_id in wasted) for custom_id in custom_ids]
            database.executemany("INSERT INTO billed (custom_id, batch_id, wasted) VALUES (?, ?, ?)", rows)
            database.execute("UPDATE created SET billed = billed + ? WHERE id = ?", (len(rows), batch_id))
            self._add(requests_billed=len(rows), prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)

    def bill_chat(self, body: bytes, *, prompt_tokens: int, completion_tokens: int, lost: bool) -> None:
        """Bill a live answer by the hash of its request's body; `lost`: the client does not get all of it."""
        body_hash = blake2b(body, digest_size=16).hexdigest()
        with self._store.transaction() as database:
            database.execute(
                "INSERT INTO chats VALUES (?, 1, ?) "
                "ON CONFLICT (body_hash) DO UPDATE SET billed = billed + 1, lost = lost + excluded.lost",
                (body_hash, lost),
            )
            self._add(
                chat_requests_billed=1,
                chat_prompt_tokens=prompt_tokens,
                chat_completion_tokens=completion_tokens,
                chat_requests_lost=int(lost),
            )

    @contextmanager
    def chat_under_way(self) -> Iterator[None]:
        """Count how many live requests this process serves at once."""
        self._chats += 1
        self._most_chats = max(self._most_chats, self._chats)
        try:
            yield
        finally:
            self._chats -= 1

    def read(self, *, now: float, summary: bool = False) -> dict[str, Any]:
        """The whole ledger; a summary leaves out the maps of times billed, wasted and lost."""
        with self._store.transaction() as database:
            lost = self._lost(now)
            counters = dict(database.execute("SELECT name, n FROM counters ORDER BY name").fetchall())
            batches = database.execute(
                "SELECT id, input_file_id, billed, repeat_of FROM created ORDER BY rowid"
            ).fetchall()
            n_wasted = database.execute(f"SELECT count(*) {_WASTED}", (lost,)).fetchone()[0]
            maps = {}
            if not summary:
                billed = database.execute("SELECT custom_id, count(*) FROM billed GROUP BY custom_id")
                maps["requests"] = dict(billed.fetchall())
                wasted = database.execute(f"SELECT custom_id, count(*) {_WASTED} GROUP BY custom_id", (lost,))
                maps["wasted"] = dict(wasted.fetchall())
                chats = database.execute("SELECT body_hash, billed, lost FROM chats").fetchall()
                maps["chat_requests"] = {body_hash: billed for body_hash, billed, _ in chats}
                maps["chat_lost"] = {body_hash: lost for body_hash, _, lost in chats if lost}
        reply: dict[str, Any] = {name: counters.get(name, 0) for name in TOTALS}
        reply["requests_wasted"] = n_wasted
        reply["chat_most_at_once"] = self._most_chats
        reply["calls"] = {name.removeprefix(CALL): n for name, n in counters.items() if name.startswith(CALL)}
        reply["batches"] = [dict(zip(_BATCH_FIELDS, row, strict=True)) for row in batches]
        return reply | maps

    def _add(self, **counts: int) -> None:
        with self._store.transaction() as database:
            database.executemany(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",
                [(name, n) for name, n in counts.items() if n],
            )

    def _lost(self, now: float) -> str:
        """The ids of the batches that no client will find again, as a JSON list."""
        batches, _ = self._store.batches.newest(limit=sys.maxsize - 1)
        return json.dumps([batch.id for batch in batches if is_lost(batch, now=now)])
