"""The part of the API behind the operator's pages: board, fleet, own events, stop-all, people."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import Field

from vpp.entrypoints.http.at_desk import Actor, AtDesk, Body, Cursor, GrantBody, Limit, Reason
from vpp.entrypoints.http.streaming import MEDIA_TYPE, BoardFeed
from vpp.entrypoints.operations import (
    board,
    changing,
    counties,
    cross_check,
    evening,
    fairness,
    health,
    otherwise,
    people,
    preview,
    rails,
    rehearsal,
    replay,
    staff_reads,
    starting,
    tracing,
    traffic,
    trail,
)
from vpp.entrypoints.operations.desk import Json

router = APIRouter()


class WishBody(Body):
    """What an event would ask: megawatts or ``all``, a start (``now`` or a time), minutes, targets."""

    program_id: str
    power_mw: str = "all"
    starts_at: str = "now"
    minutes: int = 60
    targets: list[str] = Field(default_factory=list)


class PreviewBody(WishBody):
    """The same, how surely the power is to be reached, in percent, and whether it would be a test."""

    confidence_pct: int = 90
    test: bool = False


class RehearsalBody(WishBody):
    """An event that stands, or what one would ask."""

    event_id: str = ""
    program_id: str = ""


class StartBody(WishBody):
    """A wish with a power, a name, and whether it is a test; TEST as the name's first word makes it one."""

    power_mw: str
    name: str = ""
    test: bool = False


class ChangeBody(Body):
    """What changes of an event; what is left out stays as it is."""

    power_mw: str = ""
    minutes: int = 0
    targets: list[str] | None = None


class UserBody(Body):
    """A role, for an owner whose homes, and a password; without one it is made and answered once."""

    role: str
    owner: str | None = None
    password: str | None = None


@router.get("/events/{event_id}/board")
async def show_board(desk: AtDesk, event_id: str) -> Json:
    """Return how an event stands now."""
    return await board.show_board(desk, event_id=event_id)


@router.get(
    "/events/{event_id}/board/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}},
)
async def follow_board(request: Request, event_id: str) -> StreamingResponse:
    """Return the board each second as server-sent events, until the event is over."""
    feed: BoardFeed = request.app.state.boards
    lines = await feed.follow(event_id)
    return StreamingResponse(lines, media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})


@router.get("/fleet")
async def list_fleet(
    desk: AtDesk,
    search: str = "",
    reason: str = "",
    county: str = "",
    event: str = "",
    proof: str = "",
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    cursor: Cursor = "",
    limit: Annotated[int, Query(ge=1, le=board.PAGE_MOST)] = 50,
) -> Json:
    """Return homes as they are now."""
    return await board.list_fleet(
        desk, search=search, reason=reason, county=county, event=event, proof=proof, offset=offset,
        cursor=cursor, limit=limit,
    )  # fmt: skip


@router.get("/events/{event_id}/course")
async def show_evening(desk: AtDesk, event_id: str) -> Json:
    """Return how an event went, tick by tick."""
    return await evening.show_evening(desk, event_id=event_id)


@router.get("/events/{event_id}/sites/{site_id}/trace")
async def trace_site(desk: AtDesk, event_id: str, site_id: str) -> Json:
    """Return every command's life at one home, from the signal to the meter."""
    return await tracing.trace_site(desk, site_id=site_id, event_id=event_id)


@router.get("/fleet/health")
async def show_health(desk: AtDesk) -> Json:
    """Return how the links to the homes are."""
    return await health.show_health(desk)


@router.post("/previews")
async def preview_event(desk: AtDesk, body: PreviewBody) -> Json:
    """Say what an event would get; nothing is stored."""
    return await preview.preview_event(desk, **body.model_dump())


@router.post("/rehearsals")
async def rehearse_event(desk: AtDesk, body: RehearsalBody) -> Json:
    """Run an event in virtual time; nothing is stored and no command leaves."""
    return await rehearsal.rehearse_event(desk, **body.model_dump())


@router.put("/events/{event_id}")
async def start_event(desk: AtDesk, actor: Actor, event_id: str, body: StartBody) -> Json:
    """Start an event of the console; the id makes a resend harmless."""
    return await starting.start_event(desk, event_id=event_id, actor=actor, **body.model_dump())


