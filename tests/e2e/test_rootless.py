"""`awan serve` of an ordinary user: the same guests, in namespaces of the user's own, with pasta as the way out.

The machine is this test's network namespace, and the world is another one, behind the machine's default route.
"""

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from awan import BINARY, IMAGES, ROOT, Awan, free_port, states, tiny, until

UID = 54321
RANGE = (2_000_000, 65_536)
AS_USER = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--inh-caps=-all", "--"]
GATEWAY, MACHINE, WORLD = "198.51.100.1", "198.51.100.2", "203.0.113.80"
# One that is the machine's and that no route of its namespaces names.
SECOND = "192.0.2.77"


def lacks():
    if os.geteuid() != 0 or os.environ.get("AWAN_ISOLATED") != "1":
        return "needs root, and namespaces of its own: tests/isolated.sh"
    if not IMAGES:
        return "AWAN_TEST_IMAGES is not set"
    if not shutil.which("pasta"):
        return "there is no pasta (package passt)"
    tried = subprocess.run([*AS_USER, "unshare", "-Urnm", "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        return f"an ordinary user can make no namespaces here: {tried.stderr.strip()}"
    return ""


pytestmark = pytest.mark.skipif(bool(lacks()), reason=lacks())


def run(*command, **how):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True, timeout=60, **how).stdout


def end(pid):
    """Kills a process and waits until it has let go of everything."""
    os.kill(pid, signal.SIGKILL)

    def gone():
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            return True

    until("gone", 20, gone)


class Service:
    """A web server of this machine that knows who came."""

    def __init__(self, address):
        came = self.came = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                came.append(self.client_address[0])
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"the machine's own\n")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Resolver(threading.Thread):
    """On the machine's loopback, as systemd's is: everything is at one address."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.53", 53))

    def run(self):
        while True:
            question, who = self.socket.recvfrom(512)
            end = question.index(b"\0", 12) + 5
            kind = question[end - 4 : end - 2]
            records = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(WORLD) if kind == b"\0\1" else b""
            count = b"\0\1" if records else b"\0\0"
            self.socket.sendto(question[:2] + b"\x81\x80\0\1" + count + b"\0\0\0\0" + question[12:end] + records, who)


class Machine:
    """What a machine with an ordinary user on it has."""

    def __init__(self, stack):
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="awan-machine-")))
        self.stack = stack
        run("ip", "netns", "add", "world")
        stack.callback(run, "ip", "netns", "del", "world")
        run("ip", "link", "add", "name", "lan0", "type", "veth", "peer", "name", "lan1", "netns", "world")
        run("ip", "addr", "add", f"{MACHINE}/24", "dev", "lan0")
        run("ip", "link", "set", "lan0", "up")
        run("ip", "addr", "add", f"{SECOND}/32", "dev", "lo")
        stack.callback(run, "ip", "addr", "del", f"{SECOND}/32", "dev", "lo")
        run("ip", "route", "add", "default", "via", GATEWAY)
        for words in (f"addr add {GATEWAY}/24 dev lan1", "link set lan1 up", "link set lo up", f"addr add {WORLD}/32 dev lo"):
            run("ip", "-n", "world", *words.split())
        (self.folder / "world").mkdir()
        (self.folder / "world/index.html").write_text("the world\n")
        serve = ["ip", "netns", "exec", "world", "python3", "-m", "http.server", "80", "-b", WORLD, "-d", self.folder / "world"]
        web = subprocess.Popen([str(w) for w in serve], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(lambda: (web.kill(), web.wait(10)))
        Resolver().start()
        self.put("/etc/resolv.conf", "nameserver 127.0.0.53\n")
        self.put("/etc/passwd", Path("/etc/passwd").read_text() + f"tester:x:{UID}:{UID}::/:/bin/sh\n")
        if not os.stat("/dev/net/tun").st_mode & 0o006 == 0o006:
            # As distributions have it.
            run("mount", "-t", "tmpfs", "none", "/dev/net")
            stack.callback(run, "umount", "/dev/net")
            os.mknod("/dev/net/tun", stat.S_IFCHR, os.makedev(10, 200))
            os.chmod("/dev/net/tun", 0o666)

    def put(self, path, text):
        """Another file in this test's mounts, in place of the machine's."""
        file = self.folder / Path(path).name
        file.write_text(text)
        run("mount", "--bind", file, path)
        self.stack.callback(run, "umount", path)

    def is_left(self):
        shown = [run("ip", "netns"), run("ip", "-o", "link"), run("ip", "route"), run("nft", "list", "ruleset")]
        return [re.sub(r"(?m)^\d+: ", "", text) for text in shown] + [Path("/proc/self/mounts").read_text()]


class User(Awan):
    """The server of an ordinary user, in the place where it is without being told."""

    def __init__(self, machine):
        self.home = Path(tempfile.mkdtemp(prefix="awan-user-"))
        self.data = self.home / ".local/share/awan"
        self.program = self.home / "awan"
        shutil.copy(BINARY, self.program)
        shutil.copytree(IMAGES, self.home / "images")
        run("chown", "-R", f"{UID}:{UID}", self.home)
        run("chmod", "-R", "u+rwX,go+rX", self.home)
        self.api, self.metrics = free_port(), free_port()
        self.process, self.hypervisor, self.options = None, "auto", {}
        self.env = {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "AWAN_IMAGES_DIR": str(self.home / "images"),
            "AWAN_LISTEN": f"127.0.0.1:{self.api}",
            "AWAN_METRICS_LISTEN": f"127.0.0.1:{self.metrics}",
        }

    def start(self, wait=120, role="serve"):
        with open(self.home / "out", "w") as out, open(self.home / "err", "a") as err:
            command = [*AS_USER, str(self.program), role]
            self.process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=self.env, cwd="/")
        until("ready", wait, self.ready)
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError("awan ended: " + self.log()[-2000:])
        return (self.home / "out").read_text().startswith("ready ")

    def log(self):
        return (self.home / "err").read_text()

    def do(self, *words, check=True, seconds=60):
        command = [*AS_USER, str(self.program), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=self.env, cwd="/", stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}\n{self.log()[-2000:]}")
        return done

    def admin(self, *words, check=True):
        return json.loads(self.do("admin", "--json", *words, check=check, seconds=150).stdout)

    def ssh(self, instance, command, seconds=120):
        last = []

        def attempt():
            last[:] = [self.do("ssh", instance, "--", command, check=False)]
            return last[0].returncode == 0

        try:
            until("ssh", seconds, attempt, 0.3)
        except AssertionError:
            log = "\n".join([line for line in self.log().splitlines() if " audit: " not in line][-20:])
            raise AssertionError(f"{last[0].stderr}\n{self.do('console', instance).stdout[-1500:]}\n{log}")
        return last[0].stdout

    def kept_by(self):
        return json.loads((self.data / "rootless.json").read_text())

    def processes(self):
        """All of the user and of those that are the user's to give."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if not entry.name.isdigit():
                    continue
                uid, line = entry.stat().st_uid, (entry / "cmdline").read_bytes()
                # What has ended and waits to be buried has no words any more.
                if line and (uid == UID or 0 <= uid - RANGE[0] < RANGE[1]):
                    found[int(entry.name)] = line.replace(b"\0", b" ").decode()[:200]
        return found

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.do("purge", check=False, seconds=120)
        left = self.processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.home, ignore_errors=True)
        assert not left, left


