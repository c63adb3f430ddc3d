"""What a home is counted at, from what it was told and what it said last."""

import numpy as np

from vpp.domain.fleet import FleetState
from vpp.domain.lease import Leases, Standing
from vpp.domain.proof import ProofLog, ProofState, Response, assess

RESPONSE = Response(spread_s=60, ramp_s=30, sample_period_s=30)


def test_silent_home_fades_from_its_last_sample_and_not_from_when_that_was_heard() -> None:
    fleet, leases, log = FleetState(), Leases(1), ProofLog(1)
    fleet.grow(1)
    fleet.online[0], fleet.sampled_at_s[0], fleet.battery_w[0] = True, 1_000, 4_000
    leases.setpoint_w[0], leases.standing[0] = 4_000, int(Standing.ACCEPTED)
    leases.first_start_s[0], leases.expires_at_s[0], leases.event_ends_at_s[0] = 100, 1_900, 9_000
    log.back_since_s[0] = 1_010  # it was silent before, and its sample was heard ten seconds late

    found = assess(fleet, leases, log, RESPONSE, now_s=1_300, judged_from_s=0)

    assert found.sites_in(ProofState.SILENT).all()
    assert np.array_equal(found.counted_w, [4_000 * 600 // 900])
