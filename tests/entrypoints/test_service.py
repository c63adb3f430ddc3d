"""``vpp serve`` as a process: it starts whatever is down, and ends in order."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.builders import an_enrollment_file
from vpp.entrypoints.running_service import SERVICE_FILE, TOKEN_FILE
from vpp.settings import CONFIG_DIR, PREFIX

START_WITHIN_S = 60.0

Serve = Callable[..., subprocess.Popen[str]]


def environment(state_dir: Path, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    usual = {"VPP_STATE_DIR": str(state_dir), "VPP_HTTP_PORT": "0", "VPP_EMBEDDED_BROKER_PORT": "0"}
    return clean | usual | more


@contextmanager
def beside(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program beside the test. However the test ends, it ends too: alone, ``Popen`` waits for it."""
    with subprocess.Popen(command, text=True, **options) as child:
        try:
            yield child
        finally:
            child.kill()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    command = (sys.executable, "-m", "vpp", "serve")
    with ExitStack() as running:

        def start(**more: str) -> subprocess.Popen[str]:
            clean = environment(tmp_path / "state", **more)
            return running.enter_context(beside(*command, env=clean, stderr=subprocess.PIPE))

        yield start


def card_of(state_dir: Path, child: subprocess.Popen[str]) -> dict[str, Any]:
    """Return where the service listens, as soon as it says so."""
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        assert child.poll() is None, child.stderr.read() if child.stderr else ""
        if (state_dir / SERVICE_FILE).exists():
            card = json.loads((state_dir / SERVICE_FILE).read_text())
            assert isinstance(card, dict)
            return card
        time.sleep(0.05)
    raise AssertionError("vpp serve did not say where it listens")


def answer_of(port: int, path: str, *, status: int) -> dict[str, Any]:
    """Return what the service answers as soon as it answers with that status."""
    deadline = time.monotonic() + START_WITHIN_S
    while True:
        try:
            answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=START_WITHIN_S)
        except httpx.ConnectError:
            answer = None
        if answer is not None and answer.status_code == status:
            found = answer.json()
            assert isinstance(found, dict)
            return found
        assert time.monotonic() < deadline, answer and answer.text
        time.sleep(0.05)


