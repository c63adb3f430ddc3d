"""``vpp site``, ``vpp source``, ``vpp keys``: who takes part, who may signal, what gateways pin."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints import rendering, rendering_capacity
from vpp.entrypoints.asking import (
    AsOption,
    JsonFlag,
    ReasonOption,
    actor,
    answer,
    ask,
    fail,
    proof_of,
)
from vpp.entrypoints.operations import fairness, sites, sources, staff_reads, tracing

keys_app = typer.Typer(no_args_is_help=True, help="The controller's signing key.")
source_app = typer.Typer(no_args_is_help=True, help="Who may send grid signals.")
site_app = typer.Typer(no_args_is_help=True, help="Homes, and what their owners said.")

SiteArgument = Annotated[str, typer.Argument(metavar="SITE", help="Site id.")]
EventOption = Annotated[str, typer.Option("--event", metavar="EVENT", help="Event id.")]


@keys_app.command("show", help=inspect.getdoc(sources.show_keys))
def show_keys(as_json: JsonFlag = False) -> None:
    """Print what gateways pin."""
    answer(ask(sources.show_keys), rendering.show_facts, as_json=as_json)


@source_app.command("add", help=inspect.getdoc(sources.add_source))
def add_source(
    name: Annotated[str, typer.Argument(metavar="NAME", help="1-64 of a-z, 0-9 and '-'.")],
    key: Annotated[
        str | None, typer.Option(metavar="B64URL", help="Its Ed25519 public key; without, it signs nothing.")
    ] = None,
    max_mw: Annotated[
        str,
        typer.Option(
            metavar="N", help="MW its events may ask for; above, a second person approves; so is more."
        ),
    ] = "0",
    client: Annotated[
        bool | None,
        typer.Option(
            "--client/--no-client", help="Make, or end, the secret by which it uses OpenADR over HTTP."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let somebody send grid signals."""
    found = ask(sources.add_source, name=name, key=key, max_mw=max_mw, client=client, actor=actor())
    answer(found, _show_source, as_json=as_json)


@source_app.command("approve", help=inspect.getdoc(sources.approve_source))
def approve_source(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A source whose higher limit waits.")],
    login: AsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Be the second person."""
    found = ask(sources.approve_source, name=name, actor=actor(), **proof_of(login))
    answer(found, _show_source, as_json=as_json)


@source_app.command("list", help=inspect.getdoc(sources.list_sources))
def list_sources(as_json: JsonFlag = False) -> None:
    """List everybody who may signal."""
    answer(ask(sources.list_sources), _show_sources, as_json=as_json)


def _show_sources(console: Console, answer: dict[str, Any]) -> None:
    """Print every source."""
    for source in answer["sources"]:
        _show_source(console, source)


def _show_source(console: Console, answer: dict[str, Any]) -> None:
    """Print where a source signals and gets its receipts, and a new secret this once."""
    ways = []
    if answer["public_key"] or not answer["openadr_path"]:
        signed = "signed with its key" if answer["public_key"] else "unsigned"
        ways = [f"{signed} on {answer['event_topic']}; receipts come on {answer['receipt_topic']}"]
    if answer["public_key"]:
        ways.append(f"over HTTP, POST {answer['signals_path']}")
    if answer["openadr_path"]:
        ways.append(f"as OpenADR client {answer['name']} at {answer['openadr_path']}")
    limit = rendering.kilowatts(answer["max_w"])
    console.print(f"{answer['name']} may signal up to {limit} {'; '.join(ways)}", markup=False)
    if "client_secret" in answer:
        console.print(f"its client secret, shown only now: {answer['client_secret']}", markup=False)
    if answer["raise_to_w"] is not None:
        console.print(
            f"up to {rendering.kilowatts(answer['raise_to_w'])}, as {answer['raise_asked_by']} asked, after "
            f"a second person approves: vpp source approve {answer['name']} --as NAME",
            markup=False,
        )


@site_app.command("enroll", help=inspect.getdoc(sites.enroll_sites))
def enroll_sites(
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="CSV, one home in each row.")],
    as_json: JsonFlag = False,
) -> None:
    """Enrol every home of a file, or none."""
    found = ask(sites.enroll_sites, content=read_file(file), file_name=str(file))
    answer(found, rendering.show_enrolled, as_json=as_json)


def read_file(path: Path) -> bytes:
    """Return a file's bytes, or say why it cannot be read and end with 1."""
    try:
        return path.read_bytes()
    except OSError as failure:
        fail(f"{path}: {failure.strerror}")


@site_app.command("list", help=inspect.getdoc(sites.list_sites))
def list_sites(as_json: JsonFlag = False) -> None:
    """List all homes."""
    answer(ask(sites.list_sites), rendering.show_sites, as_json=as_json)


@site_app.command("show", help=inspect.getdoc(staff_reads.read_site))
def show_site(
    site: SiteArgument, reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE, as_json: JsonFlag = False
) -> None:
    """Show one home."""
    found = ask(staff_reads.read_site, site_id=site, actor=actor(), reason=reason)
    answer(found, rendering.show_facts, as_json=as_json)


@site_app.command("why", help=inspect.getdoc(sites.why_site))
def why_site(site: SiteArgument, event: EventOption, as_json: JsonFlag = False) -> None:
    """Say why a home takes part in an event or not."""
    answer(ask(sites.why_site, site_id=site, event_id=event), rendering.show_why, as_json=as_json)


@site_app.command("trace", help=inspect.getdoc(tracing.trace_site))
def trace_site(site: SiteArgument, event: EventOption, as_json: JsonFlag = False) -> None:
    """Show every command's life at one home, from the signal to the meter."""
    answer(ask(tracing.trace_site, site_id=site, event_id=event), rendering.show_trace, as_json=as_json)


@site_app.command("opt-out", help=inspect.getdoc(sites.opt_out_site))
def opt_out_site(site: SiteArgument, event: EventOption, as_json: JsonFlag = False) -> None:
    """Keep a home out of one event."""
    found = ask(sites.opt_out_site, site_id=site, event_id=event, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@site_app.command("opt-in", help=inspect.getdoc(sites.opt_in_site))
def opt_in_site(site: SiteArgument, event: EventOption, as_json: JsonFlag = False) -> None:
    """Take back an opt-out of ours."""
    answer(ask(sites.opt_in_site, site_id=site, event_id=event), rendering.show_facts, as_json=as_json)


@site_app.command("reserve", help=inspect.getdoc(sites.change_reserve))
def change_reserve(
    site: SiteArgument,
    percent: Annotated[str, typer.Argument(metavar="PCT", help="0-100 of the app scale, one decimal.")],
    as_json: JsonFlag = False,
) -> None:
    """Set the charge that events leave untouched."""
    found = ask(sites.change_reserve, site_id=site, reserve=percent, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@site_app.command("history", help=inspect.getdoc(fairness.site_history))
def site_history(
    site: SiteArgument, reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE, as_json: JsonFlag = False
) -> None:
    """Say what a home did this season."""
    found = ask(staff_reads.read_site_history, site_id=site, actor=actor(), reason=reason)
    answer(found, rendering_capacity.show_site_history, as_json=as_json)


@site_app.command("fairness", help=inspect.getdoc(fairness.show_fairness))
def show_fairness(
    program: Annotated[str, typer.Option("--program", metavar="PROGRAM", help="Whose homes.")],
    as_json: JsonFlag = False,
) -> None:
    """Say how a season was shared."""
    found = ask(fairness.show_fairness, program_id=program)
    answer(found, rendering_capacity.show_fairness, as_json=as_json)
