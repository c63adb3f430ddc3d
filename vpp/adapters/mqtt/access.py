"""Which broker, who we are to it, and how patiently it is tried again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from vpp.ports import Packet


class NotABrokerUrl(ValueError):
    """A broker address that is not ``mqtt://host:port`` or ``mqtts://host:port``."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files. Without ``ca`` the system's authorities are trusted."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """Which broker, and who we are to it. ``will`` is what the broker says when we vanish."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None
    will: Packet | None = None
    keepalive_s: int = 60
    persistent: bool = True

    @classmethod
    def from_url(
        cls, url: str, *, client_id: str, tls: TlsFiles | None = None, will: Packet | None = None
    ) -> "Access":
        """Return the access that ``mqtt[s]://[user:password@]host[:port]`` describes.

        Raises:
            NotABrokerUrl: Another scheme, no host, or a port outside 1-65535.
        """
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # never the password
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise NotABrokerUrl(f"broker {shown!r} is not mqtt://host:port or mqtts://host:port")
        try:
            port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        except ValueError:
            raise NotABrokerUrl(f"broker {shown!r} has a port outside 1-65535") from None
        return cls(
            host=parts.hostname,
            port=port,
            client_id=client_id,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=(tls or TlsFiles()) if parts.scheme == "mqtts" else None,
            will=will,
        )


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before another attempt: full jitter below a limit that doubles."""

    first_s: float = 0.5
    longest_s: float = 5.0

    def wait_s(self, attempt: int, jitter: Callable[[], float]) -> float:
        """Return the wait after ``attempt`` failures; ``jitter`` gives a number in [0, 1)."""
        return jitter() * float(min(self.longest_s, self.first_s * 2 ** min(attempt, 30)))
