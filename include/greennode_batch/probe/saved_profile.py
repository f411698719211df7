"""Saved profile: a probe's findings, written into an Airflow connection's extra field with Airflow's REST API.

Airflow's API shows no secrets, and keeps those that it does not show. The connection's password, which is the API key,
is neither read nor sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from greennode_batch.api.error_body import shorten
from greennode_batch.api.network import tls_context
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError, RetryableError
from greennode_batch.probe.airflow_api import DEFAULT_URL, HELP, TOKEN_VARIABLE, URL_VARIABLE, USER_VARIABLES

_SECONDS = 30.0


def check_connection(
    connection_id: str,
    base_url: str,
    *,
    url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Raise what `save_profile` would, so that a probe that cannot be saved costs nothing.

    base_url: the server that is probed. A connection to another host, or of another type, is a ConfigError.
    """
    with _airflow(environ, url, transport) as http:
        _read(http, connection_id, base_url)


def save_profile(
    connection_id: str,
    base_url: str,
    extra: Mapping[str, Any],
    *,
    say: Callable[[str], None],
    url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Merge a profile's JSON into the connection's extra field; other entries stay. The change is shown first.

    base_url: the server that was probed. url: Airflow's API server; by default the environment's. Raises ConfigError if
    Airflow does not know the connection, if it leads to another server, if Airflow refuses the change, or if the
    environment's access does not work; RetryableError if Airflow cannot be reached.
    """
    with _airflow(environ, url, transport) as http:
        connection = _read(http, connection_id, base_url)
        before = json.loads(connection["extra"] or "{}")
        after = with_profile(before, extra)
        if after == before:
            say(f"The connection {connection_id} has this profile already: nothing to save")
            return
        say(f"What changes in the extra field of the connection {connection_id}; the rest stays:")
        say("\n".join(_changes(before, after)))
        body = {"connection_id": connection_id, "conn_type": connection["conn_type"], "extra": json.dumps(after)}
        _checked(http.patch(_path(connection_id), params={"update_mask": "extra"}, json=body), connection_id)
    say(f"Saved in the connection {connection_id}")


def with_profile(before: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A connection's extra fields with another profile: no field of the old one is left."""
    fields = {"profile", *(field.name for field in dataclasses.fields(ApiProfile))}
    return {name: value for name, value in before.items() if name not in fields or name in extra} | dict(extra)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """`  cancel_style: not set -> "delete"`, a line for each field that differs."""
    for name in {**before, **after}:
        if (was := _shown(before, name)) != (will := _shown(after, name)):
            yield f"  {name}: {was} -> {will}"


def _shown(fields: Mapping[str, Any], name: str) -> str:
    return json.dumps(fields[name]) if name in fields else "not set"


@contextlib.contextmanager
def _airflow(
    environ: Mapping[str, str], url: str | None, transport: httpx.BaseTransport | None
) -> Iterator[httpx.Client]:
    """A client of Airflow's API that is logged in."""
    address = environ.get(URL_VARIABLE) or url or DEFAULT_URL
    try:
        with httpx.Client(base_url=address, timeout=_SECONDS, transport=transport, verify=tls_context()) as http:
            http.headers["authorization"] = f"Bearer {_token(http, environ)}"
            yield http
    except httpx.RequestError as error:
        words = f"Airflow's API at {address} cannot be reached ({type(error).__name__}); nothing was saved. {HELP}"
        raise RetryableError(words) from error


def _path(connection_id: str) -> str:
    return f"/api/v2/connections/{quote(connection_id, safe='')}"


def _read(http: httpx.Client, connection_id: str, base_url: str) -> dict[str, Any]:
    """The connection as Airflow shows it. Raises ConfigError unless it leads to the server that is probed."""
    connection = _checked(http.get(_path(connection_id)), connection_id)
    if connection["conn_type"] != "greennode":
        raise ConfigError(
            f"the connection {connection_id!r} is of type {connection['conn_type']!r}, not 'greennode'; nothing was "
            "saved. Name a connection of type GreenNode"
        )
    host = connection["host"] or ""
    if urlsplit(host).netloc.lower() != urlsplit(base_url).netloc.lower():
        raise ConfigError(
            f"the connection {connection_id!r} leads to {host or 'no host'}, and the probe's server is {base_url}; "
            "nothing was saved. Probe the connection's host, or change it"
        )
    return connection


def _token(http: httpx.Client, environ: Mapping[str, str]) -> str:
    token = environ.get(TOKEN_VARIABLE)
    if token:
        return token
    user, password = (environ.get(name) for name in USER_VARIABLES)
    if not user or not password:
        raise ConfigError(f"the profile cannot be saved: {HELP}. Nothing was changed")
    reply = http.post("/auth/token", json={"username": user, "password": password})
    if reply.is_error:
        raise ConfigError(f"Airflow refuses the login of {user!r} (HTTP {reply.status_code}); nothing was saved")
    return str(reply.json()["access_token"])


def _checked(reply: httpx.Response, connection_id: str) -> dict[str, Any]:
    if reply.status_code == HTTPStatus.NOT_FOUND:
        raise ConfigError(
            f"Airflow's database has no connection {connection_id!r}, so nothing was saved. Change a connection from "
            "the environment or a secrets backend there"
        )
    if reply.is_error:
        raise ConfigError(
            f"Airflow refuses to show or change the connection {connection_id!r}: HTTP {reply.status_code}: "
            f"{shorten(reply.text, 300)}. Nothing was saved"
        )
    found: dict[str, Any] = reply.json()
    return found