@pytest.fixture(scope="module")
def machine():
    with contextlib.ExitStack() as stack:
        yield Machine(stack)


@pytest.fixture(scope="module", params=["one user id", "many user ids"])
def user(request, machine):
    with contextlib.ExitStack() as stack:
        machine.stack, kept = stack, machine.stack
        if request.param == "many user ids":
            if not shutil.which("newuidmap"):
                pytest.skip("there is no newuidmap (package uidmap)")
            for path in ("/etc/subuid", "/etc/subgid"):
                machine.put(path, f"tester:{RANGE[0]}:{RANGE[1]}\n")
        machine.stack = kept
        before = machine.is_left()
        user = User(machine)
        user.before, user.many = before, request.param == "many user ids"
        stack.callback(user.close)
        yield user.start()


@pytest.fixture(scope="module")
def instance(user):
    user.do("key", "key")
    user.do("open", "22")
    id = user.do("launch", "--type", "t3.nano", "--key", "key", "--name", "one").stdout.strip()
    user.ssh(id, "true")
    return id


def test_a_login_and_the_way_out(user, instance):
    assert user.ssh("one", "uname -n").startswith("ip-172-31-")
    assert user.ssh(instance, f"timeout 5 wget -q -O - http://{WORLD}/") == "the world\n"
    assert user.ssh(instance, "timeout 5 wget -q -O - http://somewhere.example/") == "the world\n", "names are asked for on the machine"
    assert user.ssh(instance, "timeout 5 wget -q -O - http://169.254.169.254/ || echo refused").startswith("refused"), "IMDSv2 only"
    user.audit()


