"""GreenNodeHook: an Airflow connection becomes a client, sync or async."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import msgspec
from airflow.sdk import BaseHook, Connection

from greennode_airflow.runtime.runs import shard_at, staging_root
from greennode_batch.api.client import AsyncGreenNodeClient, GreenNodeClient
from greennode_batch.api.profile import ApiProfile
from greennode_batch.batches.live_pace import LiveLimits, read_live_limits
from greennode_batch.batches.live_share import LiveShare
from greennode_batch.batches.submit import Admit
from greennode_batch.batches.throttle.limits import Limits, read_limits
from greennode_batch.batches.throttle.queue import SubmitQueue
from greennode_batch.batches.throttle.queue_folder import queue_folder
from greennode_batch.errors import ConfigError, GreenNodeError
from greennode_batch.job.batch_job import BatchJob
from greennode_batch.job.prices import Prices, read_prices
from greennode_batch.state.enqueued_limit import EnqueuedLimits

# httpx logs every URL at INFO: a line for each poll, and the signed query of a redirected download.
logging.getLogger("httpx").setLevel(logging.WARNING)

_TEST_SECONDS = 10.0
_GREENNODE_DOMAINS = (".vngcloud.vn", ".greennode.ai")
_CONSOLE_URL = "https://aiplatform.console.vngcloud.vn/"


class GreenNodeHook(BaseHook):
    """Calls GreenNode with an Airflow connection of type `greennode`.

    The API key is the connection's password, the base URL its host; extra holds the API profile (`profile`, and any
    of its fields by name), `allow_http_hosts`, `keep_remote_files`, `prices`, `batch_url`, `max_batches_in_flight`,
    `max_enqueued_tokens`, `max_concurrency`, `max_requests_per_minute` and `max_tokens_per_minute`. Clients are context
    managers: close what you open.
    """

    conn_name_attr = "greennode_conn_id"
    default_conn_name = "greennode_default"
    conn_type = "greennode"
    hook_name = "GreenNode"

    def __init__(self, greennode_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.greennode_conn_id = greennode_conn_id

    @cached_property
    def _connection(self) -> Connection:
        # Airflow is asked once: each time costs a call of its API.
        return self.get_connection(self.greennode_conn_id)

    def get_conn(self, **options: Any) -> GreenNodeClient:
        """A client of the connection; options as for GreenNodeClient. Raises ConfigError if it cannot work."""
        return GreenNodeClient(**client_arguments(self._connection), **options)

    async def aget_conn(self) -> AsyncGreenNodeClient:
        """The same for a trigger: resolves the connection without blocking the triggerer's loop."""
        return AsyncGreenNodeClient(**client_arguments(await self.aget_connection(self.greennode_conn_id)))

    def prices(self, job: BatchJob | None = None) -> Prices:
        """The price table of the connection's extra field `prices`, with a job's on top. It may be empty."""
        said = self._connection.extra_dejson.get("prices") or {}
        if not isinstance(said, Mapping):
            raise ConfigError(
                f"connection {self.greennode_conn_id!r}: prices is {said!r}; it must look like "
                '{"MODEL": [prompt, completion]}'
            )
        return read_prices(said, (job.prices if job else None) or {})

    def keep_remote_files(self) -> bool:
        """Whether a run's files stay at GreenNode in the end. Raises ConfigError if it is neither true nor false."""
        said = self._connection.extra_dejson.get("keep_remote_files")
        try:
            return msgspec.convert(said or False, bool, strict=False)
        except msgspec.ValidationError:
            raise ConfigError(
                f"connection {self.greennode_conn_id!r}: keep_remote_files is {said!r}; it is true or false"
            ) from None

    def batch_url(self, host: str | None = None) -> str | None:
        """The page of a batch, with `{batch_id}` in it or without; None if unknown.

        host: the server that has the batch. GreenNode's console is known (docs.vngcloud.vn, "AI Platform Console");
        whether it shows single batches, and where, is not public.
        """
        connection = self._connection
        said = connection.extra_dejson.get("batch_url")
        if said:
            return str(said)
        host = host or urlsplit(connection.host or "").hostname or ""
        return _CONSOLE_URL if host.endswith(_GREENNODE_DOMAINS) else None

    def admit(self, client: GreenNodeClient) -> Admit | None:
        """The queue for the connection's shards, over all DAGs; None if the connection has no limits.

        Raises ConfigError for a limit that is not a whole number, or less than 1.
        """
        limits = read_limits(self._connection.extra_dejson, where=f"connection {self.greennode_conn_id!r}")
        if not limits:
            return None
        return SubmitQueue(
            queue_folder(staging_root(), self.greennode_conn_id), limits, client, shard_at=shard_at
        ).admit

    def enqueued_limits(self) -> EnqueuedLimits:
        """The limits on enqueued tokens that the connection has learned from refusals."""
        return EnqueuedLimits(queue_folder(staging_root(), self.greennode_conn_id))

    def live_limits(self) -> LiveLimits:
        """How much of the connection live answers may use. Raises ConfigError for what is no whole number."""
        return read_live_limits(self._connection.extra_dejson, where=f"connection {self.greennode_conn_id!r}")

    def live_share(self) -> LiveShare:
        """This task among those that answer live through the connection, and share its limits a minute."""
        return LiveShare(staging_root(), self.greennode_conn_id)

    def test_connection(self) -> tuple[bool, str]:
        """Check whether the key is accepted, for the Test button of the connection form. Costs nothing."""
        try:
            # A person waits for this: only one short try.
            with self.get_conn(timeout=_TEST_SECONDS, max_tries=1) as client:
                if not client.profile.check_models:
                    next(client.list_batches(limit=1), None)
                    return True, "Key accepted: batches can be listed"
                models = client.list_models()
        except GreenNodeError as error:
            return False, f"{self._connection.host}: {error}"
        shown = ", ".join(model.id for model in models[:5])
        return True, f"Key accepted; {len(models)} models: {shown}{', …' if len(models) > 5 else ''}"  # noqa: PLR2004


def client_arguments(connection: Connection) -> dict[str, Any]:
    """The arguments for a client. Raises ConfigError for a connection that cannot work."""
    fields = dict(connection.extra_dejson)
    allowed = fields.pop("allow_http_hosts", None) or ""
    for mine in ("prices", "keep_remote_files", "batch_url", *Limits.__struct_fields__, *LiveLimits.__struct_fields__):
        fields.pop(mine, None)
    if not connection.password:
        raise ConfigError(f"connection {connection.conn_id!r} has no API key: put it into the password field")
    return {
        "base_url": connection.host or "",
        "api_key": connection.password,
        # A field that is null is left out of requests; only `profile` may be left empty in the form.
        "profile": ApiProfile.from_extra(fields),
        "allow_http_hosts": tuple(host.strip() for host in allowed.split(",") if host.strip()),
    }
