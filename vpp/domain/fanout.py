"""How far the newest commands of an event are: sent, acknowledged, delivering, failed, and how long yet.

Only people look at it; nothing is decided by it.
"""

from dataclasses import dataclass

import numpy as np

from vpp.domain.lease import Leases, Standing
from vpp.domain.proof import ProofLog, ProofState, Response
from vpp.domain.quantities import BoolColumn, IntColumn

_FAILED = np.array([
    state in (ProofState.SHORT, ProofState.REFUSED, ProofState.NO_ANSWER, ProofState.SILENT)
    for state in ProofState
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fanout:
    """Counts of homes, each of the ``asked``; who neither delivers nor failed is on the way.

    ``sent`` and ``acknowledged`` tell of each home's newest command, so a new setpoint for all begins them
    again; ``delivering`` and ``failed`` are proved by measured power, whatever was acknowledged.
    ``done_in_s`` is in how many seconds the last home on the way can be judged; None where none is, or the
    event ends before.
    """

    asked: int
    sent: int
    acknowledged: int
    delivering: int
    failed: int
    done_in_s: int | None


def fanout(
    leases: Leases,
    log: ProofLog,
    state: IntColumn,
    serving: BoolColumn,
    response: Response,
    *,
    unsent: int,
    now_s: int,
    judged_from_s: int,
) -> Fanout:
    """Return how far the commands of the homes in ``serving`` are.

    Args:
        leases: The newest command of every site, with the answers heard so far.
        log: What was seen of the homes; at least as long as ``leases``.
        state: The state of every site, as ``state_now`` has it; as long as ``leases``.
        serving: Which homes hold a discharge of the event; as long as ``leases``.
        response: How fast homes are expected to answer.
        unsent: How many of these commands are committed and were not handed to the broker yet.
        now_s: Seconds since 1970.
        judged_from_s: Before it nobody is judged.
    """
    rows = np.flatnonzero(serving)
    state, standing = state[rows], leases.standing[rows]
    failed = _FAILED[state] | (standing == int(Standing.REJECTED))  # a refusal needs no next look
    delivering = (state == int(ProofState.DELIVERING)) & ~failed
    coming = rows[~failed & ~delivering]
    coming = coming[now_s < leases.event_ends_at_s[coming] - response.settling_s]
    begun_s = np.maximum(leases.first_start_s[coming], log.back_since_s[coming]) + response.settling_s
    ready_s = np.maximum(begun_s, log.raised_at_s[coming] + response.following_s)
    asked = len(rows)
    return Fanout(
        asked=asked,
        sent=max(0, asked - unsent),
        acknowledged=int((standing == int(Standing.ACCEPTED)).sum()),
        delivering=int(delivering.sum()),
        failed=int(failed.sum()),
        done_in_s=max(0, judged_from_s - now_s, int(ready_s.max()) - now_s) if len(coming) else None,
    )
