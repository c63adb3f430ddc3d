"""What every committed tick must keep to, judged in the moment of its commit from the store itself.

I1 floors, I3 commit before send, I4 one authority, I6 event bound, I7 opt-out wins, I18 brake, I20
restart. It keeps its own picture of what was committed; it never asks the controller.
"""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from simulators.bounds_checker import BoundsChecker, Told
from simulators.faults import CLOCK_OFF_MS, Climate, Fault
from simulators.findings import Findings
from simulators.home_checker import command_of
from simulators.kernel import Kernel, drive
from simulators.processes import ControllerProcess, Ears
from simulators.ramp_checker import RampChecker
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.command import AckBatch, Action, DispatchTick, Order, PlanRevision, Refusal
from vpp.domain.demands import has_begun
from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import LEAD, EventHistory, EventStatus, steps_in_force
from vpp.domain.orders import UNKNOWN_EVENT
from vpp.domain.quantities import IntColumn
from vpp.domain.tick_basis import TickBasis
from vpp.ports import Packet
from vpp.wire.gateway import Command
from vpp.wire.gateway_meter import decode_receipt
from vpp.wire.signed import split
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES

GRACE = timedelta(seconds=20)  # a version that was committed while a tick was being decided
LEASE_MEMORY = timedelta(minutes=30)


