"""A service behind a real socket, and a line to it that can be cut."""

import contextlib
import socket
import struct
import threading

import uvicorn

from shotstream_jax.serve.app import make_app
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import ServeSettings
from tests.serve.conftest import LIMITS, MODEL


class Online:
    """A service at a port of this machine, run in a thread.

    model: by default the one of random weights. port: by default a free one.
    """

    def __init__(self, folder, hosts=(), limits=LIMITS, model=MODEL, port=0):
        self.door = socket.create_server(("127.0.0.1", port))
        self.port = self.door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.deaths = []
        names = (f"127.0.0.1:{self.port}", *hosts)
        settings = ServeSettings(folder, places=2, hosts=names, limits=limits)
        self.service = Service(model, model.preset.video, settings, self.deaths.append)
        config = uvicorn.Config(make_app(self.service), access_log=False, log_config=None)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self.door],))
        self._thread.start()

    def stop(self):
        """Ends it in order, as SIGTERM does."""
        self.service.stop()
        self._server.should_exit = True
        self._thread.join()
        self.door.close()
        assert not self.deaths


class Line:
    """A port that hands everything on to another one.

    deaf: how many of the next connections lose what is sent back on them. losing: how the next
    request begins whose answer is lost; empty: none.
    """

    def __init__(self):
        self._door = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._door.getsockname()[1]}"
        self.url = f"http://{self.host}"
        self.target = 0
        self.deaf = 0
        self.losing = b""
        self._ends = []
        self._mute = set()
        self._lost = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Every connection breaks."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def reset(self):
        """Every connection breaks as if its other side had crashed (RST)."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RD)

    def mute(self):
        """Every connection stays, and carries nothing any more, as where a cable is pulled."""
        self._mute.update(self._ends)

    def close(self):
        """No connection any more."""
        with contextlib.suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._door.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    near.close()
                    continue
                self._ends += [near, far]
                if self.deaf > 0:
                    self.deaf -= 1
                    self._lost.add(far)
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source, sink):
        """One direction of a connection, until either end breaks."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source in self._lost:
                    break
                if source in self._mute:
                    continue
                if self.losing and data.startswith(self.losing):
                    self.losing = b""
                    self._lost.add(sink)
                sink.sendall(data)
        for end in (source, sink):
            # One that was reset is closed without a word.
            if end in self._ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
            end.close()
