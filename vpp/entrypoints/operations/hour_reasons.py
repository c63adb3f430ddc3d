"""Why hours of a settled event are not simply metered, looked up in the readings that were known then."""

from collections.abc import Sequence
from datetime import timedelta

from vpp.domain.delivery import Quality
from vpp.domain.interval import Interval
from vpp.domain.program import Terms
from vpp.domain.settlement import Settlement, SettlementLine
from vpp.entrypoints.operations.desk import Desk, Json, instant_or_none
from vpp.wire.hour_reasons import Why, hour_reasons, in_words

AROUND = timedelta(days=1)
"""How far the readings on both sides of a gap are looked for."""


async def reasons_of(
    desk: Desk, terms: Terms | None, settlement: Settlement, line: SettlementLine
) -> Sequence[Json]:
    """Return, for each hour of a line, why it is not OK: ``reason``, a sentence, and ``because``, its parts.

    ``because`` holds ``fault, from_at, until_at``. Both are None where an hour is OK, or nobody can tell.
    """
    doubtful = any(hour.quality is not Quality.OK for hour in line.hours)
    if terms is None or line.settled is None or not doubtful:
        return [_facts(None)] * len(line.hours)
    near = Interval(line.settled.starts_at - AROUND, line.settled.ends_at + AROUND)
    known = settlement.settled_at + timedelta(seconds=1)  # it ran within that second
    readings = await desk.store.readings([line.site_id], [near], before=known)
    faults = await desk.store.reading_faults(line.site_id, near, before=known)
    return [_facts(each) for each in hour_reasons(line, readings, 0, terms.meter, faults)]


def _facts(why: Why | None) -> Json:
    because: Json | None = None
    if why is not None:
        reason, _ = why
        because = {
            "fault": reason.fault.value,
            "from_at": instant_or_none(reason.from_at),
            "until_at": instant_or_none(reason.until_at),
        }
    return {"reason": in_words(why), "because": because}
