"""The simulator's verification against the reference vectors, the negative ones too."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

import pytest
from sim_world import SPECS, spec

from exchanges.simulator.aster_auth import AsterError
from exchanges.simulator.aster_auth import Verifier as AsterVerifier
from exchanges.simulator.backpack_auth import BackpackError, Verifier
from exchanges.simulator.credentials import Credentials

pytestmark = pytest.mark.skipif(
    not (SPECS / "vectors.json").exists(), reason=f"no vectors in {SPECS}; set GRID_DATA"
)
VECTORS: dict[str, Any] = spec("vectors.json") if (SPECS / "vectors.json").exists() else {}
BACKPACK = VECTORS.get("backpack", {"vectors": [], "negative": [], "key": {}})
ASTER = [v for v in VECTORS.get("aster_hmac", {"vectors": []})["vectors"] if "wire_body" in v]
WALLET = VECTORS.get("aster_v3", {"vectors": []})["vectors"]


def check(vector: dict[str, Any], signature: str) -> None:
    batch = next(v["params"] for v in BACKPACK["vectors"] if v["id"].endswith("two_limit_orders"))
    verifier = Verifier(BACKPACK["key"]["api_key_base64_public_key"])
    stamp = vector.get("timestamp", BACKPACK["timestamp"])
    params = vector.get("params", batch if "batch" in vector["id"] else {})
    parts = [list(part.items()) for part in (params if isinstance(params, list) else [params])]
    headers = {
        "x-api-key": BACKPACK["key"]["api_key_base64_public_key"],
        "x-signature": signature,
        "x-timestamp": str(stamp),
        "x-window": str(vector.get("window", 5000)),
    }
    instruction = vector.get("instruction", "orderExecute")
    verifier.check(headers, instruction, parts, stamp + 1)


@pytest.mark.parametrize("vector", BACKPACK["vectors"], ids=lambda v: v["id"])
def test_backpack_accepts_every_signed_vector(vector: dict[str, Any]) -> None:
    check(vector, vector["expected_signature"])


def test_backpack_accepts_the_signed_subscription() -> None:
    frame = spec("fixtures/backpack/ws_client_subscribe_private.json")["frame"]
    verifier = Verifier(BACKPACK["key"]["api_key_base64_public_key"])
    stamp = int(frame["signature"][2])
    verifier.check_subscribe(frame["signature"], stamp + 4_000)
    with pytest.raises(BackpackError, match="expired"):
        verifier.check_subscribe(frame["signature"], stamp + 6_000)
    with pytest.raises(BackpackError, match="signature"):
        verifier.check_subscribe(None, stamp)


@pytest.mark.parametrize("vector", BACKPACK["negative"], ids=lambda v: v["id"])
def test_backpack_refuses_every_negative_vector(vector: dict[str, Any]) -> None:
    with pytest.raises(BackpackError, match="Invalid signature"):
        check(vector, vector["signature"])


def bytes_of(text: str | None) -> bytes:
    return (text or "").encode()


@pytest.mark.parametrize("vector", ASTER, ids=lambda v: v["id"])
def test_aster_accepts_every_hmac_vector(vector: dict[str, Any]) -> None:
    """Over the bytes as they came; a request with the key alone needs no signature."""
    keys = Credentials(api_key=vector["apiKey"], secret_key=vector["secret"])
    verifier = AsterVerifier(keys)
    query, body = bytes_of(vector.get("wire_query")), bytes_of(vector.get("wire_body"))
    headers = {"x-mbx-apikey": vector["apiKey"]}
    params = dict(parse_qsl((body + b"&" + query).decode(), keep_blank_values=True))
    if "signature" not in params:
        verifier.check_key(headers)
        return
    now_us = int(params["timestamp"]) * 1000 + 1
    verifier.check_signed(headers, query, body, params, now_us)
    wrong = {**params, "signature": params["signature"][:-1] + "x"}
    with pytest.raises(AsterError) as refused:
        verifier.check_signed(headers, query, body, wrong, now_us)
    assert refused.value.code == -1022


@pytest.mark.parametrize("vector", WALLET, ids=lambda v: v["id"])
def test_aster_accepts_every_wallet_vector_once(vector: dict[str, Any]) -> None:
    """A nonce serves once, a changed text or another wallet never."""
    keys = Credentials(
        api_key="k",
        secret_key="s",
        private_key=vector["private_key_throwaway"],
        user=vector["user"],
    )
    verifier = AsterVerifier(keys)
    text = vector.get("wire_body") or vector["url"].partition("?")[2]
    query, body = (b"", text.encode()) if vector["method"] != "GET" else (text.encode(), b"")
    params = dict(parse_qsl(text, keep_blank_values=True))
    now_us = int(params["nonce"]) + 1_000_000
    changed = re.sub(r"nonce=\d", "nonce=9", text).encode()
    with pytest.raises(AsterError) as refused:
        verifier.check_signed(
            {}, changed if query else b"", b"" if query else changed, params, now_us
        )
    assert refused.value.code == -1022
    verifier.check_signed({}, query, body, params, now_us)
    with pytest.raises(AsterError) as refused:
        verifier.check_signed({}, query, body, params, now_us)
    assert refused.value.code == -4225
    with pytest.raises(AsterError) as refused:
        AsterVerifier(keys).check_signed({}, query, body, params, now_us + 11_000_000)
    assert refused.value.code == -4225
    stranger = Credentials(api_key="k", secret_key="s", private_key="11" * 32)
    with pytest.raises(AsterError) as refused:
        AsterVerifier(stranger).check_signed({}, query, body, params, now_us)
    assert refused.value.code == -2015
