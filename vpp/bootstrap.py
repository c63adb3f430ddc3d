"""The only place where adapters meet stages. Nothing is decided here; everything is handed over."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from vpp.adapters.crash_points import CrashingFeed, CrashingLink, CrashingMessenger, CrashPoint
from vpp.adapters.device_link import GATEWAY_FILTERS, GatewayLink
from vpp.adapters.ids import RandomIds
from vpp.adapters.messages import AppriseMessenger
from vpp.adapters.mqtt import Access, MqttTransport, TlsFiles
from vpp.adapters.openadr import EVENT_FILTER, OpenAdrFeed
from vpp.adapters.patience import stops_leave_first
from vpp.domain.awaited_readings import AwaitedReadings, awaited_readings
from vpp.domain.board import Board, hear, hear_in_force
from vpp.domain.dispatch_terms import DispatchTerms
from vpp.domain.fleet import FleetState, Roster, enroll, homes_by_program
from vpp.domain.grid_event import EventHistory, RawSignal, Receipt
from vpp.domain.interval import to_epoch, whole_second
from vpp.domain.link_health import LinkHealth
from vpp.domain.program import Program
from vpp.notice_ports import Messenger
from vpp.ports import (
    Clock,
    ConflictingFact,
    Ids,
    Keys,
    Packet,
    Patience,
    StaleEpoch,
    Store,
    StoreUnavailable,
    Transport,
)
from vpp.runner import Runner, Stages
from vpp.settings import Settings, load_programs
from vpp.stages.collect import collect
from vpp.stages.control import control, resume
from vpp.stages.cross_check import doubt_counters
from vpp.stages.intake import Arrival, arrive, intake
from vpp.stages.notify import Progress, deliver, note
from vpp.stages.pay import accrue, pay
from vpp.stages.season import count_season
from vpp.stages.settle import settle, settle_later
from vpp.stages.stop import record, stop_everything, tell_again
from vpp.stages.watch import Doubt, Watched, alert, watch

SETTLE_EVERY_S = 60


@dataclass(slots=True)
class Controller:
    """The running product: one fleet, one store, one connection to the broker, one loop."""

    clock: Clock
    store: Store
    transport: Transport
    link: GatewayLink
    feed: OpenAdrFeed
    programs: Mapping[str, Program]
    terms: DispatchTerms
    fleet: FleetState = field(default_factory=FleetState)
    roster: Roster = field(default_factory=Roster)
    board: Board | None = None
    shed: Callable[[], Mapping[str, int]] = dict
    epoch: int | None = None  # where the lead was taken beforehand
    messenger: Messenger | None = None
    patience: Patience = stops_leave_first
    runner: Runner = field(init=False)
    told: Progress = field(default_factory=Progress)
    seen: Watched = field(default_factory=Watched)
    health: LinkHealth = field(default_factory=LinkHealth)
    odd_fields: Counter[str] = field(default_factory=Counter)  # of grid signals
    silent_vtns: dict[str, datetime] = field(default_factory=dict)  # by source, since when
    _awaited: dict[str, AwaitedReadings] = field(default_factory=dict)  # by event, until it closes
    _changed_sites: set[str] = field(default_factory=set)
    _words: tuple[int, int] | None = None  # what owners had said before the enrolments were read
    _replaced: asyncio.Event = field(default_factory=asyncio.Event)
    _read_back: bool = False  # whether the last tick stands is not known
    _stopping: int = 0  # how many stops of everything are being stored

    @property
    def connected(self) -> bool:
        """Return whether the broker can be reached now."""
        return self.transport.connected

    @property
    def unsent(self) -> Mapping[str, int]:
        """Return by event how many discharges are committed and were not handed to the broker yet."""
        return self.link.unsent

    def wake(self, site_id: str | None = None) -> None:
        """Let control look at once; with a site, read that site's enrolment again first."""
        if site_id is not None:
            self._changed_sites.add(site_id)
        self.runner.wake()

    async def turn(self) -> bool:
        """Handle what has arrived and what is due now; return whether packets were handled."""
        if self.replaced:
            self.transport.received_now()  # another controller takes them in as well
            return False
        return await self.runner.turn()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until told to stop, or replaced by another controller."""
        ending = asyncio.Event()
        running = asyncio.create_task(self.runner.run(ending))
        waits = [asyncio.create_task(each.wait()) for each in (stop, self._replaced)]
        try:
            await asyncio.wait((running, *waits), return_when=asyncio.FIRST_COMPLETED)
            ending.set()
            await running
        finally:
            for each in (running, *waits):
                each.cancel()

    @property
    def replaced(self) -> bool:
        """Return whether another controller leads by now; this one sends nothing any more."""
        return self._replaced.is_set()

    def step_down(self) -> None:
        """Send nothing any more: another controller leads."""
        self._replaced.set()

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Decide nothing until every event is cancelled: the next would be given the homes of the first."""
        if self.board is not None:
            self.board.stops += 1  # nor may what is being decided now tell anybody to discharge
        self._stopping += 1
        try:
            yield
        finally:
            self._stopping -= 1
            self.runner.wake()

    async def stop_everything(self, actor: str) -> int:
        """Release every home before the database knows of it; return how many were asked for power."""
        if self.board is None:
            raise StoreUnavailable("the controller has not read yet which homes discharge")
        self._read_back = True
        homes = await stop_everything(
            board=self.board, link=self.link, clock=self.clock, terms=self.terms, actor=actor
        )
        self.runner.wake()
        return homes

    def traffic(self) -> dict[str, object]:
        """Return what became of every message since the start, ready for JSON.

        Returns:
            ``topics`` by kind: ``received``, ``stored``, ``duplicate``, ``lost``, and ``refused`` by reason;
            ``unknown_fields`` by kind; ``shed``, what was given up because a queue was full; ``pending``,
            what failed lately, by stage and fact.
        """
        failures = self.runner.failures
        return {
            "topics": failures.by_topic(),
            "unknown_fields": dict(sorted((self.link.unknown_fields + self.odd_fields).items())),
            "shed": dict(self.shed()),
            "pending": {f"{stage} {fact}": why for (stage, fact), why in sorted(failures.pending.items())},
        }

    async def settle_event(self, event_id: str) -> None:
        """Settle and book one event now."""
        history = await self.store.history(event_id)
        if history is not None:
            await self.settle(history)

    async def collect(self, packets: Sequence[Packet]) -> bool:
        """Take in what gateways sent; return whether control should look at once."""
        board = await self._ready_board()
        heard = self.link.decode(packets)
        now_s = to_epoch(self.clock.now())
        self.health.note_clocks(heard.telemetry, now_s)
        self.health.note_readings(heard.meter)
        self.health.note_answers(heard.acks, board.leases, board.epoch, now_s)
        failures = self.runner.failures
        failures.received.update(heard.received)
        failures.refuse(heard.refused)
        trusted = heard.received
        if heard.refused:
            trusted = trusted - Counter(kind for kind, _ in heard.refused.elements())
        failures.lost.update(trusted)  # until they are stored
        collected = await collect(
            heard,
            fleet=self.fleet,
            roster=self.roster,
            programs=self.programs,
            store=self.store,
            link=self.link,
            clock=self.clock,
        )
        failures.lost.subtract(trusted)
        failures.refuse(collected.refused)
        failures.stored.update(collected.stored)
        failures.duplicate.update(collected.duplicate)
        if collected.stored["meter"]:
            self.runner.readings_stored()
            for event_id, awaited in self._awaited.items():
                if answered := awaited.answered_by(heard.meter):
                    left = self._awaited[event_id] = awaited.without(answered)
                    self.runner.answered(event_id, by_all=not left.homes)
        refused = hear(board, heard.acks, self.clock.now())
        behind = hear_in_force(board, collected.samples, collected.online, self.clock.now())
        return refused or behind or collected.urgent

    async def take_signal(
        self, topic: str, message: bytes, *, within_s: float, stops: bool = False
    ) -> Receipt | str | None:
        """Take a signal that came over HTTP, in its turn among all others, and return what became of it.

        ``topic`` is ``posted_topic`` or ``client_topic`` of its source; one that ``stops`` finds a place.

        Returns:
            The receipt; why the message was not even kept; None where neither is known in time, or another
            controller leads: sending it again is harmless.
        """
        if self.replaced:
            return None
        asker = self.runner.take(Packet(topic, message), stops=stops)
        await asyncio.wait((asker,), timeout=within_s)
        if asker.done():
            return asker.result()
        asker.cancel()
        return None

    async def arrive(self, signals: Sequence[RawSignal]) -> Arrival:
        """Keep grid signals; return what came of them."""
        arrival = await arrive(signals, feed=self.feed, store=self.store, registry=self.store)
        self.odd_fields.update(arrival.unknown_fields)
        return arrival

    async def intake(self, raw: RawSignal) -> Receipt:
        """Judge and answer one grid signal; return the answer."""
        await self._ready_board()
        return await intake(
            raw,
            feed=self.feed,
            store=self.store,
            registry=self.store,
            programs=self.programs,
            roster=self.roster,
            clock=self.clock,
        )

    async def control(self, fresh: bool) -> bool:
        """Decide and command once; ``fresh``: somebody enrolled, spoke or signalled since the last time."""
        board = await self._certain_board()
        if fresh:
            await self._read_new_sites()
        now = whole_second(self.clock.now())
        use, fleet, terms = board.season, self.fleet, self.terms
        await count_season(use, self.store, fleet, self.roster, self.programs, terms=terms, now=now)
        if self._stopping:
            return False
        try:
            tick = await control(
                board=board,
                fleet=self.fleet,
                roster=self.roster,
                programs=self.programs,
                store=self.store,
                link=self.link,
                clock=self.clock,
                terms=self.terms,
                fresh=fresh,
                words=self._words,
                patience=self.patience,
            )
        except (StoreUnavailable, ConflictingFact):
            # Whether the tick stands is not known: what was committed is read back before the next one.
            self._read_back = True
            raise
        except StaleEpoch:
            self.step_down()
            raise
        return tick is not None

    async def settle(self, history: EventHistory) -> bool:
        """Settle one event and book what it says; then see which counters its power samples refute."""
        settlement = await settle(history, store=self.store, programs=self.programs, clock=self.clock)
        awaited = None if settlement is None else awaited_readings(settlement)
        self._awaited.pop(history.latest.event_id, None)
        if awaited is not None:
            self._awaited[history.latest.event_id] = awaited
        if settlement is not None:
            later = await settle_later(settlement, store=self.store, programs=self.programs, clock=self.clock)
            for run in (settlement, *later):
                await pay(run, books=self.store, clock=self.clock)
            await accrue(self.programs, store=self.store, clock=self.clock)
            await self._look_at_counters(history)
        return settlement is not None

    async def _look_at_counters(self, history: EventHistory) -> None:
        """Remember for the staff how many homes' power samples refute their counters."""
        hours = await doubt_counters(history, store=self.store, programs=self.programs, clock=self.clock)
        homes, known = len({each.site_id for each in hours}), self.seen.doubted.get(history.latest.event_id)
        if homes > (known.homes if known else 0):
            self.seen.doubted[history.latest.event_id] = Doubt(homes, self.clock.now())

    async def notify(self) -> None:
        """Write down what people must be told."""
        await self.runner.beside("notify", self._notify)

    async def deliver(self) -> None:
        """Send what is written down. Beside the loop, and apart from ``notify``: servers may be slow."""
        if self.messenger is not None:
            await self.runner.beside("deliver", self._deliver)

    async def _notify(self, _now: datetime) -> bool:
        store, clock = self.store, self.clock
        roster = self.roster.enrollments
        await note(store=store, roster=roster, programs=self.programs, clock=clock, told=self.told)
        found = await watch(
            board=self.board,
            connected=self.connected,
            silent_vtns=self.silent_vtns,
            store=store,
            clock=clock,
            seen=self.seen,
            programs=self.programs,
            homes=homes_by_program(self.fleet, self.roster),
        )
        await alert(found, store=store, clock=clock, seen=self.seen)
        return True

    async def _deliver(self, _now: datetime) -> int:
        assert self.messenger is not None
        return await deliver(store=self.store, messenger=self.messenger, clock=self.clock)

    async def _ready_board(self) -> Board:
        """Return the board; the first time, become leader and read what was committed."""
        if self.board is None:
            await self._read_new_sites()
            self.board = await self._resume(self.epoch)
        return self.board

    async def _resume(self, epoch: int | None, known: Board | None = None) -> Board:
        return await resume(
            store=self.store,
            fleet=self.fleet,
            clock=self.clock,
            sample_period_s=self.terms.sample_period_s,
            epoch=epoch,
            known=known,
        )

    async def _certain_board(self) -> Board:
        """Return the board as the database has it: what left before it knew is recorded first."""
        board = await self._ready_board()
        while self._read_back:
            try:
                await record(board, store=self.store, clock=self.clock)
            except StoreUnavailable:
                await tell_again(board, self.link)
                raise
            stops, read_back = board.stops, await self._resume(board.epoch, board)
            if board.stops == stops:  # a stop while it was read stands on the board before alone
                self.board, self._read_back = read_back, False
        return self.board or board

    async def _read_new_sites(self) -> None:
        """Give newly enrolled sites their rows, and read those again that somebody changed."""
        self._words = await self.store.last_words()
        first = len(self.roster.enrollments)
        enroll(self.fleet, self.roster, await self.store.enrollments(from_site_no=first))
        while self._changed_sites:
            site_id = self._changed_sites.pop()
            try:
                changed = await self.store.enrollment(site_id)
            except StoreUnavailable:
                self._changed_sites.add(site_id)
                raise
            if changed is not None:
                enroll(self.fleet, self.roster, [changed])


