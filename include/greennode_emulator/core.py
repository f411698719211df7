"""The parts of one running emulator, put together once."""

from pathlib import Path

from greennode_emulator.batch_runner import BatchRunner
from greennode_emulator.dialects import DIALECTS
from greennode_emulator.faults import FaultBoard
from greennode_emulator.ledger import Ledger
from greennode_emulator.settings import Settings
from greennode_emulator.store import Store


class Emulator:
    """What routes work with. `settings` holds at least one key, `state` is the folder to keep things in."""

    def __init__(self, settings: Settings, *, state: Path) -> None:
        self.settings = settings
        self.dialect = DIALECTS[settings.dialect]
        self.store = Store(state)
        self.ledger = Ledger(self.store)
        self.faults = FaultBoard()
        self.runner = BatchRunner(store=self.store, ledger=self.ledger, dialect=self.dialect, settings=settings)

    async def reset(self) -> None:
        """Forget files, batches, bills and faults, as if just started."""
        self.faults.clear()
        await self.runner.stop()
        self.store.clear()

    async def close(self) -> None:
        """Stop work; what is unfinished goes on at the next start."""
        await self.runner.close()
        self.store.close()
