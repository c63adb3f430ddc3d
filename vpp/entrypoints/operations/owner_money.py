"""An owner's money so that it can be followed with pencil and paper."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus
from itertools import zip_longest
from zoneinfo import ZoneInfo

from vpp.domain.payout import payouts
from vpp.domain.settlement import COUNTING
from vpp.entrypoints.operations.desk import (
    Desk,
    Json,
    OperationRefused,
    instant,
    instant_or_none,
    money_text,
    usd,
)
from vpp.entrypoints.operations.money import ENGLISH, show_statement
from vpp.entrypoints.operations.owner import show_own_events
from vpp.entrypoints.operations.sent_to_grid import exported_wh

LEAST_PLACES, MOST_PLACES = 2, 7


async def show_own_event(desk: Desk, *, owner_id: str, event_id: str) -> Json:
    """Return one past event of an owner with every step from the meter to the cent.

    Returns:
        ``rows`` as of ``show_own_events``, one for each home; ``lines`` of the statement with ``sum_kwh``,
        ``hours`` (with ``metered_kwh, baseline_kwh, beyond_kwh``, exact decimals as text, an ellipsis where
        they never end; and ``exported_wh, exported_kwh``, what of it went to the grid, None where the grid
        meter is not shared; ``amount``, what its energy is worth before netting, bounds and rounding),
        ``own_rate`` (of a kWh, with share and bonus) and ``sum_amount`` (of the hours; all three None where
        no kWh is paid by itself), ``paid_kwh``, ``steps`` (from the hours to the amount: ``text``, and its
        ``key`` and ``values``), ``by_event`` (whether an event is paid by itself),
        ``day_kwh`` (by date, what each day behind the baseline metered in those hours, as one text);
        ``counts`` (the keys of the sentences that say what counts); ``chain_head``.
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
        "counts": list(dict.fromkeys(line["counts"] for line in lines if line["counts"] is not None)),
        "chain_head": statement["chain_head"],
    }


def _of(rows: object, event_id: str) -> list[Json]:
    assert isinstance(rows, list)
    return [row for row in rows if row["event_id"] == event_id]


def _with_steps(line: Json, exported: Sequence[int | None]) -> Json:
    hours, days_behind, currency = line["hours"], line["days_behind"], str(line["currency"])
    assert isinstance(hours, list)
    assert isinstance(days_behind, list)
    return line | {
        "hours": [
            hour
            | {
                "metered_kwh": kilowatt_hours(hour["metered_wh"]),
                "baseline_kwh": kilowatt_hours(hour["baseline_wh"]),
                "beyond_kwh": kilowatt_hours(hour["incremental_wh"]),
                "exported_wh": sent_wh,
                "exported_kwh": kilowatt_hours(sent_wh),
                "amount": _money(_worth(line, hour["incremental_wh"]), currency),
            }
            for hour, sent_wh in zip_longest(hours, exported)
        ],
        "day_kwh": {
            each["date"]: ", ".join(str(kilowatt_hours(energy_wh)) for energy_wh in each["metered_wh"])
            for each in days_behind
        },
        "sum_kwh": kilowatt_hours(line["incremental_wh"]),
        "own_rate": _money(own_rate(line), currency),
        "sum_amount": _money(_worth(line, line["incremental_wh"]), currency),
        "by_event": bool(Decimal(str(line["rate_usd_per_kwh"] or 0))),
        "paid_kwh": kilowatt_hours(line["paid_wh"]),
        "steps": [
            {"key": key, "values": dict(values), "text": str(ENGLISH(key, **values))}
            for key, values in (*_steps_to_energy(line), *_steps_to_money(line))
        ],
    }


def own_rate(line: Json) -> Fraction | None:
    """Return what a kWh of an event is worth to its owner, with share and bonus; None where none is paid."""
    rate = Fraction(str(line["rate_usd_per_kwh"] or 0))
    if not rate:
        return None
    return rate * Fraction(str(line["owner_share"])) * Fraction(str(line["bonus_multiplier"]))