@router.patch("/events/{event_id}")
async def modify_event(desk: AtDesk, actor: Actor, event_id: str, body: ChangeBody) -> Json:
    """Change an event that stands; a new version of it is stored."""
    return await changing.modify_event(desk, event_id=event_id, actor=actor, **body.model_dump())


@router.post("/events/{event_id}/approve")
async def approve_event(desk: AtDesk, actor: Actor, event_id: str, body: GrantBody | None = None) -> Json:
    """Be the second person of an event."""
    proof = (body or GrantBody()).model_dump()
    return await starting.approve_event(desk, event_id=event_id, actor=actor, claimed=True, **proof)


@router.post("/stop-all")
async def stop_all(desk: AtDesk, actor: Actor) -> Json:
    """Release every home."""
    return await starting.stop_all(desk, actor=actor)


@router.get("/traffic")
async def show_traffic(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    """Return what became of every message since the start."""
    return await traffic.show_traffic(desk, cursor=cursor, limit=limit)


@router.get("/counties")
async def list_counties(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    """Return the fleet by county."""
    return await counties.list_counties(desk, cursor=cursor, limit=limit)


@router.get("/trail")
async def list_trail(desk: AtDesk, subject: str = "", cursor: Cursor = "", limit: Limit = 100) -> Json:
    """Return who did and read what, the newest first."""
    return await trail.list_trail(desk, subject=subject, cursor=cursor, limit=limit)


@router.get("/programs")
async def list_programs(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    """Return what every program allows, and what its season has used."""
    return await rails.list_programs(desk, cursor=cursor, limit=limit)


@router.get("/events/{event_id}/replay")
async def replay_event(desk: AtDesk, event_id: str) -> Json:
    """Make an event's commands again from stored facts, and say whether they are the same."""
    return await replay.replay_event(desk, event_id=event_id)


@router.get("/events/{event_id}/meter-check")
async def check_meters(desk: AtDesk, event_id: str) -> Json:
    """Compare the counters of an event with the batteries' own power samples, home by home."""
    return await cross_check.check_meters(desk, event_id=event_id)


@router.post("/events/{event_id}/meter-quarantine")
async def quarantine_meters(desk: AtDesk, actor: Actor, event_id: str) -> Json:
    """Stop believing counters in the hours of an event in which power samples refute them."""
    return await cross_check.quarantine_meters(desk, event_id=event_id, actor=actor)


@router.get("/events/{event_id}/replay-otherwise")
async def replay_otherwise(
    desk: AtDesk, event_id: str, floor: Annotated[str, Query(max_length=10, description="percent")]
) -> Json:
    """Plan a past event again with another reserve floor."""
    return await otherwise.replay_otherwise(desk, event_id=event_id, floor=floor)


@router.get("/users")
async def list_users(desk: AtDesk, cursor: Cursor = "", limit: Limit = 100) -> Json:
    """Return everybody who may log in."""
    return await people.list_users(desk, cursor=cursor, limit=limit)


@router.put("/users/{name}")
async def add_user(desk: AtDesk, actor: Actor, name: str, body: UserBody) -> Json:
    """Let somebody log in."""
    return await people.add_user(desk, name=name, actor=actor, **body.model_dump())


@router.post("/users/{name}/login-links")
async def make_login_link(desk: AtDesk, actor: Actor, name: str) -> Json:
    """Make a link that logs somebody in once."""
    return await people.make_login_link(desk, name=name, actor=actor)


@router.get("/sites/{site_id}/history")
async def site_history(
    desk: AtDesk, actor: Actor, site_id: str, reason: Reason = staff_reads.ON_THE_COMMAND_LINE
) -> Json:
    """Return what a home did this season."""
    return await staff_reads.read_site_history(desk, site_id=site_id, actor=actor, reason=reason)


@router.get("/programs/{program_id}/fairness")
async def show_fairness(desk: AtDesk, program_id: str, cursor: Cursor = "", limit: Limit = 20) -> Json:
    """Return how a program's season was shared by its homes."""
    return await fairness.show_fairness(desk, program_id=program_id, cursor=cursor, limit=limit)
