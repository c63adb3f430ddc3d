"""``vpp owner`` and ``vpp alarm``: what the owner's pages do, and who is told when something needs people."""

import inspect
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vpp.entrypoints import rendering
from vpp.entrypoints.asking import JsonFlag, ReasonOption, actor, answer, ask, stderr, write_new
from vpp.entrypoints.operations import (
    alarms,
    contacts,
    forgetting,
    own_data,
    own_files,
    staff_reads,
    write_offs,
)

owner_app = typer.Typer(no_args_is_help=True, help="What an owner sees, takes along, and decides.")
alarm_app = typer.Typer(no_args_is_help=True, help="What needs people, and who is told.")

OwnerArgument = Annotated[str, typer.Argument(metavar="OWNER", help="Owner id.")]
AddressOption = Annotated[
    str, typer.Option("--address", metavar="ADDRESS", help="E-mail, or an apprise address; empty: nowhere.")
]
LanguageOption = Annotated[str, typer.Option("--language", metavar="en|es", help="Empty keeps it.")]
MuteOption = Annotated[list[str] | None, typer.Option("--mute", metavar="KIND", help="Not written; again.")]


@owner_app.command("home", help=inspect.getdoc(staff_reads.read_home))
def home(
    owner_id: OwnerArgument, reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE, as_json: JsonFlag = False
) -> None:
    """Show what comes, what the batteries do now, and what was earned."""
    found = ask(staff_reads.read_home, owner_id=owner_id, actor=actor(), reason=reason)
    answer(found, _show_home, as_json=as_json)


def _show_home(console: Console, found: dict[str, Any]) -> None:
    for part in found["coming"]:
        event = part["event"]
        starts, ends = (rendering.local(event[name], event["time_zone"]) for name in ("starts_at", "ends_at"))
        asked = f"asked for {rendering.kilowatts(part['setpoint_w'])}" if part["setpoint_w"] else "not asked"
        out = ", opted out" if part["opted_out_at"] or part["opted_out_at_home"] else ""
        name = f"{event['name']} (TEST)" if event["test"] else event["name"]
        console.print(f"{part['site_id']}: {name}, {starts} to {ends}, {asked}{out}", markup=False)
    for each in found["homes"]:
        now = each["now"] or {}
        charge = "unknown" if now.get("charge_pct") is None else f"{now['charge_pct']:.0f} %"
        console.print(f"{each['site_id']}: charge {charge}, reserve {each['reserve_pct']:g} %", markup=False)
    if found["differs"]:
        console.print(f"No amount can be shown: {found['differs']}", markup=False)
        return
    console.print(
        f"this year ${found['season_usd']}; not final ${found['pending_usd']}, final ${found['posted_usd']}, "
        f"paid out ${found['paid_out_usd']}"
    )


@owner_app.command("green-button", help=inspect.getdoc(own_files.read_green_button))
def green_button(
    owner_id: OwnerArgument,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="A new .xml file.")] = None,
    reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE,
    as_json: JsonFlag = False,
) -> None:
    """Write the batteries' energy by the hour as Green Button."""
    found = ask(own_files.read_green_button, owner_id=owner_id, actor=actor(), reason=reason)
    if out is not None:
        write_new(out, str(found["green_button"]).encode())
    if out is None or as_json:
        answer(found, lambda console, value: console.out(value["green_button"]), as_json=as_json)


@owner_app.command("history", help=inspect.getdoc(staff_reads.read_history))
def history(
    owner_id: OwnerArgument, reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE, as_json: JsonFlag = False
) -> None:
    """List every past event of an owner, also those with zero and why."""
    found = ask(staff_reads.read_history, owner_id=owner_id, actor=actor(), reason=reason)
    answer(found, _show_history, as_json=as_json)


