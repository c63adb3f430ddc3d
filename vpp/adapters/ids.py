"""Fresh identities: random in the field, counted where a run must repeat."""

import hashlib
import secrets

_RANDOM_BYTES = 16


class RandomIds:
    """Identities nobody can guess or meet twice."""

    def new(self, prefix: str) -> str:
        """Return ``prefix-`` and 128 random bits in hex."""
        return f"{prefix}-{secrets.token_hex(_RANDOM_BYTES)}"


class SeededIds:
    """The same identities in the same order for the same seed, for a demonstration that repeats."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._given = 0

    def new(self, prefix: str) -> str:
        """Return ``prefix-`` and 128 bits in hex that follow from the seed and how many were given."""
        self._given += 1
        digest = hashlib.sha256(f"{self._seed}/{self._given}".encode()).hexdigest()
        return f"{prefix}-{digest[: 2 * _RANDOM_BYTES]}"
