"""Batch status words -> BatchStatus."""

import enum
import re
from collections.abc import Mapping

from greennode_batch.api.fields import plain_word


class BatchStatus(enum.Enum):
    """The state of a batch, in our few words."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def is_terminal(self) -> bool:
        """Whether the state is final. UNKNOWN is not: with an unknown word, waiting goes on."""
        return self in _TERMINAL


_TERMINAL = frozenset(
    {BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.EXPIRED, BatchStatus.CANCELLED},
)

# Words that OpenAI, Together, Novita, Fireworks, Mistral, SiliconFlow, Gemini and Vertex use, in all their spellings.
_WORDS: dict[BatchStatus, str] = {
    BatchStatus.VALIDATING: (
        "validating pending queued queueing in_queue submitted created creating waiting scheduled enqueued "
        "not_started preparing accepted received initializing"
    ),
    BatchStatus.IN_PROGRESS: ("in_progress inprogress progress running processing active started executing working"),
    BatchStatus.FINALIZING: "finalizing finalising finishing completing",
    BatchStatus.COMPLETED: (
        "completed complete success succeeded successful done finished ended "
        "partially_succeeded partially_completed partial_success"
    ),
    BatchStatus.FAILED: "failed fail failure error errored validation_failed rejected",
    BatchStatus.EXPIRED: "expired timeout timed_out timeout_exceeded deadline_exceeded",
    BatchStatus.CANCELLING: (
        "cancelling canceling cancellation_requested cancelation_requested cancel_requested stopping aborting"
    ),
    BatchStatus.CANCELLED: "cancelled canceled stopped aborted terminated",
}
_BY_WORD = {word: status for status, words in _WORDS.items() for word in words.split()}

_PREFIX = re.compile(r"^(?:job|batch|batch_job)?_?(?:state|status)_")


def batch_status(raw: object, words: Mapping[str, str] | None = None) -> BatchStatus:
    """The status for a word of any known API; UNKNOWN for every other value.

    words: a profile's words, which come first: word -> value of a BatchStatus, in upper or lower case.
    """
    if not isinstance(raw, str):
        return BatchStatus.UNKNOWN
    word = plain_word(raw)
    for own, status in (words or {}).items():
        if plain_word(own) == word:
            return BatchStatus(status)
    return _BY_WORD.get(_PREFIX.sub("", word), BatchStatus.UNKNOWN)
