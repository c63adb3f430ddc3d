"""Owners and staff who leave an address, open a calendar, ask, answer alarms, bring prices, log in and out.

What was answered is remembered and must hold from then on; what was asked and not answered may be so or not.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import quote

import httpx
from sqlalchemy import text

from simulators.chaos.checks import Auditor
from simulators.chaos.outbox import MOST_OF_A_PARTY, Outbox, alarm_faults
from simulators.chaos.patience import until
from simulators.chaos.people import ACTOR, People
from simulators.chaos.plan import BY_VISITORS
from simulators.chaos.stage import PRICED
from simulators.chaos.wire import Fault
from vpp.entrypoints.http.security import COOKIE
from vpp.entrypoints.operations.people import key_of

POINTS = frozenset(BY_VISITORS)
STAFF = ("ana", "ben")  # the second is told when nobody answers the first
OWNERS_WRITTEN_TO = 6
LOGIN = "browser"
PAGE = "/operator/alarms"
RAISED_S = 11.0  # people are told every five seconds, and the first time may just be missed
_PRICE_FILE = "program_id,hour_starts_at,usd_per_mwh\n" + PRICED + ",2026-09-10T01:00:00Z,{}.25\n"
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')
_LINKS = "SELECT COUNT(*) FROM login_link WHERE key = :key"


@dataclass(slots=True)
class Visitors:
    """Everybody who uses pages and is written to, and what they were promised."""

    people: People
    auditor: Auditor
    outbox: Outbox
    owner_ids: list[str]
    languages: dict[str, str] = field(default_factory=dict)  # by party; only where it is known
    calendars: dict[str, str] = field(default_factory=dict)  # by owner: the secret, empty where it was ended
    questions: list[tuple[str, str, str]] = field(default_factory=list)  # owner, period, text
    answered: dict[str, str] = field(default_factory=dict)  # by alarm: who
    price: int = 0  # what stands in whole dollars; 0 where it is not known
    sessions: list[str] = field(default_factory=list)  # cookies of those begun and not ended
    ended: list[str] = field(default_factory=list)
    _alarms: set[str] = field(default_factory=set)
    _faults: list[Fault] = field(default_factory=list)
    _leaving: str = ""  # a session whose end nobody answered
    _link: str = ""  # a path that nobody used yet, as far as is known
    _knows_login: bool = False
    _waiting: str = ""  # the event that waits for leave
    _number: int = 0

    async def provoke(self, pid: int, point: str) -> None:
        """Do once what makes the controller pass a point."""
        match point:
            case "contact":
                await self.leave_address(pid, self.people.random.choice(self.owner_ids[:OWNERS_WRITTEN_TO]))
            case "calendar":
                await self.open_calendar(pid, self.people.random.choice(self.owner_ids[:-1]))
            case "calendar-end":
                await self._end_calendar(pid)
            case "case":
                await self._ask(pid)
            case "alarm" | "alarm-notice":
                await self._let_wait(pid)
            case "alarm-answer":
                await self._answer(pid)
            case "notice" | "notice-send" | "notice-delivery":
                await self._give_news(pid)
            case "prices":
                await self._bring_price(pid)
            case "session" | "login":
                await self._log_in(pid)
            case "logout":
                await self._log_out(pid)

    async def leave_address(self, pid: int, owner_id: str) -> None:
        """Let an owner say where, and in which language, they are written to."""
        await self._leave_address(pid, f"/owners/{owner_id}/contact", owner_id, {})

    async def open_calendar(self, pid: int, owner_id: str) -> None:
        """Let an owner open a calendar, in place of the one before."""
        path = f"/owners/{owner_id}/calendar"
        self.calendars.pop(owner_id, None)

        def told(answer: httpx.Response) -> None:
            self.calendars[owner_id] = answer.json()["path"].removeprefix("/calendar/").removesuffix(".ics")

        await self.people.wish(pid, "POST", path, None, self._if_last(path, told))

    async def faults(self, pid: int) -> list[Fault]:
        """Return what was promised and is not so, in the database and to a browser."""
        found, self._faults = self._faults, []
        await self._look_in(pid, found)
        return found + await self.kept()

    async def kept(self) -> list[Fault]:
        """Return what was promised and is not so in the database."""
        found: list[Fault] = []
        async with self.auditor.opened() as (store, _):
            for party, language in self.languages.items():
                contact = await store.contact(party)
                if contact is None or contact.language != language or not contact.address:
                    found.append(("lost", f"the address of {party} was taken and is not stored"))
            for owner_id, secret in self.calendars.items():
                feed = await store.calendar(owner_id=owner_id)
                if (feed.key if feed else "") != (key_of(secret) if secret else ""):
                    found.append(("lost", f"the calendar of {owner_id} is not the one that was answered"))
            prices = await store.prices(PRICED) if self.price else ()
            if self.price and (not prices or prices[-1].per_mwh != self.price * 1_000_000 + 250_000):
                found.append(("lost", f"the price of an hour is not the ${self.price}.25 that was answered"))
            words = await store.words() if self.questions else ()
            said = [(each.owner_id, each.period, each.text) for each in words]
            found += [
                (
                    "lost" if said.count(each) == 0 else "doubled",
                    f"question {each} is there {said.count(each)} times",
                )
                for each in self.questions
                if said.count(each) != 1
            ]
            notices = [
                notice
                for name in STAFF
                for notice, _ in await store.notices_of(f"staff:{name}", limit=MOST_OF_A_PARTY)
            ]
            alarms = await store.alarms(limit=None)
        found += alarm_faults(alarms, self.answered, notices, self._alarms)
        self._alarms |= {each.key for each in alarms}
        return found

    async def untold(self) -> list[Fault]:
        """Return the alarms that stand and nobody was told of."""
        async with self.auditor.opened() as (store, _):
            found = [each.key for each in await store.alarms(limit=None) if each.stands and not each.told_at]
            staff = await store.contacts(staff=True)
        return [("lost", f"alarm {key} stands and nobody was told") for key in found if staff]

    async def after_the_alarms(self) -> list[Fault]:
        """Return the alarms that are not over although nothing was amiss, or are otherwise than they were."""
        async with self.auditor.opened() as (store, _):
            alarms = await store.alarms(limit=None)
        lasting: list[Fault] = [
            ("lost", f"alarm {each.key} is not over after quiet")
            for each in alarms
            if each.cleared_at is None
        ]
        return lasting + await self.kept()

    @property
    def leaving(self) -> str:
        """Return the owner who leaves in the end, and does nothing before."""
        return self.owner_ids[-1]

    def forget(self) -> None:
        """Expect nothing any more of the owner who left."""
        self.languages.pop(self.leaving, None)
        self.calendars.pop(self.leaving, None)

    async def _leave_address(self, pid: int, path: str, party: str, more: dict[str, int]) -> None:
        self._number += 1
        language = ("en", "es")[self._number % 2]
        self.languages.pop(party, None)
        self.outbox.parties.add(party)

        def taken(_: httpx.Response) -> None:
            self.languages[party] = language

        body = {"address": self.outbox.mailbox.address, "language": language, **more}
        await self.people.wish(pid, "PUT", path, body, self._if_last(path, taken))

    def _if_last(
        self, path: str, granted: Callable[[httpx.Response], None]
    ) -> Callable[[httpx.Response], None]:
        """Return what remembers an answer unless the same was asked anew, and may be done already."""

        def last(answer: httpx.Response) -> None:
            if not any(each.path == path for each in self.people.wishes):
                granted(answer)

        return last

    async def _end_calendar(self, pid: int) -> None:
        opened = sorted(owner_id for owner_id, secret in self.calendars.items() if secret)
        if not opened:
            await self.open_calendar(pid, self.people.random.choice(self.owner_ids[:-1]))
            return
        owner_id = self.people.random.choice(opened)
        path = f"/owners/{owner_id}/calendar"
        self.calendars.pop(owner_id)

        def ended(_: httpx.Response) -> None:
            self.calendars[owner_id] = ""

        await self.people.wish(pid, "DELETE", path, None, self._if_last(path, ended))

    async def _ask(self, pid: int) -> None:
        """Let an owner ask about the event that ended last; where none did, end one first."""
        people = self.people
        if not people.ended:
            await (people.begin_event() if people.event_id is None else people.end_event(pid))
            return
        await people.settle(pid)
        self._number += 1
        asked = (
            people.random.choice(self.owner_ids[:-1]),
            people.ended[-1],
            f"Why so little? ({self._number})",
        )
        path = f"/owners/{asked[0]}/disputes/{asked[1]}"
        await people.wish(pid, "POST", path, {"text": asked[2]}, lambda _: self.questions.append(asked))

    async def _staff_has_addresses(self, pid: int) -> None:
        for rank, name in enumerate(STAFF):
            if f"staff:{name}" not in self.languages:
                await self._leave_address(pid, f"/staff/{name}/contact", f"staff:{name}", {"rank": rank})

    async def _let_wait(self, pid: int) -> None:
        """Let the grid ask for what needs somebody's leave, and nobody give it: that is an alarm."""
        await self._staff_has_addresses(pid)
        if self._waiting:
            await self.people.wish(pid, "POST", f"/events/{self._waiting}/cancel", None)
        self._waiting = await self.people.ask_too_shortly()

    async def _answer(self, pid: int) -> None:
        """Answer an alarm that stands; where none does, see to one."""
        standing = await self._standing(pid)
        if not standing:
            await self._let_wait(pid)

            async def raised() -> bool:
                found = await self._standing(pid)
                return found is None or bool(found)

            await until(raised, RAISED_S)
            standing = await self._standing(pid)
        if standing:
            key = standing[0]
            path = f"/alarms/{quote(key, safe='')}/answer"

            def taken(_: httpx.Response) -> None:
                self.answered[key] = ACTOR

            await self.people.wish(pid, "POST", path, None, taken)

    async def _standing(self, pid: int) -> list[str] | None:
        """Return the alarms that wait for an answer; None where the service does not say."""
        answer = await self.people.api.ask(pid, "GET", "/alarms")
        if answer is None or not answer.is_success:
            return None
        return [
            each["key"]
            for each in answer.json()["alarms"]
            if each["answered_at"] is None and each["cleared_at"] is None
        ]

    async def _give_news(self, pid: int) -> None:
        """See to something that an owner is told: an event to one who leaves an address, or its end."""
        people = self.people
        new = [each for each in self.owner_ids[:OWNERS_WRITTEN_TO] if each not in self.languages]
        if people.event_id is None:
            await people.begin_event()
        elif not new:
            await people.end_event(pid)
        if new:
            await self.leave_address(pid, new[0])

    async def _bring_price(self, pid: int) -> None:
        """Let the staff bring another price of an hour, in place of the one before."""
        self._number += 1
        price, path = self._number, "/wholesale-prices"
        self.price = 0

        def stored(_: httpx.Response) -> None:
            self.price = price

        file = _PRICE_FILE.format(price).encode()
        await self.people.wish(pid, "POST", path, file, self._if_last(path, stored))

    async def _log_in(self, pid: int) -> None:
        """Ask for a link where there is none, and follow it; then follow it once more."""
        people = self.people
        if not self._knows_login:

            def known(_: httpx.Response) -> None:
                self._knows_login = True

            body = {"role": "operator", "password": "a long one, for tests"}
            await people.wish(pid, "PUT", f"/users/{LOGIN}", body, known)
        if self._knows_login and not self._link:

            def made(answer: httpx.Response) -> None:
                self._link = answer.json()["path"]

            await people.wish(pid, "POST", f"/users/{LOGIN}/login-links", None, made)
        if self._link:
            await self._follow_link(pid)

    async def _follow_link(self, pid: int) -> None:
        link = self._link
        async with self.auditor.opened() as (_, connection):
            key = {"key": key_of(link.rpartition("/")[2])}
            stands = bool((await connection.execute(text(_LINKS), key)).scalar_one())
        answer = await self.people.api.browse(pid, "GET", link)
        if answer is None or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return  # nobody knows whether it was used; the database says so before it is followed again
        self._link = ""
        if answer.status_code == HTTPStatus.SEE_OTHER:
            self.sessions.append(answer.cookies[COOKIE])
        if stands != (answer.status_code == HTTPStatus.SEE_OTHER):
            kind = "lost" if stands else "doubled"
            self._faults.append((kind, f"a login link was answered {answer.status_code}; unused: {stands}"))
        again = await self.people.api.browse(pid, "GET", link)
        if again is not None and again.status_code == HTTPStatus.SEE_OTHER:
            self._faults.append(("doubled", "a login link worked twice"))

    async def _log_out(self, pid: int) -> None:
        if not self.sessions:
            await self._log_in(pid)
        if not self.sessions:
            return
        api, cookie = self.people.api, self.sessions[-1]
        page = await api.browse(pid, "GET", PAGE, cookie=cookie)
        token = None if page is None else _TOKEN.search(page.text)
        if token is None:
            return
        self._leaving = self.sessions.pop()
        answer = await api.browse(pid, "POST", "/logout", cookie=cookie, form={"form_token": token[1]})
        if answer is not None and answer.status_code == HTTPStatus.SEE_OTHER:
            self._leaving = ""
            self.ended.append(cookie)

    async def _look_in(self, pid: int, found: list[Fault]) -> None:
        """Look at a page by the newest sessions: one that began is there, one that ended stays ended."""
        api = self.people.api
        if self._leaving:
            page = await api.browse(pid, "GET", PAGE, cookie=self._leaving)
            if page is not None:
                (self.sessions if page.is_success else self.ended).append(self._leaving)
                self._leaving = ""
        for cookie, stands in [(each, True) for each in self.sessions[-1:]] + [
            (each, False) for each in self.ended[-1:]
        ]:
            page = await api.browse(pid, "GET", PAGE, cookie=cookie)
            if page is None or page.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                continue
            if page.is_success != stands:
                kind = "lost" if stands else "wrong"
                found.append(
                    (kind, f"a session shows {page.status_code}; it was {'begun' if stands else 'ended'}")
                )
