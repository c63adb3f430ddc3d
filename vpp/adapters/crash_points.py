"""Where this process kills itself on purpose: before and after each commit and each send. For tests only.

``VPP_CRASH_AT=LABEL:N`` names a label and its passing; without it nothing of this module is in the way. The
wrappers stand around the ports, so no stage knows of them. A label is ``before-`` or ``after-`` and a point;
one call may pass several points, as a tick does that brings a plan.
"""

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from vpp.domain.command import Action, CommandBatch
from vpp.domain.delivery import MeterReceipt
from vpp.domain.grid_event import EventStatus, GridEvent, GridSource, RawSignal, Receipt, Signal
from vpp.domain.ledger import EntryState, JournalEntry
from vpp.domain.notice import Contact, Notice
from vpp.notice_ports import Messenger
from vpp.ports import DeviceLink, Heard, Malformed, Packet, SignalFeed, Store

STORE_POINTS: Mapping[str, tuple[str, ...]] = {
    "enroll": ("enrolment",),
    "change_reserve": ("reserve",),
    "withdraw": ("consent",),
    "opt_out": ("opt-out",),
    "take_back_opt_out": ("opt-in",),
    "add_source": ("source",),
    "keep": ("signal",),
    "decide": ("signal-answer", "event-version"),
    "append_version": ("event-version", "cancel"),
    "grant": ("grant",),
    "take_epoch": ("epoch",),
    "take_free_lead": ("epoch",),
    "renew_lead": ("lease-of-lead",),
    "commit": ("tick", "plan"),
    "record_acks": ("ack",),
    "append": ("readings",),
    "exclude_day": ("excluded-day",),
    "include_day": ("included-day",),
    "refuse_stretches": ("quarantine",),
    "add_course": ("course",),
    "settle": ("settlement",),
    "post": ("ledger-pending", "ledger-posted", "ledger-voided", "ledger-reversed", "payout"),
    "keep_user": ("user",),
    "begin_session": ("session",),
    "end_session": ("logout",),
    "add_login_link": ("login-link",),
    "use_login_link": ("login",),
    "leave_trail": ("trail",),
    "say": ("case",),
    "nominate": ("nomination",),
    "add_prices": ("prices",),
    "read_homes": ("trail",),
    "keep_answer": ("kept-answer",),
    "keep_contact": ("contact",),
    "write_notices": ("notice",),
    "record_delivery": ("notice-delivery",),
    "raise_alarm": ("alarm",),
    "tell_alarm": ("alarm-notice",),
    "answer_alarm": ("alarm-answer",),
    "clear_alarm": ("alarm-end",),
    "open_calendar": ("calendar",),
    "close_calendar": ("calendar-end",),
    "forget_owner": ("forgetting",),
}
"""What each writing method of the store may commit, by the method's name."""

WIRE_POINTS = ("publish", "publish-stop", "meter-receipt", "signal-receipt", "telemetry", "notice-send")
START_POINTS = ("key-file", "migration")

POINTS = tuple(
    sorted({point for points in STORE_POINTS.values() for point in points} | {*WIRE_POINTS, *START_POINTS})
)
LABELS = tuple(f"{when}-{point}" for point in POINTS for when in ("before", "after"))


class UnknownLabel(ValueError):
    """No crash label of that name; the message lists all."""


class CrashPoint:
    """The one place of this process's life where it kills itself."""

    def __init__(self, label: str, passing: int) -> None:
        self.label = label
        self._left = passing

    @classmethod
    def parse(cls, text: str) -> "CrashPoint":
        """Return the point that ``LABEL:N`` names; ``:1`` may be left out.

        Raises:
            UnknownLabel: There is no such label, or N is not a number from 1 on.
        """
        label, _, passing = text.partition(":")
        if label not in LABELS or not (passing or "1").isdecimal() or int(passing or "1") < 1:
            raise UnknownLabel(f"expected LABEL or LABEL:N, N from 1 on, LABEL one of {', '.join(LABELS)}")
        return cls(label, int(passing or "1"))

    def passes(self, when: str, points: Collection[str]) -> None:
        """Go past these points; the process ends here when it is the chosen passing, as by ``kill -9``."""
        if self.label.startswith(when) and self.label.removeprefix(f"{when}-") in points:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def around(self, point: str) -> Iterator[None]:
        """Pass one point before and after a block; after it only where it succeeded."""
        self.passes("before", (point,))
        yield
        self.passes("after", (point,))


