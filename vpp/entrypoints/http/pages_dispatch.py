"""The operator's pages that lead to a dispatch: new event with its preview, change, and replay."""

import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, cast

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from vpp.domain.dispatch_plan import Reason
from vpp.domain.program import Program
from vpp.domain.verdict import names_a_test
from vpp.entrypoints.http.live import replay_chart, replay_span
from vpp.entrypoints.http.showing import show
from vpp.entrypoints.http.visitor import AtDesk, CheckedForm, Dispatcher, Form, Visitor, Watcher
from vpp.entrypoints.operations import changing, evening, events, otherwise, rails, replay, sites, starting
from vpp.entrypoints.operations import preview as previewing
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.entrypoints.operations.starting import MINUTES_MOST

CONFIRMED = HTTPStatus.SEE_OTHER

router = APIRouter(prefix="/operator")


@router.get("/new-event")
async def new_event_page(request: Request, visitor: Dispatcher, desk: AtDesk) -> Response:
    """Show the form of a new event."""
    fields = {"event_id": f"console-{secrets.token_hex(4)}"}
    return _new_event(request, visitor, desk, fields, {})


FIELDS = ("event_id", "program_id", "power_mw", "starts_at", "minutes", "targets", "name", "test")

GOOD = {"power_mw": "all", "starts_at": "now", "minutes": "60", "targets": ""}
"""What is never refused, to find what is wrong beside a field that is."""


def _fields(form: Form) -> dict[str, str]:
    """Return the fields of a new event as they were typed, and no other."""
    return {name: form.get(name, "60" if name == "minutes" else "") for name in FIELDS}


def _new_event(
    request: Request, visitor: Visitor, desk: Desk, fields: Form, faults: Mapping[str, str]
) -> Response:
    """Show the form; ``faults`` says what is wrong by field, under an empty name what is wrong in all."""
    return show(
        request, "operator_new_event.html", _status(faults), visitor=visitor, fields=_fields(fields),
        faults=faults, programs=_programs(desk),
    )  # fmt: skip


def _status(faults: Mapping[str, str]) -> HTTPStatus:
    return HTTPStatus.UNPROCESSABLE_ENTITY if faults else HTTPStatus.OK


def _programs(desk: Desk) -> list[tuple[Program, int]]:
    """Return every program with its number of homes, the largest first."""
    sizes = desk.live.program_sizes() if desk.live is not None else {}
    programs = [(program, sizes.get(program.program_id, 0)) for program in desk.programs.values()]
    return sorted(programs, key=lambda each: (-each[1], each[0].program_id))


@router.post("/new-event")
async def preview(request: Request, visitor: Dispatcher, desk: AtDesk, form: CheckedForm) -> Response:
    """Show what the event would get; with the power typed again, start it."""
    fields = _fields(form)
    try:
        wish = wish_of(fields)
        test = fields["test"] == "yes" or names_a_test(fields["name"])
        found = await previewing.preview_event(desk, **wish, test=test)
        season = await _season(desk, fields["program_id"])
        faults = {}
        if (
            form.get("step") == "start"
            and form.get("typed", "").removesuffix("MW").strip() != fields["power_mw"]
        ):
            faults = {"typed": f"Type {fields['power_mw']} to start. Nothing was started."}
        if form.get("step") != "start" or faults:
            return show(
                request, "operator_preview.html", _status(faults), visitor=visitor, fields=fields,
                preview=found, faults=faults, typed=form.get("typed", ""), season=season, words=_words(),
                test=test,
            )  # fmt: skip
        await starting.start_event(
            desk,
            event_id=fields["event_id"],
            name=fields["name"],
            test=fields["test"] == "yes",
            actor=visitor.actor,
            **wish,
        )
    except OperationRefused as refused:
        return _new_event(request, visitor, desk, fields, _faults(desk, fields, refused))
    return RedirectResponse(f"/operator/events/{fields['event_id']}", CONFIRMED)


def _faults(desk: Desk, fields: Form, refused: OperationRefused) -> dict[str, str]:
    """Return what is wrong by field: beside what was refused, whatever else would be after it."""
    probe, faults = dict(fields), {refused.field: refused.detail}
    good = GOOD | {"program_id": next(iter(desk.programs), "")}
    while refused.field in good:
        probe[refused.field] = good[refused.field]
        try:
            starting.read_wish(desk, **wish_of(probe))
        except OperationRefused as another:
            if another.field in faults:
                break
            refused = another
            faults[refused.field] = refused.detail
        else:
            break
    return faults


def wish_of(form: Form) -> dict[str, Any]:
    """Return what a preview is asked, as the form has it. Raises OperationRefused."""
    return {
        "program_id": form.get("program_id", ""),
        "power_mw": form.get("power_mw", ""),
        "starts_at": form.get("starts_at", ""),
        "minutes": _minutes(form),
        "targets": form.get("targets", "").split(","),
    }


