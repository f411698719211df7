"""OpenAI's dialect, which is also the emulator's guess at GreenNode, plus the deletion that GreenNode describes."""

from greennode_emulator.dialects.dialect import Dialect, own_route, routes
from greennode_emulator.endpoints import Endpoint

# platform.openai.com/docs/api-reference/batch and /files. Two things are not OpenAI's: it cannot delete a batch,
# and it wants `method` and `url` in every line. GreenNode's help article "Batch Inference" describes a deletion, and
# shows lines without the two.
OPENAI = Dialect(
    name="openai",
    routes=routes({Endpoint.DELETE_BATCH: own_route(Endpoint.DELETE_BATCH)}),
)
