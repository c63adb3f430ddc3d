"""An owner's hours as rows of a file: each holds all that leads from the meter to the event's cent.

By hand: the mean of ``baseline_days_wh``, times ``adjustment`` and ``fraction``, is ``baseline_wh``; metered
less baseline (the other way round at a grid meter) is ``incremental_wh``; an event's hours sum to
``event_incremental_wh``; with ``event_carried_wh`` and by ``negative_policy`` that gives
``event_paid_wh``, of which at most ``cap_kwh`` count; times ``own_rate_usd_per_kwh``, at least
``minimum_amount`` and then at most ``cap_amount``, rounded once, half up to the cent, it is
``event_amount_usd``.
"""

from vpp.entrypoints.operations.desk import Json
from vpp.entrypoints.operations.owner_money import money_columns
from vpp.wire.table import decimal_cell, harmless, write_table

OF_AN_HOUR = (
    "starts_at", "fraction", "metered_wh", "baseline_wh", "incremental_wh", "quality", "reason",
)  # fmt: skip
OF_THE_MONEY = ("rate_usd_per_kwh", "own_rate_usd_per_kwh", "amount_usd_before_netting")
BEHIND = ("baseline_days_wh", "adjustment")
OF_THE_EVENT = (
    "bonus_multiplier", "owner_share", "negative_policy", "event_incremental_wh", "event_carried_wh",
    "event_paid_wh", "cap_kwh", "cap_amount", "minimum_amount", "rounding", "event_amount_usd",
    "event_booked_usd", "event_state",
)  # fmt: skip
_COLUMNS = (
    "event_id",
    "site_id",
    "program_id",
    "currency",
    *OF_AN_HOUR,
    *BEHIND,
    *OF_THE_MONEY,
    *OF_THE_EVENT,
)
_AS_NAMED = ("bonus_multiplier", "owner_share", "negative_policy", "cap_kwh", "cap_amount", "minimum_amount")
ROUNDING = "half up to the cent, once"


def hour_rows(line: Json) -> list[Json]:
    """Return a row for each hour of a statement's line; one without an hour where it has none."""
    hours = line["hours"]
    assert isinstance(hours, list)
    shared = {name: line[name] for name in ("event_id", "site_id", "program_id", "currency")}
    if not hours:
        return [shared | dict.fromkeys((*OF_AN_HOUR, *BEHIND, *OF_THE_MONEY)) | _of_event(line)]
    return [
        shared | hour | _behind(line, place) | money_columns(line, hour) | _of_event(line)
        for place, hour in enumerate(hours)
    ]


def _behind(line: Json, place: int) -> Json:
    """Return what each day averaged metered in an hour; the days alone where that cannot be told now."""
    behind, days = line["days_behind"], line["baseline_days"]
    assert isinstance(behind, list)
    assert isinstance(days, list)
    told = [f"{day['date']}: {day['metered_wh'][place]}" for day in behind] or days
    return {"baseline_days_wh": "; ".join(told), "adjustment": line["adjustment"]}


def _of_event(line: Json) -> Json:
    return {name: line[name] for name in _AS_NAMED} | {
        "event_incremental_wh": line["incremental_wh"],
        "event_carried_wh": line["carried_wh"],
        "event_paid_wh": line["paid_wh"],
        "rounding": ROUNDING,
        "event_amount_usd": line["amount_usd"],
        "event_booked_usd": line["booked_usd"],
        "event_state": line["state"],
    }


def statement_csv(statement: Json) -> bytes:
    """Return a statement's hours as CSV, event by event, then a row for each month, season or year paid.

    Exact fractions are written as decimals of six places.
    """
    events, periods = statement["events"], statement["periods"]
    assert isinstance(events, list)
    assert isinstance(periods, list)
    rows = [row for line in events for row in hour_rows(line)]
    rows += [_period_row(period) for period in periods]
    return write_table(_COLUMNS, ([_cell(row.get(name)) for name in _COLUMNS] for row in rows))


def _period_row(period: Json) -> Json:
    """Return what a month, a season or a year came to; its id stands where an event's would."""
    return {
        **{name: period[name] for name in ("site_id", "program_id", "currency")},
        "event_id": period["period"],
        "reason": period["how"],
        "bonus_multiplier": period["bonus_multiplier"],
        "owner_share": period["owner_share"],
        "cap_amount": period["cap_amount"],
        "minimum_amount": period["minimum_amount"],
        "rounding": ROUNDING,
        "event_paid_wh": period["paid_wh"],
        "event_amount_usd": period["amount_usd"],
        "event_booked_usd": period["booked_usd"],
        "event_state": period["state"],
    }


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    decimal = decimal_cell(text)
    number = decimal.removeprefix("-").replace(".", "", 1).isdecimal()
    return decimal if number else harmless(text)