def _minutes(form: Form) -> int:
    minutes = form.get("minutes", "")
    if not re.fullmatch(r"[0-9]{1,4}", minutes):
        raise OperationRefused(
            f"a length of {minutes[:20]!r} is not a whole number of minutes, 1 to {MINUTES_MOST}",
            field="minutes",
        )
    return int(minutes)


async def _season(desk: Desk, program_id: str) -> Any:
    """Return what a program allows and has used, None where no terms are in force today."""
    programs = cast("list[Mapping[str, Any]]", (await rails.list_programs(desk))["programs"])
    return next((each["terms"] for each in programs if each["program_id"] == program_id), None)


def _words() -> dict[str, str]:
    words = {reason.value: sentence for reason, sentence in sites.REASON_WORDS.items()}
    # A preview stands beside events that are on: their homes are not to be had either.
    return words | {
        Reason.NOT_NEEDED.value: "fuller homes cover what is asked, or another event has the home"
    }


@router.get("/events/{event_id}/change")
async def change_page(request: Request, visitor: Dispatcher, desk: AtDesk, event_id: str) -> Response:
    """Show what of an event can be changed."""
    event = await events.outline_event(desk, event_id=event_id)
    return _change(request, visitor, event, _standing(event), {})


def _standing(event: Mapping[str, Any]) -> dict[str, str]:
    """Return an event's fields as they stand, ready to be edited."""
    powers = {step["power_w"] for step in event["steps"]} - {0}
    power_w = powers.pop() if len(powers) == 1 else 0
    power = "all" if power_w is None else f"{power_w / 1e6:g}" if power_w else ""
    return {
        "power_mw": power,
        "minutes": str(_length(event)),
        "targets": ", ".join(event["targets"]),
        "typed": "",
    }


def _length(event: Mapping[str, Any]) -> int:
    if not event["steps"]:
        return 0
    begins, ends = event["steps"][0]["starts_at"], event["steps"][-1]["ends_at"]
    return int((datetime.fromisoformat(ends) - datetime.fromisoformat(begins)).total_seconds()) // 60


def _change(
    request: Request,
    visitor: Visitor,
    event: Json,
    fields: Form,
    faults: Mapping[str, str],
    status: HTTPStatus | None = None,
) -> Response:
    return show(
        request, "operator_change.html", status or _status(faults), visitor=visitor, event=event,
        fields=fields, faults=faults,
    )  # fmt: skip


@router.post("/events/{event_id}/change")
async def change(
    request: Request, visitor: Dispatcher, desk: AtDesk, form: CheckedForm, event_id: str
) -> Response:
    """Change an event whose id was typed; whoever changes it cannot approve it."""
    event = await events.outline_event(desk, event_id=event_id)
    fields = _standing(event) | {
        name: form.get(name, "") for name in ("power_mw", "minutes", "targets", "typed")
    }
    if fields["typed"] != event_id:
        faults = {"typed": f"Type {event_id} to change this event. Nothing was changed."}
        return _change(request, visitor, event, fields, faults)
    stands = _standing(event)
    targets = [word.strip() for word in fields["targets"].split(",") if word.strip()]
    try:
        await changing.modify_event(
            desk,
            event_id=event_id,
            power_mw="" if fields["power_mw"] == stands["power_mw"] else fields["power_mw"],
            minutes=0 if fields["minutes"] == stands["minutes"] else _minutes(fields),
            targets=None if fields["targets"] == stands["targets"] else targets,
            actor=visitor.actor,
        )
    except OperationRefused as refused:
        return _change(request, visitor, event, fields, {refused.field: refused.detail}, refused.status)
    return RedirectResponse(f"/operator/events/{event_id}", CONFIRMED)


@router.get("/events/{event_id}/replay")
async def replay_page(
    request: Request, visitor: Watcher, desk: AtDesk, event_id: str, proof: str = "", floor: str = ""
) -> Response:
    """Show an event again from stored facts, sixty times as fast.

    With ``proof=yes`` all of it is made again and compared; with ``floor`` it is planned with another rule.
    """
    event = await events.outline_event(desk, event_id=event_id)
    found = await replay.replay_event(desk, event_id=event_id) if proof == "yes" else None
    course: Any = await evening.show_evening(desk, event_id=event_id)
    span = replay_span(event, course["frames"]) if course["frames"] else None
    other, faults = None, {}
    if floor:
        try:
            other = await otherwise.replay_otherwise(desk, event_id=event_id, floor=floor[:10])
        except OperationRefused as refused:
            faults = {"floor": refused.detail}
    return show(
        request, "operator_replay.html", _status(faults), visitor=visitor, event=event, found=found,
        evening=course, chart=replay_chart(event, course), span=span, other=other, floor=floor[:10],
        faults=faults,
    )  # fmt: skip
