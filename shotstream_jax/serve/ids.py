"""Names of stories and shots, and the tokens that open a story.

Tokens are not kept: each is a keyed hash of the story's name under the server's secret, so that a
server that was started again, or another one with the same folder, knows them.
"""

import base64
import hashlib
import hmac
import os
import pathlib
import re
import secrets

from shotstream_jax.core.errors import InputError

_ID = re.compile(r"[a-z2-7]{26}")
_SECRET = "secret"
OWNER = "owner"
VIEWER = "viewer"


def new_id() -> str:
    """A name of 128 random bits."""
    return _as_name(secrets.token_bytes(16))


def is_id(text: str) -> bool:
    """Whether a text can be a story's or a shot's name, and so a folder's."""
    return _ID.fullmatch(text) is not None


def derived_id(secret: bytes, *parts: str) -> str:
    """The name that a client's own key stands for: the same request has the same name."""
    return _as_name(_keyed(secret, "id", *parts)[:16])


def story_token(secret: bytes, story: str, role: str) -> str:
    """The token that gives a role, of OWNER and VIEWER, in a story."""
    return _as_name(_keyed(secret, "token", role, story)[:20])


def role_of(secret: bytes, story: str, token: str) -> str | None:
    """The role that a token gives in a story; None for none."""
    found = None
    for role in (OWNER, VIEWER):
        expected = story_token(secret, story, role)
        if hmac.compare_digest(expected.encode(), token.encode("utf-8", "replace")):
            found = role
    return found


def read_secret(folder: pathlib.Path) -> bytes:
    """The server's secret, which is made with the folder and read by its owner only.

    Raises InputError if it cannot be read or made.
    """
    path = folder / _SECRET
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Of several servers that begin at once, one makes it.
        own = folder / f"{_SECRET}.{secrets.token_hex(4)}"
        own.touch(0o600)
        own.write_bytes(secrets.token_bytes(32))
        try:
            os.link(own, path)
        except FileExistsError:
            pass
        finally:
            own.unlink()
        secret = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot keep a secret in {folder}: {error.strerror}") from None
    if len(secret) != 32:
        raise InputError(f"{path} is damaged: remove it; links to stories are then no longer valid")
    return secret


def _keyed(secret: bytes, *parts: str) -> bytes:
    """A keyed hash of several texts, each with its length, so that none runs into the next."""
    message = "".join(f"{len(part)}:{part}" for part in parts)
    return hmac.new(secret, message.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()


def _as_name(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()
