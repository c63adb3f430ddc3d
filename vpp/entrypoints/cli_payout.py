"""``vpp payout``, ``vpp day``, and what else keeps the books: export, payments in, corrections."""

import inspect
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.domain.payout import PayoutState
from vpp.entrypoints import rendering
from vpp.entrypoints.asking import JsonFlag, actor, answer, ask, fail
from vpp.entrypoints.cli_money import ledger_app
from vpp.entrypoints.cli_sites import read_file
from vpp.entrypoints.operations import books, days, payouts
from vpp.wire import nacha
from vpp.wire.table import BadFile

payout_app = typer.Typer(no_args_is_help=True, help="Money that leaves for owners.")
day_app = typer.Typer(no_args_is_help=True, help="Days that stay out of baselines.")

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A name, such as 2026-10.")]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the text there.")]


@day_app.command("exclude", help=inspect.getdoc(days.exclude_day))
def exclude_day(
    site: Annotated[str, typer.Argument(metavar="SITE", help="Site id, or * for every site.")],
    day: Annotated[str, typer.Argument(metavar="DATE", help="A local date, such as 2026-09-08.")],
    reason: Annotated[str, typer.Option("--reason", help="outage, dual_event or event.")] = "outage",
    as_json: JsonFlag = False,
) -> None:
    """Keep a day out of a site's baselines."""
    found = ask(days.exclude_day, site_id=site, day=day, reason=reason, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@day_app.command("include", help=inspect.getdoc(days.include_day))
def include_day(
    site: Annotated[str, typer.Argument(metavar="SITE", help="As it was excluded: a site id, or *.")],
    day: Annotated[str, typer.Argument(metavar="DATE", help="A local date, such as 2026-09-08.")],
    as_json: JsonFlag = False,
) -> None:
    """Let a day count again that was excluded by hand."""
    found = ask(days.include_day, site_id=site, day=day, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@day_app.command("list", help=inspect.getdoc(days.list_days))
def list_days(as_json: JsonFlag = False) -> None:
    """Show the days kept out of baselines by hand."""
    answer(ask(days.list_days), _show_days, as_json=as_json)


def _show_days(console: Console, found: dict[str, Any]) -> None:
    rows = [(each["site_id"], each["day"], each["reason"]) for each in found["days"]]
    console.print(rendering.table("site", "day", "reason", rows=rows))


@payout_app.command("run", help=inspect.getdoc(payouts.run_payout))
def run_payout(run: RunArgument, out: OutOption = None, as_json: JsonFlag = False) -> None:
    """Send every owner's posted balance on its way, once."""
    found = ask(payouts.run_payout, run_id=run)
    if out is not None:
        _write(out, str(found["file"]))
    answer(found, _show_run, as_json=as_json)


@payout_app.command("nacha", help=f"Write a run as an ACH file for a US bank.\n\n{inspect.getdoc(nacha)}")
def write_nacha(
    run: RunArgument,
    accounts: Annotated[
        Path, typer.Option(metavar="FILE", help="CSV: owner_id, name, routing, account, kind.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Write the ACH file there.")],
    bank_routing: Annotated[str, typer.Option(metavar="DIGITS", help="Routing number of the paying bank.")],
    company_id: Annotated[str, typer.Option(metavar="ID", help="Ten characters that the bank gave us.")],
    company: Annotated[str, typer.Option(metavar="NAME", help="Our name on the owners' statements.")],
    as_json: JsonFlag = False,
) -> None:
    """Write a run as an ACH file; the account numbers stay in this process and in that file."""
    try:
        originator = nacha.require_originator(bank_routing, company_id, company)
        holders = nacha.read_accounts(read_file(accounts), file_name=str(accounts))
        found = ask(payouts.show_run, run_id=run)
        content = nacha.write_nacha(
            _credits(found), holders, originator, begun_at=datetime.fromisoformat(str(found["begun_at"]))
        )
    except BadFile as failure:
        fail("\n".join((*failure.faults, f"{run}: nothing was written")))
    except (nacha.NotNacha, nacha.NotARoutingNumber) as failure:
        fail(f"{failure}; nothing was written")
    _write(out, content.decode())
    answer(found | {"file": str(out)}, _show_run, as_json=as_json)


def _credits(run: dict[str, Any]) -> list[nacha.Credit]:
    """Return what the bank is told to pay: US dollars, nothing that was called back, and nothing twice."""
    if any(each["state"] == PayoutState.PAID for each in run["payouts"]):
        raise nacha.NotNacha(f"{run['run_id']} is confirmed as paid, and a bank would pay it once more")
    paid = [each for each in run["payouts"] if each["state"] != "called_back"]
    if abroad := sorted({each["currency"] for each in paid} - {"USD"}):
        raise nacha.NotNacha(f"ACH carries US dollars, not {', '.join(abroad)}")
    return [
        nacha.Credit(each["owner_id"], int(Decimal(each["amount"]) * 100), each["reference"]) for each in paid
    ]


@payout_app.command("confirm", help=inspect.getdoc(payouts.confirm_payout))
def confirm_payout(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Book a run as paid."""
    answer(ask(payouts.confirm_payout, run_id=run), _show_run, as_json=as_json)


@payout_app.command("cancel", help=inspect.getdoc(payouts.cancel_payout))
def cancel_payout(run: RunArgument, as_json: JsonFlag = False) -> None:
    """Call a run back."""
    answer(ask(payouts.cancel_payout, run_id=run), _show_run, as_json=as_json)


@payout_app.command("list", help=inspect.getdoc(payouts.list_payouts))
def list_payouts(as_json: JsonFlag = False) -> None:
    """Show every run."""
    answer(ask(payouts.list_payouts), _show_runs, as_json=as_json)


@payout_app.command("year", help=inspect.getdoc(payouts.total_year))
def total_year(
    year: Annotated[int, typer.Argument(metavar="YEAR", min=2000, max=2999)], as_json: JsonFlag = False
) -> None:
    """Show what each owner was paid in a year."""
    answer(ask(payouts.total_year, year=year), _show_year, as_json=as_json)


def _show_run(console: Console, run: dict[str, Any]) -> None:
    rows = [
        (each["owner_id"], f"{each['amount']} {each['currency']}", each["state"]) for each in run["payouts"]
    ]
    console.print(rendering.table("owner", "amount", "state", rows=rows, right=("amount",)))
    sums = ", ".join(f"{amount} {currency}" for currency, amount in run["totals"].items())
    console.print(f"{run['run_id']}: {run['owners']} owners, {sums}", markup=False)


def _show_runs(console: Console, found: dict[str, Any]) -> None:
    rows = [
        (
            each["run_id"],
            each["owners"],
            ", ".join(f"{amount} {currency}" for currency, amount in each["totals"].items()),
            each["state"],
            rendering.local(each["begun_at"], found["time_zone"]),
        )
        for each in found["runs"]
    ]
    console.print(rendering.table("run", "owners", "amount", "state", "begun", rows=rows))


def _show_year(console: Console, found: dict[str, Any]) -> None:
    rows = [(each["owner_id"], f"{each['paid']} {each['currency']}") for each in found["owners"]]
    console.print(rendering.table("owner", f"paid in {found['year']}", rows=rows))


@ledger_app.command("export", help=inspect.getdoc(books.export_ledger))
def export_ledger(
    layout: Annotated[str, typer.Option("--layout", help="csv or beancount.")] = "csv",
    out: OutOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write all journal entries as text."""
    found = ask(books.export_ledger, layout=layout)
    if out is not None:
        _write(out, str(found["text"]))
        found = {name: value for name, value in found.items() if name != "text"} | {"file": str(out)}
        answer(found, rendering.show_facts, as_json=as_json)
    else:
        answer(
            found, lambda console, told: console.out(told["text"], end="", highlight=False), as_json=as_json
        )


@ledger_app.command("reconcile", help=inspect.getdoc(books.reconcile_ledger))
def reconcile_ledger(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV: program_id, period, reference, paid.")],
    as_json: JsonFlag = False,
) -> None:
    """Book what programs really paid, and show what is open."""
    found = ask(books.reconcile_ledger, content=read_file(file), file_name=str(file))
    answer(found, _show_open, as_json=as_json)


def _show_open(console: Console, found: dict[str, Any]) -> None:
    columns = ("program", "for", "due", "received", "rounded", "difference")
    rows = [
        (
            each["program_id"],
            each["period"],
            each["due_usd"],
            each["received_usd"],
            each["rounded_usd"],
            each["difference_usd"],
        )
        for each in found["open"]
    ]
    console.print(rendering.table(*columns, rows=rows, right=columns[2:]))
    console.print(f"{found['booked']} payments booked, {found['known']} known before")
    if found["rounded"]:
        console.print(
            f"{len(found['rounded'])} settled within a cent: what was left of it is booked to rounding"
        )


def correct(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Event id.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the entries.")],
    as_json: JsonFlag = False,
) -> None:
    """Settle a closed event again, late readings included."""
    found = ask(books.correct_event, event_id=event, reason=reason, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as failure:
        fail(f"{path}: {failure.strerror}")
