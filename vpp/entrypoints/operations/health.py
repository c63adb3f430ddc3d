"""Whether the fleet's links are well: who reports and answers, whose clock is off, what is missing."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from vpp.adapters.certificates import NotACertificate, certificate_ends_at
from vpp.domain.link_health import NOT_HEARD
from vpp.domain.quantities import IntColumn
from vpp.entrypoints.operations.board import freshness
from vpp.entrypoints.operations.desk import Desk, Json, instant

CLOCK_OFF_S = 5
"""So far from ours, either way: half a minute ahead is refused by both sides."""
CERTIFICATE_SOON_DAYS = 30
NAMED_MOST = 10
A_DAY = timedelta(days=1)


async def show_health(desk: Desk) -> Json:
    """Return how the links to the homes are, as noticed since the start.

    Returns:
        ``enrolled, online``; ``reported``: homes by the age of their newest sample (``within_90_s,
        within_10_min, within_1_h, older, never``); ``answers`` to commands: ``count, p50_s, p99_s`` (whole
        seconds, None before the first)``, slowest_s``; ``clocks``: ``heard, off`` (more than five seconds
        from ours)``, worst`` (``site_id, ahead_s``, those furthest off); ``gaps`` in meter readings:
        ``sites, readings, worst`` (``site_id, readings``); ``contested``: homes some readings of which were
        found in the last day not to count beside others, by reason: ``sites, named``; ``certificates`` of
        this service's way to the broker: ``file, ends_at, days_left, fault``.

    Raises:
        OperationRefused: No controller runs in this process.
    """
    live = desk.running
    fleet, health = live.controller.fleet, live.controller.health
    gaps = health.gaps()
    return {
        "enrolled": int(fleet.enrolled.sum()),
        "online": int((fleet.online & fleet.enrolled).sum()),
        "reported": freshness(desk),
        "answers": _answers(health.answer_s),
        "clocks": _clocks(desk, health.ahead_s),
        "gaps": {
            "sites": len(gaps),
            "readings": sum(gaps.values()),
            "worst": [
                {"site_id": site_id, "readings": count}
                for site_id, count in sorted(gaps.items(), key=lambda gap: (-gap[1], gap[0]))[:NAMED_MOST]
            ],
        },
        "contested": {
            reason.value: {"sites": len(site_ids), "named": list(site_ids[:NAMED_MOST])}
            for reason, site_ids in (await desk.store.contested_since(desk.clock.now() - A_DAY)).items()
        },
        "certificates": [certificate_facts(path, desk.clock.now()) for path in desk.certificates],
    }


def _answers(answer_s: IntColumn) -> Json:
    if not len(answer_s):
        return {"count": 0, "p50_s": None, "p99_s": None, "slowest_s": None}
    half, nearly_all = np.percentile(answer_s, (50, 99), method="higher").astype(int).tolist()
    return {
        "count": len(answer_s), "p50_s": half, "p99_s": nearly_all, "slowest_s": int(answer_s.max()),
    }  # fmt: skip


def _clocks(desk: Desk, ahead_s: IntColumn) -> Json:
    roster = desk.running.controller.roster
    heard = np.flatnonzero(ahead_s != NOT_HEARD)
    off = heard[np.abs(ahead_s[heard]) > CLOCK_OFF_S]
    worst = off[np.argsort(-np.abs(ahead_s[off]), kind="stable")][:NAMED_MOST]
    return {
        "heard": len(heard),
        "off": len(off),
        "worst": [
            {"site_id": roster.site_id(site_no), "ahead_s": int(ahead_s[site_no])}
            for site_no in worst.tolist()
        ],
    }


def certificate_facts(path: Path, now: datetime) -> Json:
    """Return one certificate: ``file, ends_at, days_left``, and ``fault`` where it cannot be read."""
    try:
        ends_at = certificate_ends_at(path)
    except NotACertificate as failure:
        return {"file": path.name, "ends_at": None, "days_left": None, "fault": str(failure)}
    return {"file": path.name, "ends_at": instant(ends_at), "days_left": (ends_at - now).days, "fault": None}
