#!/bin/sh
# Every test, on a fresh machine too. The last line is `N passed, N failed, N skipped`; the exit status is the result.
#
#   ./test.sh           all that a change must pass
#   ./test.sh --fast    without what boots virtual machines
#   ./test.sh --long    all, and the heavy variants: more kills, more steps, more requests
#
# What needs networks runs in namespaces of its own, so that nothing stays on the machine and nothing leaves it.
set -u
export LC_ALL=C.UTF-8 CARGO_TERM_COLOR=never PYTHONDONTWRITEBYTECODE=1
cd "$(dirname "$0")" || exit 1
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME
root=$(pwd)

guests=1 long=
for a in "$@"; do
  case $a in
    --fast) guests= ;;
    --long) long=1 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done
units_within=2400 guests_within=2700
if [ -n "$long" ]; then
  export AWAN_SIM_STEPS=1000000 AWAN_KILL_ROUNDS=200 AWAN_SNAPSHOTS=200 AWAN_SNAPSHOT_KILLS=20
  units_within=14400 guests_within=10800
fi

passed=0 failed=0 skipped=0 failures=''
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT TERM HUP

# log NAME: where a stage's words go
log() { echo "$out/$(echo "$1" | tr -c 'a-z0-9\n' '-')"; }

fails() {
  failed=$((failed + ${2:-1}))
  failures="$failures$1
"
}

# within SECONDS NAME COMMAND...: runs one stage; its words are shown as they come and kept
within() {
  limit=$1 name=$2
  shift 2
  printf '\n==> %s\n' "$name"
  began=$(date +%s)
  file=$(log "$name")
  { timeout -k 30 "$limit" "$@" 2>&1 </dev/null; echo $? >"$file.status"; } | tee "$file"
  status=$(cat "$file.status" 2>/dev/null || echo 1)
  [ "$status" != 124 ] || echo "not done within $limit s" | tee -a "$file"
  echo "    $name: status $status, $(($(date +%s) - began)) s"
  return "$status"
}

# one SECONDS NAME COMMAND...: a stage that counts as one test
one() {
  if within "$@"; then passed=$((passed + 1)); else fails "$2"; fi
}

# number PATTERN FILE: the last number that stands before a word
number() { sed -n "s/.*[^0-9]\([0-9][0-9]*\) $1.*/\1/p" "$2" | tail -n 1 | grep . || echo 0; }

# counted SECONDS NAME COMMAND...: a stage whose runner counts its tests (nextest, cargo test, pytest)
counted() {
  within "$@"
  status=$? file=$(log "$2")
  grep -aE '^ *Summary \[|^test result: |^=* ?[0-9]+ (passed|failed|skipped|error).* in ' "$file" | sed 's/^/ /' >"$file.sum"
  ok=0 bad=0 left=0
  while read -r line; do
    echo " $line" >"$file.line"
    ok=$((ok + $(number passed "$file.line")))
    bad=$((bad + $(number failed "$file.line") + $(number 'errors\{0,1\}' "$file.line")))
    left=$((left + $(number skipped "$file.line")))
  done <"$file.sum"
  # A Rust test that lacks something says so and passes; it is counted as what it is.
  said=$(grep -ac '^ *skipped: ' "$file")
  [ "$said" -gt "$ok" ] && said=$ok
  passed=$((passed + ok - said)) skipped=$((skipped + left + said))
  if [ "$status" != 0 ] || [ "$bad" != 0 ] || [ $((ok + bad + left)) = 0 ]; then
    [ "$bad" != 0 ] || bad=1
    fails "$2" "$bad"
  fi
}

skip() {
  printf '\n==> %s\nskipped: %s\n' "$1" "$2"
  skipped=$((skipped + 1))
}

isolated() { # SECONDS NAME COMMAND...: counted, in namespaces of its own
  limit=$1 name=$2
  shift 2
  counted "$limit" "$name" sh "$root/tests/isolated.sh" "$@"
}

finish() {
  # Once more, at the end, where it is found: what failed, and how.
  [ -z "$failures" ] || printf '%s' "$failures" | while read -r name; do
    printf '\nof %s:\n' "$name"
    words=$(log "$name")
    grep -aE '^(FAILED|FAIL|ERROR|E  |error|not done)|panicked at|^ +(FAIL|TIMEOUT|SIG[A-Z]+|TRY [0-9]) ' "$words" 2>/dev/null | cut -c1-400 | head -n 60
    printf 'and last:\n'
    tail -n 20 "$words" 2>/dev/null | cut -c1-400
  done
  [ -z "$failures" ] || printf '\nfailed:\n%s' "$failures"
  printf '\n%s passed, %s failed, %s skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" = 0 ]
  exit
}

# ---- what the tests use ----------------------------------------------------------------------------------------------

if [ "$(id -u)" != 0 ]; then
  echo "test.sh needs root: guests have networks, control groups and user ids of their own. Run: sudo $0 $*" >&2
  exit 1
