"""Keys of the gateway, from minting to revocation, as a client meets them."""

import json
import urllib.error
import urllib.request

import openai
import pytest


@pytest.fixture(scope="module")
def managed(start_upstream, start_gateway):
    url = start_upstream("-dialect", "generic", "-apis", "chat", "-key", "sk-of-the-provider")
    return start_gateway(OPENAI_BASE_URL=url, UPSTREAM_MODE="chat", OPENAI_API_KEY="sk-of-the-provider")


def call(gateway, path, body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(gateway.url + path, data=data, headers={"Content-Type": "application/json"} | headers)
    with urllib.request.urlopen(request, timeout=30) as r:
        return json.load(r)


def ask(gateway, key):
    with openai.OpenAI(base_url=gateway.base, api_key=key, max_retries=0) as c:
        return c.responses.create(model="demo", input="Hello!", store=False).output_text


def test_life_of_a_key(managed):
    with pytest.raises(openai.AuthenticationError):
        ask(managed, "sk-of-the-provider")
    key = call(managed, "/keys/generate", {"label": "svc", "ttl_seconds": 86400})
    assert key["label"] == "svc" and key["expires_at"] - key["created_at"] == 86400
    assert "Hello!" in ask(managed, key["token"])
    listed = next(k for k in call(managed, "/keys") if k["id"] == key["id"])
    assert "token" not in listed and listed["revoked_at"] is None
    assert call(managed, "/keys/set_expiration", {"id": key["id"], "ttl_seconds": 3600})["updated"] is True
    assert call(managed, "/keys/revoke", {"id": key["id"]})["revoked"] is True
    with pytest.raises(openai.AuthenticationError) as e:
        ask(managed, key["token"])
    assert "revoked" in e.value.message


def test_models_of_a_key(managed):
    key = call(managed, "/keys/generate", {"models": ["other-*"]})
    with pytest.raises(openai.APIStatusError) as e:
        ask(managed, key["token"])
    assert e.value.status_code in (403, 404)


def test_rate_limit_of_a_key(managed):
    key = call(managed, "/keys/generate", {"rpm": 1})
    ask(managed, key["token"])
    with pytest.raises(openai.RateLimitError) as e:
        ask(managed, key["token"])
    assert int(e.value.response.headers["retry-after"]) > 0


def test_web_pages_cannot_mint(managed):
    with pytest.raises(urllib.error.HTTPError) as e:
        call(managed, "/keys/generate", {}, Origin="https://evil.example")
    assert e.value.code == 403
