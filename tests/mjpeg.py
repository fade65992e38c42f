"""A camera of the network, faked: a local HTTP server that sends JPEG pictures one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

from PIL import Image


def jpeg(colour, size=(96, 80)) -> bytes:
    """A picture of one colour, size (width, height)."""
    file = BytesIO()
    Image.new("RGB", size, tuple(colour)).save(file, "jpeg", quality=95)
    return file.getvalue()


@contextmanager
def serving(handler) -> Iterator[str]:
    """The address of a local HTTP server with this request handler."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@contextmanager
def mjpeg_camera(parts: Iterable[bytes]) -> Iterator[str]:
    """The URL of a camera that sends these JPEG files to who asks first, as they come; to stall, `parts` waits."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802, its name in http.server
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=part")
            self.end_headers()
            try:
                for part in parts:
                    head = f"--part\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
                    self.wfile.write(head.encode() + part + b"\r\n")
            except OSError:
                pass  # whoever asked has gone

        def log_message(self, *_):
            pass

    with serving(Handler) as address:
        yield f"{address}/camera"
