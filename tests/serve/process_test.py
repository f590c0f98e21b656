"""A real server: killed in mid-shot it makes the same bits again; told to end it ends in order."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import urllib.request

import pytest

client = pytest.importorskip("websockets.sync.client")
pytest.importorskip("uvicorn")

CAPTION = "The frog is dancing in the meadow."


class Process:
    """`shotstream serve` with the miniature, and a story's commands."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "shotstream_jax", "serve"]
        command += ["--stories", str(folder / "stories"), "--port", str(self.port)]
        env = {**os.environ, "SHOTSTREAM_CACHE_DIR": str(folder / "cache")}
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=env, text=True)
        for line in self.process.stderr:
            if '"event": "open"' in line:
                return
        raise AssertionError("the server has not opened")

    def call(self, path, token=None, body=None):
        """A command's answer."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        data = json.dumps(body).encode() if body is not None else None
        url = f"http://127.0.0.1:{self.port}/api{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
            content = answer.read()
        return content if "video" in answer.headers["content-type"] else json.loads(content)

    def ask(self, story, frames):
        """Asks for a shot; returns its name."""
        body = {"caption": CAPTION, "frames": frames}
        return self.call(f"/stories/{story['id']}/shots", story["token"], body)["id"]

    def wait(self, story, shot, event):
        """Waits for an event of a shot, "chunk" for its first chunk."""
        url = f"ws://127.0.0.1:{self.port}/api/stories/{story['id']}/live"
        with client.connect(url) as live:
            live.send(json.dumps({"hello": 1, "token": story["token"]}))
            for message in live:
                if isinstance(message, bytes):
                    (length,) = struct.unpack(">I", message[:4])
                    told = [{"event": "chunk", **json.loads(message[4 : 4 + length])}]
                else:
                    told = [json.loads(message)]
                    told = told[0].get("events", told)
                if any(one["event"] == event and one.get("shot") == shot for one in told):
                    return

    def films(self, story, shot, chunks):
        """The files of a shot's chunks."""
        path = f"/stories/{story['id']}/shots/{shot}/chunks"
        return [self.call(f"{path}/{n}", story["token"]) for n in range(chunks)]


def test_killed_in_mid_shot_and_ended_in_mid_shot(tmp_path):
    server = Process(tmp_path)
    told = {"global_caption": "A cartoon about a green frog.", "seed": 1}
    chunk = server.call("/model")["chunk"]
    story, other = (server.call("/stories", body=told) for _ in range(2))
    undisturbed = server.ask(story, 8 * chunk)
    server.wait(story, undisturbed, "done")
    expected = server.films(story, undisturbed, 8)
    shot = server.ask(other, 8 * chunk)
    server.wait(other, shot, "chunk")
    server.process.kill()
    server.process.wait()
    # Another process goes on with it, bit for bit.
    server = Process(tmp_path)
    server.wait(other, shot, "done")
    assert server.films(other, shot, 8) == expected
    later = server.ask(other, 16 * chunk)
    server.wait(other, later, "chunk")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait() == 0
    log = (tmp_path / "stories" / other["id"] / "log.jsonl").read_text()
    assert log.endswith("\n") and '"failed"' not in log
