"""The controller's signing key in a file that only its user can read."""

import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from vpp.wire.signed import SigningKey, sign

KEY_FILE = "controller.pem"


class KeyFileRefused(Exception):
    """The key file holds no Ed25519 key, or others on the machine can read it."""


class FileKeys:
    """One Ed25519 key in ``controller.pem`` of the state directory, made on first use.

    Raises:
        KeyFileRefused: An existing file is readable by others or holds no such key.
    """

    def __init__(self, state_dir: Path) -> None:
        path = state_dir / KEY_FILE
        if not path.exists():
            _make(path)
        self._key = _load(path)
        self._kid = f"vpp-{hashlib.sha256(self.public_key).hexdigest()[:8]}"

    @property
    def kid(self) -> str:
        """Return ``vpp-`` and the first eight hex digits of the public key's sha256."""
        return self._kid

    @property
    def public_key(self) -> bytes:
        """Return the 32 raw bytes of the public key."""
        return self._key.verifying_key.raw

    def sign(self, body: bytes) -> bytes:
        """Return the body, one LF, and its detached JWS."""
        return sign(body, self._key, self._kid)


def _make(path: Path) -> None:
    """Put a new key in place as a whole or not at all; of two processes at once the first one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # a rename would replace a key that gateways may have pinned already
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _load(path: Path) -> SigningKey:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise KeyFileRefused(f"{path} has mode {mode:04o}, so others can read it; type: chmod 600 {path}")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except ValueError as error:
        raise KeyFileRefused(f"{path} is not a PEM private key; restore it from the backup") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileRefused(f"{path} holds another kind of key than Ed25519; restore it from the backup")
    return SigningKey(key.private_bytes_raw())