def money_columns(line: Json, hour: Json) -> Json:
    """Return the cells about money of one hour in a file.

    ``rate_usd_per_kwh`` (the program's), ``own_rate_usd_per_kwh`` (with the owner's share and any bonus) and
    ``amount_usd_before_netting`` (their product with the hour's energy; neither bound nor rounded).
    """
    own, worth = own_rate(line), _worth(line, hour["incremental_wh"])
    return {
        "rate_usd_per_kwh": line["rate_usd_per_kwh"],
        "own_rate_usd_per_kwh": None if own is None else _ratio_text(own),
        "amount_usd_before_netting": None if worth is None else _ratio_text(worth),
    }


def _worth(line: Json, energy_wh: object) -> Fraction | None:
    rate = own_rate(line)
    return None if rate is None else Fraction(str(energy_wh)) / 1000 * rate


def _ratio_text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"  # written as a decimal with the other cells


def _money(value: Fraction | None, currency: str) -> str | None:
    return None if value is None else money_text(decimal_text(value), currency)


Step = tuple[str, Mapping[str, str]]
"""A sentence's key and what fills it."""


def _steps_to_energy(line: Json) -> list[Step]:
    """Return how the hours become the energy that is paid."""
    beyond = "statement.step_hour_grid" if line["meter"] == "site" else "statement.step_hour"
    of_hour = "statement.step_hour_all" if line["baseline_method"] == "none" else beyond
    steps: list[Step] = [(of_hour, {})]
    adjustment = Fraction(str(line["adjustment"]))
    if adjustment != 1:
        steps.append(("statement.step_adjusted", {"times": decimal_text(adjustment)}))
    if line["adjusted_by"] is not None:
        steps.append(("statement.step_ratio", _ratio(line["adjusted_by"], str(line["time_zone"]))))
    steps.append(("statement.step_sum", {"sum": f"{kilowatt_hours(line['incremental_wh'])} kWh"}))
    summed, paid = Fraction(str(line["incremental_wh"])), Fraction(str(line["paid_wh"]))
    carried = Fraction(str(line["carried_wh"] or 0))
    if paid != summed or carried:
        by_rule = {
            "clamp_interval": "statement.step_clamp",
            "net_season_floor_zero": "statement.step_season",
        }
        step = by_rule.get(str(line["negative_policy"]), "statement.step_floor")
        known = "…" if line["carried_wh"] is None else f"{kilowatt_hours(carried)} kWh"
        steps.append((step, {"paid": f"{kilowatt_hours(paid)} kWh", "carried": known}))
    return steps


def _ratio(adjusted: object, time_zone: str) -> Mapping[str, str]:
    """Return the two energies by whose ratio a baseline is adjusted, with its bounds."""
    assert isinstance(adjusted, dict)
    local = (datetime.fromisoformat(at).astimezone(ZoneInfo(time_zone)) for at in adjusted["hours"])
    return {
        "hours": ", ".join(f"{at:%H:%M}" for at in local),
        "metered": f"{kilowatt_hours(adjusted['metered_wh'])} kWh",
        "usual": f"{kilowatt_hours(adjusted['usual_wh'])} kWh",
        "lowest": decimal_text(Fraction(adjusted["lowest"])),
        "highest": decimal_text(Fraction(adjusted["highest"])),
    }


