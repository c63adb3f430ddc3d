"""Whether counters and power samples of an event tell the same energy: for review, and for people to act."""

from decimal import Decimal
from http import HTTPStatus

import numpy as np

from vpp.domain.grid_event import EventHistory
from vpp.domain.interval import Interval, from_epoch
from vpp.domain.program import MeterOfRecord, Terms
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.stages.cross_check import asked_in_event, compare, refuse_refuted

MOST_NAMED = 1_000


async def check_meters(desk: Desk, *, event_id: str) -> Json:
    """Compare what a battery's counters say of an event with its own power samples, home by home.

    The power samples are those that were stored with the controller's ticks. A difference above 0.5 % and
    above 50 Wh means that one of the two is wrong: look at the home. Where no lost sample explains it, the
    staff is alarmed after the event, and ``vpp meter check EVENT --quarantine`` makes the hour BAD.

    Returns:
        ``event_id, agree, differ, unknown`` (numbers of homes; unknown: too few samples or readings);
        ``sites``, the first thousand that differ: ``site_id, starts_at, ends_at, counted_wh,
        integrated_wh`` (three decimals, as text)``, difference_wh``.
    """
    history = await desk.history(event_id)
    roster = await desk.store.enrollments()
    asked = await asked_in_event(desk.store, history, len(roster), until=desk.clock.now())
    agree, differ, unknown = 0, 0, 0
    named: list[object] = []
    if asked.span is not None:
        async for rows, found in compare(desk.store, roster, asked, asked.span):
            apart = np.flatnonzero(found.known & ~found.agrees)
            agree, differ = agree + int(found.agrees.sum()), differ + len(apart)
            unknown += int((~found.known).sum())
            named += (
                _facts(
                    roster[int(rows[place])].site_id,
                    Interval(from_epoch(int(found.from_s[place])), from_epoch(int(found.until_s[place]))),
                    int(found.counted_wh[place]),
                    int(found.integrated_mwh[place]),
                )
                for place in apart.tolist()
            )
    return {
        "event_id": event_id,
        "agree": agree,
        "differ": differ,
        "unknown": unknown,
        "sites": named[:MOST_NAMED],
    }


async def quarantine_meters(desk: Desk, *, event_id: str, actor: str) -> Json:
    """Stop believing a battery's counters in the hours of an event in which its power samples refute them.

    Nothing does that by itself: the controller alarms the staff. What the meter read within such an hour is
    BAD from now on, so the hour pays nothing; nothing takes that back. An hour is refuted where the two
    differ by more than the half percent or 50 Wh of ``check_meters`` and what lost samples leave open. Again
    changes nothing. The trail keeps who did it, home by home.

    Returns:
        ``event_id`` and ``refused``: ``site_id, starts_at, ends_at, counted_wh, integrated_wh,
        difference_wh`` of each hour.

    Raises:
        OperationRefused: The event's program counts the grid meter, which no battery's power can refute.
    """
    history = await desk.history(event_id)
    terms = _terms(desk, history)
    if terms is None or terms.meter is not MeterOfRecord.DEVICE:
        raise OperationRefused(
            f"event {event_id} is not paid by the battery's counters, so its power samples refute nothing",
            HTTPStatus.CONFLICT,
        )
    refused = await refuse_refuted(
        history,
        await desk.store.enrollments(),
        store=desk.store,
        now=desk.clock.now(),
        actor=actor,
        why=desk.why,
        request_id=desk.request_id,
    )
    return {
        "event_id": event_id,
        "refused": [
            _facts(each.site_id, each.stretch, each.counted_wh, each.integrated_mwh) for each in refused
        ],
    }


def _terms(desk: Desk, history: EventHistory) -> Terms | None:
    program = desk.programs.get(history.latest.program_id)
    asking = [each.interval for each in history.versions if each.interval is not None]
    return None if program is None or not asking else program.terms_on(program.local_day(asking[-1]))


def _facts(site_id: str, stretch: Interval, counted_wh: int, thousandths: int) -> Json:
    return {
        "site_id": site_id,
        "starts_at": instant(stretch.starts_at),
        "ends_at": instant(stretch.ends_at),
        "counted_wh": counted_wh,
        "integrated_wh": str(Decimal(thousandths) / 1000),
        "difference_wh": str(Decimal(counted_wh * 1000 - thousandths) / 1000),
    }
