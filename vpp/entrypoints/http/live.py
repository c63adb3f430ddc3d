"""The moving part of a board: made once a second for everybody who looks, without a socket for each."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from fastapi.responses import Response

from vpp.entrypoints.http.charts import Line, power_chart, share_bar
from vpp.entrypoints.http.showing import render
from vpp.entrypoints.http.words import on_the_way
from vpp.entrypoints.operations.alarms import list_alarms
from vpp.entrypoints.operations.board import board_facts, list_fleet, show_board
from vpp.entrypoints.operations.desk import Desk, Json
from vpp.entrypoints.operations.evening import UNSEEN
from vpp.entrypoints.operations.events import authorized_now, list_events

MADE_EVERY_S = 0.8
KEPT = 50
AROUND_EVERY_S = 5
LATELY = 5
AROUND = timedelta(minutes=3)
OPEN_STATES = ("active", "waiting_for_approval", "waiting_for_force", "scheduled")
"""What a board is for, in the order in which somebody has to look at it."""

OVER = ("cancelled", "ended")
PROOF_WORDS = {
    "delivering": "delivering",
    "starting": "starting",
    "sent": "sent, not answered",
    "short": "short",
    "refused": "refused",
    "no_answer": "no answer",
    "silent": "silent",
}
FANOUT = ("sent", "acknowledged", "delivering", "failed")
LATE = ("sent", "no_answer", "silent")
FAILED = ("short", "refused")
BEGINNING = ("idle", "sent", "starting", "released")
"""Homes that had no time yet: who was idle, or released, at the last look has its command since then."""


class BoardsKept:
    """Boards made within the last second, by event; bounded."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[float, bytes, str]] = {}
        self.making = asyncio.Lock()
        self.around: tuple[datetime, tuple[str, ...], Mapping[str, Any]] | None = None
        """What stands around the boards, with when it was made and the events that were open then."""

    def get(self, event_id: str) -> tuple[bytes, str] | None:
        """Return the body and its tag, None where it is older."""
        made = self._made.get(event_id)
        if made is None or time.monotonic() - made[0] > MADE_EVERY_S:
            return None
        return made[1], made[2]

    def put(self, event_id: str, body: bytes) -> tuple[bytes, str]:
        """Keep a body and return it with its tag."""
        if len(self._made) >= KEPT:
            self._made.pop(next(iter(self._made)))
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        self._made[event_id] = (time.monotonic(), body, tag)
        return body, tag


async def board_page_values(desk: Desk, event_id: str) -> dict[str, Any]:
    """Return what the board's template shows of one event."""
    return _board(await show_board(desk, event_id=event_id))


async def boards_page_values(desk: Desk, kept: BoardsKept) -> dict[str, Any]:
    """Return what the board's page shows: every open event, alarms that nobody answered, the fleet, lately.

    What stands around the boards reads the whole fleet and every past event, so it is made every 5 s, and
    when an event opens or ends.
    """
    now, allowed = desk.clock.now(), await authorized_now(desk)
    found: list[Json] = []
    if desk.live is not None:
        found = [
            board_facts(desk, desk.live, history, allowed.get(history.latest.event_id, 0))
            for history in await desk.store.histories(ending_after=now)
        ]
    current = [facts for facts in found if facts["state"] in OPEN_STATES]
    current.sort(key=lambda facts: (OPEN_STATES.index(str(facts["state"])), str(facts["starts_at"])))
    names = tuple(sorted(str(facts["event_id"]) for facts in current))
    if kept.around is None or kept.around[1] != names or _older(kept.around[0], now):
        kept.around = (now, names, await _around(desk))
    return {"boards": [_board(facts) for facts in current], **kept.around[2]}


def _older(made_at: datetime, now: datetime) -> bool:
    return abs((now - made_at).total_seconds()) >= AROUND_EVERY_S


