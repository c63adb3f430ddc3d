"""The command line: one command for each thing a person can do, each with ``--json``.

Exit codes: 0 done, 1 failed, 2 usage. No command asks a question: naming the thing is the confirmation.
"""

import gc
import inspect
from pathlib import Path
from typing import Annotated

import typer

from vpp.entrypoints import (
    cli_demo,
    cli_fleet,
    cli_home_assistant,
    cli_money,
    cli_payout,
    cli_proof,
    cli_report,
    cli_service,
    cli_watch,
)
from vpp.entrypoints.asking import chosen
from vpp.entrypoints.cli_dispute import dispute_app
from vpp.entrypoints.cli_events import event_app
from vpp.entrypoints.cli_evidence import evidence_app
from vpp.entrypoints.cli_gateway import gateway_app
from vpp.entrypoints.cli_money import ledger_app, meter_app
from vpp.entrypoints.cli_owner import alarm_app, owner_app
from vpp.entrypoints.cli_payout import day_app, payout_app
from vpp.entrypoints.cli_people import user_app
from vpp.entrypoints.cli_sites import keys_app, site_app, source_app
from vpp.entrypoints.operations import books, keeping, money, replay, reports

app = typer.Typer(
    name="vpp",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Virtual power plant: emergency signal in, batteries out, owners paid.",
)
app.add_typer(event_app, name="event")
app.add_typer(site_app, name="site")
app.add_typer(source_app, name="source")
app.add_typer(meter_app, name="meter")
app.add_typer(ledger_app, name="ledger")
app.add_typer(evidence_app, name="evidence")
app.add_typer(payout_app, name="payout")
app.add_typer(dispute_app, name="dispute")
app.add_typer(day_app, name="day")
app.add_typer(user_app, name="user")
app.add_typer(owner_app, name="owner")
app.add_typer(alarm_app, name="alarm")
app.add_typer(keys_app, name="keys")
app.add_typer(gateway_app, name="gateway")
app.command("settle", help=inspect.getdoc(money.settle_event))(cli_money.settle)
app.command("statement", help=inspect.getdoc(money.show_statement))(cli_money.statement)
event_app.command("report", help=inspect.getdoc(reports.report_event))(cli_report.report)
cli_watch.add_to(event_app)
cli_home_assistant.add_to(owner_app)
cli_fleet.add_to(app)
app.command("correct", help=inspect.getdoc(books.correct_event))(cli_payout.correct)
app.command("replay", help=inspect.getdoc(replay.replay_event))(cli_proof.replay_event)
app.command("backup", help=inspect.getdoc(keeping.back_up_database))(cli_proof.back_up)
app.command("restore", help=inspect.getdoc(keeping.restore_database))(cli_proof.restore)
app.command("demo")(cli_demo.demo)
app.command("serve")(cli_service.serve)
app.command("doctor", help=cli_service.doctor_help)(cli_service.doctor)


LOOK_FOR_CYCLES_AFTER = (20_000, 20, 20)
"""New objects before Python looks for cycles among them. A settlement makes a million objects that all
stay: looking through them after every 700 took a fifth of its time."""


@app.callback()
def choose_settings(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Takes the place of config/local.toml.")
    ] = None,
) -> None:
    """Remember which settings file the command below uses."""
    chosen.config_file = config


def main() -> None:
    """Run one command; the process ends with its exit code."""
    gc.set_threshold(*LOOK_FOR_CYCLES_AFTER)
    app()
