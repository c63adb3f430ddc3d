"""An event settled a second time, from the formulas alone: dates, fractions and plain loops, home by home.

Slow and short on purpose, and nothing of the product is used, so that the two can only agree by being right.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NEVER = datetime.max.replace(tzinfo=UTC)
WORSE = ["OK", "ESTIMATED", "MISSING", "BAD"]
REASONS = ["event", "dual_event", "outage"]
HOLIDAYS = {
    date(2025, 11, 27), date(2025, 12, 25), date(2026, 1, 1), date(2026, 5, 25), date(2026, 7, 4),
    date(2026, 9, 7), date(2026, 11, 26), date(2026, 12, 25), date(2027, 1, 1), date(2027, 5, 31),
    date(2027, 7, 5),
}  # fmt: skip
ADJUSTED = {
    "ten_of_ten": (Fraction(1), Fraction(7, 5)),
    "caiso_ten_of_ten": (Fraction(4, 5), Fraction(6, 5)),
    "five_of_ten": (Fraction(3, 5), Fraction(7, 5)),
}
NOTHING = Fraction(0)

Span = tuple[datetime, datetime]
Energy = tuple[int, str]
Reading = tuple[datetime, int, int, str]  # outward and inward Wh, quality


@dataclass
class Terms:
    """What a program file says."""

    zone: ZoneInfo
    rule: str  # incremental, delivered, season, month
    method: str
    policy: str
    holidays: str
    season: tuple[str, str]  # first and last day, as month-day
    window: tuple[int, int]  # local hours; equal: all day
    longest: timedelta
    rate: Fraction
    share: Fraction
    bonus: Fraction
    cap_kwh: Fraction | None
    cap_amount: Fraction | None
    minimum: Fraction


@dataclass
class Home:
    """One settled home, its meter, and what other events brought to its cents."""

    name: str
    meter: str
    opted_out_at: datetime | None
    held: list[Span]
    excluded: list[tuple[date, str]]
    rows: list[Reading] = field(repr=False)
    carried: list[tuple[str, datetime, Fraction]] = field(default_factory=list)
    powers: list[tuple[str, Fraction, Fraction]] = field(default_factory=list)  # event, weight, kW


@dataclass
class Event:
    """A program, an event of it as it was committed, its homes, and prices by hour."""

    terms: Terms
    versions: list[tuple[datetime, str, list[Span]]]
    homes: list[Home]
    prices: dict[datetime, Fraction]
    excluded: list[tuple[date, str]] = field(default_factory=list)  # of every home; each of them has it too

    @property
    def asked(self) -> list[Span]:
        """Return what the last version that asks for anything asks for; stretches that touch are one."""
        found: list[Span] = []
        for starts, stops in sorted(next(spans for _, _, spans in reversed(self.versions) if spans)):
            if found and found[-1][1] == starts:
                starts = found.pop()[0]
            found.append((starts, stops))
        return found

    @property
    def day(self) -> date:
        return self.asked[0][0].astimezone(self.terms.zone).date()

    def local(self, day: date, hour: int) -> datetime:
        return datetime(day.year, day.month, day.day, hour, tzinfo=self.terms.zone).astimezone(UTC)

    def in_season(self, day: date) -> bool:
        first, last = self.terms.season
        if first <= last:
            return first <= f"{day:%m-%d}" <= last
        return f"{day:%m-%d}" >= first or f"{day:%m-%d}" <= last

    def same_season(self, earlier: date) -> bool:
        """Return whether the event's season has begun by an earlier day: none ends or begins in between."""
        days = [earlier + past * DAY for past in range((self.day - earlier).days + 1)]
        return all(map(self.in_season, days)) and all(
            f"{day:%m-%d}" != self.terms.season[0] for day in days[1:]
        )

    @property
    def on(self) -> list[Span]:
        """Return the stretches in which the event was on: from its first commit to its cancel."""
        begins, (last, status, _) = self.versions[0][0], self.versions[-1]
        ends = last if status == "cancelled" else NEVER
        cut = [(max(starts, begins), min(stops, ends)) for starts, stops in self.asked]
        return [(starts, stops) for starts, stops in cut if starts < stops]

    @property
    def parts(self) -> list[Span]:
        """Return what of it pays: inside season and window, no longer than the longest."""
        opens, closes = self.terms.window
        left, found = self.terms.longest, []
        for starts, stops in self.on:
            day = starts.astimezone(self.terms.zone).date() - DAY
            while day <= stops.astimezone(self.terms.zone).date():
                from_ = max(starts, self.local(day, opens))
                to = min(stops, self.local(day + DAY if closes <= opens else day, closes))
                if from_ < to and left and self.in_season(day):
                    to = min(to, from_ + left)
                    left -= to - from_
                    found.append((from_, to))
                day += DAY
        return found


