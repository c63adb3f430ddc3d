"""What an event's versions mean to an owner, who knows what was told before and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from tests.domain.grid_world import COMMIT, HOUR, START, history, version
from vpp.domain.grid_event import EventStatus, GridEvent
from vpp.domain.notice import Contact, Notice, NoticeKind
from vpp.domain.notices_due import Told, earned_by, event_notices, moments

MINUTE = timedelta(minutes=1)
ADDRESS = "json://127.0.0.1:9"


@dataclass
class Owner:
    """One owner through the versions of one event; every look writes what is due, each key once."""

    muted: frozenset[NoticeKind] = frozenset()
    versions: list[GridEvent] = field(default_factory=list)
    meant: list[bool] = field(default_factory=list)
    written: dict[str, Notice] = field(default_factory=dict)

    def hears(self, at: datetime, *, goes_ahead: bool = True) -> list[Mapping[str, str]]:
        """Return the facts of what is told at a moment, with its kind."""
        announcing = (NoticeKind.SCHEDULED, NoticeKind.CHANGED)
        told = Told(
            Contact("o-rosa", "en", ADDRESS, self.muted), (), "America/Los_Angeles",
            meant=self.meant[-1], meant_first=self.meant[0],
        )  # fmt: skip
        found: list[Notice] = []
        for moment in moments(history(*self.versions), goes_ahead=goes_ahead, now=at):
            said = [each for each in self.written.values() if each.kind in announcing]
            heard = {"o-rosa": said[-1]} if said else {}
            due = event_notices(moment, [told], earned_by(None), heard=heard, now=at)
            found += [each for each in due if self.written.setdefault(each.key, each) is each]
        return [{**each.facts, "kind": each.kind.value} for each in found]

    def asked(self, *, hours: float = 2, later_h: float = 0, meant: bool = True, **changed: object) -> None:
        """Add a version, committed a minute after the one before."""
        number = len(self.versions) + 1
        committed_at = COMMIT + number * MINUTE
        made = version(number, starts_at=START + later_h * HOUR, hours=hours, committed_at=committed_at)
        self.versions.append(replace(made, **changed))  # type: ignore[arg-type]  # of its own fields
        self.meant.append(meant)


def kinds(found: list[Mapping[str, str]]) -> list[str]:
    return [
        next((word for word in ("cancelled", "left_out") if each.get(word)), each["kind"]) for each in found
    ]


SOON = COMMIT + 20 * MINUTE


def test_a_time_that_moved_away_and_back_before_anybody_heard_is_no_change() -> None:
    rosa = Owner()
    rosa.asked()
    rosa.asked(later_h=1)
    rosa.asked()

    (found,) = rosa.hears(SOON)

    assert (found["kind"], found["starts_at"]) == ("scheduled", f"{START:%Y-%m-%dT%H:%M:%SZ}")


def test_a_time_that_moved_before_anybody_heard_is_told_as_it_stands_and_not_as_moved() -> None:
    rosa = Owner()
    rosa.asked()
    rosa.asked(later_h=1)

    assert kinds(rosa.hears(SOON)) == ["scheduled"]


def test_a_time_that_moved_away_and_back_between_two_looks_is_no_change_either() -> None:
    rosa = Owner()
    rosa.asked()
    rosa.hears(SOON)
    rosa.asked(later_h=1)
    rosa.asked()

    assert rosa.hears(SOON) == []


def test_a_time_that_moves_back_after_somebody_heard_is_told_both_times() -> None:
    rosa = Owner()
    told = []
    for later_h in (0, 1, 0):
        rosa.asked(later_h=later_h)
        told += kinds(rosa.hears(SOON))
        told += kinds(rosa.hears(SOON))

    assert told == ["scheduled", "changed", "changed"]


def test_whom_a_change_leaves_out_is_told_once_with_the_time_that_was_known() -> None:
    rosa = Owner()
    rosa.asked()
    rosa.hears(SOON)
    rosa.asked(later_h=1, meant=False)

    (found,) = rosa.hears(SOON)

    assert kinds([found]) == ["left_out"]
    assert found["starts_at"] == f"{START:%Y-%m-%dT%H:%M:%SZ}"
    rosa.asked(later_h=1, hours=1, meant=False)
    assert rosa.hears(SOON) == []


def test_whom_a_later_change_takes_in_again_is_told_and_so_is_whom_it_takes_in_first() -> None:
    rosa, ben = Owner(), Owner()
    rosa.asked()
    ben.asked(meant=False)
    rosa.hears(SOON)
    assert ben.hears(SOON) == []
    for owner in (rosa, ben):
        owner.asked(meant=False)
        owner.hears(SOON)
        owner.asked()

    assert kinds(rosa.hears(SOON)) == ["scheduled"]
    assert kinds(ben.hears(SOON)) == ["scheduled"]


def test_nobody_is_told_of_the_end_of_what_they_never_heard_of() -> None:
    rosa = Owner()
    rosa.asked(meant=False)
    rosa.asked(meant=False, status=EventStatus.CANCELLED)

    assert rosa.hears(SOON) == []


def test_whoever_is_left_out_is_told_neither_that_it_starts_nor_of_a_result_nor_of_its_cancel() -> None:
    rosa = Owner()
    rosa.asked()
    rosa.hears(SOON)
    rosa.asked(meant=False)
    rosa.hears(SOON)

    assert rosa.hears(START - 10 * MINUTE) == []
    assert rosa.hears(START + 3 * HOUR) == []
    rosa.asked(meant=False, status=EventStatus.CANCELLED)
    assert rosa.hears(SOON) == []


@pytest.mark.parametrize(
    ("later_h", "meant", "says"), [(1, True, ["changed"]), (0, False, ["left_out"]), (0, True, [])]
)
def test_whoever_mutes_what_is_scheduled_is_still_told_of_changes(
    later_h: int, meant: bool, says: list[str]
) -> None:
    rosa = Owner(muted=frozenset({NoticeKind.SCHEDULED}))
    rosa.asked()
    assert rosa.hears(SOON) == []
    rosa.asked(later_h=later_h, meant=meant)

    assert kinds(rosa.hears(SOON)) == says


def test_that_it_starts_is_told_once_however_often_its_power_changes() -> None:
    rosa = Owner()
    rosa.asked()
    rosa.hears(SOON)
    at = START - 10 * MINUTE

    assert kinds(rosa.hears(at)) == ["starting"]
    rosa.asked()
    assert rosa.hears(at) == []


def test_what_waits_for_leave_is_announced_only_when_it_goes_ahead() -> None:
    rosa = Owner()
    rosa.asked()

    assert rosa.hears(SOON, goes_ahead=False) == []
    assert kinds(rosa.hears(SOON)) == ["scheduled"]
