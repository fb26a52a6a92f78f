"""What the tiny image waits for, for a guest that no cloud looks after: DHCP and the metadata service on one tap."""

import http.server
import ipaddress
import socket
import struct
import subprocess
import threading

TAP, HOST, GUEST, METADATA = "bare0", "10.9.0.1", "10.9.0.5", "169.254.169.254"


def make_tap():
    for command in (
        f"ip tuntap add {TAP} mode tap",
        f"ip addr add {HOST}/24 dev {TAP}",
        f"ip addr add {METADATA}/32 dev {TAP}",
        f"ip link set {TAP} up",
    ):
        subprocess.run(command.split(), check=True)


def packed(address):
    return ipaddress.ip_address(address).packed


def message_type(options):
    while options and options[0] != 255:
        if options[0] == 0:
            options = options[1:]
            continue
        if options[0] == 53:
            return options[2]
        options = options[2 + options[1] :]
    return 0


def answer_to(q):
    offer, acknowledge, discover = 2, 5, 1
    kind = offer if message_type(q[240:]) == discover else acknowledge
    # A default route, and the metadata service on the link.
    routes = b"\0" + packed(HOST) + b"\x20" + packed(METADATA) + b"\0\0\0\0"
    options = [(53, bytes([kind])), (54, packed(HOST)), (51, struct.pack(">I", 3600)), (1, packed("255.255.255.0"))]
    options += [(3, packed(HOST)), (15, b"ec2.internal"), (121, routes)]
    head = b"\x02" + q[1:4] + q[4:8] + b"\0\0" + q[10:12] + b"\0" * 4 + packed(GUEST) + packed(HOST) + b"\0" * 4 + q[28:44]
    return head + b"\0" * 192 + b"\x63\x82\x53\x63" + b"".join(bytes([c, len(v)]) + v for c, v in options) + b"\xff"


def dhcp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, TAP.encode())
    s.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK: a checksum that nobody fills in is taken for a wrong one
    s.bind(("", 67))
    while True:
        s.sendto(answer_to(s.recv(2048)), ("255.255.255.255", 68))


def serve(public_key):
    """Serves for ever. Every asker is the same instance."""
    pages = {
        "meta-data/instance-id": b"i-0000000000000000a",
        "meta-data/local-hostname": b"ip-10-9-0-5.ec2.internal",
        "meta-data/public-keys/": b"0=key",
        "meta-data/public-keys/0/openssh-key": public_key,
    }

    class Metadata(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def answer(self, code, body=b""):
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self):
            self.answer(200, b"token")

        def do_GET(self):
            page = pages.get(self.path.removeprefix("/latest/"))
            self.answer(404) if page is None else self.answer(200, page)

    threading.Thread(target=dhcp, daemon=True).start()
    http.server.ThreadingHTTPServer((METADATA, 80), Metadata).serve_forever()
