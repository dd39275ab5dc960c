"""A proxy before an S3 server, for tests: it counts requests, and fails like a busy storage."""

import contextlib
import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on with unchanged headers, so that their signatures stay valid.

    refuse: this many of the next requests get 503 SlowDown. cut: this many of the next bodies end halfway.
    frozen: requests for keys that contain this are not answered until `thawed` is set.
    """

    daemon_threads = True

    def __init__(self, endpoint: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(endpoint).netloc
        self.refuse = self.cut = 0
        self.frozen = ""
        self.thawed = threading.Event()
        self.lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.bytes_sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, trouble: str) -> bool:
        """Whether a fault of this kind is due; counts it down."""
        with self.lock:
            left = getattr(self, trouble)
            setattr(self, trouble, max(0, left - 1))
            return left > 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyProxy

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests[self.command] += 1
        if self.server.frozen and self.server.frozen in self.path:
            self.server.thawed.wait()
        if self.server.take("refuse"):
            self._reply(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        onward = http.client.HTTPConnection(self.server.target)
        with contextlib.closing(onward):
            onward.request(self.command, self.path, body, dict(self.headers))
            answer = onward.getresponse()
            data = answer.read()
        dropped = {"transfer-encoding", "connection"} | (set() if self.command == "HEAD" else {"content-length"})
        headers = [(name, value) for name, value in answer.getheaders() if name.lower() not in dropped]
        self._reply(answer.status, headers, data)

    do_PUT = do_HEAD = do_POST = do_DELETE = do_GET

    def _reply(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if len(data) > 1 and self.command == "GET" and status < 300 and self.server.take("cut"):
            data = data[: len(data) // 2]
            self.close_connection = True
        self.wfile.write(data)
        with self.server.lock:
            self.server.bytes_sent += len(data)

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def faulty_proxy(endpoint: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(endpoint) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.thawed.set()
            proxy.shutdown()
            thread.join()
