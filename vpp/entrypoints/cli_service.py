"""``vpp serve`` and ``vpp doctor``: run the product, and see what it lacks."""

import asyncio
import inspect
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vpp.entrypoints.asking import JsonFlag, answer, chosen, fail, programs_or_exit, settings_or_exit
from vpp.entrypoints.doctor import examine
from vpp.entrypoints.operations.desk import Json, OperationRefused
from vpp.entrypoints.rendering import show_facts

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Takes the place of config/local.toml.")
]


def serve(
    config: ConfigOption = None,
    http_port: Annotated[int | None, typer.Option(metavar="PORT", help="0 takes a free one.")] = None,
    broker_url: Annotated[
        str | None, typer.Option(metavar="URL", help="embedded, mqtt://host:port or mqtts://host:port.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run the controller and its loopback API until SIGTERM or Ctrl-C.

    With --json one line comes as soon as it listens: url, port, pid, state_dir, token_file. The log goes to
    standard error; what it still waits for stands at /health/ready.

    It starts even when the broker or the database is down, says so, and tries again with growing waits.
    Settings or program files that cannot be used end it with 2 before it listens.
    """
    from vpp.entrypoints.service import Service  # the whole product; other commands start faster without

    chosen.config_file = config or chosen.config_file
    settings = settings_or_exit(http_port=http_port, broker_url=broker_url)
    try:
        service = Service(settings, programs_or_exit(settings), told=_say_where if as_json else None)
        asyncio.run(service.run())
    except OperationRefused as refused:
        fail(refused.detail)


def _say_where(where: Json) -> None:
    answer(where, show_facts, as_json=True)


def doctor(as_json: JsonFlag = False) -> None:
    """Say what is there and what is not; exit 1 where something fails."""
    found = asyncio.run(examine(chosen.config_file))
    answer(found, _show_findings, as_json=as_json)
    if not found["healthy"]:
        raise typer.Exit(1)


doctor_help = inspect.getdoc(examine)


def _show_findings(console: Console, found: Json) -> None:
    checks = found["checks"]
    assert isinstance(checks, list)
    for check in checks:
        line = f"{check['state']:<8}{check['check']}: {check['detail']}"
        console.print(line + (f"; {check['fix']}" if check["fix"] else ""), markup=False, soft_wrap=True)
