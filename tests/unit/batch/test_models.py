import httpx
import pytest

from greennode_batch.api.client import GreenNodeClient
from greennode_batch.build.models import check_models
from greennode_batch.errors import AuthError, ConfigError


def client_with(status, body):
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=body))
    return GreenNodeClient("https://host/v1", "key", transport=transport, sleep=lambda _: None)


def test_models_of_the_list_pass(client):
    check_models(client, ["google/gemma-4-31b-it", "zai/glm-5.2"])


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("GreenNode/GreenMind-Medium-14B-R1", "did you mean 'greennode/greenmind-medium-14b-r1'"),
        ("google/gemma-4-31b", "did you mean 'google/gemma-4-31b-it'"),
        ("x", "it has google/gemma-4-31b-it, openai/gpt-oss-120b"),
    ],
)
def test_a_model_that_is_not_listed_is_named_before_anything_is_paid(client, name, hint):
    with pytest.raises(ConfigError, match=f"model '{name}' is not on the server's list: {hint}.*Nothing was sent"):
        check_models(client, ["zai/glm-5.2", name])


@pytest.mark.parametrize(("status", "body"), [(404, {}), (200, {"data": []})])
def test_an_api_without_a_list_passes(status, body):
    check_models(client_with(status, body), ["anything"])


def test_a_wrong_key_is_not_taken_for_an_api_without_a_list():
    with pytest.raises(AuthError):
        check_models(client_with(401, {"error": "bad key"}), ["anything"])