def test_nothing_of_the_machine_is_reached_from_inside(user, instance):
    services = [Service("127.0.0.1"), Service("0.0.0.0")]
    api = [(address, user.api) for address in ("127.0.0.1", MACHINE, SECOND, GATEWAY)]
    doors = [(address, service.port) for service in services for address in ("127.0.0.1", MACHINE, SECOND, GATEWAY, "10.0.2.2")]
    for address, service in (("127.0.0.1", services[0]), (MACHINE, services[1]), (SECOND, services[1])):
        run("curl", "-sS", "-m", "5", f"http://{address}:{service.port}/")
    assert [len(service.came) for service in services] == [1, 2], "the machine itself reaches them"
    tries = " & ".join(f"timeout 4 wget -q -O - http://{address}:{port}/" for address, port in doors + api)
    heard = user.ssh(instance, f"({tries} & wait) 2>/dev/null; echo done")
    assert (heard, [len(service.came) for service in services]) == ("done\n", [1, 2])


def test_guests_are_reached_through_the_server_and_by_nothing_else(user, instance):
    address = user.client().describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]["PublicIpAddress"]
    with pytest.raises(OSError):
        socket.create_connection((address, 22), 2)
    command = [*AS_USER, str(user.program), "forward", "one", "22"]
    forward = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=user.env, cwd="/")
    try:
        line = forward.stdout.readline()
        port = re.fullmatch(rf"127\.0\.0\.1:(\d+) leads to {address}:22\n", line).group(1)
        with socket.create_connection(("127.0.0.1", int(port)), 5) as stream:
            assert stream.recv(8) == b"SSH-2.0-"
    finally:
        forward.kill()
        forward.wait(10)
    refused = user.do("connect", MACHINE, "22", check=False)
    assert refused.returncode == 1 and f"{MACHINE} is no public address of an instance" in refused.stderr
    assert stat.S_IMODE((user.data / "connect.sock").stat().st_mode) == 0o600


def test_the_hypervisor_has_little_to_give_away(user, instance):
    pid = user.guests()[instance]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    uids = {int(uid) for uid in status["Uid"].split()}
    assert len(uids) == 1
    assert all(RANGE[0] <= uid < sum(RANGE) for uid in uids) if user.many else uids == {UID}, uids
    assert [status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")] == ["0" * 16] * 4
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    inside = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in inside] == ["lo"]
    seen = lambda path: os.listdir(f"/proc/{pid}/root{path}")
    if not user.many:
        assert [seen(path) for path in ("/home", "/root", "/run", "/tmp", "/var")] == [[]] * 5, "where sockets are"
        assert user.tag() not in Path(f"/proc/{pid}/mounts").read_text(), "it keeps no network from going"
    assert "control groups are missing" in user.log()


def test_the_server_may_end_and_guests_go_on(user, instance):
    boot, process, kept = user.ssh(instance, "cat /proc/sys/kernel/random/boot_id"), user.guests(), user.kept_by()
    for end in (user.terminate, user.kill):
        end()
        assert user.guests() == process
        user.start()
        assert user.ssh(instance, "cat /proc/sys/kernel/random/boot_id") == boot
        assert user.ssh(instance, f"timeout 5 wget -q -O - http://{WORLD}/") == "the world\n"
        assert (user.guests(), user.kept_by()) == (process, kept)
        user.audit()


