"""What owners ask about their money, kept in memory."""

from collections.abc import Sequence

from vpp.domain.dispute import DisputeWord, disputes


class MemoryDisputes:
    """The disputes' part of the memory store."""

    def __init__(self) -> None:
        self._words: list[DisputeWord] = []

    async def say(self, word: DisputeWord) -> None:
        """Append a word; nothing of it is ever changed."""
        self._words.append(word)

    async def words(self, *, owner_id: str | None = None) -> Sequence[DisputeWord]:
        """Return everything that was said in the order said; with an owner, about that owner's money."""
        return [each for each in self._words if owner_id is None or each.owner_id == owner_id]

    async def open_disputes(self) -> int:
        """Return how many disputes wait for an answer."""
        return sum(each.is_open for each in disputes(self._words))
