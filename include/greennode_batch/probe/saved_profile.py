"""Saved profile: a probe's findings, written into an Airflow connection's extra field with Airflow's REST API.

Airflow's API shows no secrets, and keeps those that it does not show. The connection's password, which is the API key,
is neither read nor sent.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from greennode_batch.api.error_body import shorten
from greennode_batch.api.network import tls_context
from greennode_batch.api.profile import ApiProfile
from greennode_batch.errors import ConfigError, RetryableError

URL_VARIABLE = "AIRFLOW_API_URL"
TOKEN_VARIABLE = "AIRFLOW_API_TOKEN"  # noqa: S105 - the name of a variable, not a secret
USER_VARIABLES = ("AIRFLOW_API_USERNAME", "AIRFLOW_API_PASSWORD")
DEFAULT_URL = "http://localhost:8080"
HELP = (
    f"Airflow's API is at {URL_VARIABLE} (default: {DEFAULT_URL}); log in with {TOKEN_VARIABLE}, or with "
    f"{' and '.join(USER_VARIABLES)}"
)
_SECONDS = 30.0


def save_profile(
    connection_id: str,
    extra: Mapping[str, Any],
    *,
    say: Callable[[str], None],
    url: str | None = None,
    environ: Mapping[str, str] = os.environ,
    transport: httpx.BaseTransport | None = None,
) -> None:
    """Merge a profile's JSON into the connection's extra field; other entries stay. The change is shown first.

    url: Airflow's API server; by default the environment's. Raises ConfigError if Airflow does not know the connection
    or refuses the change, or if the environment's access does not work; RetryableError if Airflow cannot be reached.
    """
    base_url = environ.get(URL_VARIABLE) or url or DEFAULT_URL
    try:
        with httpx.Client(base_url=base_url, timeout=_SECONDS, transport=transport, verify=tls_context()) as http:
            http.headers["authorization"] = f"Bearer {_token(http, environ)}"
            path = f"/api/v2/connections/{quote(connection_id, safe='')}"
            connection = _checked(http.get(path), connection_id)
            before = json.loads(connection.get("extra") or "{}")
            after = with_profile(before, extra)
            say(f"The extra field of the connection {connection_id}, as it is:\n{json.dumps(before, indent=2)}")
            say(f"as it will be:\n{json.dumps(after, indent=2)}")
            body = {
                "connection_id": connection_id,
                "conn_type": connection["conn_type"],
                "extra": json.dumps(after),
            }
            _checked(http.patch(path, params={"update_mask": "extra"}, json=body), connection_id)
    except httpx.RequestError as error:
        words = f"Airflow's API at {base_url} cannot be reached ({type(error).__name__}); nothing was saved"
        raise RetryableError(words) from error
    say(f"Saved in the connection {connection_id}")


def with_profile(before: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """A connection's extra fields with another profile: no field of the old one is left."""
    fields = {"profile", *(field.name for field in dataclasses.fields(ApiProfile))}
    return {**{name: value for name, value in before.items() if name not in fields}, **extra}


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