def test_a_way_out_that_ended_is_there_after_a_start(user, instance):
    end(user.kept_by()["pasta"]["pid"])
    user.terminate()
    user.start()
    assert user.ssh(instance, f"timeout 5 wget -q -O - http://{WORLD}/") == "the world\n"


def test_guests_end_with_what_kept_their_network(user, instance):
    user.ssh(instance, "sync")
    user.kill()
    kept = user.kept_by()
    end(kept["holder"]["pid"])
    user.start()
    ec2 = user.client()
    until("stopped", 60, lambda: states(ec2, [instance])[instance] == "stopped")
    assert not user.guests()
    assert kept["pasta"]["pid"] not in user.processes()
    user.do("start", "one")
    assert user.ssh(instance, f"timeout 5 wget -q -O - http://{WORLD}/") == "the world\n"
    user.audit()


def test_what_needs_root_is_refused_by_name(user):
    done = user.do("serve", "--data-dir", str(user.home / "other"), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--uplink", "routed", check=False)
    assert done.returncode == 1 and "--uplink: an ordinary user's server has no other than masquerade and none" in done.stderr
    shutil.rmtree(user.home / "other")


def test_root_does_not_take_over_an_ordinary_users_guests(user, instance):
    command = [str(user.program), "serve", "--data-dir", str(user.data), "--hypervisor", "tcg"]
    user.terminate()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=user.env)
    assert done.returncode == 1 and "in namespaces of an ordinary user, kept by process" in done.stderr
    user.start()


def test_nothing_is_left(user, machine, instance):
    programs = lambda: sorted(Path(line.split()[0]).name for line in user.processes().values())
    until("nothing else runs", 20, lambda: programs() == ["awan", "awan", "pasta", "qemu-system-x86_64"])
    user.terminate()
    user.do("purge", seconds=120)
    assert user.processes() == {}
    assert machine.is_left() == user.before
    assert not user.data.exists()
    assert {entry.name for entry in user.home.iterdir()} == {".local", "awan", "images", "out", "err"}


def test_quickstart_ends_with_a_login(machine):
    user = User(machine)
    copy = user.home / "awan-main"
    copy.mkdir()
    shutil.copy(ROOT / "quickstart.sh", copy)
    shutil.copytree(ROOT / "scripts", copy / "scripts")
    run("chown", "-R", f"{UID}:{UID}", copy)
    before = machine.is_left()
    user.env["AWAN_PROGRAM"] = str(user.program)

    def quickstart(*words, check=True):
        command = [*AS_USER, str(copy / "quickstart.sh"), "--rootless", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=user.env, cwd="/", stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    try:
        assert "nothing runs, and nothing is stored" in quickstart("--purge")
        said = quickstart()
        (first,) = re.findall(r"it says     user data of (i-[0-9a-f]+) ran as root\n\[done ", said)
        assert "quickstart.sh --rootless --stop" in said and "awan forward quickstart 80" in said
        assert f"user data of {first} ran" in quickstart()
        quickstart("--stop")
        assert user.processes() == {}
        assert f"user data of {first} ran" in quickstart()
        quickstart("--purge")
        assert user.processes() == {} and not user.data.exists()
        assert machine.is_left() == before
    finally:
        user.close()


def test_quickstart_says_which_packages_are_missing(machine):
    user = User(machine)
    try:
        tools = user.home / "tools"
        tools.mkdir()
        lies = "#!/bin/sh\nfor last; do :; done\n[ $last = passt ] || echo 'installed '\n"
        (tools / "dpkg-query").write_text(lies)
        (tools / "dpkg-query").chmod(0o755)
        env = {**user.env, "PATH": f"{tools}:{user.env['PATH']}"}
        copy = user.home / "awan-main"
        copy.mkdir()
        shutil.copy(ROOT / "quickstart.sh", copy)
        shutil.copytree(ROOT / "scripts", copy / "scripts")
        run("chmod", "-R", "go+rX", copy, tools)
        command = [*AS_USER, str(copy / "quickstart.sh"), "--rootless"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, cwd="/", stdin=subprocess.DEVNULL)
        assert done.returncode == 1
        assert "missing: passt\n" in done.stdout and "setup-host.sh --rootless" in done.stderr
        assert not user.data.exists()
    finally:
        user.close()
