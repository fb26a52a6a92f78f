"""A server of files for imports: whole ones, and some that never come."""

import http.server
import threading


class Files:
    """What `held` says by path; below `/slow/` nothing else ever comes."""

    def __init__(self, held=None):
        self.held = dict(held or {})
        self.ended = threading.Event()
        files = self

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path.startswith("/slow/") and self.path not in files.held:
                    self.send_response(200)
                    self.send_header("Content-Length", "1000000")
                    self.end_headers()
                    files.ended.wait(60)
                    return
                body = files.held.get(self.path)
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
