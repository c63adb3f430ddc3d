"""While a service runs, commands go through it; when it is gone, they do not wait for it."""

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import uvicorn
from typer.testing import CliRunner, Result

from tests.entrypoints.builders import a_desk, an_enrollment_file, an_event, take_event
from vpp.entrypoints.cli import app
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.logs import log_to_stderr
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.running_service import SERVICE_FILE, TOKEN_FILE, find_service, post_card, remove_card
from vpp.entrypoints.service import make_alarm
from vpp.settings import variables

Vpp = Callable[..., Result]
TOKEN = "a-token"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return a_desk(tmp_path)


@pytest.fixture
def service(desk: Desk, tmp_path: Path) -> Iterator[int]:
    """Run the API of a memory store in a thread, and leave its card in the state directory."""

    async def readiness() -> Json:
        return {"database": True}

    log_to_stderr()  # as vpp serve does: a command's stdout carries its answer alone
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    api = create_api(lambda: desk, token=TOKEN, readiness=readiness)
    server = uvicorn.Server(uvicorn.Config(api, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    post_card(tmp_path, port=port, token=TOKEN)
    yield port
    server.should_exit = True
    thread.join()
    structlog.reset_defaults()


@pytest.fixture
def vpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vpp:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path))
    return lambda *words: CliRunner().invoke(app, words)


def test_word_of_a_service_is_for_its_user_alone(tmp_path: Path) -> None:
    post_card(tmp_path, port=1, token=TOKEN)

    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (SERVICE_FILE, TOKEN_FILE)}

    assert modes == {0o600}
    assert json.loads((tmp_path / SERVICE_FILE).read_text()) == {
        "port": 1,
        "pid": os.getpid(),
        "token_file": TOKEN_FILE,
    }
    remove_card(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("service")
def test_every_kind_of_command_reaches_the_store_of_the_service(vpp: Vpp, desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "sites.csv"
    file.write_bytes(an_enrollment_file("s-1"))
    meter = tmp_path / "meter.csv"
    header = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality\n"
    meter.write_text(header + "s-1,2026-09-01T00:00:00Z,10,20,,,OK\n")
    asyncio.run(take_event(desk, an_event("ev-1")))

    for words in (
        ("site", "enroll", "--file", str(file)),
        ("meter", "import", str(meter)),
        ("site", "reserve", "s-1", "30"),
        ("site", "opt-out", "s-1", "--event", "ev-1"),
        ("site", "opt-in", "s-1", "--event", "ev-1"),
        ("site", "why", "s-1", "--event", "ev-1"),
        ("site", "show", "s-1"),
        ("source", "add", "caiso"),
        ("source", "list"),
        ("event", "list"),
        ("event", "show", "ev-1"),
        ("event", "cancel", "ev-1"),
        ("statement", "o-s-1"),
        ("ledger", "verify"),
        ("ledger", "verify", "--head", "0" * 64),
        ("keys", "show"),
    ):
        result = vpp(*words, "--json")
        assert result.exit_code == 0, (words, result.stderr)
        assert json.loads(result.stdout)

    enrollment = asyncio.run(desk.enrollment("s-1"))
    assert enrollment.reserve_permille == 300
    assert not (tmp_path / "vpp.sqlite").exists()


@pytest.mark.usefixtures("service")
def test_the_service_refuses_in_the_same_words(vpp: Vpp, tmp_path: Path) -> None:
    file = tmp_path / "sites.csv"
    file.write_bytes(an_enrollment_file("S 1"))

    refused = vpp("site", "enroll", "--file", str(file), "--json")

    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"vpp: {file}:2: site_id: site id 'S 1' is not 1-36" in refused.stderr


@pytest.mark.usefixtures("service")
def test_who_acted_is_kept_with_the_change(vpp: Vpp, desk: Desk) -> None:
    asyncio.run(take_event(desk, an_event("ev-1", out_of_program=("too_long",))))

    vpp("event", "force", "ev-1")

    history = asyncio.run(desk.history("ev-1"))
    assert history.grants[0].actor.startswith("operator:")


def test_a_card_left_by_a_killed_service_is_passed_over(tmp_path: Path, vpp: Vpp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    post_card(tmp_path, port=port, token=TOKEN)

    assert find_service(tmp_path) is None
    assert vpp("event", "list", "--json").exit_code == 0


def test_a_card_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / SERVICE_FILE).write_text("{")

    assert find_service(tmp_path) is None


@pytest.mark.usefixtures("service")
def test_a_wrong_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / TOKEN_FILE).write_text("guessed")
    service = find_service(tmp_path)
    assert service is not None

    with pytest.raises(OperationRefused, match="send the token"):
        service.ask("GET", "/api/v1/events", actor="operator:eve")


async def test_an_alarm_that_is_ended_in_mid_job_is_no_failure_and_a_failure_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began, alarm = asyncio.Event(), make_alarm()

    async def long() -> None:
        began.set()
        await asyncio.sleep(60)

    async def broken() -> None:
        raise ValueError("a broken job")

    alarm.add_job(broken)
    alarm.add_job(long)
    alarm.start()
    await began.wait()
    alarm.shutdown(wait=False)
    await asyncio.sleep(0.05)

    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["a broken job"]
