"""How pages write times, power, energy, money and ages: local time by its name, UTC beside it."""

from collections.abc import Mapping
from datetime import UTC, datetime, time
from fractions import Fraction
from zoneinfo import ZoneInfo

from markupsafe import Markup

from vpp.domain.eligibility import LIVE_FOR_S, STALE_AFTER_S
from vpp.entrypoints.operations.desk import money_text


def moment(at: datetime | str | None, zone: str) -> Markup:
    """Return an instant in local words with UTC on hover, such as ``Wed Sep 9, 6:00 PM PDT``."""
    if at is None:
        return Markup("–")
    exact = datetime.fromisoformat(at) if isinstance(at, str) else at
    return _time(exact, f"{_local(exact, zone):%a %b} {_local(exact, zone).day}, {_clock(exact, zone)}")


def clock_time(at: datetime | str | None, zone: str) -> Markup:
    """Return the time of day in local words with UTC on hover, such as ``6:00 PM PDT``."""
    if at is None:
        return Markup("–")
    exact = datetime.fromisoformat(at) if isinstance(at, str) else at
    return _time(exact, _clock(exact, zone))


def exact_time(at: datetime | str, zone: str) -> Markup:
    """Return the time of day to the second, such as ``6:00:15 PM PDT``, with UTC on hover."""
    exact = datetime.fromisoformat(at) if isinstance(at, str) else at
    local = _local(exact, zone)
    return _time(exact, f"{local.hour % 12 or 12}:{local:%M:%S %p %Z}")


def file_time(at: datetime | str, zone: str) -> str:
    """Return an instant in local time as files have it, such as ``2026-09-09 18:00:15 PDT``."""
    exact = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{_local(exact, zone):%Y-%m-%d %H:%M:%S %Z}"


def time_of_day(hour_and_minute: str) -> str:
    """Return a local time without a day, ``16:00``, as people say it: ``4:00 PM``."""
    said = time.fromisoformat(hour_and_minute)
    return f"{said.hour % 12 or 12}:{said:%M %p}"


def _local(at: datetime, zone: str) -> datetime:
    return at.astimezone(ZoneInfo(zone))


def _clock(at: datetime, zone: str) -> str:
    local = _local(at, zone)
    return f"{local.hour % 12 or 12}:{local:%M %p %Z}"


def _time(at: datetime, words: str) -> Markup:
    utc = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(utc, words)


def power(power_w: int | None) -> str:
    """Return watts as kW with one decimal, from a thousand of them on as MW with one."""
    if power_w is None:
        return "all that can be sustained"
    return f"{power_w / 1e6:,.1f} MW" if abs(power_w) >= 1_000_000 else f"{power_w / 1000:,.1f} kW"


def energy(energy_wh: int | str | None) -> str:
    """Return watt-hours (whole, or a fraction as text) as kWh with two decimals, MWh from 1,000 of them."""
    if energy_wh is None:
        return "–"
    exact = float(Fraction(energy_wh))
    return f"{exact / 1e6:,.2f} MWh" if abs(exact) >= 1_000_000 else f"{exact / 1000:,.2f} kWh"


def money(amount: str | None, currency: str = "USD") -> str:
    """Return an amount as text to the cent: ``$16.00``, ``AUD 18.33``."""
    return "–" if amount is None else money_text(amount, currency)


def duration(seconds: int) -> str:
    """Return a length of time in hours and minutes, under ten minutes with seconds."""
    whole = max(0, seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes < 10 else f"{minutes} min"


def on_the_way(fanout: Mapping[str, int | None]) -> str:
    """Return how many homes neither deliver nor failed yet and how long that takes; empty where none is."""
    coming = (fanout["asked"] or 0) - (fanout["delivering"] or 0) - (fanout["failed"] or 0)
    if not coming:
        return ""
    left_s = fanout["done_in_s"]
    if not left_s:
        return f"{counted(coming, 'home')} on the way" + ("" if left_s is None else "; soon proved")
    left = f"{left_s} s" if left_s < 60 else duration(left_s)
    return f"{counted(coming, 'home')} on the way; all proved in about {left}"


def age(seconds: int | None) -> str:
    """Return how old something is: seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds is None:
        return "never"
    if seconds < 120:
        return f"{seconds} s old"
    return f"{seconds // 60} min old" if seconds < 7200 else f"{seconds // 3600} h old"


def freshness(seconds: int | None, online: bool) -> str:
    """Return ``live``, ``recent``, ``stale`` or ``offline`` for a reading of that age."""
    if seconds is None or not online:
        return "offline"
    return "live" if seconds <= LIVE_FOR_S else "recent" if seconds <= STALE_AFTER_S else "stale"


def part_of_hour(fraction: str) -> str:
    """Return a part of an hour, such as ``77/80``, in minutes and seconds."""
    seconds = round(3600 * Fraction(fraction))
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds % 60 else f"{seconds // 60} min"


def sentence_case(word: str) -> str:
    """Return a word of ours, such as ``below_reserve``, as people write it."""
    return word.replace("_", " ")


def counted(count: int, noun: str) -> str:
    """Return so many of something, in the singular where it is one."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def first_upper(sentence: str) -> str:
    """Return a sentence with a capital at its beginning and nothing else changed."""
    return sentence[:1].upper() + sentence[1:]


def percent(share: float | None) -> str:
    """Return a share in whole percent."""
    return "–" if share is None else f"{share:.0f} %"