def _steps_to_money(line: Json) -> list[Step]:
    """Return how that energy becomes the amount; how it becomes a power, where no event is paid by itself."""
    rate, currency = Fraction(str(line["rate_usd_per_kwh"] or 0)), str(line["currency"])
    paid_wh = Fraction(str(line["paid_wh"]))
    if not rate:
        length_h = Fraction(str(line["event_s"])) / 3600
        of_event = {
            "paid": f"{kilowatt_hours(paid_wh)} kWh",
            "hours": decimal_text(length_h),
            "kw": decimal_text(paid_wh / 1000 / length_h if length_h else Fraction(0)),
        }
        return [("statement.step_period", of_event)]
    steps: list[Step] = []
    cap_kwh, bonus = line["cap_kwh"], Fraction(str(line["bonus_multiplier"]))
    if cap_kwh is not None and paid_wh > Fraction(str(cap_kwh)) * 1000:
        paid_wh = Fraction(str(cap_kwh)) * 1000
        steps.append(("statement.step_cap_kwh", {"cap": str(cap_kwh)}))
    product = paid_wh / 1000 * rate * Fraction(str(line["owner_share"]))
    of_rate = {
        "paid": f"{kilowatt_hours(paid_wh)} kWh",
        "rate": money_text(str(line["rate_usd_per_kwh"]), currency),
        "share": str(line["owner_share"]),
        "product": money_text(decimal_text(product), currency),
    }
    steps.append(("statement.step_rate", of_rate))
    if bonus != 1:
        product *= bonus
        of_bonus = {"bonus": decimal_text(bonus), "product": money_text(decimal_text(product), currency)}
        steps.append(("statement.step_bonus", of_bonus))
    return [*steps, *_bounds(line, product, currency), _to_the_cent(line)]


def _bounds(line: Json, product: Fraction, currency: str) -> Iterator[Step]:
    """Yield the minimum or the cap, whichever changed the amount last; the cap comes after the minimum."""
    most, least = line["cap_amount"], line["minimum_amount"]
    lifted = least is not None and product < Fraction(str(least)) and line["quality"] in COUNTING
    so_far = Fraction(str(least)) if lifted else product
    if most is not None and so_far > Fraction(str(most)):
        yield "statement.step_most", {"most": money_text(str(most), currency)}
    elif lifted:
        yield "statement.step_least", {"least": money_text(str(least), currency)}


def _to_the_cent(line: Json) -> Step:
    return "statement.step_cent", {"amount": money_text(str(line["amount_usd"]), str(line["currency"]))}


def periods_with_steps(statement: Json) -> list[Json]:
    """Return a statement's months, seasons and years with the product of their factors as texts."""
    periods, events = statement["periods"], statement["events"]
    assert isinstance(periods, list)
    assert isinstance(events, list)
    events_by_id = {str(event["event_id"]): event for event in events}
    return [_period_with_steps(each, events_by_id) for each in periods]


def _period_with_steps(period: Json, events_by_id: Mapping[str, Json]) -> Json:
    kind, _, starts = str(period["period"]).partition("-")
    currency, bonus = str(period["currency"]), Fraction(str(period["bonus_multiplier"]))
    factors = [Fraction(str(period[name])) for name in ("rate_usd", "owner_share")]
    kw = Fraction(str(period["average_kw"] or 0))
    parts = period["parts"]
    assert isinstance(parts, list)
    return period | {
        "kind": kind,
        "starts": starts,
        "kw": decimal_text(kw),
        "rate": money_text(str(period["rate_usd"]), currency),
        "product": money_text(decimal_text(kw * factors[0] * factors[1] * bonus), currency),
        "bonus": None if bonus == 1 else decimal_text(bonus),
        "parts": [
            each
            | _when_and_what(events_by_id.get(str(each["event_id"])))
            | {
                "kw": decimal_text(Fraction(str(each["kw"]))),
                "weight": decimal_text(Fraction(each["weight"])),
            }
            for each in parts
        ],
        "weighed": any(Fraction(each["weight"]) != 1 for each in parts),
    }


def _when_and_what(event: Json | None) -> Json:
    """Return what an owner knows an event by, its ``name`` and local ``day``; None where it was in none."""
    if event is None or event["starts_at"] is None:
        return {"name": None, "day": None}
    local = datetime.fromisoformat(str(event["starts_at"])).astimezone(ZoneInfo(str(event["time_zone"])))
    return {"name": event["name"], "day": local.date().isoformat()}


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