def crash_around(store: Store, crash: CrashPoint | None) -> Store:
    """Return the store as a process with this crash point sees it: the store itself where there is none."""
    return store if crash is None else cast(Store, CrashingStore(store, crash))


class CrashingStore:
    """A store whose process may die just before or just after a commit."""

    def __init__(self, store: Store, crash: CrashPoint) -> None:
        self._store = store
        self._crash = crash

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self._store, name)
        return self._writing(name, operation) if name in STORE_POINTS else operation

    def _writing(self, name: str, operation: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        async def write(*positional: object, **named: object) -> object:
            points = _points(name, (*positional, *named.values()))
            self._crash.passes("before", points)
            result = await operation(*positional, **named)
            self._crash.passes("after", points)
            return result

        return write


def _points(name: str, arguments: Sequence[object]) -> tuple[str, ...]:
    """Return the points that one call passes; what it is about decides where a method has several."""
    match name:
        case "commit":
            brings_plan = any(isinstance(each, Sequence) and len(each) for each in arguments[1:2])
            return ("tick", "plan") if brings_plan else ("tick",)
        case "decide":
            answers = ("signal-answer",)
            return (*answers, "event-version") if _versions(arguments) else answers
        case "append_version":
            ended = any(version.status is EventStatus.CANCELLED for version in _versions(arguments))
            return ("cancel",) if ended else ("event-version",)
        case "post":
            entries = cast("Sequence[JournalEntry]", arguments[0])
            return tuple(sorted({_ledger_point(entry) for entry in entries}))
        case _:
            return STORE_POINTS[name]


def _versions(arguments: Sequence[object]) -> list[GridEvent]:
    return [each for each in arguments if isinstance(each, GridEvent)]


def _ledger_point(entry: JournalEntry) -> str:
    if entry.entry_id.startswith("payout-"):
        return "payout"
    if entry.entry_id.startswith("reversal-"):
        return "ledger-reversed"
    return {
        EntryState.PENDING: "ledger-pending",
        EntryState.POSTED: "ledger-posted",
        EntryState.VOIDED: "ledger-voided",
    }[entry.state]


class CrashingLink:
    """A wire to the gateways whose process may die around a send, or with what it just heard."""

    def __init__(self, link: DeviceLink, crash: CrashPoint) -> None:
        self._link = link
        self._crash = crash

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def decode(self, packets: Sequence[Packet]) -> Heard:
        """Return what packets on gateway topics say."""
        points = ("telemetry",) if any(each.topic.endswith("/telemetry") for each in packets) else ()
        self._crash.passes("before", points)
        heard = self._link.decode(packets)
        self._crash.passes("after", points)
        return heard

    async def command(self, batches: Sequence[CommandBatch]) -> None:
        """Sign and send one committed tick's commands, releases first."""
        stops = {batch.order.action is Action.RELEASE for batch in batches}
        points = [point for stop, point in ((True, "publish-stop"), (False, "publish")) if stop in stops]
        self._crash.passes("before", points)
        await self._link.command(batches)
        self._crash.passes("after", points)

    async def acknowledge(self, receipts: Sequence[MeterReceipt]) -> None:
        """Sign and send meter receipts."""
        self._crash.passes("before", ("meter-receipt",))
        await self._link.acknowledge(receipts)
        self._crash.passes("after", ("meter-receipt",))


class CrashingFeed:
    """A wire to the grid operators whose process may die around an answer."""

    def __init__(self, feed: SignalFeed, crash: CrashPoint) -> None:
        self._feed = feed
        self._crash = crash

    def decode(
        self, raw: RawSignal, source: GridSource, unknown: Counter[str] | None = None
    ) -> Signal | Malformed:
        """Return the signal after size, shape and signature were checked."""
        return self._feed.decode(raw, source, unknown)

    async def answer(self, receipts: Sequence[Receipt]) -> None:
        """Sign and send receipts to their sources."""
        self._crash.passes("before", ("signal-receipt",))
        await self._feed.answer(receipts)
        self._crash.passes("after", ("signal-receipt",))


class CrashingMessenger:
    """A way to people whose process may die around a message."""

    def __init__(self, messenger: Messenger, crash: CrashPoint) -> None:
        self._messenger = messenger
        self._crash = crash

    async def send(self, notice: Notice, contact: Contact) -> str | None:
        """Send one message; return what went wrong, None when sent."""
        with self._crash.around("notice-send"):
            return await self._messenger.send(notice, contact)
