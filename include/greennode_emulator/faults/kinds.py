"""All kinds of faults, and how to parse them."""

from pathlib import Path

import msgspec

from greennode_emulator.faults.batch_faults import AnyBatchFault
from greennode_emulator.faults.call_faults import AnyCallFault
from greennode_emulator.faults.file_faults import AnyFileFault
from greennode_emulator.faults.line_faults import AnyLineFault

AnyFault = AnyCallFault | AnyFileFault | AnyBatchFault | AnyLineFault

_decoder = msgspec.json.Decoder(list[AnyFault])
_one: msgspec.json.Decoder[AnyFault] = msgspec.json.Decoder(AnyFault)


class ScenarioError(Exception):
    """A scenario file, or a fault of the command line, cannot be used; the message says why."""


def read_faults(text: bytes) -> list[AnyFault]:
    """A JSON list of faults; raises msgspec.DecodeError if one is unknown or invalid."""
    return _decoder.decode(text)


def read_scenario(path: Path) -> tuple[AnyFault, ...]:
    """The faults of a scenario file."""
    try:
        return tuple(read_faults(path.read_bytes()))
    except (OSError, msgspec.DecodeError) as error:
        raise ScenarioError(f"cannot use the scenario {path}: {error}") from error


def read_option(text: str) -> AnyFault:
    """The fault of an option of the command line: one JSON object."""
    try:
        return _one.decode(text)
    except msgspec.DecodeError as error:
        raise ScenarioError(f"cannot use the fault {text}: {error}") from error
