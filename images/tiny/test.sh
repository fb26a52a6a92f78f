#!/bin/sh
# Boots the tiny image and checks what it promises: keys, user data, network, interfaces that come and go, growing root,
# power button, all three ways of booting.
#
#   test.sh IMAGEDIR        a directory that build.sh wrote
#
# Everything runs in a network namespace of its own, below one process that takes all others with it; at most 300 s.
# Exit status: 0 passed, 1 failed, 77 skipped, because this machine lacks what the test needs.
set -eu
export LC_ALL=C

LIMIT=300
GUEST=10.9.0.5

skip() { echo "skipped: $*"; exit 77; }

if [ "${1:-}" != --inside ]; then
  [ $# = 1 ] || { echo "usage: test.sh IMAGEDIR" >&2; exit 2; }
  [ -e "$1/manifest.json" ] || { echo "test.sh: $1 is not an image" >&2; exit 2; }
  for t in qemu-system-x86_64 qemu-img ssh ssh-keygen python3 ip unshare; do
    command -v $t >/dev/null 2>&1 || skip "$t is missing"
  done
  [ -c /dev/net/tun ] || skip "no /dev/net/tun"
  map=
  [ "$(id -u)" = 0 ] || map=--map-root-user
  # shellcheck disable=SC2086 # an option or nothing
  unshare $map --net true 2>/dev/null || skip "no network namespaces for this user"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM
  image=$(realpath "$1")
  # shellcheck disable=SC2086 # an option or nothing
  timeout --foreground "$LIMIT" unshare $map --net --pid --fork --kill-child "$(realpath "$0")" --inside "$image" "$work" && exit 0
  echo "--- end of the console"
  tail -n 30 "$work/console" 2>/dev/null || true
  echo "--- and what QEMU said"
  tail -n 10 "$work/qemu.log" 2>/dev/null || true
  exit 1
fi

image=$2
work=$3
cd "$work"
began=$(date +%s)

# ---- the instance's surroundings: DHCP and the metadata service ------------------------------------------------------

ip link set lo up
ip tuntap add tap0 mode tap
ip addr add 10.9.0.1/24 dev tap0
ip addr add 169.254.169.254/32 dev tap0
ip link set tap0 up
ip tuntap add tap1 mode tap
ip addr add 10.9.1.1/24 dev tap1
ip link set tap1 up

ssh-keygen -q -t ed25519 -N '' -f key1
ssh-keygen -q -t ed25519 -N '' -f key2
cat >user-data <<'END'
#!/bin/bash
echo "user data of $(imds meta-data/instance-id) by $(id -un)" >>/root/user-data-ran
echo "user data speaks"
mkdir -p /srv && echo hello >/srv/index.html && httpd -p 80 -h /srv
END
cat >surroundings.py <<'END'
import http.server, ipaddress, pathlib, socket, struct, threading

here = pathlib.Path()

def classless(*routes):
    out = b""
    for net, via in routes:
        net = ipaddress.ip_network(net)
        out += bytes([net.prefixlen]) + net.network_address.packed[: (net.prefixlen + 7) // 8] + ipaddress.ip_address(via).packed
    return out

def dhcp(device, base):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
    s.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
    s.bind(("", 67))
    ip = lambda a: ipaddress.ip_address(base + a if isinstance(a, int) else a).packed
    while True:
        q = s.recv(2048)
        o, kind = q[240:], 0
        while o and o[0] != 255:
            if o[0] == 0:
                o = o[1:]
                continue
            if o[0] == 53:
                kind = o[2]
            o = o[2 + o[1]:]
        opts = [
            (53, bytes([2 if kind == 1 else 5])), (54, ip(1)), (51, struct.pack(">I", 3600)), (1, ip("255.255.255.0")),
            (3, ip(99)), (6, ip("10.9.0.2")), (15, b"ec2.internal"), (26, struct.pack(">H", 1450)),
            (121, classless(("0.0.0.0/0", base + 1), ("10.77.0.0/16", base + 9), ("169.254.169.254/32", "0.0.0.0"))),
        ]
        body = b"".join(bytes([c, len(v)]) + v for c, v in opts) + b"\xff"
        head = b"\x02" + q[1:4] + q[4:8] + b"\0\0" + q[10:12] + b"\0" * 4 + ip(5) + ip(1) + b"\0" * 4 + q[28:44]
        s.sendto(head + b"\0" * 192 + b"\x63\x82\x53\x63" + body, ("255.255.255.255", 68))

class Metadata(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def answer(self, code, body=b""):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        mode = (here / "imds").read_text().strip()
        if mode == "v1" or "x-aws-ec2-metadata-token-ttl-seconds" not in self.headers:
            return self.answer(405)
        self.answer(200, b"token")

    def do_GET(self):
        mode = (here / "imds").read_text().strip()
        if mode == "v2" and self.headers.get("x-aws-ec2-metadata-token") != "token":
            return self.answer(401)
        instance, key = (here / "instance").read_text().split()
        pages = {
            "meta-data/instance-id": instance.encode(),
            "meta-data/local-hostname": b"ip-10-9-0-5.ec2.internal",
            "meta-data/public-keys/": b"0=main",
            "meta-data/public-keys/0/openssh-key": (here / (key + ".pub")).read_bytes(),
            "user-data": (here / "user-data").read_bytes(),
        }
        page = pages.get(self.path.removeprefix("/latest/"))
        self.answer(404) if page is None else self.answer(200, page)

for device, base in ((b"tap0", "10.9.0.0"), (b"tap1", "10.9.1.0")):
    threading.Thread(target=dhcp, args=(device, ipaddress.ip_address(base)), daemon=True).start()
http.server.ThreadingHTTPServer(("169.254.169.254", 80), Metadata).serve_forever()
END
echo v2 >imds
echo i-0000000000000000a key1 >instance
python3 surroundings.py &

# ---- steps ----------------------------------------------------------------------------------------------------------

failed=0
ok() { echo "ok   $(($(date +%s) - began)) s  $*"; }
bad() { echo "FAIL $(($(date +%s) - began)) s  $*"; failed=1; }
fatal() { bad "$*"; exit 1; }
# check WHAT COMMAND...
check() {
  what=$1
  shift
  if "$@" >/dev/null 2>&1; then ok "$what"; else bad "$what"; fi
}
# equal WHAT GOT EXPECTED
equal() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1: got '$2', expected '$3'"; fi; }

login() {
  key=$1 user=$2
  shift 2
  ssh -F none -n -i "$key" -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o LogLevel=ERROR -o ConnectTimeout=3 "$user@$GUEST" "$@"
}

# start QEMU-ARGUMENT...
start() {
  : >console
  rm -f monitor
  mkfifo monitor
  qemu-system-x86_64 -name tiny-test -nodefaults -no-user-config -display none -M q35 -accel tcg,tb-size=64,thread=single -cpu max \
    -m 256 -blockdev driver=qcow2,node-name=root,file.driver=file,file.filename=disk.qcow2 \
    -device virtio-blk-pci,drive=root,addr=0x4 \
    -netdev tap,id=n0,ifname=tap0,script=no,downscript=no -device virtio-net-pci,netdev=n0,romfile=,addr=0x5 \
    -device virtio-rng-pci -device vmgenid,guid=auto -serial file:console -monitor stdio "$@" <monitor >qemu.log 2>&1 &
  qemu=$!
  exec 4>monitor
}

# until_console TEXT SECONDS
until_console() {
  n=0
  until grep -q "$1" console; do
    n=$((n + 1))
    if [ $n -gt $(($2 * 10)) ] || ! kill -0 "$qemu" 2>/dev/null; then return 1; fi
    sleep 0.1
  done
}

# until_guest COMMAND: until that succeeds in the guest, ten seconds
until_guest() {
  n=0
  until login key1 root "$1" >/dev/null 2>&1; do
    n=$((n + 1))
    [ $n -le 50 ] || return 1
    sleep 0.2
  done
}

expect_ready() {
  until_console 'awan-tiny: [0-9.]* ready' 60 || fatal "$1: the guest is not ready"
  ok "$1: ready after $(sed -n 's/.*awan-tiny: \([0-9.]*\) ssh ready.*/\1/p' console | tail -n 1) s of guest time to ssh"
}

power_button() {
  echo system_powerdown >&4
  n=0
  while kill -0 "$qemu" 2>/dev/null; do
    n=$((n + 1))
    [ $n -le 100 ] || fatal "$1: the power button does nothing"
    sleep 0.1
  done
  exec 4>&-
  ok "$1: off $n tenths of a second after the power button"
}

qemu-img create -q -f qcow2 -b "$image/disk.qcow2" -F qcow2 disk.qcow2 1G
cmdline=$(sed -n 's/.*"cmdline": "\(.*\)",.*/\1/p' "$image/manifest.json")

start -kernel "$image/vmlinux" -initrd "$image/initrd.cpio" -append "$cmdline" \
  -device pcie-root-port,id=np0,chassis=64,slot=64,addr=0x9
until_console 'ssh ready' 60 || fatal "direct boot: no ssh"
equal "ec2-user logs in as soon as ssh answers" "$(login key1 ec2-user id -un)" ec2-user
expect_ready "direct boot"
equal "root logs in" "$(login key1 root id -un)" root
if login key2 root true 2>/dev/null; then bad "another key logs in"; else ok "another key does not log in"; fi
equal "user data ran as root" "$(login key1 root cat /root/user-data-ran)" "user data of i-0000000000000000a by root"
check "user data's output is on the console" grep -q 'user data speaks' console
equal "the web server of user data answers" "$(python3 -c "import urllib.request as u; print(u.urlopen('http://$GUEST/', timeout=5).read().decode(), end='')")" hello
equal "hostname" "$(login key1 root hostname)" ip-10-9-0-5.ec2.internal
equal "MTU of the lease" "$(login key1 root cat /sys/class/net/eth0/mtu)" 1450
equal "routes are those of option 121" "$(login key1 ec2-user ip route | sed 's/  */ /g; s/ $//' | sort | tr '\n' ';')" \
  '10.77.0.0/16 via 10.9.0.9 dev eth0;10.9.0.0/24 dev eth0 scope link src 10.9.0.5;169.254.169.254 dev eth0 scope link;default via 10.9.0.1 dev eth0;'
equal "name servers" "$(login key1 root cat /etc/resolv.conf | tr '\n' ';')" 'search ec2.internal;nameserver 10.9.0.2;'
check "the root is as large as the disk" test "$(login key1 root df -m / | awk 'END { print $2 }')" -gt 900
equal "ec2-user may become root" "$(login key1 ec2-user sudo -n id -un)" root
equal "root may become ec2-user" "$(login key1 root sudo -u ec2-user id -un)" ec2-user
equal "ping" "$(login key1 ec2-user "sudo ping -c 1 -W 2 10.9.0.1 2>&1 | grep -c ttl=")" 1
for time in first second; do
  echo "netdev_add tap,id=n1,ifname=tap1,script=no,downscript=no" >&4
  echo "device_add virtio-net-pci,id=nic1,netdev=n1,bus=np0,romfile=" >&4
  check "an interface that comes has an address ($time time)" until_guest 'grep -qx 10.9.1.5/24 /run/lease.eth1 && ping -c 1 -W 2 -I 10.9.1.5 10.9.1.1'
  check "it answers" ping -c 1 -W 2 10.9.1.5
  echo "device_del nic1" >&4
  check "one that goes leaves nothing" until_guest '! [ -e /sys/class/net/eth1 ] && ! [ -e /run/lease.eth1 ] && ! ip rule | grep -q 1001 && ! pgrep -f "udhcpc.*eth1"'
  echo "netdev_del n1" >&4
done
fingerprint=$(sed -n 's/^256 \(SHA256:[^ ]*\) (ED25519).*/\1/p' console)
equal "the host key is the one on the console" "$(ssh-keyscan -t ed25519 $GUEST 2>/dev/null | ssh-keygen -lf - | cut -d' ' -f2)" "$fingerprint"
equal "no account has a password" "$(login key1 root cut -d: -f2 /etc/shadow | sort -u)" '*'

: >console
login key1 root /sbin/reboot || true
expect_ready "reboot"
equal "user data did not run again" "$(login key1 root 'wc -l </root/user-data-ran')" 1
power_button "direct boot"

# The disk becomes another instance: user data runs, the keys and the host key are new, the old key is gone.
echo v1 >imds
echo i-0000000000000000b key2 >instance
qemu-img resize -q disk.qcow2 2G
start
expect_ready "BIOS"
equal "another instance runs its user data" "$(login key2 root tail -n 1 /root/user-data-ran)" "user data of i-0000000000000000b by root"
if login key1 root true 2>/dev/null; then bad "the old instance's key logs in"; else ok "the old instance's key is gone"; fi
check "another instance has another host key" test "$fingerprint" != "$(sed -n 's/^256 \(SHA256:[^ ]*\) (ED25519).*/\1/p' console)"
check "the root grew again" test "$(login key2 root df -m / | awk 'END { print $2 }')" -gt 1900
power_button BIOS

firmware=/usr/share/OVMF/OVMF_CODE_4M.fd
if [ -e $firmware ]; then
  cp /usr/share/OVMF/OVMF_VARS_4M.fd vars.fd
  start -drive if=pflash,unit=0,format=raw,readonly=on,file=$firmware -drive if=pflash,unit=1,format=raw,file=vars.fd
  # The button counts long before the network: from when init has started what waits for it, which is first on its list.
  until_console 'login:' 60 || fatal "UEFI: no user space"
  sleep 1
  power_button UEFI
else
  echo "skip UEFI: no OVMF here"
fi
exit $failed
