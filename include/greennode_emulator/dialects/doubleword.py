"""Doubleword."""

from greennode_emulator.dialects.dialect import Dialect, Reply, own_route, routes, uuid_from
from greennode_emulator.endpoints import Endpoint
from greennode_emulator.error_bodies import BODIES

_OK = 200


def _merged(line: Reply) -> Reply:
    response = line["response"]
    succeeded = response["status_code"] == _OK
    return {
        "id": line["id"],
        "custom_id": line["custom_id"],
        "response_body": response["body"] if succeeded else None,
        "error": None if succeeded else response["body"]["error"]["message"],
        "status": "completed" if succeeded else "failed",
    }


# doublewordai/control-layer, dwctl/src/api/handlers/batches.rs: create answers 201, ids are UUIDs, DELETE answers 204
# and then 404 and keeps the input file, POST .../cancel, after and limit, a batch whose every line failed is "failed",
# GET /batches/{id}/results streams lines with the response body, the error message and a status (theirs hold the
# input too). Not verified: the names in those lines, the error bodies.
DOUBLEWORD = Dialect(
    name="doubleword",
    routes=routes(
        {
            Endpoint.DELETE_BATCH: own_route(Endpoint.DELETE_BATCH),
            Endpoint.BATCH_RESULTS: own_route(Endpoint.BATCH_RESULTS),
        }
    ),
    upload_status=201,
    file_id=uuid_from,
    line_form="full",
    create_status=201,
    batch_id=uuid_from,
    deleted_status=204,
    deleted_reply=lambda _kind, _name: None,
    error_reply=BODIES["text"],
    merged_line=_merged,
)
