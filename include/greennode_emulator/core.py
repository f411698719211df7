"""The parts of one running emulator, put together once."""

from dataclasses import replace
from pathlib import Path

from greennode_emulator.batch_runner import BatchRunner
from greennode_emulator.batch_work import Shop
from greennode_emulator.dialects import Dialect, find_dialect
from greennode_emulator.endpoints import OF_MODELS
from greennode_emulator.faults.board import FaultBoard
from greennode_emulator.ledger import Ledger
from greennode_emulator.models import EmulatedModel, Model
from greennode_emulator.rate_limits import RateLimits
from greennode_emulator.settings import Settings
from greennode_emulator.storage import Storage
from greennode_emulator.store import Store
from greennode_emulator.upstream import UpstreamModel


class Emulator:
    """The parts that routes use. `settings` holds at least one key, `state` is the folder for all data."""

    def __init__(self, settings: Settings, *, state: Path) -> None:
        self.settings = settings
        self.dialect = _spoken(settings)
        self.store = Store(state)
        self.ledger = Ledger(self.store)
        self.faults = FaultBoard(settings.faults, standing=self.dialect.faults, clock=settings.clock)
        self.rate_limits = RateLimits(settings.chat_requests_per_minute, settings.chat_tokens_per_minute)
        self.storage = Storage()
        self.model = _model(settings)
        shop = Shop(store=self.store, ledger=self.ledger, dialect=self.dialect, settings=settings, model=self.model)
        self.runner = BatchRunner(shop)

    async def reset(self) -> None:
        """Forget files, batches, bills and faults, as if just started."""
        self.faults.reset()
        self.rate_limits.reset()
        await self.runner.stop()
        self.store.clear()
        self.ledger.clear()

    async def close(self) -> None:
        """Stop all work; unfinished work continues at the next start."""
        await self.runner.close()
        self.model.close()
        self.store.close()


def _spoken(settings: Settings) -> Dialect:
    dialect = find_dialect(settings.dialect)
    if settings.batches:
        return dialect
    return replace(dialect, routes={one: route for one, route in dialect.routes.items() if one in OF_MODELS})


def _model(settings: Settings) -> Model:
    if settings.upstream is None:
        return EmulatedModel(settings.models)
    return UpstreamModel(settings.upstream, key=settings.upstream_key)
