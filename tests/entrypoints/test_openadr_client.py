"""A published OpenADR 3 client before a real ``vpp serve``, whose process may die over an event."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from openadr3.api import OpenADRClient
from openadr3.auth import fetch_token

from tests.entrypoints.test_openadr_api import an_event
from tests.entrypoints.test_service import START_WITHIN_S, Serve, answer_of, card_of, serve, vpp

__all__ = ["serve"]  # the fixture

NO_BROKER = {"VPP_BROKER_URL": "mqtt://127.0.0.1:1"}
ANYTIME = {"start": "2030-09-10T01:00:00Z", "duration": "PT2H"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def client_at(port: int, secret: str) -> OpenADRClient:
    """Return a client with a token, once the service leads."""
    base = f"http://127.0.0.1:{port}/openadr/3.1"
    return OpenADRClient(base, token=fetch_token(base, "pge", secret), client_type="bl")


def leading(port: int) -> None:
    deadline = time.monotonic() + START_WITHIN_S
    while not answer_of(port, "/health/ready", status=503)["leads"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def a_secret(state_dir: Path) -> str:
    added = vpp(state_dir, "source", "add", "pge", "--max-mw", "1", "--client", "--json")
    return str(json.loads(added.stdout)["client_secret"])


def asked(**changed: Any) -> dict[str, Any]:
    return an_event(programID="elrp-a4-pge", intervalPeriod=ANYTIME, **changed)


def test_a_clients_event_is_taken_read_changed_and_deleted(serve: Serve, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    secret = a_secret(state_dir)
    child = serve(**NO_BROKER)
    port = card_of(state_dir, child)["port"]
    leading(port)

    with client_at(port, secret) as pge:
        program = pge.program("elrp-a4-pge")
        created = pge.create_event(asked(targets=["PGE"]))
        programs = pge.programs()
        (event,) = pge.events(active=True)
        changed = pge.update_event(event.id, asked(power_kw=3, priority=1))
        again = pge.event(event.id)
        deleted = pge.delete_event(event.id)
        left = pge.events()
    shown = json.loads(vpp(state_dir, "event", "show", event.id, "--json").stdout)
    child.send_signal(signal.SIGTERM)
    child.wait(timeout=START_WITHIN_S)

    assert program in programs
    assert (created.status_code, created.headers["x-vpp-state"]) == (201, "waiting_for_force")
    assert (event.program_id, event.targets) == ("elrp-a4-pge", ["PGE"])
    (interval,) = event.resolved_intervals()
    assert str(interval.interval_period.start) == "2030-09-10 01:00:00+00:00"
    assert changed.status_code == 200
    assert (again.priority, again.modified > event.modified) == (1, True)
    assert deleted.status_code == 200
    assert left == []
    assert [each["operation"] for each in shown["versions"]] == ["CREATE", "UPDATE", "DELETE"]


def test_an_event_whose_answer_was_lost_with_the_process_is_asked_for_again_without_a_second_one(
    serve: Serve, tmp_path: Path
) -> None:
    state_dir = tmp_path / "state"
    secret = a_secret(state_dir)
    dying = serve(VPP_CRASH_AT="after-event-version", **NO_BROKER)
    port = card_of(state_dir, dying)["port"]
    leading(port)
    with client_at(port, secret) as pge, pytest.raises(httpx.TransportError):
        pge.create_event(asked())
    assert dying.wait(timeout=START_WITHIN_S) == -signal.SIGKILL
    (state_dir / "service.json").unlink()

    child = serve(**NO_BROKER)
    port = card_of(state_dir, child)["port"]
    leading(port)
    with client_at(port, secret) as pge:
        refused = pge.create_event(asked())
        (event,) = pge.events()
    child.send_signal(signal.SIGTERM)
    child.wait(timeout=START_WITHIN_S)

    assert refused.status_code == 409
    assert event.id in refused.json()["detail"]