def _show_history(console: Console, found: dict[str, Any]) -> None:
    columns = ("event", "site", "starts", "counted", "earned", "remark")
    rows = [
        (
            row["event_id"] + (" TEST" if row["test"] else ""),
            row["site_id"],
            rendering.local(row["starts_at"], row["time_zone"]),
            rendering.kilowatt_hours(row["paid_wh"]),
            f"${row['amount_usd']}",
            row["sentence"] or row["state"],
        )
        for row in found["events"]
    ]
    console.print(rendering.table(*columns, rows=rows, right=("counted", "earned")))


@owner_app.command("event", help=inspect.getdoc(staff_reads.read_event))
def event(
    owner_id: OwnerArgument,
    event_id: Annotated[str, typer.Argument(metavar="EVENT", help="Event id.")],
    reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE,
    as_json: JsonFlag = False,
) -> None:
    """Show every step of one event from the meter to the cent."""
    found = ask(staff_reads.read_event, owner_id=owner_id, event_id=event_id, actor=actor(), reason=reason)
    answer(found, _show_event, as_json=as_json)


def _show_event(console: Console, found: dict[str, Any]) -> None:
    for line in found["lines"]:
        rows = [
            (
                rendering.local(hour["starts_at"], line["time_zone"]),
                hour["metered_kwh"] or "-",
                hour["baseline_kwh"] or "-",
                hour["beyond_kwh"],
                hour["exported_kwh"] or "-",
                hour["quality"],
            )
            for hour in line["hours"]
        ]
        columns = ("hour", "discharged kWh", "usual kWh", "beyond kWh", "exported kWh", "quality")
        console.print(rendering.table(*columns, rows=rows, right=columns[1:5]))
        for step in line["steps"]:
            console.print(step["text"], markup=False, soft_wrap=True)
        booked = rendering.amount(line["booked_usd"], line["currency"])
        console.print(f"booked {booked}", markup=False)
    for row in found["rows"]:
        if row["sentence"]:
            console.print(f"{row['site_id']}: {row['sentence']}", markup=False)


@owner_app.command("export", help=inspect.getdoc(own_data.export_owner))
def export(
    owner_id: OwnerArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="A new .json or .zip (CSV tables) file.")
    ] = None,
    reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE,
    as_json: JsonFlag = False,
) -> None:
    """Write everything that is stored about an owner."""
    found = ask(own_data.export_owner, owner_id=owner_id, actor=actor(), reason=reason)
    if found["differs"]:
        stderr.print("vpp: without statement and payouts; vpp ledger verify says what differs", markup=False)
    if out is not None:
        content = own_files.as_tables(found) if out.suffix == ".zip" else json.dumps(found, indent=1).encode()
        write_new(out, content)
    if out is None or as_json:
        answer(found, lambda console, value: console.print_json(data=value), as_json=as_json)


