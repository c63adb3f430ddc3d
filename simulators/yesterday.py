"""The evening before a history: a test event that commanded every other home and is in no baseline."""

from collections.abc import Sequence
from datetime import timedelta
from zoneinfo import ZoneInfo

from simulators.kernel import drive
from simulators.suburb import BEGINS, PROGRAMS
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.command import Action, DispatchTick, Order, PlanRevision
from vpp.domain.grid_event import EventStatus, GridEvent, Operation, Step
from vpp.domain.interval import Interval
from vpp.domain.quantities import Watts, column

TEST_EVENT = "ev-yesterday"
_STARTED = BEGINS - timedelta(days=1)
_ENDED = _STARTED + timedelta(hours=1)
TEST_DAY = _STARTED.astimezone(ZoneInfo("America/Los_Angeles")).date()
_SETPOINT_W = 1_000


def remember_test_event(store: MemoryStore, source: str, site_nos: Sequence[int]) -> None:
    """Commit the event, its plan and its one tick as a controller of that evening did."""
    announced = _STARTED - timedelta(hours=1)
    version = GridEvent(
        event_id=TEST_EVENT,
        version=1,
        source=source,
        operation=Operation.CREATE,
        modified_at=announced,
        content_sha256="0" * 64,
        program_id=PROGRAMS[0],
        name="TEST of the evening before",
        priority=None,
        targets=(),
        steps=(Step(Interval(_STARTED, _ENDED), Watts(_SETPOINT_W * len(site_nos))),),
        status=EventStatus.SCHEDULED,
        out_of_program=(),
        test=True,
        committed_at=announced,
    )
    sites = column(site_nos)
    revision = PlanRevision(
        event_id=TEST_EVENT,
        revision=1,
        version=1,
        at=_STARTED,
        requested_w=_SETPOINT_W * len(sites),
        shortfall_w=0,
        level_permille=0,
        site_no=sites,
        setpoint_w=column([_SETPOINT_W] * len(sites)),
        reserve_floor_permille=column([500] * len(sites)),
        reason_code=column([0] * (int(sites.max()) + 1)),
    )
    order = Order(
        event_id=TEST_EVENT,
        revision=1,
        action=Action.DISCHARGE,
        site_no=sites,
        starts_at=_STARTED,
        expires_at=_STARTED + timedelta(minutes=15),
        event_ends_at=_ENDED,
        ramp_s=30,
        spread_s=60,
        test=True,
    )
    drive(store.append_version(version, actor="simulation"))
    epoch = drive(store.take_epoch(at=announced))
    drive(store.commit(DispatchTick(1, epoch, _STARTED, (order,)), [revision]))
