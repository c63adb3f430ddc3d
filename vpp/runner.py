"""Give pending facts to the stages, over and over. One that fails never stops the next.

Stages know nothing of each other; here is the order in which they get their turn. Every promise rests
on stored facts: a fact whose stage failed stays pending and is tried again, and what is pending too
long is shown. Waking a stage twice is harmless.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import structlog

from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventHistory, RawSignal, Receipt, ReceiptState
from vpp.domain.interval import whole_second
from vpp.domain.season_netting import in_order_of_time
from vpp.domain.settling_times import SettlingTimes
from vpp.ports import Clock, Ids, Packet, SignalStore, Transport

FactT = TypeVar("FactT")
ResultT = TypeVar("ResultT")

Answer = Receipt | str | None
"""What is told a sender who waits: the receipt, or why the message was not even kept; None: send it again."""

logger = structlog.get_logger()

ASKERS_MOST = 100  # who post signals and wait
JUDGED_MOST = 10  # in one turn: an owner's no waits for no more of them, a cancel for none
STOPPERS_MOST = 100  # besides: who cancels an event waits for nobody's place
TOO_MANY_WAIT = "too_many_wait"
SETTLE_AGAIN = timedelta(
    seconds=15
)  # after a failure: owners are told within the minute, the store may breathe


class Arrived(Protocol):
    """What became of raw signals that came: why some are refused, and the keys of those to judge."""

    @property
    def refused(self) -> Mapping[str, str]:
        """Return by key why a signal cannot be believed or read."""
        ...

    @property
    def readable(self) -> frozenset[str]:
        """Return the keys of signals whose verdict is open."""
        ...

    @property
    def stopping(self) -> frozenset[str]:
        """Return the keys of those among them that cancel an event."""
        ...


@dataclass(frozen=True, slots=True)
class Stages:
    """The verbs, bound to their ports."""

    collect: Callable[[Sequence[Packet]], Awaitable[bool]]  # returns whether control should look at once
    arrive: Callable[[Sequence[RawSignal]], Awaitable[Arrived]]
    intake: Callable[[RawSignal], Awaitable[Receipt]]
    control: Callable[[bool], Awaitable[bool]]  # told whether something new was stored
    settle: Callable[[EventHistory], Awaitable[bool]]


@dataclass(slots=True)
class Failures:
    """What failed lately, by stage and fact, for whoever looks; a success takes it off the list.

    Messages are counted by topic kind since the start: what was ``received`` is ``stored``, a
    ``duplicate``, ``refused`` for a reason, or ``lost`` because its stage failed (whoever was promised an
    answer sends it again). A grid signal that is kept counts as lost until its verdict is known.
    """

    pending: dict[tuple[str, str], str] = field(default_factory=dict)
    received: Counter[str] = field(default_factory=Counter)
    stored: Counter[str] = field(default_factory=Counter)
    duplicate: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    _logged_at: dict[str, float] = field(default_factory=dict)

    def refuse(self, refused: Mapping[tuple[str, str], int]) -> None:
        """Count refused messages by kind and reason, and say so, each reason once a second at most."""
        for (kind, reason), count in refused.items():
            self.refused[kind, reason] += count
            if self.may_log(f"{kind} {reason}"):
                logger.warning("message refused", kind=kind, reason=reason, count=count)

    def by_topic(self) -> dict[str, object]:
        """Return by kind of topic what became of its messages, ready for JSON."""
        return {
            kind: {
                "received": received,
                "stored": self.stored[kind],
                "duplicate": self.duplicate[kind],
                "lost": self.lost[kind],
                "refused": {why: count for (of, why), count in sorted(self.refused.items()) if of == kind},
            }
            for kind, received in sorted(self.received.items())
        }

    def keep_only(self, stage: str, facts: Collection[str]) -> None:
        """Forget a stage's failures about other facts: those are settled, though it was not told so."""
        for key in [key for key in self.pending if key[0] == stage and key[1] not in facts]:
            del self.pending[key]

    def may_log(self, what: str) -> bool:
        """Return whether a second has passed since this was last logged."""
        now = time.monotonic()
        if now - self._logged_at.get(what, -1.0) < 1.0:
            return False
        self._logged_at[what] = now
        return True


