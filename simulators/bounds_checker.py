"""What a committed tick may not exceed: feeder, repeats, and the trust in homes that are silent.

I17 bounded, I18 brake, and the proof of each site: who is silent counts less and less until its lease
ends. Works from settings and from what was committed; of a process it asks only what that counted with.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulators.findings import Findings
from simulators.kernel import Kernel
from simulators.processes import ControllerProcess
from vpp.domain.command import AckBatch, Action, DispatchTick, Order
from vpp.domain.interval import to_epoch
from vpp.domain.proof import ProofState
from vpp.settings import DispatchSettings

REPEATS = 6  # three, and a restart may begin the count again
LONG_SILENCE_S = 180
SETTLED_S = 300


@dataclass(frozen=True, slots=True)
class Told:
    """What one site was told last, as committed."""

    tick: DispatchTick
    order: Order
    setpoint_w: int
    floor_permille: int


class BoundsChecker:
    """Judges each committed tick against what is configured. ``feeder_of`` names each site's feeder."""

    def __init__(
        self, kernel: Kernel, findings: Findings, settings: DispatchSettings, feeder_of: Sequence[str]
    ) -> None:
        self._kernel = kernel
        self._findings = findings
        self._settings = settings
        self._feeder_of = feeder_of
        self._answered: set[tuple[int, int]] = set()  # site and tick number
        self._repeats: Counter[int] = Counter()  # by site

    def feeders(self, live: Sequence[tuple[int, Told]]) -> None:
        """Judge what each limited feeder carries."""
        for feeder, cap_w in self._settings.feeder_caps_w.items():
            live_w = sum(told.setpoint_w for site, told in live if self._feeder_of[site] == feeder)
            if live_w > cap_w:
                self._findings.report("I18", f"{live_w} W on feeder {feeder}, which carries {cap_w} W")

    def answered(self, acks: AckBatch) -> None:
        """Remember which commands were answered."""
        self._answered.update(zip(acks.site_no.tolist(), acks.sequence.tolist(), strict=True))

    def repeats(
        self, process: ControllerProcess, before: Mapping[int, Told], told: Mapping[int, Told]
    ) -> None:
        """Judge how often an unanswered discharge is said again before its renewal is due.

        A home that says that it holds something older is told at once, however often that was.
        """
        board = process.controller.board
        for site, now in told.items():
            last = before.get(site)
            again = (
                last is not None
                and now.order.action is Action.DISCHARGE
                and _says(last) == _says(now)
                and (site, last.tick.number) not in self._answered
                and (now.tick.at - last.tick.at).total_seconds() < self._settings.lease_s / 3
                and not (board is not None and board.leases.behind[site])
            )
            self._repeats[site] = self._repeats[site] + 1 if again else 0
            if self._repeats[site] > REPEATS:
                self._findings.report(
                    "I17", f"site {site} was told the same {self._repeats[site]} times more"
                )

    def counted(self, process: ControllerProcess, tick: DispatchTick, told: Mapping[int, Told]) -> None:
        """Judge what the decision took for granted: of the home's reserve, and of homes that are silent.

        A slow store may commit it long after: what counts is how long a home was silent when it was made.
        """
        controller = process.controller
        board, fleet = controller.board, controller.fleet
        assert board is not None, "a process without a board commits nothing"
        for site, each in told.items():
            known = int(fleet.home_reserve_permille[site])
            if each.setpoint_w and each.floor_permille < known:
                what = f"floor {each.floor_permille} under the home reserve {known}"
                self._findings.report("I1", what, site_id=controller.roster.site_id(site))
        assessment, leases, now_s = board.assessment, board.leases, to_epoch(tick.at)
        if assessment is None or assessment.blind or now_s < board.judged_from_s:
            return
        heard_s = np.maximum(fleet.sampled_at_s, board.proof.back_since_s)  # a status is a word as well
        since_s = np.maximum(heard_s, leases.first_start_s)
        settled = (now_s > since_s + LONG_SILENCE_S) & (now_s > leases.first_start_s + SETTLED_S)
        quiet = settled & leases.discharging(now_s) & (leases.event_ends_at_s > now_s + SETTLED_S)
        for site in np.flatnonzero(quiet).tolist():
            whole_s = int(leases.expires_at_s[site] - since_s[site])
            left_s = int(leases.expires_at_s[site]) - now_s
            most_w = int(leases.setpoint_w[site]) * (left_s + 1) // whole_s + 1
            counted_w = int(assessment.counted_w[site])
            if assessment.state[site] not in (ProofState.SILENT, ProofState.REFUSED) or counted_w > most_w:
                what = f"silent for {now_s - int(since_s[site])} s, it counts as {counted_w} W of {most_w}"
                self._findings.report("proof", what, site_id=controller.roster.site_id(site))


def _says(told: Told) -> tuple[object, ...]:
    order = told.order
    return order.event_id, told.setpoint_w, told.floor_permille, order.event_ends_at
