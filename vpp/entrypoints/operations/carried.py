"""What a netting season's earlier events of an owner carry to an event, so that its kWh can be followed."""

from collections.abc import Iterable
from fractions import Fraction

from vpp.domain.program import NegativePolicy, Program, Terms
from vpp.domain.settlement import Settlement, SettlementLine
from vpp.domain.tariff import paid_energy


def carried_wh(
    program: Program | None, terms: Terms | None, line: SettlementLine, runs: Iterable[Settlement]
) -> Fraction | None:
    """Return the signed watt-hours of the home in the season's earlier events of its program.

    None where no season nets, and where these do not give the energy that was settled, because an earlier
    event was settled again since or the home had another owner: then the evidence bundle has them.

    Args:
        program: The event's program.
        terms: Its terms on the event's day.
        line: The home's line.
        runs: The settlements of the same program, with the owner's lines.
    """
    policy = NegativePolicy.NET_SEASON_FLOOR_ZERO
    if program is None or terms is None or terms.negative_policy is not policy or line.settled is None:
        return None
    season = program.season_around(program.local_day(line.settled))
    begins = line.settled.starts_at
    carried = sum(
        (
            earlier.incremental_wh
            for run in runs
            if run.program_id == program.program_id
            for earlier in run.lines
            if earlier.site_id == line.site_id and earlier.settled is not None and season is not None
            if season.starts_at <= earlier.settled.starts_at < begins
        ),
        start=Fraction(0),
    )
    return carried if paid_energy([line.incremental_wh], policy, carried) == line.paid_wh else None