def dispatch_terms(settings: Settings) -> DispatchTerms:
    """Return how the fleet is driven, as the settings say."""
    dispatch = settings.dispatch
    return DispatchTerms(
        lease_s=dispatch.lease_s,
        spread_s=dispatch.spread_s,
        ramp_s=dispatch.ramp_s,
        ack_timeout_s=dispatch.ack_timeout_s,
        sample_period_s=dispatch.sample_period_s,
        feeder_caps_w=dispatch.feeder_caps_w,
        zone_caps_w=dispatch.zone_caps_w,
        tick_s=dispatch.tick_s,
        fleet_ramp_w_per_min=dispatch.fleet_ramp_w_per_min,
        zone_ramp_w_per_min=dispatch.zone_ramp_w_per_min,
        site_season_cap_s=None if dispatch.site_season_cap_h is None else 3600 * dispatch.site_season_cap_h,
    )


def assemble(
    settings: Settings,
    *,
    clock: Clock,
    store: Store,
    keys: Keys,
    transport: Transport,
    ids: Ids | None = None,
    programs: Mapping[str, Program] | None = None,
    crash: CrashPoint | None = None,
) -> Controller:
    """Return a controller on any store and transport; memory adapters serve as well as real ones.

    Without ``programs`` they are read from the files that the settings name. With a ``crash`` point the
    process may kill itself around a send; ``crash_around`` does the same to a store.
    """
    roster = Roster()
    controller = Controller(
        clock=clock,
        store=store,
        transport=transport,
        link=GatewayLink(transport, keys, roster),
        feed=OpenAdrFeed(transport, keys),
        programs=load_programs(settings) if programs is None else programs,
        terms=dispatch_terms(settings),
        roster=roster,
    )
    if crash is not None:
        controller.link = cast(GatewayLink, CrashingLink(controller.link, crash))
        controller.feed = cast(OpenAdrFeed, CrashingFeed(controller.feed, crash))
    stages = Stages(
        collect=controller.collect,
        arrive=controller.arrive,
        intake=controller.intake,
        control=controller.control,
        settle=controller.settle,
    )
    controller.runner = Runner(
        stages,
        clock=clock,
        ids=ids or RandomIds(),
        transport=transport,
        signals=store,
        tick_s=settings.dispatch.tick_s,
        settle_s=SETTLE_EVERY_S,
    )
    return controller