class DispatchChecker(Ears):
    """Listens to commits and sends of every controller process."""

    def __init__(
        self,
        kernel: Kernel,
        findings: Findings,
        climate: Climate,
        store: MemoryStore,
        sites: int,
        bounds: BoundsChecker,
        ramps: RampChecker,
    ) -> None:
        self.ticks: list[DispatchTick] = []
        self.told: dict[int, Told] = {}  # by site number
        self.event_ids: set[str] = set()  # those that commanded somebody
        self._kernel = kernel
        self._findings = findings
        self._climate = climate
        self._store = store
        self._sites = sites
        self._epoch = 0
        self._refused: set[tuple[int, int]] = set()  # site and tick number
        self._committed: dict[tuple[int, int], Told] = {}  # by tick number and site
        self._went_first: list[Command] = []  # releases that nothing committed stands behind yet
        self._setpoint_w: dict[str, IntColumn] = {}
        self._floor: dict[str, IntColumn] = {}
        self._bounds = bounds
        self._ramps = ramps
        self.stopped_by: dict[str, ControllerProcess] = {}  # by event; what it never told dies with it

    def became_leader(self, epoch: int) -> None:
        """A process took the epoch: it must be above every earlier one."""
        if epoch <= self._epoch:
            self._findings.report("I4", f"epoch {epoch} was taken after {self._epoch}")
        self._epoch = epoch

    def committed(
        self,
        process: ControllerProcess,
        tick: DispatchTick,
        revisions: Sequence[PlanRevision],
        basis: TickBasis | None,
    ) -> None:
        """Judge a tick that was just committed."""
        if self.ticks and tick.number == self.ticks[-1].number:
            return  # the very same again: the store would have refused another
        self._authority(tick)
        before_w = {event_id: setpoint_w.copy() for event_id, setpoint_w in self._setpoint_w.items()}
        for revision in revisions:
            self._apply(revision)
        ahead_s = (process.clock.now() - self._kernel.now()).total_seconds()
        histories = drive(self._store.histories())
        if basis is not None:
            self._ramps.heard(basis.samples)
        self._ramps.judge(tick, revisions, before_w, self._setpoint_w, histories, ahead_s=ahead_s)
        told: dict[int, Told] = {}
        nothing = np.zeros(self._sites, dtype=np.int64)
        for order in tick.orders:
            if order.event_id == UNKNOWN_EVENT and order.action is not Action.RELEASE:
                self._findings.report("I3", f"tick {tick.number} discharges for no event")
            setpoints = self._setpoint_w.get(order.event_id, nothing)
            floors = self._floor.get(order.event_id, nothing)
            for site in order.site_no.tolist():
                if site in told:
                    self._findings.report("I2", f"tick {tick.number} tells site {site} two things")
                setpoint_w = int(setpoints[site]) if order.action is Action.DISCHARGE else 0
                told[site] = self._committed[tick.number, site] = Told(
                    tick, order, setpoint_w, int(floors[site])
                )
        self._judge_what_went_first(tick)
        self._bounds.repeats(process, self.told, told)
        self._bounds.counted(process, tick, told)
        self.told.update(told)
        self.ticks.append(tick)
        self._judge_discharges(tick)
        self._judge_stopped(process, tick)
        if any(order.action is Action.DISCHARGE for order in tick.orders):
            self._judge_total()  # stops that left before they could be recorded raise nothing
        self._bounds.feeders(self.live_discharges())

    def stopped(self, process: ControllerProcess) -> None:
        """Somebody stops everything by this process: what is on is over, though the store knows later."""
        at = process.clock.now()
        for history in drive(self._store.histories()):
            if has_begun(history, at):
                self.stopped_by[history.latest.event_id] = process

    def answered(self, acks: AckBatch) -> None:
        """Remember which commands homes refused: such a lease does not run."""
        self._bounds.answered(acks)
        for site, sequence, refusal in zip(
            acks.site_no.tolist(), acks.sequence.tolist(), acks.refusal, strict=True
        ):
            if refusal is not None and refusal is not Refusal.DWELL:
                self._refused.add((site, sequence))

    def sent(self, packets: Sequence[Packet]) -> None:
        """Judge what leaves: every command stands in a committed tick, word for word."""
        for packet in packets:
            if packet.topic.endswith("/command"):
                self._stands_committed(packet)
            elif packet.topic.startswith("vpp/"):
                body = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body
                decode_receipt(body, site_id=packet.topic.split("/")[3])

    def restarted(self, process: ControllerProcess) -> None:
        """Judge the board of a process that has just read the store (I20)."""
        board = process.controller.board
        if board is None:
            return
        now = self._kernel.now()
        for site, told in self.told.items():
            if told.tick.at < now - LEASE_MEMORY + timedelta(seconds=60):
                continue
            leases = board.leases
            known = (int(leases.sequence[site]), int(leases.setpoint_w[site]))
            if known != (told.tick.number, told.setpoint_w):
                want = (told.tick.number, told.setpoint_w)
                self._findings.report(
                    "I20", f"after a restart {known} is known and {want} committed", site_id=self._name(site)
                )

    @property
    def _off(self) -> timedelta:
        """Return by how much the time that controllers go by may be wrong: so much is nobody's mistake."""
        is_set = Fault.CONTROLLER_CLOCK_STEP in self._climate.kinds
        return timedelta(milliseconds=CLOCK_OFF_MS if is_set else 0)

    def live_discharges(self) -> list[tuple[int, Told]]:
        """Return the sites whose newest committed command is a discharge that has not run out."""
        now = self._kernel.now()
        return [
            (site, told)
            for site, told in self.told.items()
            if told.setpoint_w
            and told.order.expires_at > now + self._off
            and (site, told.tick.number) not in self._refused
        ]

    def _authority(self, tick: DispatchTick) -> None:
        if tick.epoch != self._epoch:
            self._findings.report("I4", f"tick {tick.number} of epoch {tick.epoch} under {self._epoch}")
        if self.ticks and tick.number <= self.ticks[-1].number:
            self._findings.report("I4", f"tick {tick.number} follows {self.ticks[-1].number}")

    def _judge_what_went_first(self, tick: DispatchTick) -> None:
        """A release that left before its commit is committed as it left, and before anything later is."""
        owed = [each for each in self._went_first if each.epoch == tick.epoch]
        for command in owed:
            if command.sequence <= tick.number and not self.was_committed(command):
                self._findings.report(
                    "I3",
                    f"release {command.sequence} left first and was not recorded",
                    site_id=command.site_id,
                )
        if owed:
            self._went_first = [each for each in self._went_first if each.sequence > tick.number]

    def _apply(self, revision: PlanRevision) -> None:
        setpoints = self._setpoint_w.setdefault(revision.event_id, np.zeros(self._sites, dtype=np.int64))
        floors = self._floor.setdefault(revision.event_id, np.zeros(self._sites, dtype=np.int64))
        setpoints[revision.site_no] = revision.setpoint_w
        floors[revision.site_no] = revision.reserve_floor_permille

    def _judge_discharges(self, tick: DispatchTick) -> None:
        enrollments = drive(self._store.enrollments())
        for order in tick.orders:
            if order.action is not Action.DISCHARGE:
                continue
            self.event_ids.add(order.event_id)
            history = drive(self._store.history(order.event_id))
            if history is None:
                self._findings.report("I3", f"event {order.event_id} was never committed")
                continue
            self._judge_end(order, history)
            out = {
                each.site_id
                for each in drive(self._store.opt_outs([order.event_id]))
                if each.taken_back_at is None
            }
            for site in order.site_no.tolist():
                enrollment, told = enrollments[site], self.told[site]
                if not _may_serve(enrollment, history):
                    what = f"{order.event_id} commands a home that withdrew, or that it does not mean"
                    self._findings.report("I8", what, site_id=enrollment.site_id)
                if enrollment.site_id in out:
                    self._findings.report("I7", "a discharge was committed after its opt-out",
                                          site_id=enrollment.site_id)  # fmt: skip
                if told.floor_permille < enrollment.reserve_permille:
                    what = f"floor {told.floor_permille} under the VPP reserve {enrollment.reserve_permille}"
                    self._findings.report("I1", what, site_id=enrollment.site_id)
                if not 500 <= told.setpoint_w <= enrollment.max_discharge_w:
                    self._findings.report("I18", f"setpoint {told.setpoint_w} W", site_id=enrollment.site_id)
            self._judge_power(order.event_id, history)

    def _judge_stopped(self, process: ControllerProcess, tick: DispatchTick) -> None:
        for order in tick.orders:
            if order.action is Action.DISCHARGE and self.stopped_by.get(order.event_id) is process:
                self._findings.report("I6", f"{order.event_id} discharges after everything was stopped")

    def _judge_end(self, order: Order, history: EventHistory) -> None:
        if order.expires_at > order.event_ends_at:
            self._findings.report("I6", f"a lease of {order.event_id} outlives its own event end")
        steps = steps_in_force(history)
        now = self._kernel.now()
        latest = history.latest
        if latest.status is EventStatus.CANCELLED and latest.committed_at < now - GRACE:
            self._findings.report("I6", f"event {order.event_id} discharges after its cancel")
        ends_at = max((step.interval.ends_at for step in steps), default=None)
        fresh = latest.committed_at >= now - GRACE
        if ends_at is not None and order.event_ends_at > ends_at and not fresh:
            self._findings.report("I6", f"a lease may run past the end of {order.event_id}")

    def _judge_power(self, event_id: str, history: EventHistory) -> None:
        approved_w = self._approved_w(history)
        if approved_w is None:
            return
        live_w = sum(told.setpoint_w for _, told in self.live_discharges() if told.order.event_id == event_id)
        if 10 * live_w > 11 * approved_w:
            self._findings.report("I18", f"{live_w} W of live setpoints for {approved_w} W of {event_id}")

    def _judge_total(self) -> None:
        """Nobody approves anything in a history: all events of the source stay within its limit."""
        most_w = sum(source.max_power_w for source in drive(self._store.sources()))
        now = self._kernel.now()
        live_w = sum(told.setpoint_w for _, told in self.live_discharges() if told.order.starts_at <= now)
        if 10 * live_w > 11 * most_w:
            self._findings.report("I18", f"{live_w} W of live setpoints for a source of {most_w} W")

    def _approved_w(self, history: EventHistory) -> int | None:
        """Return what the event may use now, by any version of the last seconds; None for no bound."""
        now = self._kernel.now()
        off = self._off
        most = 0
        for count in range(1, len(history.versions) + 1):
            newest_then = (
                count == len(history.versions) or history.versions[count].committed_at >= now - GRACE - off
            )
            if not newest_then:
                continue
            then = EventHistory(history.versions[:count], history.grants)
            for step in steps_in_force(then):
                if step.interval.starts_at - LEAD - off <= now < step.interval.ends_at + off:
                    if step.power is None:
                        return None
                    most = max(most, step.power)
        sources = {each.name: each for each in drive(self._store.sources())}
        return min(most, sources[history.versions[0].source].max_power_w)

    def was_committed(self, command: Command) -> bool:
        """Return whether a command stands in a committed tick, word for word."""
        told = self._committed.get((command.sequence, self._number(command.site_id)))
        if told is None:
            return False
        committed = (
            told.tick.epoch, told.tick.at, told.order.event_id, told.order.action, told.setpoint_w,
            told.floor_permille, told.order.starts_at, told.order.expires_at, told.order.event_ends_at,
        )  # fmt: skip
        said = (
            command.epoch, command.issued_at, command.event_id, command.action, command.discharge_w,
            command.reserve_floor_permille, command.starts_at, command.expires_at, command.event_ends_at,
        )  # fmt: skip
        return committed == said

    def _stands_committed(self, packet: Packet) -> None:
        command, _ = command_of(packet.payload)
        site_id = packet.topic.split("/")[3]
        if command.site_id == site_id and self.was_committed(command):
            return
        if command.site_id == site_id and command.action is Action.RELEASE:
            self._went_first.append(command)  # a stop may, when the store is down
        else:
            self._findings.report("I3", f"command {command.sequence} left uncommitted", site_id=site_id)

    def _number(self, site_id: str) -> int:
        enrollment = drive(self._store.enrollment(site_id))
        return -1 if enrollment is None else enrollment.site_no

    def _name(self, site: int) -> str:
        return drive(self._store.enrollments())[site].site_id


def _may_serve(enrollment: Enrollment, history: EventHistory) -> bool:
    """Return whether a home's owner consents, and the event means the home by any of its newest words."""
    words = {enrollment.utility, enrollment.county, enrollment.feeder}
    meant = any(
        version.program_id == enrollment.program_id and (not version.targets or words & set(version.targets))
        for version in history.versions
    )
    return enrollment.withdrawn_at is None and meant
