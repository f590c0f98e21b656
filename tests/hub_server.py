"""A small server on loopback that speaks as much of the hub's protocol as a fetch needs.

Its log has the method, the path, the range and the token of each request. Files are sent from a
second address, as the hub sends them from its own storage.
"""

import hashlib
import http.server
import json
import threading
import urllib.parse
from typing import NamedTuple

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/model"


class Request(NamedTuple):
    """What was asked for."""

    host: str  # "hub" or "storage"
    method: str
    path: str
    range: str | None
    token: str | None


class HubServer:
    """Serves `files` (name → bytes) as the repository REPO at COMMIT.

    Attributes:
        refuse: (status, the hub's error code) in answer to everything.
        cut: names whose next answer breaks off in its middle.
        log: all requests.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.refuse: tuple[int, str] | None = None
        self.cut: set[str] = set()
        self.log: list[Request] = []
        self.hub, self.storage = _serve(self, "hub"), _serve(self, "storage")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.hub.server_port}"

    def fetched(self) -> list[str]:
        """The files whose bytes were sent, each once."""
        return sorted({r.path[1:] for r in self.log if (r.host, r.method) == ("storage", "GET")})

    def stop(self) -> None:
        for server in (self.hub, self.storage):
            server.shutdown()
            server.server_close()


def _serve(state: HubServer, host: str) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_HEAD(self):
            self.answer(send=False)

        def do_GET(self):
            self.answer(send=True)

        def answer(self, send: bool):
            path = urllib.parse.unquote(self.path.split("?")[0])
            asked = self.headers["Range"]
            state.log.append(
                Request(host, self.command, path, asked, self.headers["Authorization"])
            )
            if host == "storage":
                return self.send_file(path[1:], asked, send)
            if state.refuse:
                status, code = state.refuse
                return self.reply(status, b"", send, {"X-Error-Code": code} if code else {})
            if path.startswith("/api/models/"):
                return self.reply_list(path, send)
            return self.redirect(path, send)

        def reply_list(self, path: str, send: bool):
            if not path.startswith(f"/api/models/{REPO}"):
                return self.reply(404, b"", send, {"X-Error-Code": "RepoNotFound"})
            rest = path.removeprefix(f"/api/models/{REPO}").split("/")
            if len(rest) > 2 and rest[2] not in ("main", "v1", COMMIT):
                return self.reply(404, b"", send, {"X-Error-Code": "RevisionNotFound"})
            if "tree" in rest:
                entries = [
                    {"type": "file", "oid": _etag(data), "size": len(data), "path": name}
                    for name, data in state.files.items()
                ]
                return self.reply(200, json.dumps(entries).encode(), send)
            siblings = [{"rfilename": n, "size": len(d)} for n, d in state.files.items()]
            info = {"id": REPO, "sha": COMMIT, "siblings": siblings}
            return self.reply(200, json.dumps(info).encode(), send)

        def redirect(self, path: str, send: bool):
            name = path.split("/resolve/")[1].split("/", 1)[1]
            if name not in state.files:
                return self.reply(404, b"", send, {"X-Error-Code": "EntryNotFound"})
            data = state.files[name]
            # Another name of this machine: the library takes it for another host.
            place = f"http://localhost:{state.storage.server_port}/{name}"
            headers = {
                "Location": place,
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{_etag(data)}"',
                "X-Linked-Size": str(len(data)),
            }
            return self.reply(302, b"", send, headers)

        def send_file(self, name: str, asked: str | None, send: bool):
            data = state.files[name]
            start = int(asked.removeprefix("bytes=").rstrip("-").split("-")[0]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("ETag", f'"{_etag(data)}"')
            self.end_headers()
            if name in state.cut:
                state.cut.remove(name)
                self.wfile.write(data[start : (start + len(data)) // 2])
                self.close_connection = True
            elif send:
                self.wfile.write(data[start:])

        def reply(self, status: int, body: bytes, send: bool, headers=None):
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if send:
                self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