@asynccontextmanager
async def build(
    settings: Settings,
    *,
    clock: Clock,
    store: Store,
    keys: Keys,
    broker_url: str,
    programs: Mapping[str, Program] | None = None,
    crash: CrashPoint | None = None,
    epoch: int | None = None,
) -> AsyncIterator[Controller]:
    """Yield a controller connected to a broker by MQTT, for as long as the context lasts.

    With an ``epoch`` the lead was taken already; without one it is taken from whoever has it.
    """
    access = Access.from_url(broker_url, client_id=keys.kid, tls=_tls(settings))
    jitter: Callable[[], float] = secrets.SystemRandom().random
    async with MqttTransport(access, filters=(*GATEWAY_FILTERS, EVENT_FILTER), jitter=jitter) as transport:
        controller = assemble(
            settings,
            clock=clock,
            store=store,
            keys=keys,
            transport=transport,
            programs=programs,
            crash=crash,
        )
        controller.epoch = epoch
        controller.shed = lambda: {"incoming": transport.shed_incoming, "outgoing": transport.shed_outgoing}
        messenger = AppriseMessenger(settings.mail_url)
        controller.messenger = messenger if crash is None else CrashingMessenger(messenger, crash)
        yield controller


def crash_point(settings: Settings) -> CrashPoint | None:
    """Return where the settings let this process kill itself; None where they do not."""
    return CrashPoint.parse(settings.crash_at) if settings.crash_at else None


def _tls(settings: Settings) -> TlsFiles | None:
    files = settings.broker_tls
    return None if files is None else TlsFiles(ca=files.ca, certificate=files.certificate, key=files.key)
