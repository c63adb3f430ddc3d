"""An owner's homes as a home-automation system shows them: what comes, what it gives and earned."""

from decimal import Decimal
from typing import Any

from vpp.domain.eligibility import LIVE_FOR_S
from vpp.entrypoints.operations.desk import Desk, Json
from vpp.entrypoints.operations.owner import show_own_events, show_own_home
from vpp.entrypoints.operations.staff_reads import ON_THE_COMMAND_LINE, homes_for


async def show_home_states(
    desk: Desk, *, owner_id: str, actor: str, reason: str = ON_THE_COMMAND_LINE
) -> Json:
    """Return what is shown of each home of an owner in a home-automation system.

    Returns:
        ``homes``, those that take part: ``site_id, next_event_id, next_event_start`` (of the running or next
        event; None without one)``, event_active`` (this home is asked for power now)``, event_test`` (the
        event that asks, or else the next one, is a test)``, discharge_w`` (positive gives; None where the
        newest sample is older than 90 s, or may be of an event that has let the battery go)``,
        energy_delivered_wh`` (all settled events)``,
        season_earnings_usd`` (this year)``, opted_out`` (of that event).
    """
    await homes_for(desk, owner_id, actor, reason, "show in home automation")
    own = await show_own_home(desk, owner_id=owner_id)
    past = (await show_own_events(desk, owner_id=owner_id))["events"]
    homes, coming = own["homes"], own["coming"]
    assert isinstance(homes, list)
    assert isinstance(coming, list)
    assert isinstance(past, list)
    year = str(desk.clock.now().year)
    return {
        "homes": [
            _state(
                home,
                next((part for part in coming if part["site_id"] == home["site_id"]), None),
                [row for row in past if row["site_id"] == home["site_id"]],
                year,
            )
            for home in homes
            if home["withdrawn_at"] is None
        ]
    }


def _state(home: Json, part: Json | None, past: list[Json], year: str) -> Json:
    now = home["now"]
    age_s = now["age_s"] if isinstance(now, dict) else None
    active = bool(isinstance(now, dict) and now["setpoint_w"])
    event: Any = part["event"] if part else {}
    live = isinstance(now, dict) and age_s is not None and age_s <= LIVE_FOR_S
    live = live and isinstance(now, dict) and now["let_go_confirmed"] is None
    earned = (Decimal(str(row["amount_usd"])) for row in past if str(row["starts_at"]).startswith(year))
    return {
        "site_id": home["site_id"],
        "next_event_id": event["event_id"] if part else None,
        "next_event_start": part["starts_at"] if part else None,
        "event_active": active,
        "event_test": bool(now["test"] if isinstance(now, dict) and active else part and event["test"]),
        "discharge_w": now["power_w"] if live and isinstance(now, dict) else None,
        "energy_delivered_wh": sum(int(str(row["delivered_wh"])) for row in past),
        "season_earnings_usd": str(sum(earned, Decimal("0.00"))),
        "opted_out": bool(part and (part["opted_out_at"] or part["opted_out_at_home"])),
    }
