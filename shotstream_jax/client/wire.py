"""Commands over HTTP, each sent again while the line is broken or the server asks to wait."""

import http.client
import json
import pathlib
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeVar

from shotstream_jax.client.errors import StoryboardError, error_of, no_answer
from shotstream_jax.client.patience import Patience
from shotstream_jax.core.errors import InputError

_SILENCE = 60.0  # seconds without a byte after which the line counts as broken
_PIECE = 2**20  # bytes of a file at once
_Read = TypeVar("_Read")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection is an error: its request would carry the token to another server."""

    def redirect_request(self, *_: Any) -> None:
        """Never followed."""
        return None


class Wire:
    """A server's commands.

    url: as the page is opened. patience: seconds for which a command is tried again.
    Every method raises StoryboardError.
    """

    def __init__(self, url: str, patience: float) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"the storyboard's address {url!r:.100} must begin with http(s)://")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self.patience = patience
        self._opener = urllib.request.build_opener(_NoRedirect)

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Any:
        """An answer's JSON, None where it has none. path: behind the address.

        key: under which the server makes one thing of the same request sent twice; by default
        a new one.
        """
        data = None if body is None else json.dumps(body).encode()
        request = self._request(method, path, token, data, "application/json", key)
        content = self._tried(request, _content)
        return json.loads(content) if content else None

    def send(
        self, path: str, data: bytes, kind: str, token: str | None = None, key: str | None = None
    ) -> Any:
        """The JSON of the answer to a file. kind: its media type."""
        content = self._tried(self._request("POST", path, token, data, kind, key), _content)
        return json.loads(content)

    def fetch(self, path: str, token: str) -> bytes:
        """A small file."""
        return self._tried(self._request("GET", path, token), _content)

    def save(self, path: str, token: str, target: str | pathlib.Path) -> pathlib.Path:
        """A file as a file, whole or not at all. Raises InputError if it cannot be written."""
        # They load numpy, which commands do without.
        from shotstream_jax.core.files import check_writable, whole

        place = check_writable(target)

        def read(answer: http.client.HTTPResponse) -> pathlib.Path:
            """Writes what comes."""
            place.parent.mkdir(parents=True, exist_ok=True)
            with whole(place) as partial, partial.open("wb") as file:
                while piece := answer.read(_PIECE):
                    _write(file, piece)
                # Reading by pieces does not notice a line that has broken.
                if answer.length:
                    raise http.client.IncompleteRead(b"", answer.length)
            return place

        return self._tried(self._request("GET", path, token), read)

    def _request(
        self,
        method: str,
        path: str,
        token: str | None,
        data: bytes | None = None,
        kind: str = "",
        key: str | None = None,
    ) -> urllib.request.Request:
        headers = {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if data is not None:
            headers["Content-Type"] = kind
        if method == "POST":
            headers["Idempotency-Key"] = key or secrets.token_hex(16)
        return urllib.request.Request(self.url + path, data, headers, method=method)

    def _tried(
        self,
        request: urllib.request.Request,
        read: Callable[[http.client.HTTPResponse], _Read],
    ) -> _Read:
        """What `read` makes of the answer, from the first try that has one."""
        patience = Patience(self.patience)
        while True:
            try:
                with self._opener.open(request, timeout=_SILENCE) as answer:
                    return read(answer)
            except urllib.error.HTTPError as error:
                patience.wait(_refused(error))
            except urllib.error.URLError as error:
                patience.wait(no_answer(self.url, error.reason))
            except (OSError, http.client.HTTPException) as error:
                patience.wait(no_answer(self.url, error))


def read_input(path: pathlib.Path) -> bytes:
    """A file that is sent. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its name") from None


def _content(answer: http.client.HTTPResponse) -> bytes:
    return answer.read()


def _write(file: IO[bytes], piece: bytes) -> None:
    """Writes on; what the disk refuses is not the line's fault."""
    try:
        file.write(piece)
    except OSError as error:
        raise InputError(f"cannot write {file.name}: {error.strerror}; make room") from None


def _refused(error: urllib.error.HTTPError) -> StoryboardError:
    """The server's words, or those of whatever else has answered."""
    waits = error.headers.get("Retry-After", "")
    retry_after = float(waits) if waits.isdigit() else None
    try:
        with error:
            told = json.loads(error.read())
        words = (told["code"], told["message"], told["remedy"])
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        remedy = "check that this is the storyboard's address"
        words = (f"http_{error.code}", str(error.reason).lower(), remedy)
    return error_of(error.code, *words, retry_after)
