"""What was called and what was billed; the witness that nothing is paid for twice."""

from collections.abc import Iterable
from typing import Any

from greennode_emulator.records import BatchRecord
from greennode_emulator.store import Store

CALL = "call "
TOTALS = (
    "batches_created",
    "requests_billed",
    "chat_requests_billed",
    "prompt_tokens",
    "completion_tokens",
    "files_uploaded",
    "files_deleted",
)


class Ledger:
    """Counters in the state folder; they outlive files, batches and the process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def count(self, name: str, n: int = 1) -> None:
        """Add to one counter."""
        with self._store.transaction() as database:
            database.execute(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n",
                (name, n),
            )

    def count_call(self, endpoint: str) -> None:
        """Add one call of an endpoint, whatever its outcome."""
        self.count(CALL + endpoint)

    def add_batch(self, batch: BatchRecord) -> None:
        """Add a batch; it stays here when it is deleted."""
        with self._store.transaction() as database:
            database.execute(
                "INSERT INTO created VALUES (?, ?, ?, 0)", (batch.id, batch.input_file_id, batch.created_at)
            )
            self.count("batches_created")

    def knows_batch(self, batch_id: str) -> bool:
        """Whether there is or was such a batch."""
        with self._store.transaction() as database:
            return database.execute("SELECT 1 FROM created WHERE id = ?", (batch_id,)).fetchone() is not None

    def bill(self, batch_id: str, custom_ids: Iterable[str], *, prompt_tokens: int, completion_tokens: int) -> None:
        """Bill answered lines of a batch; call it in the transaction that marks them as done."""
        with self._store.transaction() as database:
            rows = [(custom_id,) for custom_id in custom_ids]
            database.executemany("INSERT INTO billed VALUES (?)", rows)
            database.execute("UPDATE created SET billed = billed + ? WHERE id = ?", (len(rows), batch_id))
            self.count("requests_billed", len(rows))
            self.count("prompt_tokens", prompt_tokens)
            self.count("completion_tokens", completion_tokens)

    def read(self, *, summary: bool = False) -> dict[str, Any]:
        """The whole ledger; a summary leaves out the map from custom_id to times billed."""
        with self._store.transaction() as database:
            counters = dict(database.execute("SELECT name, n FROM counters ORDER BY name").fetchall())
            batches = database.execute("SELECT id, input_file_id, billed FROM created ORDER BY rowid").fetchall()
            requests = None
            if not summary:
                requests = dict(
                    database.execute("SELECT custom_id, count(*) FROM billed GROUP BY custom_id").fetchall()
                )
        reply: dict[str, Any] = {name: counters.get(name, 0) for name in TOTALS}
        reply["calls"] = {name.removeprefix(CALL): n for name, n in counters.items() if name.startswith(CALL)}
        reply["batches"] = [{"id": row[0], "input_file_id": row[1], "requests_billed": row[2]} for row in batches]
        if requests is not None:
            reply["requests"] = requests
        return reply
