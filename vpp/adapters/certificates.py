"""Certificates in PEM files: until when they hold."""

from datetime import datetime
from pathlib import Path

from cryptography import x509


class NotACertificate(Exception):
    """A file cannot be read, or holds no certificate in PEM."""


def certificate_ends_at(path: Path) -> datetime:
    """Return when the first certificate of a PEM file ends, as aware UTC.

    Raises:
        NotACertificate: The file cannot be read or holds none.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    except OSError as failure:
        raise NotACertificate(f"{path}: {failure.strerror}") from failure
    except ValueError as failure:
        raise NotACertificate(f"{path}: holds no certificate in PEM") from failure
