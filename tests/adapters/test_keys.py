"""The controller's key file, its clocks and its identities."""

import stat
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vpp.adapters.clock import ClockMovedBack, SlewedClock, SteppedClock, WallClock
from vpp.adapters.ids import RandomIds, SeededIds
from vpp.adapters.keys import KEY_FILE, FileKeys, KeyFileRefused
from vpp.domain.interval import NotUtc, require_utc
from vpp.wire.signed import VerifyingKey, split, verify

EVENING = datetime(2026, 9, 10, 1, tzinfo=UTC)


def test_first_use_makes_a_private_directory_and_key(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"

    FileKeys(state_dir)

    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((state_dir / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in state_dir.iterdir()] == [KEY_FILE]


def test_key_stays_the_same_over_a_restart(tmp_path: Path) -> None:
    first, again = FileKeys(tmp_path), FileKeys(tmp_path)

    assert (first.kid, first.public_key) == (again.kid, again.public_key)
    assert first.kid.startswith("vpp-")
    assert len(first.kid) == 12


def test_two_controllers_have_two_keys(tmp_path: Path) -> None:
    assert FileKeys(tmp_path / "east").kid != FileKeys(tmp_path / "west").kid


def test_gateway_that_pinned_the_public_key_believes_what_is_signed(tmp_path: Path) -> None:
    keys = FileKeys(tmp_path)

    message = split(keys.sign(b'{"schema":"vpp.command/1"}'), max_bytes=4_096)

    assert message.kid == keys.kid
    assert verify(message, VerifyingKey(keys.public_key)) == b'{"schema":"vpp.command/1"}'


def test_key_file_that_others_can_read_is_refused_with_the_command_to_type(tmp_path: Path) -> None:
    FileKeys(tmp_path)
    (tmp_path / KEY_FILE).chmod(0o644)

    with pytest.raises(KeyFileRefused, match="chmod 600"):
        FileKeys(tmp_path)


def test_key_file_of_another_kind_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / KEY_FILE
    other = X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    for content in (b"", b"not a key", other):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyFileRefused, match="restore it from the backup"):
            FileKeys(tmp_path)
        assert path.read_bytes() == content


class Machine:
    """A machine whose clock can be set, with a counter of seconds that cannot."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.set_by = timedelta(0)

    def now(self) -> datetime:
        """Return what its clock says."""
        return EVENING + timedelta(seconds=self.seconds) + self.set_by

    def elapsed(self) -> float:
        """Return the seconds since it was started."""
        return self.seconds


@pytest.mark.parametrize("step_s", [-10, -3, 4, 10])
def test_a_small_step_of_the_machines_clock_is_followed_little_by_little(step_s: int) -> None:
    machine = Machine()
    clock = SlewedClock(machine.now, machine.elapsed)
    said = [clock.now()]

    machine.set_by = timedelta(seconds=step_s)
    for _ in range(520):
        machine.seconds += 1
        said.append(clock.now())

    seconds = [(later - earlier).total_seconds() for earlier, later in pairwise(said)]
    assert 0.98 <= min(seconds) <= max(seconds) <= 1.02
    assert clock.now() == machine.now()


@pytest.mark.parametrize("step_s", [-3_600, -11, 11, 86_400])
def test_a_clock_that_was_wrong_is_set_right_at_once(step_s: int) -> None:
    machine = Machine()
    clock = SlewedClock(machine.now, machine.elapsed)

    machine.set_by = timedelta(seconds=step_s)

    assert clock.now() == machine.now()


def test_stepped_clock_moves_only_when_told_and_never_back() -> None:
    clock = SteppedClock(EVENING)

    clock.step_to(EVENING + timedelta(seconds=5))

    assert clock.now() == EVENING + timedelta(seconds=5)
    with pytest.raises(ClockMovedBack):
        clock.step_to(EVENING)
    with pytest.raises(NotUtc):
        clock.step_to((EVENING + timedelta(days=1)).replace(tzinfo=None))
    assert require_utc(WallClock().now())


def test_identities_differ_and_seeded_ones_repeat() -> None:
    ids = RandomIds()

    assert ids.new("raw") != ids.new("raw")
    assert len(ids.new("raw")) == len("raw-") + 32
    first, again = SeededIds(7), SeededIds(7)
    assert [first.new("raw") for _ in range(3)] == [again.new("raw") for _ in range(3)]
    assert SeededIds(8).new("raw") != SeededIds(7).new("raw")
