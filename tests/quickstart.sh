#!/bin/sh
# quickstart.sh from nothing to a login, once more, stopped, started, purged; also when the server was killed. What is on
# the machine afterwards is compared with what was there before.
#
#   isolated.sh quickstart.sh      AWAN_TEST_IMAGES is a folder with the tiny image, because a network of its own leads to
#                                  no packages
#
# Exit status: 0 passed, 1 failed, 77 skipped, because this machine lacks what the test needs.
set -eu
export LC_ALL=C
LIMIT=840

root=$(cd "$(dirname "$0")/.." && pwd)
if [ "${1:-}" != --inside ]; then
  [ "$(id -u)" = 0 ] || { echo "skipped: needs root"; exit 77; }
  [ "${AWAN_ISOLATED:-}" = 1 ] || { echo "run it in a network of its own: tests/isolated.sh sh $0" >&2; exit 2; }
  [ -c /dev/net/tun ] || { echo "skipped: no /dev/net/tun"; exit 77; }
  ls -d "${AWAN_TEST_IMAGES:-/nowhere}"/ami-* >/dev/null || { echo "quickstart.sh: AWAN_TEST_IMAGES has no image" >&2; exit 2; }
  work=$(mktemp -d)
  rc=0
  timeout --foreground -k 10 "$LIMIT" sh "$0" --inside "$work" || rc=$?
  [ $rc != 124 ] || echo "FAIL not within $LIMIT s"
  # Whatever state a failure left behind.
  if [ -d "$work/data" ]; then
    AWAN_DATA_DIR=$work/data timeout 120 sh "$root/quickstart.sh" --purge >/dev/null 2>&1 </dev/null || true
  fi
  rm -rf "$work"
  exit $rc
fi

work=$2
began=$(date +%s)
ok() { echo "ok   $(($(date +%s) - began)) s  $*"; }
fatal() {
  echo "FAIL $(($(date +%s) - began)) s  $*"
  echo "--- what it printed last"
  tail -n 30 "$work/out" 2>/dev/null || true
  echo "--- the server's log"
  tail -n 20 "$work/data/server.log" 2>/dev/null || true
  exit 1
}

# Ports that nobody listens on in this network namespace.
port=28773
while [ -n "$(ss -Hltn "sport = :$port or sport = :$((port + 1))")" ]; do port=$((port + 2)); done

# quickstart [OPTION]: as somebody would who has nothing in the environment, not even a home
quickstart() {
  env -i PATH="$PATH" AWAN_DATA_DIR="$work/data" AWAN_IMAGES_DIR="$AWAN_TEST_IMAGES" ${CARGO_HOME:+CARGO_HOME="$CARGO_HOME"} \
    ${CARGO_TARGET_DIR:+CARGO_TARGET_DIR="$CARGO_TARGET_DIR"} ${RUSTUP_HOME:+RUSTUP_HOME="$RUSTUP_HOME"} \
    AWAN_LISTEN=127.0.0.1:$port AWAN_METRICS_LISTEN=127.0.0.1:$((port + 1)) "$root/quickstart.sh" "$@" >"$work/out" 2>&1 </dev/null
}
says() { grep -q -- "$1" "$work/out" || fatal "$2: it does not say '$1'"; }

tag() { cat "$work/data/tag" 2>/dev/null || true; }
# ours TAG: processes of this data directory
ours() {
  for p in /proc/[0-9]*; do
    line=$({ tr '\0' ' ' <"$p/cmdline"; } 2>/dev/null) || continue
    case $line in
      *"guest=awan-$1-"*) echo "${p#/proc/} guest" ;;
      */release/awan\ serve*) ! grep -qz "^AWAN_DATA_DIR=$work/data$" "$p/environ" 2>/dev/null || echo "${p#/proc/} server" ;;
    esac
  done
}
# machine TAG: all that is there and could be ours; TAG is of the installation that is gone by then
machine() {
  ours "$1" | cut -d' ' -f2
  ip netns
  ip -o link | sed 's/^[0-9]*: //'
  ip route
  nft list ruleset
  ls -d /run/awan-"$1" 2>/dev/null || true
  find /sys/fs/cgroup -name "awan-$1*" 2>/dev/null || true
  find "$work" -mindepth 1 ! -name out ! -name 'machine.*'
}
compare() {
  machine "$1" >"$work/machine.after"
  diff "$work/machine.before" "$work/machine.after" || fatal "$2 leaves what diff shows"
}

login_lines() {
  says '^\[6/6 .*logging in to it over SSH$' "$1"
  says 'its kernel  [0-9][^ ]*, up for [0-9]* s; this machine.s is ' "$1"
  says 'it says     user data of i-[0-9a-f]* ran as root$' "$1"
  says '^\[done ' "$1"
  instance=$(sed -n 's/.* user data of \(i-[0-9a-f]*\) ran.*/\1/p' "$work/out")
}
server() { cat "$work/data/control.lock"; }

