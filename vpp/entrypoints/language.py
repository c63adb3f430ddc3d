"""The owner's language: every sentence of the owner's pages, in English and in Spanish, dates included.

The sentences stand in ``messages/*.toml``. Numbers look the same in both, as they do on a bill.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

LANGUAGES = ("en", "es")
MESSAGES = Path(__file__).parent / "messages"


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def sentences(code: str) -> dict[str, str]:
    """Return every sentence of a language by its key."""
    return dict(_flat(tomllib.loads((MESSAGES / f"{code}.toml").read_text(encoding="utf-8"))))


_SENTENCES = {code: sentences(code) for code in LANGUAGES}


DONE = {
    "read statement": "statement",
    "read home page": "home_page",
    "read home ": "home",
    "read history": "history",
    "read event ": "event",
    "read contact": "contact",
    "read season of ": "season",
    "read disputes": "disputes",
    "read battery energy": "energy",
    "export everything": "export",
    "show in home automation": "home_automation",
    "log in": "log_in",
    "reserve ": "reserve",
    "change reserve of ": "reserve_of",
    "change contact": "where",
    "name home ": "name",
    "write off": "write_off",
    "opt out of ": "out",
    "opt in to ": "in",
    "open calendar": "calendar",
    "close calendar": "no_calendar",
    "leave the program with ": "leave",
    "destroy what names the owner": "forget",
    "dispute asked": "asked",
    "dispute answered": "answered",
    "dispute corrected": "corrected",
}
"""How the actions begin that the trail keeps about owners, and the sentence for each."""

OURS = {"to answer the question": "question", "asked on the command line": "command_line"}
"""The reasons that no person typed, and the sentence for each."""


@dataclass(frozen=True, slots=True)
class Language:
    """Says things in one language; called with a sentence's key and what fills its braces."""

    code: str

    def __call__(self, key: str, /, **values: object) -> Markup:
        """Return a sentence; what fills it is escaped."""
        return Markup(_SENTENCES[self.code][key]).format(**values)  # noqa: S704  # our own sentence; values are escaped

    def counted(self, key: str, count: int, /, **values: object) -> Markup:
        """Return the sentence for one or for many."""
        return self(f"{key}.{'one' if count == 1 else 'many'}", count=count, **values)

    def word(self, table: str, word: str) -> Markup:
        """Return what a word of ours, such as ``below_reserve``, means to an owner; unknown ones plainly."""
        key = f"{table}.{word}"
        if key in _SENTENCES[self.code]:
            return self(key)
        return self(f"{table}.other", word=word.replace("_", " "))

    def done(self, action: str, names: Mapping[str, Markup] = MappingProxyType({})) -> Markup:
        """Return what the trail says somebody did, in the owner's words; what is not known stays as it is.

        Events are called as ``names`` has them by their ids.
        """
        for beginning, key in DONE.items():
            if action.startswith(beginning):
                what = action.removeprefix(beginning)
                return self(f"done.{key}", what=names.get(what, what))
        return escape(action)

    def why(self, reason: str, names: Mapping[str, Markup] = MappingProxyType({})) -> Markup:
        """Return why somebody did it: a reason of ours in the owner's words, a person's as it was typed."""
        return self(f"reason.{OURS[reason]}") if reason in OURS else escape(names.get(reason, reason))

    def because(self, why: Mapping[str, str | None], zone: str) -> Markup:
        """Return why an hour is not simply metered, with the times of day between which that is."""
        since, until = why["from_at"], why["until_at"]
        where = "between" if since and until else "after" if since else "before" if until else "ever"
        times = {"since": self.clock(since, zone), "until": self.clock(until, zone)}
        single = f"because.{why['fault']}"
        return self(single if single in _SENTENCES[self.code] else f"{single}_{where}", **times)

    def moment(self, at: str | None, zone: str, *, year: bool = False) -> Markup:
        """Return an instant in local words with UTC on hover, such as ``Wed Sep 9, 6:00 PM PDT``."""
        if at is None:
            return Markup("–")
        local = datetime.fromisoformat(at).astimezone(ZoneInfo(zone))
        joined = self("dates.joined", date=self._date(local.date(), year=year), clock=self._clock(local))
        return _marked(local, joined)

    def clock(self, at: str | None, zone: str) -> Markup:
        """Return the time of day in local words with UTC on hover, such as ``6:00 PM PDT``."""
        if at is None:
            return Markup("–")
        local = datetime.fromisoformat(at).astimezone(ZoneInfo(zone))
        return _marked(local, self._clock(local))

    def day(self, day: str) -> Markup:
        """Return an ISO date in words with its year."""
        return self._date(date.fromisoformat(day), year=True)

    def short_day(self, day: str) -> Markup:
        """Return an ISO date in words without its year."""
        return self._date(date.fromisoformat(day), year=False)

    def age(self, seconds: int) -> Markup:
        """Return how old something is: seconds up to two minutes, minutes up to two hours, then hours."""
        if seconds < 120:
            return self("now.seconds_old", count=seconds)
        if seconds < 7200:
            return self("now.minutes_old", count=seconds // 60)
        return self("now.hours_old", count=seconds // 3600)

    def _date(self, day: date, *, year: bool) -> Markup:
        said = _SENTENCES[self.code]
        weekday, month = (
            said["dates.days"].split()[day.weekday()],
            said["dates.months"].split()[day.month - 1],
        )
        key = "dates.date_year" if year else "dates.date"
        return self(key, weekday=weekday, month=month, day=day.day, year=day.year)

    def _clock(self, local: datetime) -> str:
        half = _SENTENCES[self.code]["dates.am" if local.hour < 12 else "dates.pm"]
        return f"{local.hour % 12 or 12}:{local:%M} {half} {local:%Z}"


def _marked(at: datetime, words: str) -> Markup:
    utc = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(utc, words)


def preferred(accepted: str) -> str:
    """Return which of our languages an Accept-Language header names first; English where none."""
    for part in accepted[:200].split(","):
        named = re.match(r"\s*([a-zA-Z]{2})\b", part)
        if named and named[1].lower() in LANGUAGES:
            return named[1].lower()
    return LANGUAGES[0]
