"""The log of a service: lines of key=value on stderr, from the libraries below it too."""

import logging
import sys

import structlog

REPEATS_AFTER_S = 1.0
MOST_REMEMBERED = 1_000


class OnceASecond(logging.Filter):
    """Lets a library say the same thing once a second: whoever knocks with nonsense fills no disk."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        said = (record.name, str(record.msg))
        if record.created - self._said_at.get(said, float("-inf")) < REPEATS_AFTER_S:
            return False
        if len(self._said_at) >= MOST_REMEMBERED:
            self._said_at.clear()
        self._said_at[said] = record.created
        return True


def log_to_stderr() -> None:
    """Write the log of this process to stderr; stdout stays empty."""
    stamped: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    written = structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"])
    structlog.configure(
        processors=[*stamped, written], logger_factory=structlog.PrintLoggerFactory(sys.stderr)
    )
    of_libraries = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *stamped],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, written],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(of_libraries)
    handler.addFilter(OnceASecond())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
