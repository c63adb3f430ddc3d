"""What a program is told to count on: a power for each month."""

from vpp.domain.nomination import Nomination, NotAMonth, read_month
from vpp.domain.quantities import Watts
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant
from vpp.entrypoints.operations.paging import page
from vpp.entrypoints.operations.starting import read_megawatts


async def nominate_power(desk: Desk, *, program_id: str, month: str, power_mw: str, actor: str) -> Json:
    """Nominate a power for one month of a program, in place of what was nominated for it before.

    Args:
        program_id: A program of the configuration.
        month: Such as ``2026-09``; it must not be over.
        power_mw: Megawatts.

    Returns:
        ``program_id, month, power_w, nominated_at, actor, time_zone``.
    """
    program = desk.programs.get(program_id)
    if program is None:
        raise OperationRefused(f"there is no program {program_id[:60]!r}; vpp program list names all")
    try:
        wanted = read_month(month)
    except NotAMonth as failure:
        raise OperationRefused(f"month {failure}", field="month") from failure
    now = desk.clock.now()
    if wanted < f"{now.astimezone(program.zone):%Y-%m}":
        raise OperationRefused(f"month {wanted} is over; what was nominated for it stands", field="month")
    power_w = read_megawatts(power_mw)
    if power_w is None:
        raise OperationRefused("a nomination needs a number of megawatts", field="power_mw")
    nomination = Nomination(program_id, wanted, Watts(power_w), now, actor)
    await desk.store.nominate(nomination)
    await desk.store.leave_trail(
        [desk.trail_entry(actor, "nominate", f"program:{program_id}", f"{power_mw} MW for {wanted}")]
    )
    return _facts(nomination) | {"time_zone": program.zone.key}


async def list_nominations(
    desk: Desk, *, program_id: str = "", cursor: str = "", limit: int | None = None
) -> Json:
    """Return what was nominated, in the order made; of one month the last stands.

    Returns:
        ``nominations``: ``program_id, month, power_w, nominated_at, actor``; ``time_zone`` (in which staff
        read them), ``next_cursor``.
    """
    made = enumerate(await desk.store.nominations())
    numbered = [each for each in made if program_id in ("", each[1].program_id)]
    shown, following = page(numbered, lambda each: f"{each[0]:012d}", cursor=cursor, limit=limit)
    return {
        "nominations": [_facts(each) for _, each in shown],
        "time_zone": desk.staff_zone,
        "next_cursor": following,
    }


def _facts(nomination: Nomination) -> Json:
    return {
        "program_id": nomination.program_id,
        "month": nomination.month,
        "power_w": nomination.power,
        "nominated_at": instant(nomination.nominated_at),
        "actor": nomination.actor,
    }