@dataclass
class Hour:
    """A clock hour of a home: what it metered in the part that counts, and what it does on other days."""

    starts_at: datetime
    fraction: Fraction
    metered_wh: int | None
    usual_wh: Fraction | None  # of the whole hour
    beyond_wh: Fraction
    quality: str


@dataclass
class Result:
    """What a home's evening comes to, before money is made of it."""

    hours: list[Hour]
    quality: str
    seconds: int  # of the event, without what another event held
    chosen: list[date]
    dropped: list[tuple[date, str]]

    @property
    def beyond_wh(self) -> Fraction:
        return sum((hour.beyond_wh for hour in self.hours), start=NOTHING)


class Meter:
    """One home's counters and its days."""

    def __init__(self, event: Event, home: Home) -> None:
        self.event, self.sign = event, 1 if home.meter == "device" else -1
        self.rows: list[Reading] = []
        for row in sorted(home.rows):
            if self.rows and self.rows[-1][0] == row[0]:
                if self.rows[-1][1:3] != row[1:3]:
                    self.rows[-1] = (*self.rows[-1][:3], "BAD")  # two values for one instant
                continue
            self.rows.append(row)
        self.times = [row[0] for row in self.rows]
        self.totals, self.falls = [(0, 0)], [False]
        for earlier, later in pairwise(self.rows):
            out, inn = self.totals[-1]
            falls = later[1] < earlier[1] or later[2] < earlier[2]
            self.falls.append(falls)
            more = (0, 0) if falls else (later[1] - earlier[1], later[2] - earlier[2])
            self.totals.append((out + more[0], inn + more[1]))

    def edge(self, at: datetime) -> tuple[Fraction, str, int, int] | None:
        """Return the net counter at an instant, its quality, and the rows around it, an hour away at most."""
        after = bisect_left(self.times, at)
        before = after if after < len(self.times) and self.times[after] == at else after - 1
        near = [
            place
            for place in (before, after)
            if 0 <= place < len(self.times) and abs(self.times[place] - at) <= HOUR
        ]
        if not near:
            return None
        marks = [self.rows[place][3] for place in near]
        gap = self.times[near[-1]] - self.times[near[0]]
        if len(near) < 2 or gap > HOUR:
            return NOTHING, max(["MISSING", *marks], key=WORSE.index), near[0], near[-1]
        part = Fraction((at - self.times[before]) // timedelta(seconds=1), gap // timedelta(seconds=1) or 1)
        out, inn = (
            (first + (last - first) * part + Fraction(1, 2)) // 1
            for first, last in zip(self.totals[before], self.totals[after], strict=True)
        )
        marks.append("OK" if gap <= timedelta(minutes=5) else "ESTIMATED")
        return Fraction(out - inn), max(marks, key=WORSE.index), before, after

    def energy(self, starts: datetime, stops: datetime) -> Energy:
        """Return net discharge, or load at the grid, with its quality; zero where it is MISSING or BAD.

        A counter that falls is another one from then on, unless it stays above where the stretch began, and
        above nothing: then it had jumped, and what it fell is taken off again. Another one after more than
        15 minutes without one leaves what was between unknown.
        """
        one, other = self.edge(starts), self.edge(stops)
        if one is None or other is None:
            return 0, "MISSING"
        begin, net = self.rows[one[2]], int(other[0] - one[0])
        marks = [one[1], other[1], *(row[3] for row in self.rows[one[2] : other[3] + 1] if row[3] == "BAD")]
        for place in range(one[2] + 1, other[3] + 1):
            if not self.falls[place]:
                continue
            last, row = self.rows[place - 1], self.rows[place]
            marks.append("MISSING" if row[0] - last[0] > HOUR else "ESTIMATED")
            if row[1] >= begin[1] and row[2] >= begin[2] and (row[1], row[2]) != (0, 0):
                net += row[1] - last[1] - (row[2] - last[2])
            else:
                begin = row
                if row[0] - last[0] > timedelta(minutes=15):
                    marks.append("MISSING")
        quality = max(marks, key=WORSE.index)
        return (0 if quality in ("MISSING", "BAD") else self.sign * net), quality

    def on_day(self, hour: datetime, day: date) -> Energy:
        """Return the energy of the same clock hour on another day than the event's."""
        zone = self.event.terms.zone
        local = hour.astimezone(zone)
        wanted = day + (local.date() - self.event.day)
        midnight = self.event.local(wanted, 0)
        alike = [
            each
            for each in (midnight + number * HOUR for number in range(26))
            if (there := each.astimezone(zone)).date() == wanted and there.hour == local.hour
        ]
        if not alike:
            return 0, "MISSING"
        at = alike[-1 if local.fold else 0]
        return self.energy(at, at + HOUR)


def valid(energies: Iterable[Energy]) -> bool:
    return all(quality in ("OK", "ESTIMATED") for _, quality in energies)


def similar_days(
    event: Event, home: Home, meter: Meter, hours: Sequence[datetime]
) -> tuple[dict[date, Fraction] | None, list[tuple[date, str]]]:
    """Return what each day counts, None without a baseline; and the similar days that were passed over."""
    terms = event.terms

    def rests(day: date) -> bool:
        return day.weekday() >= 5 or (terms.holidays == "NERC" and day in HOLIDAYS)

    if terms.method == "none":
        return {}, []
    rest, highest = rests(event.day), terms.method == "five_of_ten"
    wanted = (5 if highest else 4) if rest else 10
    looked_at: dict[date, list[Energy]] = {}
    dropped: list[tuple[date, str]] = []
    with_data = 0
    for day in (event.day - back * DAY for back in range(1, 46)):
        energies = [meter.on_day(hour, day) for hour in hours]
        with_data += valid(energies)
        if rests(day) != rest or len(looked_at) == wanted:
            continue
        reasons = [reason for reason in REASONS if (day, reason) in home.excluded]
        if reasons or not valid(energies):
            dropped.append((day, (reasons or ["invalid_data"])[0]))
        else:
            looked_at[day] = energies
    if len(looked_at) < wanted or with_data < 10:
        return None, []
    if not highest:
        return dict.fromkeys(looked_at, Fraction(1, wanted)), dropped
    order = sorted(looked_at, key=lambda day: (-sum(wh for wh, _ in looked_at[day]), event.day - day))
    shares = [Fraction(50, 100), Fraction(30, 100), Fraction(20, 100)] if rest else [Fraction(1, 5)] * 5
    dropped += [(day, "not_among_highest") for day in order[len(shares) :]]
    return dict(zip(order, shares, strict=False)), sorted(dropped, reverse=True)


def adjustment(event: Event, home: Home, meter: Meter, days: dict[date, Fraction]) -> Fraction:
    """Return what a grid meter's baseline is multiplied by."""
    terms = event.terms
    if home.meter == "device" or terms.method == "none":
        return Fraction(1)
    begins, ends = (at.astimezone(terms.zone) for at in (event.on[0][0], event.on[-1][1]))
    first = begins.astimezone(UTC) - timedelta(minutes=begins.minute, seconds=begins.second)
    past = ends.astimezone(UTC) - timedelta(minutes=ends.minute, seconds=ends.second)
    past += HOUR if ends.minute or ends.second else timedelta()
    around = [first - back * HOUR for back in (4, 3, 2)]
    if terms.method == "five_of_ten":
        around += [past + after * HOUR for after in (1, 2, 3)]
    today = [meter.energy(hour, hour + HOUR) for hour in around]
    usual = [(meter.on_day(hour, day), share) for day, share in days.items() for hour in around]
    average = sum((energy[0] * share for energy, share in usual), start=NOTHING)
    if not valid([*today, *(energy for energy, _ in usual)]) or average <= 0:
        return Fraction(1)
    low, high = ADJUSTED[terms.method]
    return min(max(sum(wh for wh, _ in today) / average, low), high)


def without(parts: Sequence[Span], held: Sequence[Span]) -> list[Span]:
    """Return the parts of an event less the stretches in which another one held the home."""
    edges = sorted({edge for span in (*parts, *held) for edge in span})
    return [
        (one, two)
        for one, two in pairwise(edges)
        if any(starts <= one < stops for starts, stops in parts)
        and not any(starts <= one < stops for starts, stops in held)
    ]


def settled(event: Event, home: Home) -> Result:
    """Return a home's hours, as they are metered and as they usually are."""
    parts, meter, zone = without(event.parts, home.held), Meter(event, home), event.terms.zone
    hours: list[datetime] = []
    for starts, stops in parts:
        local = starts.astimezone(zone)
        at = starts - timedelta(minutes=local.minute, seconds=local.second)
        while at < stops:
            hours += [] if at in hours else [at]
            at += HOUR
    days, dropped = similar_days(event, home, meter, hours) if hours else ({}, [])
    factor = adjustment(event, home, meter, days) if hours and days is not None else Fraction(1)
    left_at = home.opted_out_at or NEVER
    found = []
    for at in hours:
        pieces = [(max(starts, at), min(stops, at + HOUR, left_at)) for starts, stops in parts]
        pieces = [(starts, stops) for starts, stops in pieces if starts < stops]
        if not pieces:
            continue
        energies = [meter.energy(*piece) for piece in pieces]
        metered = sum(wh for wh, _ in energies) if valid(energies) else None
        fraction = Fraction(sum((stops - starts) // timedelta(seconds=1) for starts, stops in pieces), 3600)
        usual = None
        if days is not None:
            usual = factor * sum(
                (meter.on_day(at, day)[0] * share for day, share in days.items()), start=NOTHING
            )
        counts = usual is not None and metered is not None
        beyond = meter.sign * (metered - usual * fraction) if counts else NOTHING  # type: ignore[operator]  # counts says that both are known
        worst = max((quality for _, quality in energies), key=WORSE.index)
        found.append(Hour(at, fraction, metered, usual, beyond, worst))
    quality = max((hour.quality for hour in found), key=WORSE.index, default="OK")
    return Result(
        hours=found,
        quality="NO_BASELINE" if found and days is None else quality,
        seconds=sum((stops - starts) // timedelta(seconds=1) for starts, stops in parts),
        chosen=sorted(days or (), reverse=True),
        dropped=dropped,
    )


def paid_wh(event: Event, home: Home, result: Result) -> Fraction:
    """Return the energy that pays, after the rule for hours below the baseline."""
    if event.terms.policy == "clamp_interval":
        return sum((max(NOTHING, hour.beyond_wh) for hour in result.hours), start=NOTHING)
    if event.terms.policy == "net_event_floor_zero":
        return max(NOTHING, result.beyond_wh)
    before = sum((wh for _, _, wh in home.carried), start=NOTHING)
    return max(NOTHING, before + result.beyond_wh) - max(NOTHING, before)


def powers(event: Event, home: Home, results: dict[str, Result]) -> list[tuple[Fraction, Fraction]]:
    """Return the weights and kilowatts whose mean a season or a month pays; none out of season."""
    if event.terms.rule == "season" and not event.in_season(event.day):
        return []
    result, others = results[home.name], [(weight, kw) for _, weight, kw in home.powers]
    length_h = Fraction(result.seconds, 3600)
    if not length_h:
        return others
    if event.terms.rule == "season":
        return [(Fraction(1), paid_wh(event, home, result) / 1000 / length_h), *others]
    fullest: dict[datetime, Fraction] = {}  # what of each clock hour pays, whoever stayed in
    for starts, stops in event.parts:
        local = starts.astimezone(event.terms.zone)
        at = starts - timedelta(minutes=local.minute, seconds=local.second)
        while at < stops:
            seconds = (min(stops, at + HOUR) - max(starts, at)) // timedelta(seconds=1)
            fullest[at] = fullest.get(at, NOTHING) + Fraction(seconds, 3600)
            at += HOUR
    priced = bool(event.prices)
    priced = priced and all(event.prices.get(at, NOTHING) > 0 for at in fullest)
    weight = {at: event.prices[at] if priced else Fraction(1) for at in fullest}
    own = [
        (hour.fraction * weight[hour.starts_at], hour.beyond_wh / hour.fraction / 1000)
        for hour in result.hours
    ]
    given = {hour.starts_at: hour.fraction for hour in result.hours}
    left_h = length_h - sum(given.values(), start=NOTHING)
    if left_h > 0:  # what was left undone is zero power; its hours weigh their mean
        undone = {at: max(NOTHING, part - given.get(at, NOTHING)) for at, part in fullest.items()}
        of_undone = sum((part * weight[at] for at, part in undone.items()), start=NOTHING)
        own.append((left_h * of_undone / sum(undone.values()) if priced else left_h, NOTHING))
    return [*own, *others]


def average_kw(stretches: Sequence[tuple[Fraction, Fraction]]) -> Fraction:
    total = sum((weight for weight, _ in stretches), start=NOTHING)
    return (
        max(NOTHING, sum((weight * kw for weight, kw in stretches), start=NOTHING) / total)
        if total
        else NOTHING
    )


def dollars(event: Event, home: Home, results: dict[str, Result]) -> str:
    """Return a home's amount, rounded once, half up."""
    terms, result = event.terms, results[home.name]
    if terms.rule in ("season", "month"):
        stretches = powers(event, home, results)
        base, counts = average_kw(stretches), bool(stretches)
    else:
        base, counts = paid_wh(event, home, result) / 1000, bool(result.hours)
        base = base if terms.cap_kwh is None else min(base, terms.cap_kwh)
        counts = counts and result.quality in ("OK", "ESTIMATED")
    owner = base * terms.rate * terms.bonus * terms.share
    if counts and terms.minimum:
        owner = max(owner, terms.minimum)
    if terms.cap_amount is not None:
        owner = min(owner, terms.cap_amount)
    cents = int((abs(owner) * 100 + Fraction(1, 2)) // 1)
    return f"{'-' if owner < 0 and cents else ''}{cents // 100}.{cents % 100:02d}"
