"""A grid operator's server before a real ``vpp serve``: its process may die, its broker may be gone."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.entrypoints.test_service import START_WITHIN_S, Serve, answer_of, card_of, serve, vpp
from vpp.domain.grid_event import Operation
from vpp.wire.openadr import Ask, encode_notification
from vpp.wire.signed import SigningKey, sign

__all__ = ["serve"]  # the fixture

CAISO = SigningKey(b"c" * 32)
NO_BROKER = {"VPP_BROKER_URL": "mqtt://127.0.0.1:1"}


def said(now: datetime) -> bytes:
    """Return an emergency as its source signs it."""
    body = encode_notification(
        Operation.CREATE, event_id="ev-1", program_id="elrp-a4-pge", name="EEA 2", created_at=now,
        modified_at=now, asks=(Ask(7_200, power_w=5_000),), starts_at=now + timedelta(hours=1),
    )  # fmt: skip
    return sign(body, CAISO, "caiso")


def post(port: int, message: bytes) -> httpx.Response:
    """Return the answer, once the service leads."""
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/api/v1/sources/caiso/signals", content=message, trust_env=False
        )
        if answer.status_code != 503 or time.monotonic() > deadline:
            return answer
        time.sleep(0.05)


def state_of(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(json.loads(answer.text.partition("\n")[0])["state"])


@pytest.mark.parametrize("dies", ["after-signal", "after-event-version"])
def test_a_posted_signal_is_taken_once_whenever_the_service_dies_over_it(
    serve: Serve, tmp_path: Path, dies: str
) -> None:
    state_dir, message = tmp_path / "state", said(datetime.now(UTC).replace(microsecond=0))
    vpp(state_dir, "source", "add", "caiso", "--max-mw", "1", "--key", CAISO.verifying_key.text)
    dying = serve(VPP_CRASH_AT=dies, **NO_BROKER)
    with pytest.raises(httpx.TransportError):
        post(card_of(state_dir, dying)["port"], message)
    assert dying.wait(timeout=START_WITHIN_S) == -signal.SIGKILL
    (state_dir / "service.json").unlink()

    child = serve(**NO_BROKER)
    port = card_of(state_dir, child)["port"]
    resent = post(port, message)
    ready = answer_of(port, "/health/ready", status=503)
    shown = json.loads(vpp(state_dir, "event", "show", "ev-1", "--json").stdout)
    child.send_signal(signal.SIGTERM)
    child.wait(timeout=START_WITHIN_S)

    assert state_of(resent) == "duplicate"
    assert ready == {"database": True, "broker": False, "leads": True}
    assert [each["version"] for each in shown["versions"]] == [1]
    assert [each["state"] for each in shown["receipts"]] == ["accepted", "duplicate"]
