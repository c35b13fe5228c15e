"""Who released a bundle: an Ed25519 signature (RFC 8032) by the releaser's own key, made once beside the site's key.

Checksums alone show damage. A signature shows forgery too, but only to whoever knows the releaser's key from elsewhere:
a bundle brings its public key along, and so could a forger's.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fer_id.errors import ConfigError, FerIdError
from fer_id.inputs import MB, read_bytes

NAME = "release_key.pem"
FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class SignatureError(FerIdError):
    """A signature is missing, of another content, or by another key than the trusted one."""


class Signer:
    """The releaser's private key, made once with :meth:`load`.

    Args:
        private: Ed25519.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def load(cls, home: Path, *, create: bool = False) -> Signer:
        """Reads ``home/release_key.pem`` (PKCS 8, not encrypted: whoever can read it can release).

        Args:
            home: see :func:`fer_id.consent.keys.keys_home`.
            create: make it where there is none, readable by its owner only.

        Raises:
            ConfigError: there is none, others may read it, or it is damaged.
        """
        path = home / NAME
        if create and not path.exists():
            _make(path)
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            raise ConfigError(f"{path}: no key there; `fer-id release` makes one with the first bundle") from None
        except OSError as problem:
            raise ConfigError(f"{path}: cannot be read ({problem.strerror})") from None
        content = read_bytes(path, ConfigError, most=MB)
        if mode & 0o077:
            raise ConfigError(f"{path}: others may read it (mode {mode & 0o777:o}); chmod 600 {path}")
        try:
            private = serialization.load_pem_private_key(content, password=None)
        except (ValueError, TypeError):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError(f"{path}: damaged, expected an Ed25519 key (PEM); bring the original back")
        return cls(private)

    @property
    def public(self) -> str:
        """The public key, 64 hexadecimal digits."""
        return self._private.public_key().public_bytes_raw().hex()

    @property
    def fingerprint(self) -> str:
        """:func:`fingerprint` of the public key."""
        return fingerprint(self.public)

    def sign(self, content: bytes) -> str:
        """Signature of ``content``, hexadecimal."""
        return self._private.sign(content).hex()


def own_fingerprint(home: Path) -> str | None:
    """Fingerprint of the key of whoever works here; None where there is none (one that is damaged counts as none)."""
    try:
        return Signer.load(home).fingerprint
    except ConfigError:
        return None


def fingerprint(public: str) -> str:
    """What people compare instead of a key: SHA-256 of the public key's 32 bytes, 64 hexadecimal digits.

    Args:
        public: hexadecimal.
    """
    return hashlib.sha256(bytes.fromhex(public)).hexdigest()


def check_signature(content: bytes, signature: object, public: object, where: str) -> None:
    """Checks a signature under a public key, both hexadecimal.

    Raises:
        SignatureError: no signature, none of this content, or no key.
    """
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(public)))
        key.verify(bytes.fromhex(str(signature)), content)
    except (ValueError, InvalidSignature):
        raise SignatureError(
            f"{where}: the signature is not of this content; it was changed since it was signed"
        ) from None


def _make(path: Path) -> None:
    """Writes a new key, unless somebody else was first."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    with suppress(FileExistsError):
        os.link(draft, path)
    Path(draft).unlink()
