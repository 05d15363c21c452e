"""Clients that nobody here wrote trade on the simulator: ccxt, ccxt.pro, bpx-py and more.

Each runs as a program of its own (`clients/`) in the environment that `make venv-clients` makes,
with nothing but its addresses and keys set.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sim_world import SOLUSDT, running

from exchanges.wallet_library import load_account

ROOT = Path(__file__).parents[3]
CLIENTS = Path(os.environ.get("GRID_CLIENTS", ROOT / ".venv-clients"))
PROGRAMS = Path(__file__).parent / "clients"

pytestmark = [
    pytest.mark.slow,  # real processes
    pytest.mark.skipif(
        not (CLIENTS / ".installed").exists(),
        reason=f"no clients in {CLIENTS}; run: make venv-clients",
    ),
]


def trade(program: str, sim: Any, *more: str, path: Path | None = None) -> Any:
    """What the program saw; its traceback when it failed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [CLIENTS / "bin/python", PROGRAMS / program, json.dumps(sim.line), *more],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_ccxt_and_ccxt_pro_trade_on_backpack() -> None:
    with running("backpack", "--seed", "1") as sim:
        seen = trade("ccxt_backpack.py", sim)
        assert seen["streams"]["position"] == "long"
        assert sim.account()["fills"]


def test_bpx_py_trades_on_backpack() -> None:
    with running("backpack") as sim:
        assert trade("bpx_backpack.py", sim) == {"fills": 3, "async": "Cancelled"}


def test_ccxt_and_ccxt_pro_trade_on_aster_with_a_wallet() -> None:
    """The printed secret is also the private key of a wallet that signs for itself."""
    with running("aster", "--seed", "1") as sim:
        seen = trade("ccxt_aster.py", sim, "v3")
        assert seen["streams"]["mine"] == ["taker"]
        assert sim.account()["fills"]


def test_the_last_ccxt_with_hmac_trades_on_aster() -> None:
    with running("aster", "--seed", "1") as sim:
        seen = trade("ccxt_aster.py", sim, "hmac", path=CLIENTS / "ccxt-hmac")
        assert seen["rest"]["ccxt"] == "4.5.51"
        assert seen["streams"]["positions"] == ["long"]


def test_the_connector_trades_on_aster() -> None:
    with running("aster", "--symbol", SOLUSDT) as sim:
        assert trade("connector_aster.py", sim) == {"gone": -1125}


def test_an_agent_signs_for_a_user(tmp_path: Path) -> None:
    """Keys as users of V3 have them: the account's address and the private key of its agent."""
    account = load_account()
    agent, user = account.create(), account.create()
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"api_key": user.address, "secret_key": "0x" + agent.key.hex()}))
    with running("aster", "--credentials", str(path)) as sim:
        assert sim.line["api_key"] == user.address
        signed = sign_v3(agent, user.address, "symbol=SOLUSDT")
        status, answer, _ = sim.http("GET", f"/fapi/v3/positionRisk?{signed}")
        assert (status, answer[0]["symbol"]) == (200, SOLUSDT)
        stranger = sign_v3(account.create(), user.address, "symbol=SOLUSDT")
        assert sim.http("GET", f"/fapi/v3/positionRisk?{stranger}")[1]["code"] == -2015


def sign_v3(agent: Any, user: str, text: str) -> str:
    import time

    from eth_account.messages import encode_typed_data

    nonce = time.time_ns() // 1000
    message = f"{text}&nonce={nonce}&user={user}&signer={agent.address}"
    signable = encode_typed_data(
        domain_data={
            "name": "AsterSignTransaction",
            "version": "1",
            "chainId": 1666,
            "verifyingContract": "0x" + "0" * 40,
        },
        message_types={"Message": [{"name": "msg", "type": "string"}]},
        message_data={"msg": message},
    )
    signature = agent.sign_message(signable).signature.hex().removeprefix("0x")
    return f"{message}&signature=0x{signature}"
