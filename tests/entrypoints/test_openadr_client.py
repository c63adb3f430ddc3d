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


def test_one_service_polls_the_vtn_of_another(serve: Serve, tmp_path: Path) -> None:
    utility_dir, ours = tmp_path / "utility", tmp_path / "state"
    (tmp_path / "secret").write_text(a_secret(utility_dir))
    (tmp_path / "secret").chmod(0o600)
    utility = serve(VPP_STATE_DIR=str(utility_dir), **NO_BROKER)
    vtn_port = card_of(utility_dir, utility)["port"]
    leading(vtn_port)
    with client_at(vtn_port, (tmp_path / "secret").read_text()) as operator:
        event_id = operator.create_event(asked()).json()["id"]
        vtn = {
            "url": f"http://127.0.0.1:{vtn_port}/openadr/3.1",
            "client_id": "pge",
            "secret_file": str(tmp_path / "secret"),
            "poll_s": 5,
        }
        polls = {"VPP_VTNS": json.dumps({"pge": vtn}), **NO_BROKER}
        vpp(ours, "source", "add", "pge", "--max-mw", "1", "--client")
        child = serve(**polls)
        port = card_of(ours, child)["port"]
        leading(port)
        taken = until(ours, event_id, "waiting_for_force")
        checked = vpp(ours, "doctor", "--json", **polls)
        operator.delete_event(event_id)
        gone = until(ours, event_id, "cancelled")
    for each in (child, utility):
        each.send_signal(signal.SIGTERM)
        each.wait(timeout=START_WITHIN_S)

    assert (taken["source"], taken["program_id"]) == ("pge", "elrp-a4-pge")
    assert [each["operation"] for each in gone["versions"]] == ["CREATE", "UPDATE"]
    found = next(each for each in json.loads(checked.stdout)["checks"] if each["check"] == "VTN of pge")
    assert (found["state"], found["detail"][:8]) == ("ok", "1 events")


def until(state_dir: Path, event_id: str, state: str) -> dict[str, Any]:
    """Return an event once it is in that state."""
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        shown = vpp(state_dir, "event", "show", event_id, "--json")
        found = json.loads(shown.stdout) if shown.returncode == 0 else {}
        if found.get("state") == state:
            return dict(found)
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)
