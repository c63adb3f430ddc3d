"""What must be true once the trouble is over, and what the store must say in the end.

I19 liveness after healing; I8 consent, I9 balanced, I10 paid once, I11 no money without energy, I12 exact,
I13 tamper-evident, I21 one plan per version, I22 no silent loss.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction

from simulators.cadence import READING_S
from simulators.kernel import drive
from simulators.made_again import differences
from simulators.online_home import OnlineHome
from simulators.suburb import BEGINS
from simulators.world import World
from simulators.yesterday import TEST_DAY, TEST_EVENT
from vpp.domain.command import discharges
from vpp.domain.delivery import QUALITY_CODES, Quality
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventStatus
from vpp.domain.interval import Interval, to_epoch, whole_second
from vpp.domain.lease import Standing
from vpp.domain.ledger import Account, EntryState, JournalEntry
from vpp.domain.plausibility import PLAUSIBLE_POWER_PERCENT
from vpp.domain.settlement import HourLine, Settlement, SettlementLine

UNANSWERED_S = 45  # an answer's 10 s, and a tick or two to send again
CLOCKS_DIFFER_S = 30
COUNTER_SLACK_WH = 3  # two counters in whole watt-hours, and half of one for a straight line
BAD = QUALITY_CODES.index(Quality.BAD)


class Audit:
    """Looks at a world from outside, when its history is over or nearly so."""

    def __init__(self, world: World) -> None:
        self.healed_s = 0
        self.paid = 0
        self._world = world
        self._report = world.findings.report
        self._tested = frozenset(list(world.homes)[::2])

    # I19: a minute after the trouble is over.

    def converged(self) -> None:
        """Report what is still pending although nothing has gone wrong for a minute."""
        world = self._world
        waiting = world.operator.unanswered()
        if waiting:
            self._report("I19", f"{waiting} grid signals have no receipt")
        else:
            self._newest_stand()
        pending = drive(world.store.pending())
        if pending:
            self._report("I19", f"{len(pending)} signals are kept and not answered")
        leader = world.leader
        if leader is None or leader.controller.board is None:
            self._report("I19", "no controller leads")
            return
        failures = leader.controller.runner.failures.pending
        for (stage, fact), why in failures.items():
            self._report("I19", f"{stage} of {fact} still fails: {why}")
        for home in world.homes.values():
            self._all_confirmed(home)
        self._all_answered()
        self._all_released()
        self._ended_events_closed(self.healed_s)

    def _newest_stand(self) -> None:
        """Whatever overtook what on its way: the newest word on each event is the one that holds."""
        newest: dict[str, datetime] = {}
        for event_id, _, modified_at in self._world.operator.said():
            newest[event_id] = max(modified_at, newest.get(event_id, modified_at))
        for history in drive(self._world.store.histories()):
            event_id, stands = history.latest.event_id, history.latest.modified_at
            if event_id in self._world.dispatch_checker.stopped_by:
                continue  # the staff had the last word
            if stands != newest.get(event_id, stands):
                self._report("I16", f"{event_id} stands as of {stands}, not of {newest[event_id]}")

    def _all_confirmed(self, home: OnlineHome) -> None:
        if home.site_id in self._world.withdrawn:
            return  # nothing of it is taken any more
        for buffer in home.gateway.buffers:
            for message in buffer.messages()[:1]:
                oldest_s = to_epoch(message.readings[0].at)
                if oldest_s + 30 < self.healed_s and not home.hijacked:
                    self._report("I19", f"a reading of {message.readings[0].at} has no receipt",
                                 site_id=home.site_id)  # fmt: skip

    def _all_answered(self) -> None:
        leader = self._world.leader
        board = leader.controller.board if leader is not None else None
        if board is None:
            return
        now_s = self._world.kernel.now_s
        for site, told in self._world.dispatch_checker.live_discharges():
            waits = board.leases.standing[site] == Standing.WAITING
            if waits and to_epoch(told.tick.at) + UNANSWERED_S < now_s:
                self._report("I19", f"command {told.tick.number} to site {site} is neither ended nor retried")

    def _all_released(self) -> None:
        """A home whose newest command was to stop has stopped, however often that had to be said."""
        homes = list(self._world.homes.values())
        for site, told in self._world.dispatch_checker.told.items():
            running = homes[site].inverter.running_lease
            waited_s = self._world.kernel.now_s - to_epoch(told.tick.at)
            if running is None or homes[site].hijacked or told.setpoint_w or waited_s < UNANSWERED_S:
                continue
            if running.event_id == told.order.event_id:
                self._report("I19", f"it was told to stop {waited_s} s ago", site_id=homes[site].site_id)

    def closed(self) -> None:
        """Report events that have ended and are not settled."""
        self._ended_events_closed(self._world.kernel.now_s - 60)

    def _ended_events_closed(self, until_s: int) -> None:
        world, ticks = self._world, self._world.dispatch_checker.ticks
        for event_id in sorted(world.dispatch_checker.event_ids):
            event = world.operator.events.get(event_id)
            if event is None:
                self._report("I21", f"event {event_id} commanded homes and nobody signalled it")
                continue
            history = drive(world.store.history(event_id))
            over_at = event.ends_at if history is None else ended_at(history)  # on the controller's clock
            ends_at = min(event.ends_at, event.cancelled_at or event.ends_at, over_at)
            began = any(
                event.starts_at <= tick.at < ends_at
                and any(each.event_id == event_id for each in discharges([tick]))
                for tick in ticks
            )
            if began and to_epoch(ends_at) < until_s and drive(world.store.settlement(event_id)) is None:
                self._report("I19", f"event {event_id} ended and is not settled")

    # The books and the store.

    def books(self) -> None:
        """Report whatever the store says that cannot be."""
        entries = drive(self._world.store.entries())
        settlements = drive(self._world.store.settlements())
        self._balanced(entries)
        self._paid_once(entries, settlements)
        for settlement in settlements:
            said_no: dict[str, datetime] = {}
            for each in drive(self._world.store.opt_outs([settlement.event_id])):
                if each.taken_back_at is None:
                    at = whole_second(each.opted_out_at)
                    said_no[each.site_id] = min(at, said_no.get(each.site_id, at))
            for line in settlement.lines:
                self._earned(line)
                self._compared(line, said_no)
        broken = drive(self._world.store.verify_chain())
        if broken is not None:
            self._report("I13", f"the chain does not hold: {broken}")
        ticks = drive(self._world.store.ticks(since=BEGINS))
        if [tick.number for tick in ticks] != [tick.number for tick in self._world.dispatch_checker.ticks]:
            self._report("I13", f"{len(ticks)} ticks are stored of {len(self._world.dispatch_checker.ticks)}")
        for difference in drive(differences(self._world.store, BEGINS)):
            self._report("I3", f"made again from what is stored, it is not the same: {difference}")
        self._versions()
        self._readings()
        self._counted()

    def _counted(self) -> None:
        """Every message that a controller received is stored, refused for a reason, a copy, or lost aloud."""
        for process in self._world.processes:
            heard = process.controller.runner.failures
            refused = Counter(dict.fromkeys(heard.received, 0))
            for (kind, _), count in heard.refused.items():
                refused[kind] += count
            for kind, received in heard.received.items():
                known = heard.stored[kind] + heard.duplicate[kind] + heard.lost[kind] + refused[kind]
                if received != known:
                    self._report("I22", f"of {received} {kind} messages {known} are accounted for")

    def _balanced(self, entries: Sequence[JournalEntry]) -> None:
        for entry in entries:
            amounts = [posting.amount for posting in entry.postings]
            if sum(amounts) != 0 or len(amounts) < 2:
                self._report("I9", f"entry {entry.entry_id} sums to {sum(amounts)}")
            if any(type(amount) is not int for amount in amounts):
                self._report("I12", f"entry {entry.entry_id} holds a number that is not whole")

    def _paid_once(self, entries: Sequence[JournalEntry], settlements: Sequence[Settlement]) -> None:
        ended = {entry.resolves for entry in entries if entry.resolves is not None}
        ended |= {entry.corrects for entry in entries if entry.corrects is not None}
        live = [
            entry
            for entry in entries
            if entry.settles is not None
            and entry.entry_id not in ended
            and entry.state is not EntryState.VOIDED
        ]
        for key, count in Counter(entry.settles for entry in live).items():
            if count > 1:
                self._report("I10", f"{key} is settled {count} times")
        booked = {entry.settles: entry for entry in live}
        for settlement in settlements:
            for line in settlement.lines:
                key = (line.owner_id, line.site_id, settlement.program_id, settlement.event_id)
                owed = _owed(booked[key]) if key in booked else 0
                self.paid += owed
                if owed != line.amount:
                    self._report("I10", f"{owed} is booked of {line.amount}", site_id=line.site_id)

    def _earned(self, line: SettlementLine) -> None:
        home = self._world.homes[line.site_id]
        numbers = (line.amount, line.gross, line.margin)
        if any(type(number) is not int for number in numbers):
            self._report("I12", "a settlement holds money that is not whole", site_id=line.site_id)
        for hour in line.hours:
            if hour.metered_wh is None or line.settled is None:
                continue
            baseline = hour.baseline_wh or Fraction(0)
            if hour.incremental_wh > hour.metered_wh + max(Fraction(0), -baseline):
                self._report("I11", f"{hour.incremental_wh} Wh are paid of {hour.metered_wh} metered",
                             site_id=line.site_id)  # fmt: skip
            part = hour.hour.overlap(line.settled)
            if part is not None:
                self._metered(home, hour, part)

    def _compared(self, line: SettlementLine, said_no: Mapping[str, datetime]) -> None:
        """No day on which a home was commanded is like those on which it was not; a no ends what is paid."""
        if line.settled is not None and line.settled.ends_at > said_no.get(
            line.site_id, line.settled.ends_at
        ):
            self._report("I11", "it is paid for the time after its owner's no", site_id=line.site_id)
        if line.site_id in self._tested and TEST_DAY in line.baseline_days.chosen:
            self._report("I11", f"the baseline averages {TEST_DAY}, an event day", site_id=line.site_id)

    def _metered(self, home: OnlineHome, hour: HourLine, part: Interval) -> None:
        """Compare what was metered with what the battery can give, and with what it gave."""
        metered = hour.metered_wh or 0
        possible = home.inverter.battery.max_discharge_w * part.seconds * PLAUSIBLE_POWER_PERCENT // 360_000
        if metered > possible + COUNTER_SLACK_WH:
            self._report("I11", f"{metered} Wh are metered of {possible} possible", site_id=home.site_id)
        if home.lies_by_wh or home.cloned or hour.quality is not Quality.OK or not home.counted_ws:
            return
        instants = sorted(home.counted_ws)
        # Between two readings the counter is taken for a straight line: only their outer edges bound it.
        starts_s, ends_s = to_epoch(part.starts_at), to_epoch(part.ends_at)
        first = instants[max(0, bisect_right(instants, starts_s // READING_S * READING_S) - 1)]
        after = instants[bisect_left(instants, -(-ends_s // READING_S) * READING_S) :]
        until_ws = home.counted_ws[after[0]][0] if after else home.inverter.battery.discharged_ws
        gave = (until_ws - home.counted_ws[first][0]) // 3600
        if metered > gave + COUNTER_SLACK_WH:
            self._report("I11", f"{metered} Wh are metered and {gave} were given", site_id=home.site_id)

    def _versions(self) -> None:
        said = self._world.operator.said()
        for history in drive(self._world.store.histories()):
            if history.latest.event_id == TEST_EVENT:
                continue
            keys = [(each.modified_at, each.operation, each.content_sha256) for each in history.versions]
            if len(set(keys)) != len(keys):
                self._report("I21", f"a version of {history.latest.event_id} was taken twice")
            numbers = [each.version for each in history.versions]
            if numbers != list(range(1, len(numbers) + 1)):
                self._report("I21", f"versions of {history.latest.event_id} are numbered {numbers}")
            stopped = history.latest.event_id in self._world.dispatch_checker.stopped_by
            for version in history.versions:
                if stopped and version.status is EventStatus.CANCELLED:
                    continue
                if (version.event_id, version.operation, version.modified_at) not in said:
                    self._report(
                        "I21", f"version {version.version} of {version.event_id} was never signalled"
                    )

    def _readings(self) -> None:
        """Everything that an honest gateway measured and was told is stored, is stored as it was."""
        world = self._world
        stored: dict[str, set[tuple[int, int, int]]] = {}
        always = Interval(BEGINS - timedelta(hours=1), BEGINS + timedelta(days=1))
        site_ids = list(world.homes)
        rows = drive(world.store.readings(site_ids, [always]))
        doubted = {site_ids[site] for site in rows.site[rows.quality == BAD].tolist()}
        columns = (rows.site, rows.at_s, rows.discharged_wh, rows.charged_wh)
        for site, *numbers in zip(*(each.tolist() for each in columns), strict=True):
            stored.setdefault(site_ids[site], set()).add((numbers[0], numbers[1], numbers[2]))
        held = {
            (home.site_id, message.boot_id, reading.index)
            for home in world.homes.values()
            for buffer in home.gateway.buffers
            for message in buffer.messages()
            for reading in message.readings
        }
        measured: dict[str, set[tuple[int, int, int]]] = {}
        for key, reading in world.home_checker.readings.items():
            if world.homes[key[0]].lies_by_wh or world.homes[key[0]].cloned:
                continue  # what it measured is not what was said in its name
            row = (to_epoch(reading.at), int(reading.discharged_wh or 0), int(reading.charged_wh or 0))
            measured.setdefault(key[0], set()).add(row)
            expected = key not in held and key[0] not in world.withdrawn
            if row not in stored.get(key[0], ()) and expected:
                self._report("I22", f"reading {key[2]} of {reading.at} is neither stored nor held",
                             site_id=key[0])  # fmt: skip
        for site_id, withdrawn_s in world.withdrawn.items():
            newest_s = max((at_s for at_s, *_ in stored.get(site_id, ())), default=0)
            if newest_s > withdrawn_s + CLOCKS_DIFFER_S:
                self._report("I8", "a reading is stored from after its owner withdrew", site_id=site_id)
        for site_id, known in measured.items():
            invented = [row for row in stored.get(site_id, ()) if row not in known]
            if any(at_s >= to_epoch(BEGINS) for at_s, *_ in invented):
                self._report("I11", "a reading is stored that its meter never gave", site_id=site_id)
            if site_id in doubted:
                self._report("I22", "a reading that came more than once counts as two", site_id=site_id)


def _owed(entry: JournalEntry) -> int:
    return -sum(posting.amount for posting in entry.postings if posting.account is Account.OWNER_PAYABLE)
