"""The part of the loopback API that serves owners and tells operators: history, data, contacts, alarms."""

from fastapi import APIRouter

from vpp.entrypoints.http.at_desk import Actor, AtDesk, Body, Cursor, Limit, Reason
from vpp.entrypoints.operations import (
    alarms,
    contacts,
    forgetting,
    home_states,
    own_data,
    own_files,
    staff_reads,
)
from vpp.entrypoints.operations.desk import Json
from vpp.entrypoints.operations.staff_reads import ON_THE_COMMAND_LINE

router = APIRouter()


class ContactBody(Body):
    """Where and about what somebody is written to; an empty address: nowhere."""

    address: str = ""
    language: str = ""
    muted: tuple[str, ...] = ()


class HomeNameBody(Body):
    """What an owner calls a home; empty: the id again."""

    name: str = ""


class StaffContactBody(ContactBody):
    """The same for staff; rank 0 is told first."""

    rank: int = 0


@router.get("/owners/{owner_id}/home")
async def owner_home(desk: AtDesk, actor: Actor, owner_id: str, reason: Reason = ON_THE_COMMAND_LINE) -> Json:
    return await staff_reads.read_home(desk, owner_id=owner_id, actor=actor, reason=reason)


@router.get("/owners/{owner_id}/green-button")
async def green_button(
    desk: AtDesk, actor: Actor, owner_id: str, reason: Reason = ON_THE_COMMAND_LINE
) -> Json:
    return await own_files.read_green_button(desk, owner_id=owner_id, actor=actor, reason=reason)


@router.get("/owners/{owner_id}/history")
async def owner_history(
    desk: AtDesk, actor: Actor, owner_id: str, reason: Reason = ON_THE_COMMAND_LINE
) -> Json:
    return await staff_reads.read_history(desk, owner_id=owner_id, actor=actor, reason=reason)


@router.get("/owners/{owner_id}/events/{event_id}")
async def owner_event(
    desk: AtDesk, actor: Actor, owner_id: str, event_id: str, reason: Reason = ON_THE_COMMAND_LINE
) -> Json:
    return await staff_reads.read_event(
        desk, owner_id=owner_id, event_id=event_id, actor=actor, reason=reason
    )


@router.get("/owners/{owner_id}/export")
async def export_owner(
    desk: AtDesk, actor: Actor, owner_id: str, reason: Reason = ON_THE_COMMAND_LINE
) -> Json:
    return await own_data.export_owner(desk, owner_id=owner_id, actor=actor, reason=reason)


@router.post("/owners/{owner_id}/sites/{site_id}/withdrawal")
async def leave_program(desk: AtDesk, actor: Actor, owner_id: str, site_id: str) -> Json:
    return await own_data.leave_program(desk, owner_id=owner_id, site_id=site_id, actor=actor)


@router.delete("/owners/{owner_id}")
async def forget_owner(desk: AtDesk, actor: Actor, owner_id: str) -> Json:
    return await forgetting.forget_owner(desk, owner_id=owner_id, actor=actor)


@router.get("/owners/{owner_id}/home-states")
async def home_states_now(
    desk: AtDesk, actor: Actor, owner_id: str, reason: Reason = ON_THE_COMMAND_LINE
) -> Json:
    return await home_states.show_home_states(desk, owner_id=owner_id, actor=actor, reason=reason)


@router.get("/owners/{owner_id}/contact")
async def show_contact(
    desk: AtDesk, actor: Actor, owner_id: str, reason: Reason = ON_THE_COMMAND_LINE
) -> Json:
    return await staff_reads.read_contact(desk, owner_id=owner_id, actor=actor, reason=reason)


@router.put("/owners/{owner_id}/contact")
async def keep_contact(desk: AtDesk, owner_id: str, body: ContactBody) -> Json:
    return await contacts.keep_contact(
        desk, owner_id=owner_id, address=body.address, language=body.language, muted=body.muted
    )


@router.put("/owners/{owner_id}/sites/{site_id}/name")
async def name_home(desk: AtDesk, owner_id: str, site_id: str, body: HomeNameBody) -> Json:
    return await contacts.name_home(desk, owner_id=owner_id, site_id=site_id, name=body.name)


@router.post("/owners/{owner_id}/calendar")
async def open_calendar(desk: AtDesk, owner_id: str) -> Json:
    return await own_data.open_calendar(desk, owner_id=owner_id)


@router.delete("/owners/{owner_id}/calendar")
async def close_calendar(desk: AtDesk, owner_id: str) -> Json:
    return await own_data.close_calendar(desk, owner_id=owner_id)


@router.get("/alarms")
async def list_alarms(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    return await alarms.list_alarms(desk, cursor=cursor, limit=limit)


@router.post("/alarms/{key}/answer")
async def answer_alarm(desk: AtDesk, actor: Actor, key: str) -> Json:
    return await alarms.answer_alarm(desk, key=key, actor=actor)


@router.put("/staff/{name}/contact")
async def keep_staff_contact(desk: AtDesk, name: str, body: StaffContactBody) -> Json:
    return await contacts.keep_staff_contact(
        desk, name=name, address=body.address, language=body.language, muted=body.muted, rank=body.rank
    )