async def _around(desk: Desk) -> Mapping[str, Any]:
    listed: Any = (await list_events(desk))["events"]
    alarms: Any = (await list_alarms(desk, limit=1))["alarms"]
    past = [event for event in listed if event["state"] in OVER]
    past.sort(key=lambda event: (event["starts_at"] or "", event["event_id"]), reverse=True)
    return {
        "alarms": [each for each in alarms if not each["answered_by"] and not each["cleared_at"]],
        "fleet": await list_fleet(desk, limit=1) if desk.live else None,
        "past": past[:LATELY],
        "zone": desk.staff_zone,
    }


def _board(facts: Json) -> dict[str, Any]:
    if facts["state"] in OVER:
        # Between a cancel and the next tick commands still stand; nobody is on the way to what is over.
        facts = facts | {"proof": {}, "fanout": dict.fromkeys((*FANOUT, "asked"), 0), "forecast": []}
    states, how_far = _states(facts["proof"]), facts["fanout"]
    assert isinstance(how_far, dict)
    return {
        "facts": facts,
        "chart": _chart(facts),
        "states": states,
        "fanout": _fanout(how_far),
        "on_the_way": on_the_way(how_far),
        "verdict": _verdict(facts),
    }


def _chart(facts: Mapping[str, Any]) -> Any:
    if facts["starts_at"] is None:
        return None
    starts_at, ends_at = (datetime.fromisoformat(facts[name]) for name in ("starts_at", "ends_at"))
    now = datetime.fromisoformat(facts["now"])
    asked = [(datetime.fromisoformat(each["at"]), each["asked_w"]) for each in facts["course"]]
    forecast = [(datetime.fromisoformat(each["at"]), each["power_w"]) for each in facts["forecast"]]
    steps = [
        (datetime.fromisoformat(step[edge]), step["power_w"])
        for step in facts["in_force"] or facts["steps"]  # what waits for leave is in force nowhere
        if step["power_w"] is not None
        for edge in ("starts_at", "ends_at")
    ]
    lines = [
        Line("target", "asked", steps or asked, steps=True),
        Line("forecast", "forecast", forecast, steps=True),
        *measured_lines(_with_gaps(facts["course"]), "delivered"),
    ]
    return power_chart(
        lines, starts_at=starts_at - AROUND, ends_at=ends_at + AROUND, zone=facts["time_zone"], now=now
    )


def measured_lines(moments: Sequence[Mapping[str, Any]], name: str) -> list[Line]:
    """Return what was measured as one line, and as another where a part of it is estimated."""
    points, partly = [], []
    before_estimated = False
    for each in moments:
        at, watts = datetime.fromisoformat(each["at"]), each["measured_w"]
        estimated = bool(each["estimated_w"])
        # Both lines hold the moment at which one takes over from the other.
        points.append((at, None if estimated and before_estimated else watts))
        partly.append((at, watts if estimated or before_estimated else None))
        before_estimated = estimated
    return [Line("measured", name, points), Line("estimated", f"{name}, partly estimated", partly)]


