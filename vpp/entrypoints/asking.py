"""How a command asks: a running service where there is one, else the database directly; and how it answers.

With ``--json`` stdout carries exactly one JSON value on one line. Errors go to stderr and say what to do.
Exit codes: 0 done, 1 failed, 2 usage.
"""

import asyncio
import getpass
import json
import os
import pwd
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, cast
from urllib.parse import quote

import typer
from rich.console import Console

from vpp.adapters.clock import WallClock
from vpp.adapters.crash_points import crash_around
from vpp.adapters.keys import FileKeys, KeyFileRefused
from vpp.adapters.sql.engine import UnknownDatabase, driver_url
from vpp.adapters.sql.store import SqlStore
from vpp.bootstrap import crash_point
from vpp.domain.program import Program
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.money import UNSUMMED
from vpp.entrypoints.routes import ROUTES
from vpp.entrypoints.running_service import RunningService, find_service
from vpp.entrypoints.terminal import Terminal
from vpp.ports import StoreUnavailable
from vpp.settings import BadSettings, Settings, load_programs, load_settings

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON value on one line, nothing else.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="WHY", help="Why you read an owner's data; the owner sees it.")
]
AsOption = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Whose login; the password on standard input.")
]
Render = Callable[[Console, Any], None]
_Found = TypeVar("_Found")

stdout = Terminal(highlight=False)
stderr = Terminal(stderr=True, highlight=False)


class _Chosen:
    """The file named by ``vpp --config FILE``, for every command below it."""

    config_file: Path | None = None


chosen = _Chosen()


def settings_or_exit(**flags: Any) -> Settings:
    """Return the settings, or say what is wrong with them and end with 2."""
    try:
        return load_settings(config_file=chosen.config_file, **flags)
    except BadSettings as failure:
        fail(str(failure), code=2)


def programs_or_exit(settings: Settings) -> dict[str, Program]:
    """Return the programs to use with a database that can be meant, or say what cannot and end with 2."""
    try:
        driver_url(settings.store_url)
        return load_programs(settings)
    except BadSettings as failure:
        fail(str(failure), code=2)
    except UnknownDatabase as failure:
        fail(f"{failure}; set VPP_DATABASE_URL", code=2)


def fail(sentence: str, *, code: int = 1) -> NoReturn:
    """Say on stderr why nothing was done, and end."""
    for line in sentence.splitlines():
        stderr.print(f"vpp: {line}", markup=False, soft_wrap=True)
    raise typer.Exit(code)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, or say why it cannot be written and end with 1."""
    try:
        with path.open("xb") as file:
            file.write(content)
    except OSError as failure:
        fail(f"{path}: {failure.strerror}")


def answer(value: Json, render: Render, *, as_json: bool) -> None:
    """Print the value: one line of JSON, or as ``render`` shows it to a person."""
    if as_json:
        sys.stdout.write(json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n")
        sys.stdout.flush()
    else:
        render(stdout, value)


def actor() -> str:
    """Return who acts, for the history: the user of this machine, whatever the environment says."""
    number = os.getuid()
    try:
        return f"operator:{pwd.getpwuid(number).pw_name}"
    except KeyError:  # a container may run under a number that has no name
        return f"operator:uid-{number}"


def proof_of(login: str | None) -> dict[str, Any]:
    """Return a login with its password, read from standard input; nothing where no login is given."""
    if login is None:
        return {}
    if sys.stdin.isatty():
        return {"login": login, "password": getpass.getpass(f"password of {login}: ")}
    return {"login": login, "password": sys.stdin.readline().rstrip("\n")}


def require_state_dir(state_dir: Path) -> None:
    """Make the state directory for its user alone.

    Raises:
        OperationRefused: It cannot be made, or is no directory.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as failure:
        raise OperationRefused(
            f"{state_dir} cannot be made: {failure.strerror}; set VPP_STATE_DIR to a folder that can"
        ) from failure


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """Give a desk on the database itself; key and tables are made on first use.

    Ends with 2 where the database's name or a program file cannot be used.

    Raises:
        OperationRefused: Something it needs cannot be used.
    """
    programs = programs_or_exit(settings)
    require_state_dir(settings.state_dir)
    crash = crash_point(settings)
    try:
        with nullcontext() if crash is None else crash.around("key-file"):
            keys = FileKeys(settings.state_dir)
        with nullcontext() if crash is None else crash.around("migration"):
            opened = await SqlStore.open(settings.store_url)
        store = crash_around(opened, crash)
    except KeyFileRefused as failure:
        raise OperationRefused(str(failure)) from failure
    except StoreUnavailable as failure:
        raise OperationRefused(f"{failure}; vpp doctor says what to do") from failure
    try:
        yield Desk(store, WallClock(), keys, programs, production=settings.production)
    except StoreUnavailable as failure:
        raise OperationRefused(f"{failure}; vpp doctor says what to do") from failure
    except UNSUMMED as failure:
        raise OperationRefused(f"{failure}; vpp ledger verify says what differs") from failure
    finally:
        await opened.close()


def ask(
    operation: Callable[..., Awaitable[Json]],
    *,
    direct: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Json:
    """Return what an operation answers, asked of the running service or done here.

    Args:
        operation: One that stands in ``ROUTES``.
        direct: Arguments only for doing it here, such as a progress callback.
        **arguments: Its arguments by name.
    """
    settings = settings_or_exit()
    try:
        service = find_service(settings.state_dir)
        if service is not None:
            found = _ask_service(service, operation, arguments)
        else:
            found = asyncio.run(_ask_here(settings, operation, {**arguments, **(direct or {})}))
    except OperationRefused as refused:
        fail("\n".join((*refused.faults, refused.detail)))
    found.pop("next_cursor", None)  # a command answers whole lists
    return found


async def _ask_here(
    settings: Settings, operation: Callable[..., Awaitable[Json]], arguments: Mapping[str, Any]
) -> Json:
    async with open_desk(settings) as desk:
        return await operation(desk, **arguments)


def _ask_service(
    service: RunningService, operation: Callable[..., Awaitable[Json]], arguments: Mapping[str, Any]
) -> Json:
    route = ROUTES[operation]
    rest = dict(arguments)
    path = route.path
    for name in route.path_names:
        path = path.replace("{" + name + "}", quote(str(rest.pop(name)), safe=""))
    who = str(rest.pop("actor", actor()))
    content = rest.pop("content", None)
    if content is not None:
        return service.ask(route.method, path, actor=who, query=rest, body=content)
    if route.method == "GET":
        return _all_pages(service, path, {name: str(rest[name]) for name in rest}, who)
    return service.ask(route.method, path, actor=who, body=rest or None)


def _all_pages(service: RunningService, path: str, query: Mapping[str, str], who: str) -> Json:
    """Return what a path answers; of a list that comes in pages, every page as one."""
    whole = service.ask("GET", path, actor=who, query=query)
    while cursor := whole.get("next_cursor"):
        more = service.ask("GET", path, actor=who, query={**query, "cursor": str(cursor), "limit": "1000"})
        for name, part in more.items():
            if isinstance(part, list):
                part[:0] = cast("list[object]", whole[name])
        whole = more
    return whole


def run(work: Coroutine[Any, Any, _Found]) -> _Found:
    """Return the result of work that is done here whatever runs."""
    try:
        return asyncio.run(work)
    except OperationRefused as refused:
        fail("\n".join((*refused.faults, refused.detail)))
