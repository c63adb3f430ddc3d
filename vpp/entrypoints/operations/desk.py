"""The desk: everything an operation may use, and how it refuses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from vpp.domain.access import TrailEntry
from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import EventHistory, is_test
from vpp.domain.ledger import HOME_CURRENCY
from vpp.domain.program import Program, zone_of_most
from vpp.domain.quantities import MICRO_DOLLARS_PER_CENT, MicroDollars
from vpp.entrypoints.operations.live import Live
from vpp.ports import Clock, Keys, Store

Json = dict[str, object]


class Changed(Protocol):
    """Tell the controller that something was said that dispatch must look at."""

    def __call__(self, site_id: str | None = None, /) -> None:
        """Wake it; with a site, let it read that site's enrolment again."""
        ...


class OperationRefused(Exception):
    """The operation changed nothing. ``faults`` names each one where a file or list has several.

    ``field`` names the argument that is at fault, so that a form can say it beside its field; empty where
    it is none or several.
    """

    def __init__(
        self,
        detail: str,
        status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY,
        faults: Sequence[str] = (),
        *,
        field: str = "",
    ) -> None:
        super().__init__(detail)
        self.detail, self.status, self.faults, self.field = detail, status, tuple(faults), field


def _nobody_waits(_site_id: str | None = None) -> None:
    """Stand in where no controller runs."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What operations work on. ``changed`` wakes the controller, with the site whose enrolment changed.

    ``live`` is the running controller; None where none runs in this process. ``request_id`` and ``why`` are
    what the trail says of the request that is answered. ``certificates`` are those towards the broker.
    ``messenger`` says whether anything is sent to people from here, ``mail`` whether e-mail is.
    """

    store: Store
    clock: Clock
    keys: Keys
    programs: Mapping[str, Program]
    production: bool = False
    changed: Changed = _nobody_waits
    live: Live | None = None
    request_id: str = ""
    why: str = ""
    certificates: tuple[Path, ...] = ()
    messenger: bool = True
    mail: bool = True

    @property
    def running(self) -> Live:
        """Return the running controller. Raises OperationRefused where none runs in this process."""
        if self.live is None:
            raise OperationRefused(
                "this needs the state of the fleet, which only a running controller has; start vpp serve",
                HTTPStatus.CONFLICT,
            )
        return self.live

    async def enrollment(self, site_id: str) -> Enrollment:
        """Return the site's place. Raises OperationRefused where nobody enrolled it."""
        enrollment = await self.store.enrollment(site_id)
        if enrollment is None:
            raise OperationRefused(
                f"site {site_id} is not enrolled; vpp site list names all sites", HTTPStatus.NOT_FOUND
            )
        return enrollment

    async def history(self, event_id: str) -> EventHistory:
        """Return all that was committed about an event. Raises OperationRefused for an unseen id."""
        history = await self.store.history(event_id)
        if history is None:
            raise OperationRefused(
                f"event {event_id} is not known; vpp event list names all events", HTTPStatus.NOT_FOUND
            )
        return history

    def trail_entry(self, actor: str, action: str, subject: str, about: str = "") -> TrailEntry:
        """Return what the trail keeps of something done now, with the request and the reason given."""
        reason = ": ".join(part for part in (about, self.why) if part)
        return TrailEntry(self.clock.now(), actor, action, subject, reason[:500], self.request_id)

    def currency(self, program_id: str) -> str:
        """Return what a program pays in; ``USD`` where the program is not here."""
        program = self.programs.get(program_id)
        return program.currency if program else HOME_CURRENCY

    def time_zone(self, program_id: str) -> str:
        """Return the name of a program's zone, for people; ``UTC`` where the program is not here."""
        program = self.programs.get(program_id)
        return program.zone.key if program else "UTC"

    @property
    def staff_zone(self) -> str:
        """Return the name of the zone in which staff read what belongs to no event."""
        return zone_of_most(self.programs, self.live.program_sizes() if self.live else {})


def not_settled(history: EventHistory) -> str:
    """Return why an event has no settlement yet, or never will."""
    event_id = history.latest.event_id
    if is_test(history):
        return f"event {event_id} is a test, which is never paid: it has no settlement"
    return f"event {event_id} is not settled; vpp settle {event_id} does it after its end"


def instant(at: datetime) -> str:
    """Return a time as RFC 3339 in UTC with whole seconds."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def local_words(at: datetime, zone: str) -> str:
    """Return a time for a sentence to people, such as ``Wed Sep 9, 8:00 PM PDT``."""
    local = at.astimezone(ZoneInfo(zone))
    return f"{local:%a %b} {local.day}, {local.hour % 12 or 12}:{local:%M %p %Z}"


def instant_or_none(at: datetime | None) -> str | None:
    """Return a time as ``instant`` does, or None."""
    return None if at is None else instant(at)


def percent(permille: int) -> float:
    """Return permille as percent with one decimal."""
    return round(permille / 10, 1)


def percent_or_none(permille: int | None) -> float | None:
    """Return permille as percent, None where there is none."""
    return None if permille is None else percent(permille)


def money_text(amount: str, currency: str) -> str:
    """Return a decimal as an amount for people, to the cent at least: ``$1,016.00``, ``AUD 18.33``."""
    whole, _, part = amount.replace(",", "").partition(".")
    sign, digits = ("-" if whole.startswith("-") else ""), int(whole.lstrip("-"))
    unit = "$" if currency == HOME_CURRENCY else f"{currency} "
    return f"{sign}{unit}{digits:,}.{(part + '00')[: max(2, len(part))]}"


def usd(amount: int) -> str:
    """Return micro-dollars as dollars with two decimals, or with six where cents would hide a part."""
    places, unit = (2, MICRO_DOLLARS_PER_CENT) if amount % MICRO_DOLLARS_PER_CENT == 0 else (6, 1)
    whole, part = divmod(abs(MicroDollars(amount)) // unit, 10**places)
    return f"{'-' if amount < 0 else ''}{whole}.{part:0{places}d}"
