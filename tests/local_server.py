"""A web server on this machine, in the place of a public repository of files."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Repository(ThreadingHTTPServer):
    """Serve `bodies` by path; `announced` overrides a Content-Length."""

    daemon_threads = False  # closing the server waits for its answers

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies, self.announced, self.requested = {}, {}, []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.removeprefix("/")
        self.server.requested.append(path)
        if path not in self.server.bodies:
            self.send_error(404)
            return
        body = self.server.bodies[path]
        self.send_response(200)
        self.send_header("Content-Length", self.server.announced.get(path, len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Keep quiet."""


@contextmanager
def running_repository():
    """Answer requests in a thread until the block is left."""
    with Repository() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