machine none >"$work/machine.before"
quickstart --stop || fatal "--stop before anything was started"
quickstart --purge || fatal "--purge before anything was started"
compare none "--purge of nothing"
ok "--stop and --purge of nothing do nothing"

quickstart || fatal "the first run"
login_lines "the first run"
first=$instance
pid=$(server)
tag=$(tag)
[ "$(ours "$tag" | cut -d' ' -f2 | sort | xargs)" = "guest server" ] || fatal "not one server and one guest: $(ours "$tag" | xargs)"
ok "the first run ends with a login: $(sed -n 's/^ *its kernel  *//p' "$work/out")"
awan=$(readlink "/proc/$pid/exe")
grep -q 'aws ec2 describe-instances' "$work/out" || fatal "it does not say how to go on"
[ "$("$awan" ssh --data-dir "$work/data" quickstart -- hostname </dev/null 2>/dev/null | cut -c 1-3)" = ip- ] || fatal "the login that it prints"
[ "$("$awan" list --data-dir "$work/data" | awk '{ print $1, $2, $NF }')" = "$first running quickstart" ] || fatal "the list that it prints"
eval "$("$awan" env --data-dir "$work/data")"
if command -v aws >/dev/null 2>&1; then
  [ "$(aws ec2 describe-instances --query 'Reservations[].Instances[].InstanceId' --output text)" = "$first" ] || fatal "AWS's own tools see another instance"
  ok "AWS's own tools see the instance with what it prints"
fi

before=$(date +%s)
quickstart || fatal "the second run"
login_lines "the second run"
[ "$instance $(server)" = "$first $pid" ] || fatal "the second run does not use what is there"
ok "the second run used what is there, in $(($(date +%s) - before)) s"

mkdir -p "$work/theirs/photos"
if AWAN_DATA_DIR=$work/theirs sh "$root/quickstart.sh" >"$work/out" 2>&1; then fatal "another's folder becomes Awan's"; fi
says "theirs is not empty and is not Awan's" "another's folder"
if AWAN_DATA_DIR=$work/theirs sh "$root/quickstart.sh" --purge >"$work/out" 2>&1; then fatal "another's folder is purged"; fi
[ -d "$work/theirs/photos" ] || fatal "another's folder is deleted"
rm -rf "$work/theirs"
ok "another's folder is neither used nor deleted"

# The port of a server of another data directory.
if env -i PATH="$PATH" AWAN_DATA_DIR="$work/other" AWAN_IMAGES_DIR="$AWAN_TEST_IMAGES" ${CARGO_HOME:+CARGO_HOME="$CARGO_HOME"} \
  ${CARGO_TARGET_DIR:+CARGO_TARGET_DIR="$CARGO_TARGET_DIR"} ${RUSTUP_HOME:+RUSTUP_HOME="$RUSTUP_HOME"} \
  AWAN_LISTEN=127.0.0.1:$port AWAN_METRICS_LISTEN=127.0.0.1:$((port + 1)) "$root/quickstart.sh" >"$work/out" 2>&1 </dev/null; then
  fatal "two servers on one port"
fi
says "another program has the port 127.0.0.1:$port (\"awan\",pid=$pid" "a port in use"
says "AWAN_LISTEN=127.0.0.1:9773" "a port in use"
rm -rf "$work/other"
ok "a port in use is named, with what to do"

quickstart --stop || fatal "--stop"
[ -z "$(ours "$tag")" ] || fatal "--stop leaves processes: $(ours "$tag" | xargs)"
[ -z "$(ip netns)$(nft list ruleset)" ] || fatal "--stop leaves networks: $(ip netns) $(nft list ruleset)"
quickstart --stop || fatal "--stop twice"
quickstart || fatal "a run after --stop"
login_lines "a run after --stop"
[ "$instance" = "$first" ] || fatal "after --stop there is another instance"
ok "--stop ends all; the next run starts the same instance"

kill -9 "$(server)"
quickstart || fatal "a run after kill -9"
login_lines "a run after kill -9"
[ "$instance" = "$first" ] || fatal "after kill -9 there is another instance"
ok "after kill -9 the next run goes on with the same instance"

! grep -q panicked "$work/data/server.log" || fatal "the server panicked"
quickstart --purge || fatal "--purge"
compare "$tag" "--purge"
ok "--purge leaves nothing"

quickstart || fatal "a run after --purge"
login_lines "a run after --purge"
[ "$instance" != "$first" ] || fatal "--purge did not forget the instance"
tag=$(tag)
kill -9 "$(server)"
quickstart --stop || fatal "--stop after kill -9"
[ -z "$(ours "$tag")" ] || fatal "--stop after kill -9 leaves processes: $(ours "$tag" | xargs)"
quickstart || fatal "a run after kill -9 and --stop"
login_lines "a run after kill -9 and --stop"
kill -9 "$(server)"
quickstart --purge || fatal "--purge after kill -9"
compare "$tag" "--purge after kill -9"
ok "--stop and --purge work after kill -9 as well"
