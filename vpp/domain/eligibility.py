"""Who may take part in an event: one reason for every home, the first that applies."""

import numpy as np

from vpp.domain.dispatch_plan import MIN_COMMAND_W, Reason, first_reason, held_w
from vpp.domain.event_plan import Demand
from vpp.domain.fleet import FleetState
from vpp.domain.quantities import BoolColumn, IntColumn

LIVE_FOR_S = 90
"""So long a sample is live, on every page, board and badge: a home in an event reports every 30 s."""
STALE_AFTER_S = 600  # two idle telemetry periods


def eligibility(
    fleet: FleetState,
    demand: Demand,
    *,
    opted_out: BoolColumn,
    held_back: BoolColumn,
    busy: BoolColumn,
    planned: BoolColumn,
    waiting: BoolColumn,
    now_s: int,
    judged: bool = True,
    silent_after_s: int = STALE_AFTER_S,
    season_capped: BoolColumn | None = None,
) -> IntColumn:
    """Return one reason code per site: the first that keeps it out, else ``SELECTED`` for eligible.

    Args:
        opted_out: Owners who said no to this event, here or at home.
        held_back: Sites that refused lately.
        busy: Sites that a more important event holds now.
        planned: Sites that this event's plan uses already. They stay while they have charge above
            the floor; a new site must be able to hold 500 W to the end, or less while less is asked.
        waiting: Sites that are starting, or that nobody can judge now: not yet stale.
        now_s: Seconds since 1970.
        judged: False while homes may not have reported yet since the controller began; planned ones
            stay until then, however old their sample is.
        silent_after_s: How old the sample of a planned site may be: two telemetry periods.
        season_capped: Sites that have done their part of the season.
    """
    age_s = now_s - fleet.sampled_at_s
    unknown = planned & (fleet.sampled_at_s == 0) & (not judged)
    above = fleet.soc_permille - fleet.binding_reserve_permille()
    enough = held_w(fleet.energy_full_wh, above, demand.profile.at_peak_s) >= MIN_COMMAND_W
    able = (planned & (above > 0)) | unknown | enough
    return first_reason(
        len(fleet),
        (
            (Reason.NO_CONSENT, ~fleet.consented),
            (Reason.NOT_ENROLLED, ~fleet.enrolled),
            (Reason.OTHER_PROGRAM, fleet.program_no != demand.program_no),
            (Reason.NOT_TARGETED, ~demand.targeted),
            (Reason.SEASON_CAP, np.zeros_like(busy) if season_capped is None else season_capped),
            (Reason.OPTED_OUT, opted_out | fleet.opted_out_at_home),
            (Reason.OFFLINE, ~fleet.online & ~unknown),
            (
                Reason.STALE,
                np.where(planned, ~waiting & judged & (age_s > silent_after_s), age_s > STALE_AFTER_S),
            ),
            (Reason.ISLANDED, fleet.islanded),
            (Reason.STORM_MODE, fleet.storm_mode),
            (Reason.FAULTED, fleet.faulted),
            (Reason.EXPORT_NOT_PERMITTED, (fleet.discharge_limit_w < MIN_COMMAND_W) & ~unknown),
            (Reason.BELOW_RESERVE, ~able),
            (Reason.HELD_BACK, held_back),
            (Reason.NOT_NEEDED, busy),
        ),
    )
