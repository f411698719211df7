"""A profile is written into a connection by Airflow's REST API, and nothing else of it is changed."""

import json

import httpx
import pytest

from greennode_batch.errors import ConfigError, RetryableError
from greennode_batch.probe.saved_profile import save_profile, with_profile

FOUND = {"profile": "greennode", "purpose": None, "status_words": {"PARTIAL": "completed"}}
EXTRA = {"profile": "openai", "list_style": "page", "prices": {"m": [1, 2]}, "max_enqueued_tokens": "***"}


class Airflow:
    """Airflow's API, as far as connections go."""

    def __init__(self, connection=None, *, extra=EXTRA):
        self.connection = {
            "connection_id": "gn",
            "conn_type": "greennode",
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

    def save(self, connection_id="gn", **environ):
        said = []
        options = {"environ": environ or {"AIRFLOW_API_TOKEN": "given"}, "transport": httpx.MockTransport(self)}
        save_profile(connection_id, FOUND, say=said.append, url="http://airflow:8080", **options)
        return said


def test_the_profile_is_replaced_and_the_rest_stays():
    airflow = Airflow()
    airflow.save()
    patch = airflow.calls[-1]
    assert (patch.method, patch.url.params["update_mask"]) == ("PATCH", "extra")
    sent = json.loads(patch.content)
    assert json.loads(sent["extra"]) == {**FOUND, "prices": {"m": [1, 2]}, "max_enqueued_tokens": "***"}
    assert sent.keys() == {"connection_id", "conn_type", "extra"}


def test_what_will_be_is_shown_before_it_is_written():
    airflow = Airflow()
    said = airflow.save()
    assert [call.method for call in airflow.calls] == ["GET", "PATCH"]
    assert "as it is" in said[0]
    assert '"list_style": "page"' in said[0]
    assert '"PARTIAL": "completed"' in said[1]


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
def test_what_cannot_be_saved_says_why_and_changes_nothing(connection_id, environ, words):
    airflow = Airflow()
    with pytest.raises(ConfigError, match=words) as error:
        airflow.save(connection_id, **environ)
    assert "PATCH" not in {call.method for call in airflow.calls}
    assert "wrong" not in str(error.value)


def test_an_airflow_that_is_not_there_is_named():
    def refuse(_request):
        raise httpx.ConnectError("refused")

    with pytest.raises(RetryableError, match=r"http://airflow:1 cannot be reached"):
        save_profile(
            "gn", FOUND, say=print, url="http://airflow:1", environ={"AIRFLOW_API_TOKEN": "t"},
            transport=httpx.MockTransport(refuse),
        )  # fmt: skip


def test_no_field_of_the_profile_before_is_left():
    assert with_profile(EXTRA, FOUND) == {"prices": {"m": [1, 2]}, "max_enqueued_tokens": "***", **FOUND}