def _with_gaps(course: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the moments with an unknown one wherever nobody looked for a minute."""
    found: list[Mapping[str, Any]] = []
    for each in course:
        if found and datetime.fromisoformat(each["at"]) - datetime.fromisoformat(found[-1]["at"]) > UNSEEN:
            found.append({"at": found[-1]["at"], "measured_w": None, "estimated_w": None})
        found.append(each)
    return found


def replay_span(event: Mapping[str, Any], frames: Sequence[Mapping[str, Any]]) -> tuple[datetime, datetime]:
    """Return what a replay shows: from shortly before the event to shortly after it."""
    edges = [frames[0]["at"], frames[-1]["at"], event["starts_at"], event["ends_at"]]
    times = [datetime.fromisoformat(at) for at in edges if at]
    return min(times) - AROUND, max(times) + AROUND


def replay_chart(event: Mapping[str, Any], evening: Mapping[str, Any]) -> Any:
    """Return the course of an event that was stored, with what was asked, planned and measured."""
    frames = evening["frames"]
    if not frames or not event["starts_at"]:
        return None
    times = [datetime.fromisoformat(frame["at"]) for frame in frames]
    lines = [
        Line(css, name, [(at, frame[figure]) for at, frame in zip(times, frames, strict=True)], steps=True)
        for css, name, figure in (
            ("target", "asked", "requested_w"),
            ("forecast", "planned", "planned_w"),
        )
    ]
    starts_at, ends_at = replay_span(event, frames)
    return power_chart(
        [*lines, *measured_lines(frames, "measured")],
        starts_at=starts_at, ends_at=ends_at, zone=event["time_zone"], now=times[-1],
    )  # fmt: skip


def _states(proof: Any) -> list[tuple[str, str, int, str]]:
    """Return (state, its word for people, sites, tone) in the order in which a command lives."""
    tones = {**dict.fromkeys(LATE, "late"), **dict.fromkeys(FAILED, "failed"), "delivering": "discharging"}
    return [
        (state, PROOF_WORDS[state], proof[state], tones.get(state, "normal"))
        for state in PROOF_WORDS
        if state in proof
    ]


def _fanout(fanout: Mapping[str, Any]) -> list[tuple[str, int, str, Any]]:
    """Return (word, sites, tone, bar) for how far the commands are; empty before the first."""
    asked = fanout["asked"]
    tones = {"delivering": "discharging", "failed": "failed"}
    counts = [(word, fanout[word]) for word in FANOUT] if asked else []
    rows = [(word, count, tones.get(word, "normal") if count else "normal") for word, count in counts]
    return [
        (word, count, tone, share_bar([(tone, count), ("rest", asked - count)])) for word, count, tone in rows
    ]


def _verdict(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Return one sentence for somebody who only glances, and its tone."""
    if facts["state"] == "active" and facts["shortfall_w"] and not facts["planned_w"]:
        return "No home can help now. The event's page says why, home by home.", "failed"
    if facts["state"] != "active" or not facts["planned_w"]:
        return _waiting(facts)
    if facts["blind"]:
        return "We cannot see the homes. Their leases are renewed and the plan is held.", "failed"
    asked_w, measured_w = facts["asked_w"], facts["measured_w"]
    if facts["shortfall_w"] > asked_w // 100:
        return "The fleet cannot cover what is asked.", "failed"
    if measured_w * 100 >= asked_w * 98:
        return "On target.", "normal"
    if not facts["proof"] or any(state in facts["proof"] for state in BEGINNING):
        return "Homes are starting.", "normal"
    return "Delivery is below target; other homes are being asked.", "late"


def _waiting(facts: Mapping[str, Any]) -> tuple[str, str]:
    words = {
        "scheduled": "Scheduled. Homes are asked two minutes before it starts.",
        "active": "Active; no home is asked for power yet.",
        "waiting_for_force": "Outside its program. Nothing is dispatched unless somebody forces it.",
        "waiting_for_approval": "Above its source's limit. It waits for a second person to approve.",
        "cancelled": "Cancelled.",
        "ended": "Ended.",
    }
    state = facts["state"]
    if state == "waiting_for_force" and facts["planned_w"]:
        # Leave was given to an earlier version; the newest one may only make it smaller and shorter.
        return "What was forced before goes on; the newest version waits to be forced.", "late"
    return words[state], "late" if state.startswith("waiting") else "normal"


async def board_html(desk: Desk, event_id: str) -> str:
    """Return the moving part of one event's page."""
    return render("board_fragment.html", board=await board_page_values(desk, event_id), alone=True)


async def boards_html(desk: Desk, kept: BoardsKept) -> str:
    """Return the moving part of the board's page."""
    return render("boards_fragment.html", **await boards_page_values(desk, kept))


async def fragment(
    kept: BoardsKept, key: str, make: Callable[[], Awaitable[str]], *, known: str = ""
) -> Response:
    """Return a moving part as HTML; every visitor of the same second gets the same bytes.

    Whoever has them already, by the tag in ``known``, is told so with 304.
    """
    made = kept.get(key)
    if made is None:
        async with kept.making:  # one makes it, the others wait for it
            made = kept.get(key)
            if made is None:
                made = kept.put(key, (await make()).encode())
    if known == made[1]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": made[1]})
    return Response(made[0], media_type="text/html; charset=utf-8", headers={"ETag": made[1]})
