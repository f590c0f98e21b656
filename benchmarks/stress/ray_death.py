"""Kill the process that makes a shot, of two on Ray Serve: how long its viewer waits, and the bits.

    python -m benchmarks.stress.ray_death --kills 5 --dir out/ray_death

Needs the extra `ray`. Starts `shotstream serve --ray --replicas 2` with the miniature, makes a shot
that nobody touches, then the same one in another story each time: after a random chunk the process
that makes it gets SIGKILL, and the viewer comes again as the page does (0.25 s after the socket has
closed). Prints a line of JSON a kill: seconds from it to the next chunk that the viewer had not
seen, to the shot's end, to two processes again; and whether all chunks are equal to the untouched
shot's. Exit code 1 if one is not, or if a viewer waited for more than --longest.
"""

import itertools
import json
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.output import print_json
from shotstream_jax import cli

_CAPTION = "The frog is dancing in the meadow."
_STORY = {"global_caption": "A cartoon about a green frog.", "seed": 1}
_COME_AGAIN = 0.25  # seconds, as static/live.js
_PLACES = re.compile(r'^shotstream_places_used\{teller="[^"]*:([0-9]+)"\} ([0-9.]+)', re.MULTILINE)


def parser() -> cli.Parser:
    """The options of this command."""
    p = cli.make_parser("benchmarks.stress.ray_death", __doc__)
    p.add_argument("--kills", type=int, default=5, metavar="N", help="(default: %(default)s)")
    p.add_argument("--dir", type=pathlib.Path, required=True, help="a new folder")
    p.add_argument("--chunks", type=int, default=8, help="of the shot (default: %(default)s)")
    p.add_argument(
        "--longest", type=float, default=2.0, metavar="S", help="in seconds (default: %(default)s)"
    )
    p.add_argument("--seed", type=int, default=0, help="of the moments (default: %(default)s)")
    return p


class RayServer:
    """`shotstream serve --ray --replicas 2`, and its commands."""

    def __init__(self, folder: pathlib.Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        words = [sys.executable, "-m", "shotstream_jax", "serve", "--ray", "--replicas", "2"]
        words += ["--stories", str(folder / "stories"), "--port", str(self._port)]
        self._log = (folder / "log").open("w")
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._process.stdout is not None
        assert "The storyboard is at" in self._process.stdout.readline()

    def stop(self) -> int:
        """Ends it; returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait()
        self._log.close()
        return code

    def read(self, path: str, token: str = "", body: Any = None) -> bytes:
        """A command's answer."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        data = json.dumps(body).encode() if body is not None else None
        url = f"http://127.0.0.1:{self._port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
            return answer.read()

    def tellers(self) -> dict[int, float]:
        """Each process with a device, and how many shots it has in the making."""
        text = self.read("/metrics").decode()
        return {int(pid): float(used) for pid, used in _PLACES.findall(text)}

    def wait_for_tellers(self, count: int) -> None:
        """Waits until so many processes answer."""
        while True:
            try:
                if len(self.tellers()) == count:
                    return
            except OSError:
                pass
            time.sleep(0.1)

    def new_shot(self, chunks: int) -> tuple[dict[str, str], str]:
        """A story with one shot that is to be made."""
        story = json.loads(self.read("/api/stories", body=_STORY))
        frames = chunks * json.loads(self.read("/api/model"))["chunk"]
        body = {"caption": _CAPTION, "frames": frames}
        path = f"/api/stories/{story['id']}/shots"
        return story, json.loads(self.read(path, story["token"], body))["id"]

    def films(self, story: dict[str, str], shot: str, chunks: int) -> list[bytes]:
        """The files of a shot's chunks."""
        path = f"/api/stories/{story['id']}/shots/{shot}/chunks"
        return [self.read(f"{path}/{n}", story["token"]) for n in range(chunks)]

    def watch(self, story: dict[str, str], shot: str) -> Iterator[tuple[int, int]]:
        """(sockets before, chunk) of each chunk that a viewer is sent, to the shot's end.

        When its socket ends the viewer comes again, as the page does.
        """
        url = f"ws://127.0.0.1:{self._port}/api/stories/{story['id']}/live"
        seen = 0
        for before in itertools.count():
            try:
                with connect(url) as live:
                    hello = {"hello": 1, "token": story["token"], "shot": shot, "chunks": seen}
                    live.send(json.dumps(hello))
                    for message in live:
                        if isinstance(message, bytes):
                            (length,) = struct.unpack(">I", message[:4])
                            seen = json.loads(message[4 : 4 + length])["chunk"] + 1
                            yield before, seen - 1
                        elif '"event": "done"' in message:
                            return
            except (ConnectionClosed, OSError):
                pass
            time.sleep(_COME_AGAIN)


def kill_once(server: RayServer, chunks: int, after: int) -> dict[str, Any]:
    """A shot whose process is killed after a chunk; what its viewer saw."""
    story, shot = server.new_shot(chunks)
    killed_at = next_at = 0.0
    seen = -1
    for before, chunk in server.watch(story, shot):
        # What was on its way when the process died is not what is waited for.
        if before and chunk > seen and not next_at:
            next_at = time.perf_counter()
        seen = max(seen, chunk)
        if chunk == after and not killed_at:
            (victim,) = [pid for pid, used in server.tellers().items() if used]
            os.kill(victim, signal.SIGKILL)
            killed_at = time.perf_counter()
    done_at = time.perf_counter()
    films = server.films(story, shot, chunks)
    return {
        "after_chunk": after,
        "next_chunk_s": round(next_at - killed_at, 3),
        "done_s": round(done_at - killed_at, 3),
        "films": films,
    }


def main(argv: Sequence[str]) -> None:
    """Runs the command with these options."""
    args = parser().parse_args(argv)
    args.dir.mkdir(parents=True)
    draw = random.Random(args.seed)
    server = RayServer(args.dir)
    try:
        story, shot = server.new_shot(args.chunks)
        for _ in server.watch(story, shot):
            pass
        expected = server.films(story, shot, args.chunks)
        rows = []
        for number in range(args.kills):
            row = kill_once(server, args.chunks, draw.randrange(args.chunks // 2))
            row["equal"] = row.pop("films") == expected
            began = time.perf_counter()
            server.wait_for_tellers(2)
            row["two_again_s"] = round(row["done_s"] + time.perf_counter() - began, 1)
            print_json(kill=number, **row)
            rows.append(row)
    finally:
        code = server.stop()
    waits = [row["next_chunk_s"] for row in rows]
    longest = max(waits, default=0.0)
    print_json(kills=len(rows), longest_s=longest, median_s=median(waits), exit_code=code)
    is_good = all(row["equal"] for row in rows) and longest <= args.longest and code == 0
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    cli.run(main)
