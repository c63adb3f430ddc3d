"""What a gateway measured and nobody has confirmed yet: seven days of readings, freed only by receipts."""

from collections import deque
from collections.abc import Sequence
from itertools import takewhile

from vpp.domain.delivery import MeterMessage, MeterReading, MeterReceipt, Quality
from vpp.domain.interval import from_epoch
from vpp.domain.quantities import Permille, WattHours
from vpp.wire.gateway_meter import MAX_READINGS

KEPT_S = 7 * 86_400
MESSAGES_AT_ONCE = 24  # a gateway back after days must not flood the broker


class MeterBuffer:
    """The readings of one boot, indexed from 1 without holes; ``held`` are those an earlier process kept."""

    def __init__(self, site_id: str, boot_id: str, held: Sequence[MeterReading] = ()) -> None:
        self.boot_id = boot_id
        self._site_id = site_id
        self._readings = deque(held)
        self._next_index = held[-1].index + 1 if held else 1

    def __len__(self) -> int:
        return len(self._readings)

    @property
    def oldest_index(self) -> int:
        """Return the index below which nothing is held any more."""
        return self._readings[0].index if self._readings else self._next_index

    @property
    def newest_index(self) -> int:
        """Return the index of the last reading ever kept, 0 before any."""
        return self._next_index - 1

    def after(self, index: int) -> list[MeterReading]:
        """Return what is held above an index, newest first."""
        return list(takewhile(lambda reading: reading.index > index, reversed(self._readings)))

    def read(self, at_s: int, *, discharged_wh: int, charged_wh: int, soc_permille: int) -> None:
        """Keep a reading; one older than seven days goes, confirmed or not."""
        self._readings.append(
            MeterReading(
                site_id=self._site_id,
                boot_id=self.boot_id,
                index=self._next_index,
                at=from_epoch(at_s),
                discharged_wh=WattHours(discharged_wh),
                charged_wh=WattHours(charged_wh),
                soc_permille=Permille(soc_permille),
                quality=Quality.OK,
            )
        )
        self._next_index += 1
        too_old = from_epoch(at_s - KEPT_S)
        while self._readings[0].at < too_old:
            self._readings.popleft()

    def confirm(self, receipt: MeterReceipt) -> None:
        """Free what the receipt covers. One that claims more than was ever measured is passed over."""
        if receipt.stored_through >= self._next_index:
            return
        while self._readings and self._readings[0].index <= receipt.stored_through:
            self._readings.popleft()

    def messages(self) -> list[MeterMessage]:
        """Return everything unconfirmed, oldest first, twelve readings a message, not too many at once."""
        held = list(self._readings)[: MAX_READINGS * MESSAGES_AT_ONCE]
        return [
            MeterMessage(
                site_id=self._site_id,
                boot_id=self.boot_id,
                oldest_index=held[0].index,
                readings=tuple(held[first : first + MAX_READINGS]),
            )
            for first in range(0, len(held), MAX_READINGS)
        ]
