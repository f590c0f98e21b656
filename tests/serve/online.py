"""A service behind a real socket, and a line to it that can be cut."""

import contextlib
import socket
import threading

import uvicorn

from shotstream_jax.serve.app import make_app
from shotstream_jax.serve.service import Service
from shotstream_jax.serve.settings import ServeSettings
from tests.serve.conftest import LIMITS, MODEL


class Online:
    """A service with the model of random weights at a port of this machine, run in a thread."""

    def __init__(self, folder, hosts=(), limits=LIMITS):
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port = self.door.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.deaths = []
        names = (f"127.0.0.1:{self.port}", *hosts)
        settings = ServeSettings(folder, places=2, hosts=names, limits=limits)
        self.service = Service(MODEL, MODEL.preset.video, settings, self.deaths.append)
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

    deaf: how many of the next connections lose what is sent back on them.
    """

    def __init__(self):
        self._door = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._door.getsockname()[1]}"
        self.url = f"http://{self.host}"
        self.target = 0
        self.deaf = 0
        self._ends = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Every connection breaks."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

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
                is_deaf = self.deaf > 0
                self.deaf -= is_deaf
                for source, sink, is_lost in ((near, far, False), (far, near, is_deaf)):
                    pump = threading.Thread(
                        target=self._pump, args=(source, sink, is_lost), daemon=True
                    )
                    pump.start()

    def _pump(self, source, sink, is_lost):
        """One direction of a connection, until either end breaks."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_lost:
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