class Runner:
    """Turns the stages: what arrived, what is due, what ended."""

    def __init__(
        self,
        stages: Stages,
        *,
        clock: Clock,
        ids: Ids,
        transport: Transport,
        signals: SignalStore,
        tick_s: int,
        settle_s: int,
    ) -> None:
        self.failures = Failures()
        self._stages = stages
        self._clock = clock
        self._ids = ids
        self._transport = transport
        self._signals = signals
        self._tick = timedelta(seconds=tick_s)
        self._settle_every = timedelta(seconds=settle_s)
        self._next_tick: datetime | None = None
        self._next_settle: datetime | None = None
        self._next_end: datetime | None = None  # of an event that is not over
        self._may_settle_early = True
        self._settling = SettlingTimes()
        self._woken = True
        self._signals_pending = True
        self._unjudged: set[str] = set()
        self._stopping: set[str] = set()
        self._tried: set[str] = set()  # in vain, since all that wait were tried
        self._posts: list[tuple[Packet, asyncio.Future[Answer]]] = []
        self._askers: dict[str, tuple[asyncio.Future[Answer], str | None]] = {}  # by key; why it is unread
        self._stoppers: set[asyncio.Future[Answer]] = set()
        self._bell = asyncio.Event()

    def readings_stored(self) -> None:
        """Let events that are over be settled again: their meters said something new."""
        self._settling.note_readings(self._clock.now())

    def answered(self, event_id: str, *, by_all: bool) -> None:
        """Let an event be settled again: of the homes that it waits for some have spoken, or all of them."""
        self._settling.note_answered(event_id, self._clock.now(), by_all=by_all)

    def wake(self) -> None:
        """Let control look at once: an owner spoke, a signal came, a home refused."""
        self._woken = True
        self._bell.set()

    def take(self, packet: Packet, *, stops: bool = False) -> "asyncio.Future[Answer]":
        """Take a signal whose sender waits, and let it have its turn with those that the broker brings.

        One of a known sender that ``stops`` an event takes no place of others, nor they its.
        """
        asker: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._askers = {key: each for key, each in self._askers.items() if not each[0].done()}
        self._stoppers = {each for each in self._stoppers if not each.done()}
        waiting = [each for _, each in self._posts] + [each for each, _ in self._askers.values()]
        others = sum(each not in self._stoppers for each in waiting)
        full = len(self._stoppers) >= STOPPERS_MOST if stops else others >= ASKERS_MOST
        if full:
            self.failures.received["event"] += 1
            self.failures.refuse({("event", TOO_MANY_WAIT): 1})
            asker.set_result(TOO_MANY_WAIT)
        else:
            self._posts.append((packet, asker))
            if stops:
                self._stoppers.add(asker)
            self._bell.set()
        return asker

    async def turn(self, packets: Sequence[Packet] | None = None) -> bool:
        """Handle what has arrived and what is due now; return whether anything was done."""
        if packets is None:
            packets = self._transport.received_now()
        now = self._clock.now()
        await self._serve(packets, now)
        await self._settle_if_due(now)
        return bool(packets)

    async def _serve(self, packets: Sequence[Packet], now: datetime) -> None:
        """Do what homes, owners and the grid wait for."""
        await self._collect([packet for packet in packets if packet.topic.startswith("vpp/")])
        await self._take_signals([packet for packet in packets if packet.topic.startswith("grid/")], now)
        await self._control_if_due(now)

    async def run(self, stop: asyncio.Event) -> None:
        """Turn until told to stop, waking for packets, for the bell, and for the next tick.

        Ended events are settled beside that: an owner's no does not wait for the money of last week.
        """
        stopping = asyncio.create_task(stop.wait())
        receiving = asyncio.create_task(self._transport.receive())
        settling: asyncio.Task[None] | None = None
        try:
            while not stop.is_set():
                ringing = asyncio.create_task(self._bell.wait())
                await asyncio.wait(
                    (stopping, receiving, ringing),
                    timeout=self._wait_s(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                ringing.cancel()
                self._bell.clear()
                if receiving.done():
                    packets = receiving.result()
                    receiving = asyncio.create_task(self._transport.receive())
                    await self._serve(packets, self._clock.now())
                else:
                    await self._serve((), self._clock.now())
                settling = settling or asyncio.create_task(self._settle_beside(stopping))
        finally:
            tasks = [each for each in (stopping, receiving, settling) if each is not None]
            for each in tasks:
                if each is not settling or not stop.is_set():  # told to stop, it ends by itself
                    each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for asker in [each for _, each in self._posts] + [each for each, _ in self._askers.values()]:
                _tell(asker, None)

    async def _settle_beside(self, stopping: asyncio.Task[bool]) -> None:
        while not stopping.done():
            await self._settle_if_due(self._clock.now())
            await asyncio.wait((stopping,), timeout=1.0)

    def _wait_s(self) -> float:
        if self._next_tick is None:
            return 0.0
        return min(1.0, max(0.0, (self._next_tick - self._clock.now()).total_seconds()))

    async def _collect(self, packets: Sequence[Packet]) -> None:
        if not packets:
            return
        urgent = await self._attempt("collect", "packets", self._stages.collect, packets)
        self._woken = self._woken or bool(urgent)

    async def _take_signals(self, packets: Sequence[Packet], now: datetime) -> None:
        """Store signals as they came, then answer some that are unanswered: cancels, then the oldest."""
        posts, self._posts = self._posts, []
        arrived = [*((packet, None) for packet in packets), *posts]
        if arrived and await self._attempt("keep", "signals", self._keep, arrived) is None:
            self._signals_pending = True  # they may be kept all the same: the store did not say
        if not self._signals_pending:
            return
        pending = await self._attempt("pending", "signals", self._pending_signals, now)
        if pending is None:
            return
        self.failures.keep_only("intake", {raw.key for raw in pending})
        self.failures.keep_only("keep", ())  # what is not pending now is the operator's to send again
        for key in self._unjudged - {raw.key for raw in pending}:
            self._count(key, None)
        for key in self._askers.keys() - {raw.key for raw in pending}:
            asker, unread = self._askers.pop(key)
            _tell(asker, unread)
        next_ones = self._next_of(pending)
        self._signals_pending = len(next_ones) < len(pending)
        for raw in next_ones:
            receipt = await self._attempt("intake", raw.key, self._stages.intake, raw)
            if receipt is None:
                self._signals_pending = True
                self._tried.add(raw.key)
            else:
                self._count(raw.key, receipt)
                if raw.key in self._askers:
                    _tell(self._askers.pop(raw.key)[0], receipt)
                if len(next_ones) < len(pending):
                    self._bell.set()  # the others follow at once, but a store that is down has its pause
            self._woken = True

    def _next_of(self, pending: Sequence[RawSignal]) -> Sequence[RawSignal]:
        """Return whom this turn judges; one that nobody can judge does not keep the others waiting."""
        keys = {raw.key for raw in pending}
        self._stopping &= keys
        self._tried &= keys
        if self._tried == keys:
            self._tried.clear()
        untried = (raw for raw in pending if raw.key not in self._tried)
        return sorted(untried, key=lambda raw: raw.key not in self._stopping)[:JUDGED_MOST]

    def _count(self, key: str, receipt: Receipt | None) -> None:
        """Count what became of a signal that came since the start; None: a failed attempt answered it."""
        if key not in self._unjudged:
            return
        self._unjudged.remove(key)
        self.failures.lost["event"] -= 1
        if receipt is not None and receipt.state is ReceiptState.REJECTED:
            self.failures.refuse({("event", receipt.reason or "rejected"): 1})
        elif receipt is not None and receipt.state is ReceiptState.DUPLICATE:
            self.failures.duplicate["event"] += 1
        else:
            self.failures.stored["event"] += 1

    async def _keep(self, arrived: Sequence[tuple[Packet, "asyncio.Future[Answer] | None"]]) -> bool:
        """Hand over the signals that came; what cannot even be kept is counted by reason."""
        raws, refused = [], Counter[tuple[str, str]]()
        self.failures.received["event"] += len(arrived)
        for packet, asker in arrived:
            _, _, source, kind = packet.topic.split("/") if packet.topic.count("/") == 3 else ("", "", "", "")
            if kind != "event":
                refused["event", "unknown_topic"] += 1
            elif packet.retain:
                # A broker hands a retained copy to every new subscriber: it is no fresh word.
                refused["event", "retained"] += 1
            else:
                key = self._ids.new("raw")
                raws.append(RawSignal(key, source, packet.topic, packet.payload, self._clock.now()))
                if asker is not None:
                    self._askers[key] = asker, None
        self.failures.lost["event"] += len(raws)  # until they are kept and judged
        arrived_now = await self._stages.arrive(raws)
        unread = arrived_now.refused
        self.failures.lost["event"] -= len(raws) - len(arrived_now.readable)
        self._unjudged |= arrived_now.readable
        self._stopping |= arrived_now.stopping
        refused.update(("event", reason) for reason in unread.values())
        self._askers.update(
            {key: (self._askers[key][0], unread[key]) for key in unread if key in self._askers}
        )
        self.failures.refuse(refused)
        self._signals_pending = self._signals_pending or bool(raws)
        return True

    async def _pending_signals(self, _now: datetime) -> Sequence[RawSignal]:
        return await self._signals.pending()

    async def _control_if_due(self, now: datetime) -> None:
        if not self._woken and self._next_tick is not None and now < self._next_tick:
            return
        fresh, self._woken = self._woken, False
        decided = await self._attempt("control", "tick", self._stages.control, fresh)
        if self._next_tick is None or now >= self._next_tick:
            self._next_tick = whole_second(now) + self._tick
        if decided is None:  # it failed: what was new is still unread
            self._woken = self._woken or fresh
            self._next_tick = now + timedelta(seconds=1)

    async def _settle_if_due(self, now: datetime) -> None:
        waits = self._next_settle is not None and now < self._next_settle
        if waits and not (self._may_settle_early and self._settling.any_spoke(now)):
            return
        settled = await self._attempt("settle", "ended events", self.settle_ended, now)
        self._may_settle_early = bool(settled)  # what failed is tried again at its own time
        self._next_settle = now + (self._settle_every if settled else SETTLE_AGAIN)
        if self._next_end is not None:
            self._next_settle = min(self._next_settle, self._next_end)

    async def beside(self, stage: str, call: Callable[[datetime], Awaitable[ResultT]]) -> ResultT | None:
        """Turn a stage that waits for other people's servers, beside the loop; its failure is shown alike."""
        return await self._attempt(stage, "due", call, self._clock.now())

    async def settle_ended(self, now: datetime) -> bool:
        """Settle and book events that have ended and are due; return whether all of them could be."""
        done, self._next_end = True, None
        for history in in_order_of_time(await self._signals.histories()):
            event_id, over_at = history.latest.event_id, ended_at(history)
            if over_at > now:
                self._next_end = min(over_at, self._next_end or over_at)
            if over_at > now or not self._settling.is_due(event_id, over_at, now):
                continue
            self._settling.begin(event_id)
            if await self._attempt("settle", event_id, self._stages.settle, history) is None:
                self._settling.note_failed(event_id)
                done = False
            else:
                self._settling.note_settled(event_id, now, self._clock.now())
        return done

    async def _attempt(
        self, stage: str, fact: str, call: Callable[[FactT], Awaitable[ResultT]], argument: FactT
    ) -> ResultT | None:
        """Return what the stage returns, or None when it failed: the fact stays pending, and shown."""
        try:
            result = await call(argument)
        except Exception as failure:  # The one broad catch: the fact stays pending.
            self.failures.pending[stage, fact] = f"{type(failure).__name__}: {failure}"
            if self.failures.may_log(stage):
                logger.exception("stage left a fact pending", stage=stage, fact=fact)
            return None
        self.failures.pending.pop((stage, fact), None)
        return result


def _tell(asker: "asyncio.Future[Answer]", answer: Answer) -> None:
    """Answer a sender who still waits."""
    if not asker.done():
        asker.set_result(answer)
