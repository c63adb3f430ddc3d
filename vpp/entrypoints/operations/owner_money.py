"""An owner's money so that it can be followed with pencil and paper."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus
from itertools import zip_longest

from vpp.domain.payout import payouts
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, instant_or_none, usd
from vpp.entrypoints.operations.money import show_statement
from vpp.entrypoints.operations.owner import show_own_events
from vpp.entrypoints.operations.sent_to_grid import exported_wh

LEAST_PLACES, MOST_PLACES = 2, 7


async def show_own_event(desk: Desk, *, owner_id: str, event_id: str) -> Json:
    """Return one past event of an owner with every step from the meter to the cent.

    Returns:
        ``rows`` as of ``show_own_events``, one for each home; ``lines`` of the statement with ``sum_kwh``,
        ``paid_kwh``, ``hours`` (with ``metered_kwh, baseline_kwh, beyond_kwh``, exact decimals as text, an
        ellipsis where they never end; and ``exported_wh, exported_kwh``, what of it went to the grid, None
        where the grid meter is not shared), ``product_usd`` (before rounding) and ``adds_up`` (whether the
        product rounds to the amount; not for programs with another rule), ``day_kwh`` (by date, what each
        day behind the baseline metered in those hours, as one text); ``chain_head``.
    """
    past = (await show_own_events(desk, owner_id=owner_id))["events"]
    statement = await show_statement(desk, owner_id=owner_id)
    rows, lines = _of(past, event_id), _of(statement["events"], event_id)
    if not rows:
        raise OperationRefused("There is no such event of yours.", HTTPStatus.NOT_FOUND)
    settled = (each for each in await desk.store.settlements(owner_id=owner_id) if each.event_id == event_id)
    sent = {line.site_id: await exported_wh(desk, line) for each in settled for line in each.lines}
    return {
        "rows": rows,
        "lines": [_with_steps(line, sent.get(str(line["site_id"]), ())) for line in lines],
        "chain_head": statement["chain_head"],
    }


def _of(rows: object, event_id: str) -> list[Json]:
    assert isinstance(rows, list)
    return [row for row in rows if row["event_id"] == event_id]


def _with_steps(line: Json, exported: Sequence[int | None]) -> Json:
    hours, days_behind = line["hours"], line["days_behind"]
    assert isinstance(hours, list)
    assert isinstance(days_behind, list)
    rate = Fraction(str(line["rate_usd_per_kwh"] or 0)) * Fraction(str(line["owner_share"] or 0))
    product = Fraction(str(line["paid_wh"])) / 1000 * rate
    amount = Decimal(str(line["amount_usd"]))
    return line | {
        "hours": [
            hour
            | {
                "metered_kwh": kilowatt_hours(hour["metered_wh"]),
                "baseline_kwh": kilowatt_hours(hour["baseline_wh"]),
                "beyond_kwh": kilowatt_hours(hour["incremental_wh"]),
                "exported_wh": sent_wh,
                "exported_kwh": kilowatt_hours(sent_wh),
            }
            for hour, sent_wh in zip_longest(hours, exported)
        ],
        "day_kwh": {
            each["date"]: ", ".join(str(kilowatt_hours(energy_wh)) for energy_wh in each["metered_wh"])
            for each in days_behind
        },
        "sum_kwh": kilowatt_hours(line["incremental_wh"]),
        "paid_kwh": kilowatt_hours(line["paid_wh"]),
        "floored": Fraction(str(line["incremental_wh"])) < 0 == Fraction(str(line["paid_wh"])),
        "product_usd": decimal_text(product),
        "adds_up": abs(product - Fraction(amount)) <= Fraction(1, 200),
    }


def kilowatt_hours(energy_wh: object) -> str | None:
    """Return exact watt-hours, whole or a fraction as text, as exact kWh with at least two decimals."""
    return None if energy_wh is None else decimal_text(Fraction(str(energy_wh)) / 1000)


def decimal_text(value: Fraction) -> str:
    """Return a number as a decimal; where its digits do not end within seven, cut off and marked with …"""
    scaled = value * 10**MOST_PLACES
    cut = int(scaled)
    sign, digits = ("-" if cut < 0 else ""), f"{abs(cut):0{MOST_PLACES + 1}d}"
    whole, places = digits[:-MOST_PLACES], digits[-MOST_PLACES:]
    if scaled.denominator != 1:
        return f"{sign}{int(whole):,}.{places}…"
    return f"{sign}{int(whole):,}.{places.rstrip('0').ljust(LEAST_PLACES, '0')}"


async def show_own_payouts(desk: Desk, *, owner_id: str) -> Json:
    """Return ``payouts``: ``run_id, at, amount_usd, state, ended_at`` of an owner, the newest first."""
    entries = await desk.store.entries(owner_id=owner_id)
    made: Sequence[Json] = [
        {
            "run_id": each.run_id,
            "at": instant(each.entry.at),
            "amount_usd": usd(each.amount),
            "state": each.state.value,
            "ended_at": instant_or_none(each.ended_at),
        }
        for each in payouts(entries)
        if each.owner_id == owner_id
    ]
    return {"payouts": list(reversed(made))}


def with_owed(sums: Mapping[str, object]) -> Json:
    """Return the sums with ``owed_usd``: what is final and not on its way; None where nothing is summed."""
    if sums["posted_usd"] is None:
        return {**sums, "owed_usd": None}
    owed = Decimal(str(sums["posted_usd"])) - Decimal(str(sums["on_its_way_usd"]))
    return {**sums, "owed_usd": str(owed)}
