"""The keys that encrypt secrets in the state topic: AES-256-GCM, with a random nonce for each secret.

What is encrypted names its key, and belongs to one place, which is authenticated with it: moved to another one it is refused.
"""

import binascii
import secrets
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import BaseModel, ConfigDict, ValidationError

from clusterlink_engine.errors import StateError
from clusterlink_engine.settings import SettingsError, State

HOW_TO_MAKE_ONE = "`clusterlink state-key new` prints one, for the file of state.key_file or for CLUSTERLINK_STATE__KEY"

_KEY_BYTES = 32
_NONCE_BYTES = 12


class _Encrypted(BaseModel):
    """What stands in the place of a secret; bytes are base64."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_id: str
    nonce: str
    ciphertext: str


class Keyring:
    """Keys by id; the first one encrypts, all decrypt. Without keys it does neither.

    Attributes:
        current: Id of the key that encrypts; empty if there is none.
        older: Ids of the others.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """Takes keys of 32 bytes."""
        self._ciphers = {_id(key): AESGCM(key) for key in keys}
        self.current, *self.older = list(self._ciphers) or [""]

    def encrypt(self, secret: str, place: str) -> dict[str, str]:
        """Encrypts a secret for a place, with the first of the keys, which there must be."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ciphertext = self._ciphers[self.current].encrypt(nonce, secret.encode(), place.encode())
        encrypted = _Encrypted(
            key_id=self.current, nonce=b64encode(nonce).decode(), ciphertext=b64encode(ciphertext).decode()
        )
        return encrypted.model_dump()

    def decrypt(self, encrypted: Any, place: str) -> str:
        """Decrypts what `encrypt` made for the same place.

        Raises:
            SettingsError: Its key is not among these.
            StateError: It was changed, or made for another place.
        """
        try:
            found = _Encrypted.model_validate(encrypted)
            cipher = self._ciphers.get(found.key_id)
            if cipher is None:
                raise SettingsError(
                    f'state.key_file: the key "{found.key_id}" is needed for {place}, and is neither in that file nor in '
                    "CLUSTERLINK_STATE__KEY"
                )
            nonce, ciphertext = (b64decode(text, validate=True) for text in (found.nonce, found.ciphertext))
            return cipher.decrypt(nonce, ciphertext, place.encode()).decode()
        except (ValidationError, ValueError, InvalidTag) as error:
            raise StateError(f"{place} cannot be decrypted: it was changed, or belongs to another place.") from error


def key_id_of(encrypted: Any) -> str:
    """Answers the id of the key that something is encrypted with; empty for a secret that is not encrypted."""
    return str(encrypted.get("key_id", "")) if isinstance(encrypted, dict) else ""


def new_key() -> str:
    """Answers a new key as a line of text."""
    return b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def load_keyring(settings: State) -> Keyring:
    """Answers the keys that the settings give; none if they give none.

    Raises:
        SettingsError: A file cannot be read, or something in it is no key.
    """
    if settings.key_file is not None:
        name = "state.key_file"
        try:
            text = settings.key_file.read_bytes()
        except OSError as error:
            raise SettingsError(f"{name}: {settings.key_file} cannot be read: {error.strerror}") from error
    elif settings.key is not None:
        name, text = "state.key", settings.key.encode()
    else:
        return Keyring()
    keys = [_key(name, number, line) for number, line in enumerate(text.split(), 1)]
    if not keys:
        raise SettingsError(f"{name}: there is no key; {HOW_TO_MAKE_ONE}")
    return Keyring(keys)


def _key(name: str, number: int, line: bytes) -> bytes:
    try:
        key = b64decode(line, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise SettingsError(f"{name}: key {number} is not {_KEY_BYTES} bytes in base64; {HOW_TO_MAKE_ONE}")
    return key


def _id(key: bytes) -> str:
    """Answers what a key is called; long enough to tell the keys of one state apart, and says nothing of the key."""
    return sha256(b"clusterlink state key" + key).hexdigest()[:8]