def vpp(state_dir: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vpp", *words]
    return subprocess.run(
        command, env=environment(state_dir, **more), capture_output=True, text=True, check=False
    )


def test_a_service_on_its_own_broker_is_ready_serves_commands_and_ends_in_order(
    serve: Serve, tmp_path: Path
) -> None:
    state_dir = tmp_path / "state"
    child = serve()
    card = card_of(state_dir, child)
    assert answer_of(card["port"], "/health/ready", status=200) == {
        "database": True,
        "broker": True,
        "leads": True,
    }

    sites = tmp_path / "sites.csv"
    sites.write_bytes(an_enrollment_file("s-1"))
    enrolled = vpp(state_dir, "site", "enroll", "--file", str(sites), "--json")
    second = vpp(state_dir, "serve")
    (state_dir / TOKEN_FILE).chmod(0o600)
    child.send_signal(signal.SIGTERM)

    assert json.loads(enrolled.stdout) == {"sites": [{"site_id": "s-1", "shard": "00"}]}
    assert second.returncode == 1
    assert "runs on" in second.stderr
    assert child.wait(timeout=START_WITHIN_S) == 0
    assert not (state_dir / SERVICE_FILE).exists()
    assert not (state_dir / TOKEN_FILE).exists()
    after = vpp(state_dir, "site", "list", "--json")
    assert [site["site_id"] for site in json.loads(after.stdout)["sites"]] == ["s-1"]


def test_a_service_says_on_one_line_of_json_where_it_listens(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    command = (sys.executable, "-m", "vpp", "serve", "--json")
    with beside(
        *command, env=environment(state_dir), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        try:
            assert child.stdout is not None
            where = json.loads(child.stdout.readline())
            answer_of(where["port"], "/health/live", status=200)
            token_there = Path(where["token_file"]).exists()
        finally:
            child.send_signal(signal.SIGTERM)
        rest = child.stdout.read()
        child.wait(timeout=START_WITHIN_S)

    assert where == {
        "url": f"http://127.0.0.1:{where['port']}",
        "port": where["port"],
        "pid": child.pid,
        "state_dir": str(state_dir),
        "token_file": str(state_dir / TOKEN_FILE),
    }
    assert (token_there, rest, child.returncode) == (True, "", 0)


def test_a_service_starts_while_the_database_is_down_and_says_so(serve: Serve, tmp_path: Path) -> None:
    child = serve(VPP_DATABASE_URL="postgresql://nobody@127.0.0.1:1/vpp")
    card = card_of(tmp_path / "state", child)

    ready = answer_of(card["port"], "/health/ready", status=503)
    refused = vpp(tmp_path / "state", "event", "list", VPP_DATABASE_URL="postgresql://nobody@127.0.0.1:1/vpp")
    child.send_signal(signal.SIGINT)

    assert ready == {"database": False, "broker": False, "leads": False}
    assert refused.returncode == 1
    assert "waits for the database" in refused.stderr
    assert child.wait(timeout=START_WITHIN_S) == 0
    assert child.stderr is not None
    assert "the database is down" in child.stderr.read()


def test_a_service_that_finds_neither_database_nor_broker_names_both(serve: Serve, tmp_path: Path) -> None:
    child = serve(VPP_DATABASE_URL="postgresql://nobody@127.0.0.1:1/vpp", VPP_BROKER_URL="mqtt://127.0.0.1:1")
    card_of(tmp_path / "state", child)
    assert child.stderr is not None
    log = ""
    while "the broker is down" not in log:
        line = child.stderr.readline()
        assert line, log
        log += line
    child.send_signal(signal.SIGINT)

    assert "the database is down" in log
    assert child.wait(timeout=START_WITHIN_S) == 0


def test_a_service_starts_while_the_broker_is_down_and_takes_commands(serve: Serve, tmp_path: Path) -> None:
    child = serve(VPP_BROKER_URL="mqtt://127.0.0.1:1")
    card = card_of(tmp_path / "state", child)

    answer_of(card["port"], "/health/live", status=200)
    added: subprocess.CompletedProcess[str] | None = None
    deadline = time.monotonic() + START_WITHIN_S
    while added is None or (added.returncode != 0 and time.monotonic() < deadline):
        added = vpp(tmp_path / "state", "source", "add", "caiso", "--json")
    ready = answer_of(card["port"], "/health/ready", status=503)
    child.send_signal(signal.SIGTERM)

    assert json.loads(added.stdout)["name"] == "caiso"
    assert ready == {"database": True, "broker": False, "leads": True}
    assert child.wait(timeout=START_WITHIN_S) == 0


def test_a_taken_port_is_named_with_the_setting_that_changes_it(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        child = serve(VPP_HTTP_PORT=str(port))
        _, complaint = child.communicate(timeout=START_WITHIN_S)

    assert child.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken by another program; set VPP_HTTP_PORT" in complaint


def a_program_with_a_word_nobody_knows(folder: Path) -> str:
    folder.mkdir()
    known = (CONFIG_DIR / "programs" / "elrp-a4-pge.toml").read_text()
    (folder / "elrp.toml").write_text("colour = 'red'\n" + known)
    return str(folder)


def test_configuration_that_cannot_be_used_is_one_sentence_with_its_place_before_anything_listens(
    tmp_path: Path,
) -> None:
    strange = a_program_with_a_word_nobody_knows(tmp_path / "strange")
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").mkdir()
    (tmp_path / "binary" / "program.toml").write_bytes(b"\xff")
    unusable = {
        (
            "VPP_BROKER_URL",
            "mqtt://127.0.0.1:99999",
        ): "VPP_BROKER_URL: broker_url is not usable, expected a port from 1 to 65535",
        ("VPP_DATABASE_URL", "sqlite:///"): "names no file; write sqlite:///path; set VPP_DATABASE_URL",
        ("VPP_DATABASE_URL", "postgresql://u@h:99999/d"): "database_url is not usable, expected a port",
        ("VPP_PROGRAMS_DIR", strange): f"{strange}/elrp.toml:1: ",
        ("VPP_PROGRAMS_DIR", str(tmp_path / "empty")): "holds no program file (*.toml); set VPP_PROGRAMS_DIR",
        ("VPP_PROGRAMS_DIR", str(tmp_path / "binary")): "program.toml: byte 0 is not UTF-8",
    }

    for (name, value), sentence in unusable.items():
        for words in (("serve",), ("event", "list", "--json")):
            ended = vpp(tmp_path / "state", *words, **{name: value})

            assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
            (told,) = ended.stderr.splitlines()  # neither a traceback nor the line that says what listens
            assert told.startswith("vpp: ")
            assert sentence in told
    assert not (tmp_path / "state").exists()


def test_a_taken_broker_port_is_replaced_by_a_free_one_that_is_named(serve: Serve, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        child = serve(VPP_EMBEDDED_BROKER_PORT=str(port))
        card = card_of(tmp_path / "state", child)
        answer_of(card["port"], "/health/ready", status=200)
        child.send_signal(signal.SIGTERM)
        _, log = child.communicate(timeout=START_WITHIN_S)

    assert f"port {port} on 127.0.0.1 is taken" in log
    assert "broker listens" in log


def test_a_standby_leads_soon_after_the_leader_froze_and_the_leader_steps_down(
    serve: Serve, tmp_path: Path
) -> None:
    database = {"VPP_DATABASE_URL": f"sqlite:///{tmp_path / 'shared.db'}"}
    folders = [tmp_path / "state", tmp_path / "other"]
    first = serve(**database)
    ports = [card_of(folders[0], first)["port"]]
    answer_of(ports[0], "/health/ready", status=200)
    second = serve(VPP_STATE_DIR=str(folders[1]), **database)
    ports.append(card_of(folders[1], second)["port"])
    standing_by = answer_of(ports[1], "/health/ready", status=503)

    first.send_signal(signal.SIGSTOP)
    frozen_at = time.monotonic()
    answer_of(ports[1], "/health/ready", status=200)
    took_s = time.monotonic() - frozen_at
    first.send_signal(signal.SIGCONT)
    replaced = answer_of(ports[0], "/health/ready", status=503)
    second.send_signal(signal.SIGTERM)
    _, log_of_second = second.communicate(timeout=START_WITHIN_S)
    answer_of(ports[0], "/health/ready", status=200)  # its turn again
    first.send_signal(signal.SIGTERM)
    _, log_of_first = first.communicate(timeout=START_WITHIN_S)

    assert standing_by == {"database": False, "broker": False, "leads": False}
    assert not replaced["leads"]
    assert took_s < 15
    assert "stands by: another controller leads" in log_of_second
    assert "another controller leads now; this one sends nothing any more" in log_of_first


def test_a_broker_of_ours_that_is_killed_is_started_again_and_the_doctor_is_content(
    serve: Serve, tmp_path: Path
) -> None:
    child = serve()
    port = card_of(tmp_path / "state", child)["port"]
    answer_of(port, "/health/ready", status=200)
    (broker,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()

    os.kill(int(broker), signal.SIGKILL)
    answer_of(port, "/health/ready", status=503)
    answer_of(port, "/health/ready", status=200)
    examined = vpp(tmp_path / "state", "doctor", "--json")
    child.send_signal(signal.SIGTERM)
    _, log = child.communicate(timeout=START_WITHIN_S)

    assert examined.returncode == 0, examined.stdout
    assert "the embedded broker ended with code -9" in log
    assert child.returncode == 0


def test_the_doctor_fails_a_service_that_is_not_connected_though_something_listens(
    serve: Serve, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, and never says a word
        broker_url = f"mqtt://127.0.0.1:{mute.getsockname()[1]}"
        child = serve(VPP_BROKER_URL=broker_url)
        port = card_of(tmp_path / "state", child)["port"]
        while not answer_of(port, "/health/ready", status=503)["leads"]:
            time.sleep(0.05)
        named = vpp(tmp_path / "state", "doctor", "--json", VPP_BROKER_URL=broker_url)
        unnamed = vpp(tmp_path / "state", "doctor", "--json")  # the service had its broker by a flag, perhaps
        child.send_signal(signal.SIGTERM)
        child.wait(timeout=START_WITHIN_S)

    assert (named.returncode, unnamed.returncode) == (1, 1)
    for examined in (named, unnamed):
        (broker,) = (each for each in json.loads(examined.stdout)["checks"] if each["check"] == "broker")
        assert broker["state"] == "failed"
        assert "vpp serve is not connected" in broker["detail"]
        assert "log of vpp serve" in broker["fix"]
