"""Secret key of a site, stored outside every store, and the pseudonyms computed with it: a store reveals no name."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import unicodedata
from contextlib import suppress
from pathlib import Path

from fer_id.errors import ConfigError
from fer_id.inputs import MB, read_bytes
from fer_id.places import expanded, user_folder

HOME_VARIABLE = "FER_ID_KEYS"
PSEUDONYM = re.compile(r"s[0-9a-f]{16}")
"""Pattern of a subject's pseudonym: first letter of its kind and 64 bits."""

_BYTES = 32


def keys_home() -> Path:
    """Folder of the key, the audit log and the list of withdrawals: ``$FER_ID_KEYS``, else the user's configuration
    (``$XDG_CONFIG_HOME/fer_id``, ``~/.config/fer_id``). No setting changes it: all commands share one folder."""
    if named := os.environ.get(HOME_VARIABLE):
        return expanded(named)
    return user_folder("XDG_CONFIG_HOME", ".config", f"say {HOME_VARIABLE}=FOLDER, for the site's key") / "fer_id"


def create_secret(path: Path, content: bytes) -> None:
    """Write a secret that only its owner can read, unless the file exists or another process has just created it."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    with suppress(FileExistsError):
        os.link(draft, path)
    Path(draft).unlink()


def read_secret(path: Path, missing: str) -> bytes:
    """Return the content of a secret; raise ConfigError where others may read it, or it is missing or unreadable."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ConfigError(f"{path}: {missing}") from None
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror})") from None
    content = read_bytes(path, ConfigError, most=MB)
    if mode & 0o077:
        raise ConfigError(f"{path}: others may read it (mode {mode & 0o777:o}); chmod 600 {path}")
    return content


class Key:
    """Secret key of a site (32 bytes), created once by :meth:`load`."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def load(cls, home: Path, *, create: bool = False) -> Key:
        """Read ``home/key``; ``create`` makes a missing key, readable by its owner only. Raises ConfigError where the
        key is missing, readable by others, or damaged."""
        path = home / "key"
        if create:
            create_secret(path, f"{secrets.token_hex(_BYTES)}\n".encode())
        missing = (
            "no key there. `fer-id prepare data=cohort` makes one; with another key the same child would "
            f"get another pseudonym, so bring the site's own, or say where it lies ({HOME_VARIABLE})"
        )
        text = read_secret(path, missing).decode("utf-8-sig", "replace").strip()
        if not re.fullmatch(f"[0-9a-f]{{{2 * _BYTES}}}", text):
            raise ConfigError(f"{path}: damaged, expected {2 * _BYTES} hexadecimal digits; bring the original back")
        return cls(bytes.fromhex(text))

    def pseudonym(self, kind: str, name: str) -> str:
        """Return the pseudonym of a name: its kind's first letter and a keyed hash (HMAC-SHA256, 64 bits). ``kind`` is
        ``subject``, ``clip`` or ``video``; names of different kinds are never linked. The name is that of the
        manifests, normalised to Unicode NFC."""
        return kind[0] + self.mac(f"{kind}\0{unicodedata.normalize('NFC', name)}".encode())[:16]

    @property
    def id(self) -> str:
        """Identifier of the key that reveals nothing of the secret."""
        return self.mac(b"key id")[:16]

    def mac(self, content: bytes) -> str:
        """Return the HMAC-SHA256 of ``content``, hexadecimal."""
        return hmac.new(self._secret, content, hashlib.sha256).hexdigest()