@owner_app.command("leave", help=inspect.getdoc(own_data.leave_program))
def leave(
    owner_id: OwnerArgument,
    site_id: Annotated[str, typer.Argument(metavar="SITE", help="Site id.")],
    as_json: JsonFlag = False,
) -> None:
    """End an owner's consent for one home."""
    found = ask(own_data.leave_program, owner_id=owner_id, site_id=site_id, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@owner_app.command("forget", help=inspect.getdoc(forgetting.forget_owner))
def forget(owner_id: OwnerArgument, as_json: JsonFlag = False) -> None:
    """Destroy what names an owner, and print the certificate."""
    found = ask(forgetting.forget_owner, owner_id=owner_id, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@owner_app.command("write-off", help=inspect.getdoc(write_offs.write_off_owner))
def write_off(
    owner_id: OwnerArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the entry.")],
    as_json: JsonFlag = False,
) -> None:
    """Bear what an owner who left owes."""
    found = ask(write_offs.write_off_owner, owner_id=owner_id, reason=reason, actor=actor())
    answer(found, rendering.show_facts, as_json=as_json)


@owner_app.command("contact", help=inspect.getdoc(contacts.keep_contact))
def contact(
    owner_id: OwnerArgument,
    address: AddressOption = "",
    language: LanguageOption = "",
    mute: MuteOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Keep where and about what an owner is written to."""
    found = ask(
        contacts.keep_contact, owner_id=owner_id, address=address, language=language, muted=mute or []
    )
    answer(found, rendering.show_facts, as_json=as_json)


@owner_app.command("name-home", help=inspect.getdoc(contacts.name_home))
def name_home(
    owner_id: OwnerArgument,
    site_id: Annotated[str, typer.Argument(metavar="SITE", help="Site id.")],
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Up to 40 letters; none: the id again.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Keep what an owner calls one of the homes."""
    found = ask(contacts.name_home, owner_id=owner_id, site_id=site_id, name=name)
    answer(found, rendering.show_facts, as_json=as_json)


@owner_app.command("messages", help=inspect.getdoc(staff_reads.read_contact))
def messages(
    owner_id: OwnerArgument, reason: ReasonOption = staff_reads.ON_THE_COMMAND_LINE, as_json: JsonFlag = False
) -> None:
    """Show where an owner is written to, and what was written."""
    found = ask(staff_reads.read_contact, owner_id=owner_id, actor=actor(), reason=reason)
    answer(found, _show_messages, as_json=as_json)


def _show_messages(console: Console, found: dict[str, Any]) -> None:
    console.print(f"to {found['address'] or 'nowhere'}, in {found['language']}", markup=False)
    zone = found["time_zone"]
    rows = [
        (
            rendering.local(notice["at"], zone),
            notice["kind"],
            notice["subject"],
            rendering.local(notice["sent_at"], zone) if notice["sent_at"] else notice["trouble"] or "waiting",
        )
        for notice in found["notices"]
    ]
    console.print(rendering.table("written", "kind", "about", "sent", rows=rows))


@owner_app.command("calendar", help=inspect.getdoc(own_data.open_calendar))
def calendar(
    owner_id: OwnerArgument,
    end: Annotated[bool, typer.Option("--end", help="Make the address void instead.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a secret calendar address, or make it void."""
    operation = own_data.close_calendar if end else own_data.open_calendar
    answer(ask(operation, owner_id=owner_id), rendering.show_facts, as_json=as_json)


@alarm_app.command("list", help=inspect.getdoc(alarms.list_alarms))
def list_alarms(as_json: JsonFlag = False) -> None:
    """List alarms, the newest first."""
    answer(ask(alarms.list_alarms), _show_alarms, as_json=as_json)


def _show_alarms(console: Console, found: dict[str, Any]) -> None:
    zone = found["time_zone"]
    rows = [
        (
            alarm["key"],
            rendering.local(alarm["raised_at"], zone),
            alarm["answered_by"] or "nobody",
            rendering.local(alarm["cleared_at"], zone) if alarm["cleared_at"] else "lasts",
        )
        for alarm in found["alarms"]
    ]
    console.print(rendering.table("alarm", "since", "answered by", "over", rows=rows))


@alarm_app.command("answer", help=inspect.getdoc(alarms.answer_alarm))
def answer_alarm(
    key: Annotated[str, typer.Argument(metavar="ALARM", help="As vpp alarm list shows it.")],
    as_json: JsonFlag = False,
) -> None:
    """Say that you take care of it."""
    answer(ask(alarms.answer_alarm, key=key, actor=actor()), rendering.show_facts, as_json=as_json)


@alarm_app.command("contact", help=inspect.getdoc(contacts.keep_staff_contact))
def staff_contact(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom; any name.")],
    address: AddressOption = "",
    language: LanguageOption = "",
    mute: MuteOption = None,
    rank: Annotated[int, typer.Option(metavar="0-9", help="0 is told first.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Keep where somebody of the staff is told of alarms."""
    found = ask(
        contacts.keep_staff_contact,
        name=name,
        address=address,
        language=language,
        muted=mute or [],
        rank=rank,
    )
    answer(found, rendering.show_facts, as_json=as_json)
