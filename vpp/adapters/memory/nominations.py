"""What programs were told to count on, kept in memory."""

from collections.abc import Sequence

from vpp.domain.nomination import Nomination


class MemoryNominations:
    """The nominations' part of the memory store."""

    def __init__(self) -> None:
        self._nominations: list[Nomination] = []

    async def nominate(self, nomination: Nomination) -> None:
        """Append a nomination; it stands in place of earlier ones, which are never changed."""
        self._nominations.append(nomination)

    async def nominations(self) -> Sequence[Nomination]:
        """Return every nomination in the order made."""
        return list(self._nominations)
