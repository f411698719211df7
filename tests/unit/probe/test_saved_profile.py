"""A profile is written into a connection by Airflow's REST API, and nothing else of it is changed."""

import json

import httpx
import pytest

from greennode_batch.errors import ConfigError, RetryableError
from greennode_batch.probe.saved_profile import check_connection, save_profile, with_profile

HOST = "https://gn.example/v1"
FOUND = {"profile": "greennode", "purpose": None, "status_words": {"PARTIAL": "completed"}}
EXTRA = {"profile": "openai", "list_style": "page", "prices": {"m": [1, 2]}, "max_enqueued_tokens": "***"}


class Airflow:
    """Airflow's API, as far as connections go."""

    def __init__(self, connection=None, *, extra=EXTRA):
        self.connection = {
            "connection_id": "gn",
            "conn_type": "greennode",
            "host": HOST,
            "extra": json.dumps(extra),
            "password": "***",
        }
        self.connection |= connection or {}
        self.calls = []

    def __call__(self, request):
        self.calls.append(request)
        if request.url.path == "/auth/token":
            body = json.loads(request.content)
            return httpx.Response(201 if body["password"] == "right" else 401, json={"access_token": "jwt"})
        if request.headers["authorization"] not in {"Bearer jwt", "Bearer given"}:
            return httpx.Response(403, json={"detail": "Forbidden"})
        if request.url.path != "/api/v2/connections/gn":
            return httpx.Response(404, json={"detail": "not found"})
        return httpx.Response(200, json=self.connection)

    def options(self, environ):
        transport = httpx.MockTransport(self)
        return {
            "environ": environ or {"AIRFLOW_API_TOKEN": "given"},
            "transport": transport,
            "url": "http://airflow:8080",
        }

    def check(self, connection_id="gn", **environ):
        check_connection(connection_id, HOST, **self.options(environ))

    def save(self, connection_id="gn", **environ):
        said = []
        save_profile(connection_id, HOST, FOUND, say=said.append, **self.options(environ))
        return said


def test_the_profile_is_replaced_and_the_rest_stays():
    airflow = Airflow()
    airflow.save()
    patch = airflow.calls[-1]
    assert (patch.method, patch.url.params["update_mask"]) == ("PATCH", "extra")
    sent = json.loads(patch.content)
    assert json.loads(sent["extra"]) == {**FOUND, "prices": {"m": [1, 2]}, "max_enqueued_tokens": "***"}
    assert sent.keys() == {"connection_id", "conn_type", "extra"}


def test_what_changes_is_shown_before_it_is_written():
    airflow = Airflow()
    said = airflow.save()
    assert [call.method for call in airflow.calls] == ["GET", "PATCH"]
    assert said[1].splitlines() == [
        '  profile: "openai" -> "greennode"',
        '  list_style: "page" -> not set',
        "  purpose: not set -> null",
        '  status_words: not set -> {"PARTIAL": "completed"}',
    ]
    assert "***" not in "".join(said)


def test_a_profile_that_the_connection_has_is_not_written_again():
    airflow = Airflow(extra={**FOUND, "prices": None})
    assert "nothing to save" in "".join(airflow.save())
    assert [call.method for call in airflow.calls] == ["GET"]


def test_a_user_and_a_password_get_a_token():
    airflow = Airflow(extra={})
    airflow.save(AIRFLOW_API_USERNAME="admin", AIRFLOW_API_PASSWORD="right")
    assert airflow.calls[-1].headers["authorization"] == "Bearer jwt"


@pytest.mark.parametrize(
    ("connection_id", "environ", "words"),
    [
        ("gn", {"OTHER": "x"}, "AIRFLOW_API_TOKEN, or with AIRFLOW_API_USERNAME and"),
        ("gn", {"AIRFLOW_API_USERNAME": "admin", "AIRFLOW_API_PASSWORD": "wrong"}, "refuses the login of 'admin'"),
        ("gn", {"AIRFLOW_API_TOKEN": "stale"}, "HTTP 403.*Nothing was saved"),
        ("other", {"AIRFLOW_API_TOKEN": "given"}, "has no connection 'other'.*environment or a secrets backend"),
    ],
)
@pytest.mark.parametrize("act", [Airflow.check, Airflow.save])
def test_what_cannot_be_saved_says_why_and_changes_nothing(act, connection_id, environ, words):
    airflow = Airflow()
    with pytest.raises(ConfigError, match=words) as error:
        act(airflow, connection_id, **environ)
    assert "PATCH" not in {call.method for call in airflow.calls}
    assert "wrong" not in str(error.value)


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ({"conn_type": "postgres"}, "of type 'postgres', not 'greennode'"),
        ({"host": "https://other.example/v1"}, "leads to https://other.example/v1, and the probe's server is"),
        ({"host": None}, "leads to no host"),
    ],
)
@pytest.mark.parametrize("act", [Airflow.check, Airflow.save])
def test_a_connection_to_something_else_is_left_alone(act, connection, words):
    airflow = Airflow(connection)
    with pytest.raises(ConfigError, match=words):
        act(airflow)
    assert [call.method for call in airflow.calls] == ["GET"]


@pytest.mark.parametrize("host", [HOST + "/", "https://GN.example/v1", "https://gn.example"])
def test_a_host_may_be_written_in_another_way(host):
    Airflow({"host": host}).check()


def test_an_airflow_that_is_not_there_is_named():
    def refuse(_request):
        raise httpx.ConnectError("refused")

    with pytest.raises(RetryableError, match=r"http://airflow:1 cannot be reached"):
        save_profile(
            "gn", HOST, FOUND, say=print, url="http://airflow:1", environ={"AIRFLOW_API_TOKEN": "t"},
            transport=httpx.MockTransport(refuse),
        )  # fmt: skip


def test_no_field_of_the_profile_before_is_left():
    assert with_profile(EXTRA, FOUND) == {"prices": {"m": [1, 2]}, "max_enqueued_tokens": "***", **FOUND}