fi
within 1200 'set up the machine' scripts/setup-host.sh --with-tests || { fails 'set up the machine'; finish; }
within 900 'set up Rust' scripts/setup-rust.sh || { fails 'set up Rust'; finish; }
PATH="$(dirname "$(tail -n 1 "$(log 'set up Rust')")"):$PATH"
within 900 'set up the clients' scripts/setup-test.sh || { fails 'set up the clients'; finish; }
venv=$(tail -n 1 "$(log 'set up the clients')")
PATH="$PATH:$venv/bin"
export PATH

# ---- the tree --------------------------------------------------------------------------------------------------------

# The table of actions is written by codegen; cargo fmt would not look below it.
one 60 'format' sh -c 'git ls-files "*.rs" | xargs grep -L "^// @generated" | xargs rustfmt --check --edition 2024 --config-path rustfmt.toml'
one 1500 'clippy' cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
if cargo deny --version >/dev/null 2>&1; then
  one 120 'deny' cargo deny --offline --locked check licenses bans sources
else
  skip 'deny' 'cargo-deny cannot be had here'
fi
one 30 'the probe is its source assembled' scripts/assemble-probe.sh --check

# ---- Rust: units, actions, stores, simulator, fuzzed requests, compile-fail ------------------------------------------

build() { # what the tests of clients run
  cargo build --locked --package awan && cp target/debug/awan "$out/awan"
}
if [ -n "$guests" ]; then
  mkdir -p "$out/images"
  image=$out/images/new
  one 600 'the tiny image is built' images/tiny/build.sh "$image" "$out/debs"
  one 400 'the tiny image keeps its promises' images/tiny/test.sh "$image"
  export AWAN_TINY_DIR="$image"
fi
if cargo nextest --version >/dev/null 2>&1; then
  isolated $units_within 'units, stores, simulator, fuzz' cargo nextest run --locked --workspace --no-fail-fast --success-output final --status-level slow --final-status-level slow
else
  isolated $units_within 'units, stores, simulator, fuzz' cargo test --locked --workspace --no-fail-fast -- --nocapture
fi
if [ -n "$long" ]; then
  # Optimised: ten million would take a debug build hours.
  isolated 7200 'ten million requests' env AWAN_FUZZ_COUNT=10000000 cargo test --locked --release --package awan-control --test fuzz
  isolated 7200 'a hundred thousand steps of volumes, a million broken disks' env AWAN_VOLUME_STEPS=100000 AWAN_DISK_COUNT=1000000 \
    AWAN_VOLUME_SEED="$(date +%s)" AWAN_DISK_SEED="$(date +%s)" \
    cargo test --locked --release --package awan-host --lib -- --nocapture --test-threads 1 volume::course import::disk
  # Other networks each time, those of IPv4 and those of IPv6. It says how to go on where it was cut short.
  isolated 7200 'ten million packets' env AWAN_MATRIX_SEED="$(date +%s)" AWAN_MATRIX_TOPOLOGIES=2000 AWAN_MATRIX_PACKETS=10000000 \
    cargo test --locked --release --package awan-host --test matrix -- --nocapture the_kernels so_it_is
fi
counted 600 'what must not compile' cargo test --locked --doc --package awan-state

# ---- real clients ----------------------------------------------------------------------------------------------------

if build >"$out/build" 2>&1; then
  export AWAN_BINARY="$out/awan" PYTHONPATH="$root/tests"
  # A server of its own for each of two workers: most of the time both wait.
  isolated 1500 'real clients' "$venv/bin/python" -m pytest -q -rsfE -p no:cacheprovider -n 2 --dist worksteal tests/conformance
  isolated 900 'other tools' "$venv/bin/python" -m pytest -q -rsfE -p no:cacheprovider tests/clients
  export PYTHONPATH="$root/tests:$root/tests/conformance"
  # Terraform's provider waits most of the time: it asks every ten seconds whether something is as it should be.
  isolated 2400 'Terraform' "$venv/bin/python" -m pytest -q -rsfE -p no:cacheprovider -n 4 --dist worksteal tests/terraform
  if [ -n "$guests" ]; then
    id=ami-$(sed -n 's/.*"sha256": "\(.\{17\}\).*/\1/p' "$image/manifest.json")
    mv "$image" "$out/images/$id"
    export AWAN_TEST_IMAGES="$out/images" AWAN_TINY_DIR="$out/images/$id"
    # Two servers, each in namespaces of its own: a guest takes one processor, and much of the time is waiting.
    apart="2*popen//python=sh $root/tests/isolated.sh $venv/bin/python"
    counted $guests_within 'real guests' "$venv/bin/python" -m pytest -q -rsfE -p no:cacheprovider --tx "$apart" --dist loadfile tests/e2e
    if [ -n "$long" ]; then
      one 3600 'Debian is built' images/debian/build.sh 12 "$out/debian"
      isolated 3600 'Debian' env AWAN_DEBIAN_DIR="$out/debian" PYTHONPATH="$PYTHONPATH:$root/tests/e2e" \
        "$venv/bin/python" -m pytest -q -rsfE -p no:cacheprovider tests/systems
    fi
    one 1800 'the release program is built' cargo build --locked --release --package awan
    one 900 'quickstart' sh tests/isolated.sh sh tests/quickstart.sh
  else
    skip 'real guests' '--fast'
    skip 'quickstart' '--fast'
  fi
else
  cat "$out/build"
  fails 'build'
fi
finish
