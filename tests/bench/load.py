"""The load generator: processes with a kept-alive connection each, that send requests made and signed beforehand.

What is timed is from the first byte sent to the last byte received. The answers' status is checked, not their text.
"""

import multiprocessing
import socket
import time
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

FORK = multiprocessing.get_context("fork")
VERSION = "2016-11-15"
RECEIVE = 1 << 18


class Server:
    """An address, and the keys to sign for it."""

    def __init__(self, port, key="AKIAIOSFODNN7EXAMPLE", secret="secret"):
        self.port = port
        self.credentials = Credentials(key, secret)

    def signed(self, action, **parameters):
        """The bytes of a request. Good for five minutes."""
        body = urlencode({"Action": action, "Version": VERSION, **parameters}).encode()
        url = f"http://127.0.0.1:{self.port}/"
        request = AWSRequest("POST", url, headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, data=body)
        SigV4Auth(self.credentials, "ec2", "us-east-1").add_auth(request)
        headers = {"Host": f"127.0.0.1:{self.port}", "Content-Length": len(body), **dict(request.headers.items())}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return b"POST / HTTP/1.1\r\n" + head.encode() + b"\r\n" + body

    def ask(self, action, **parameters):
        """One answer's text."""
        return Connection(self.port).ask(self.signed(action, **parameters)).decode()


class Connection:
    def __init__(self, port):
        self.port = port
        self.buffer = bytearray(RECEIVE)
        self.view = memoryview(self.buffer)
        self.connect()

    def connect(self):
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=300)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request):
        """Sends a request; returns the answer's body."""
        self.socket.sendall(request)
        head, body = self.head()
        if not head.startswith(b"HTTP/1.1 200"):
            raise AssertionError(f"{head[:80]!r} {body[:600]!r}")
        length = field(head, b"content-length")
        if length is None:
            raise AssertionError(f"an answer of unknown length: {head!r}")
        parts, missing = [body], int(length) - len(body)
        while missing > 0:
            got = self.socket.recv_into(self.view)
            if not got:
                raise AssertionError("the server hung up in an answer")
            parts.append(bytes(self.view[:got]))
            missing -= got
        if field(head, b"connection") == b"close":
            self.socket.close()
            self.connect()
        return b"".join(parts)

    def head(self):
        text = b""
        while True:
            got = self.socket.recv_into(self.view)
            if not got:
                raise AssertionError("the server hung up before an answer")
            text += self.view[:got]
            end = text.find(b"\r\n\r\n")
            if end >= 0:
                return text[:end], text[end + 4 :]


def field(head, name):
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().lower()
    return None


def worker(port, mine, seconds, start, out):
    """Sends its requests, over and over for `seconds`; once if that is 0. A request may be several, one after another."""
    connection = Connection(port)
    took = []
    start.wait()
    began = time.perf_counter()
    try:
        while True:
            for steps in mine:
                before = time.perf_counter()
                for request in steps:
                    connection.ask(request)
                took.append(time.perf_counter() - before)
                if seconds and time.perf_counter() - began >= seconds:
                    break
            if time.perf_counter() - began >= seconds:
                break
        out.send((began, time.perf_counter(), took))
    except (AssertionError, OSError) as e:
        out.send(e)


def run(server, requests, connections=1, seconds=0):
    """Requests (each a list of steps), dealt to connections. Returns requests per second, p50 and p99 in seconds."""
    start = FORK.Barrier(connections)
    workers = []
    for n in range(connections):
        inside, outside = FORK.Pipe(duplex=False)
        process = FORK.Process(target=worker, args=(server.port, requests[n::connections], seconds, start, outside))
        process.start()
        workers.append((process, inside))
    results = [inside.recv() if inside.poll(900) else AssertionError("no result") for _, inside in workers]
    for process, _ in workers:
        process.join(10)
    for result in results:
        if isinstance(result, Exception):
            raise result
    took = sorted(t for _, _, times in results for t in times)
    wall = max(end for _, end, _ in results) - min(began for began, _, _ in results)
    return Measured(len(took) / wall, took)


class Measured:
    def __init__(self, rate, took):
        self.rate, self.took = rate, took

    def at(self, share):
        return self.took[min(len(self.took) - 1, int(share * len(self.took)))]
