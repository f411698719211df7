"""Text hashes: 64 bits of each text, the same in every process: SipHash-2-4 as pandas has it."""

from __future__ import annotations

import sys

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

# So few take a few milliseconds; pandas takes a third of a second to load.
_FEW = 512
_FEW_BYTES = 4096
# What SipHash begins with, and how pandas spreads its result.
_START = np.frombuffer(b"uespemosmodnarodarenegylsetybdet", "<u8")
_SPREAD = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


def text_hashes(texts: npt.NDArray[np.object_], key: str) -> Hashes:
    """The hash of each text, or of its bytes. key: 16 characters; another key makes other hashes.

    Raises UnicodeEncodeError for a text that is not Unicode, such as half of a surrogate pair.
    """
    if len(texts) <= _FEW and "pandas" not in sys.modules:
        encoded = [text if isinstance(text, bytes) else text.encode() for text in texts]
        if max(map(len, encoded), default=0) <= _FEW_BYTES:
            return few_hashes(encoded, key)
    from pandas.util import hash_array  # noqa: PLC0415 - most starts of a command hash only few

    made: Hashes = hash_array(texts, hash_key=key, categorize=False)
    return made


def few_hashes(texts: list[bytes], key: str) -> Hashes:
    """The same hashes, without pandas."""
    sizes = np.array(list(map(len, texts)), np.uint64)
    last = sizes >> np.uint64(3)
    width = 8 * (int(last.max(initial=0)) + 1)
    padded = b"".join(text.ljust(width, b"\0") for text in texts)
    words = np.frombuffer(padded, "<u8").reshape(len(texts), width // 8).T.copy()
    words[last, np.arange(len(texts))] |= sizes << np.uint64(56)
    start = _START ^ np.tile(np.frombuffer(key.encode(), "<u8"), 2)
    state = np.repeat(start[:, np.newaxis], len(texts), axis=1)
    for index, word in enumerate(words):
        open_ones = last >= index
        some = state[:, open_ones]
        some[3] ^= word[open_ones]
        _mix(some, 2)
        some[0] ^= word[open_ones]
        state[:, open_ones] = some
    state[2] ^= np.uint64(0xFF)
    _mix(state, 4)
    made: Hashes = np.bitwise_xor.reduce(state)
    for bits, factor in _SPREAD:
        made ^= made >> np.uint64(bits)
        made *= np.uint64(factor)
    return made


def _mix(state: Hashes, rounds: int) -> None:
    """SipHash's rounds on four rows of numbers."""
    one, two, three, four = state
    for _ in range(rounds):
        one += two
        two[:] = _turned(two, 13) ^ one
        one[:] = _turned(one, 32)
        three += four
        four[:] = _turned(four, 16) ^ three
        one += four
        four[:] = _turned(four, 21) ^ one
        three += two
        two[:] = _turned(two, 17) ^ three
        three[:] = _turned(three, 32)


def _turned(numbers: Hashes, bits: int) -> Hashes:
    """Each number's bits, moved to the left and around."""
    return (numbers << np.uint64(bits)) | (numbers >> np.uint64(64 - bits))
