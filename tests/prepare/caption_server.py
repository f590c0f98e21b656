"""An endpoint for captions on loopback, with moods."""

import http.server
import json
import threading

from shotstream_jax.prepare.endpoint import Endpoint

GOOD = {"global_caption": "A fox in the snow.", "shots": ["It runs.", "It sleeps."]}


class Server:
    """Answers each request with the next of `moods`, and with GOOD when there is none left.

    A mood is (status, headers, body) or the text of a completion. `asked` has all requests.
    """

    def __init__(self):
        self.moods = []
        self.asked = []
        state = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                state.asked.append((self.path, self.headers.get("Authorization"), body))
                mood = state.moods.pop(0) if state.moods else json.dumps(GOOD)
                if isinstance(mood, str):
                    answer = {"choices": [{"message": {"content": mood}}]}
                    mood = (200, {}, json.dumps(answer))
                status, headers, text = mood
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/v1/"

    def endpoint(self, **more):
        return Endpoint(self.url, "a-model", wait=0.0, tries=3, at_once=1, **more)
