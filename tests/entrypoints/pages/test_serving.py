"""The pages of the running product: vpp serve with vpp user add, and vpp demo that stays open."""

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from tests.entrypoints.test_service import Serve, beside, card_of, environment, serve, vpp
from tests.mosquitto import program
from vpp.entrypoints.running_service import SERVICE_FILE, TOKEN_FILE

__all__ = ["serve"]  # the fixture

DEMO_WITHIN_S, BUSY_S = 240.0, 60.0


def test_somebody_added_on_the_command_line_logs_in_to_the_running_service(
    serve: Serve, tmp_path: Path
) -> None:
    state_dir = tmp_path / "state"
    child = serve()
    card = card_of(state_dir, child)
    added = json.loads(vpp(state_dir, "user", "add", "ana", "--role", "operator", "--json").stdout)
    listed = vpp(state_dir, "user", "list")
    refused = vpp(state_dir, "user", "add", "eve", "--role", "king")

    with httpx.Client(
        base_url=f"http://127.0.0.1:{card['port']}", trust_env=False, timeout=BUSY_S
    ) as browser:
        entered = browser.post("/login", data={"name": "ana", "password": added["password"]})
        board = browser.get("/operator")
        fleet = browser.get("/operator/fleet")

    assert "ana" in listed.stdout
    assert added["password"] not in listed.stdout
    assert refused.returncode == 1
    assert "is none of operator, approver" in refused.stderr
    assert entered.headers["location"] == "/operator"
    assert "No event is on or coming." in board.text
    assert "0 of 0 homes" in fleet.text
    assert (state_dir / "cookie-key").stat().st_mode & 0o077 == 0
    child.send_signal(signal.SIGTERM)


DEMO = (sys.executable, "-m", "vpp", "demo", "--sites", "10", "--json")


def test_a_demonstration_leaves_both_pages_open_on_the_chosen_port_until_it_is_told_to_end(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    chosen = environment(tmp_path) | {"VPP_HTTP_PORT": str(port)}
    with beside(*DEMO, env=chosen, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        summary = json.loads(child.stdout.readline())
        links: dict[str, str] = {}
        for line in child.stderr:
            links |= dict(re.findall(r"^\s+(operator|owner)\s+(http\S+)$", line))
            if "Ctrl-C" in line:
                break
        with httpx.Client(follow_redirects=True, trust_env=False, timeout=BUSY_S) as browser:
            board = browser.get(links["operator"])
            again = browser.get(links["operator"])
            home = httpx.get(links["owner"], follow_redirects=False, trust_env=False, timeout=BUSY_S)
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
        assert child.wait(DEMO_WITHIN_S) == 0

    assert summary["ledger_balanced"] is True
    assert rest == ""
    assert "EEA 2 CAISO Grid" in board.text
    assert again.status_code == 404
    assert home.headers["location"] == "/owner"
    assert httpx.URL(links["operator"]).port == port


def asked(state_dir: Path, *words: str) -> Any:
    """Return what a command in another terminal answers."""
    done = vpp(state_dir, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_command_goes_through_a_demonstration_by_its_clock_while_it_is_open(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with beside(
        *DEMO, "--keep", str(kept), env=environment(tmp_path), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as child:  # fmt: skip
        try:
            assert child.stderr is not None
            said = ""
            while "Ctrl-C" not in said:
                said += (line := child.stderr.readline())
                assert line, said
            (evening,) = asked(kept, "event", "list")["events"]
            more = ("--program", evening["program_id"], "--mw", "0.005", "--minutes", "60")
            began = asked(kept, "event", "start", "by-hand", *more)
            health = asked(kept, "fleet", "health")
            listed = {event["event_id"]: event for event in asked(kept, "event", "list")["events"]}
            second = vpp(kept, "serve")
            heard = messages_of(said)
            stopped = asked(kept, "event", "stop-all")
            page = httpx.get(re.findall(r"http\S+/docs", said)[0], trust_env=False, timeout=BUSY_S)
        finally:
            child.send_signal(signal.SIGINT)
        assert child.wait(DEMO_WITHIN_S) == 0

    assert f"VPP_STATE_DIR={kept} " in said
    since = datetime.fromisoformat(began["starts_at"]) - datetime.fromisoformat(evening["starts_at"])
    assert timedelta(0) < since < timedelta(hours=12)  # on the demonstration's own day
    assert listed["by-hand"]["state"] == "active"
    assert health["enrolled"] == 10
    assert health["online"] > 0
    assert stopped["cancelled"] == ["by-hand"]
    assert second.returncode == 1
    assert "already" in second.stderr
    assert heard.startswith("vpp/")
    assert page.status_code == 200
    assert not (kept / SERVICE_FILE).exists()
    assert not (kept / TOKEN_FILE).exists()
    afterwards = {event["event_id"]: event["state"] for event in asked(kept, "event", "list")["events"]}
    assert afterwards["by-hand"] == "cancelled"


def messages_of(said: str) -> str:
    """Return the first message that the printed command for another terminal shows."""
    (options,) = re.findall(r"mosquitto_sub (.*)", said)
    return subprocess.run(
        [program("mosquitto_sub"), *shlex.split(options), "-C", "1"],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    ).stdout


def test_a_demonstration_whose_chosen_port_is_taken_says_so_before_the_evening_begins(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = subprocess.run(
            DEMO, env=environment(tmp_path) | {"VPP_HTTP_PORT": str(port)}, capture_output=True, text=True,
            timeout=DEMO_WITHIN_S, check=False,
        )  # fmt: skip

    assert (refused.returncode, refused.stdout) == (1, "")  # as vpp serve in the same case
    assert refused.stderr == (
        f"vpp: port {port} on 127.0.0.1 is taken by another program; set VPP_HTTP_PORT to a free port, "
        "or to 0 for any\n"
    )
