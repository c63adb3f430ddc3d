"""The hash chain over ledger entries, grid events and ticks, kept in memory."""

from vpp.wire import facts


class MemoryChain:
    """Every chained fact in the order of its commit, and the head after it."""

    def __init__(self) -> None:
        self._links: list[tuple[str, object, str | None, str]] = []  # kind, fact, actor, head after it

    @property
    def head(self) -> str:
        """Return the present head in hex."""
        return self._links[-1][3] if self._links else facts.GENESIS

    def append(self, kind: str, fact: object, *, actor: str | None = None) -> None:
        """Link one more fact."""
        self._links.append((kind, fact, actor, facts.next_link(self.head, kind, fact, actor=actor)))

    @property
    def newest(self) -> tuple[int, str]:
        """Return how many links there are, and the present head."""
        return len(self._links), self.head

    @property
    def heads(self) -> list[str]:
        """Return the head after each link, in order."""
        return [head for *_, head in self._links]

    def difference(self) -> str | None:
        """Return what differs first when the chain is computed again, or None when it holds."""
        head = facts.GENESIS
        for position, (kind, fact, actor, stored) in enumerate(self._links, start=1):
            head = facts.next_link(head, kind, fact, actor=actor)
            if head != stored:
                return f"link {position}: the {kind} does not give the stored hash {stored[:12]}"
        return None
