"""The armed faults, in the order in which they strike."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import msgspec

from greennode_emulator.dice import Dice
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.faults.batch_faults import AnyBatchFault, BatchFault
from greennode_emulator.faults.call_faults import CallFault, Storm
from greennode_emulator.faults.fault import Fault, kind_of
from greennode_emulator.faults.file_faults import AnyFileFault, FirstLooks, TooLarge
from greennode_emulator.faults.kinds import AnyFault
from greennode_emulator.faults.line_faults import AnyLineFault, LineFault

_ROLLS = 1 << 30

Clock = Callable[[], float]


@dataclass
class _Armed:
    """A fault, how often it may still strike, and how many chances it had."""

    fault: AnyFault
    left: int | None
    chances: int = 0
    struck: int = 0
    storms_until: float | None = None

    def strikes(self, clock: Clock) -> bool:
        """Whether it strikes at this chance; if it does, one strike is used up, or a storm's time."""
        if self._storms(clock):
            return True
        if self.left == 0:
            return False
        self.chances += 1
        fault = self.fault
        if isinstance(fault, CallFault) and self.chances <= fault.skip:
            return False
        # A line fault's rate applies to lines, not to batches.
        if not isinstance(fault, LineFault) and fault.rate < 1:
            dice = Dice(f"{fault.seed} {kind_of(type(fault).__name__)} {self.chances}".encode())
            if dice.below(_ROLLS) >= fault.rate * _ROLLS:
                return False
        if self.left is not None:
            self.left -= 1
        self.struck += 1
        if isinstance(fault, Storm):
            self.storms_until = clock() + fault.seconds
        return True

    def is_used_up(self, clock: Clock) -> bool:
        """Whether it will never strike again."""
        return self.left == 0 and not self._storms(clock)

    def _storms(self, clock: Clock) -> bool:
        return self.storms_until is not None and clock() < self.storms_until

    def shown(self) -> AnyFault:
        """The fault with what remains of it."""
        if isinstance(self.fault, LineFault):
            return msgspec.structs.replace(self.fault, batches=self.left)
        skipped = self.fault.skip if isinstance(self.fault, CallFault) else 0
        if skipped:
            return msgspec.structs.replace(self.fault, count=self.left, skip=max(0, skipped - self.chances))
        return msgspec.structs.replace(self.fault, count=self.left)


class FaultBoard:
    """Armed faults. `scenario`: those that are armed from the start, and again after every reset.

    `standing`: those that nothing disarms or uses up; armed ones come first.
    """

    def __init__(
        self,
        scenario: Collection[AnyFault] = (),
        *,
        standing: Collection[AnyFault] = (),
        clock: Clock = time.time,
    ) -> None:
        self._clock = clock
        self._scenario = tuple(scenario)
        self._standing = [_Armed(fault, None) for fault in standing]
        self._armed: list[_Armed] = []
        self.reset()

    def arm(self, faults: Collection[AnyFault]) -> None:
        """Add faults after those that are already armed."""
        self._armed.extend(
            _Armed(fault, fault.batches if isinstance(fault, LineFault) else fault.count) for fault in faults
        )

    def armed(self) -> list[AnyFault]:
        """Those that may still strike, with the counts that remain."""
        self._drop_used()
        return [one.shown() for one in self._armed]

    def take_call(self, endpoint: Endpoint) -> CallFault | None:
        """The first fault that strikes this call, in its form for this call."""
        for one in (*self._armed, *self._standing):
            fault = one.fault
            if isinstance(fault, CallFault) and fault.endpoint is endpoint and one.strikes(self._clock):
                self._drop_used()
                return fault.at(one.struck - 1)
        return None

    def take_too_large(self, size: int) -> TooLarge | None:
        """The fault that refuses an upload of so many bytes."""
        for one in (*self._armed, *self._standing):
            if isinstance(one.fault, TooLarge) and size > one.fault.max_bytes and one.strikes(self._clock):
                self._drop_used()
                return one.fault
        return None

    def take_file(self) -> tuple[AnyFileFault, ...]:
        """The faults of a file that has just been stored."""
        return tuple([fault for fault in self._strike(FirstLooks) if isinstance(fault, AnyFileFault)])

    def take_batch(self) -> tuple[AnyBatchFault, ...]:
        """The faults of a batch that is being created."""
        return tuple([fault for fault in self._strike(BatchFault) if isinstance(fault, AnyBatchFault)])

    def take_lines(self) -> tuple[AnyLineFault, ...]:
        """The line faults of a batch that is being created."""
        return tuple([fault for fault in self._strike(LineFault) if isinstance(fault, AnyLineFault)])

    def disarm(self) -> None:
        """Disarm all of them; batches and files that were struck keep theirs."""
        self._armed.clear()

    def reset(self) -> None:
        """Only the scenario is armed, as at the start."""
        self.disarm()
        self.arm(self._scenario)

    def _strike(self, family: type[Fault]) -> list[AnyFault]:
        chances = (*self._armed, *self._standing)
        struck = [one.fault for one in chances if isinstance(one.fault, family) and one.strikes(self._clock)]
        self._drop_used()
        return struck

    def _drop_used(self) -> None:
        self._armed = [one for one in self._armed if not one.is_used_up(self._clock)]
