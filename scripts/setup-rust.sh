#!/bin/sh
# Finds a Rust that can build Awan, or installs one with rustup. The last line of its output is the path of cargo.
#
#   PATH="$(dirname "$(scripts/setup-rust.sh | tail -n 1)"):$PATH"
set -eu
export LC_ALL=C
MINOR=89

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'setup-rust.sh: %s\n' "$*" >&2; exit 1; }

# good CARGO: is it 1.$MINOR or newer? In / so that no toolchain file of a project decides.
good() {
  version=$(cd / && "$1" --version 2>/dev/null | sed -n 's/^cargo \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
  # shellcheck disable=SC2086 # two words
  set -- $version
  [ $# = 2 ] && { [ "$1" -gt 1 ] || [ "$2" -ge $MINOR ]; }
}

find_cargo() {
  for c in "$(command -v cargo || true)" "${CARGO_HOME:-$HOME/.cargo}/bin/cargo"; do
    if [ -n "$c" ] && [ -x "$c" ] && good "$c"; then
      echo "$c"
      return
    fi
  done
  return 1
}

# find_rustup: prints the path of rustup if there is one
find_rustup() {
  for r in "$(command -v rustup || true)" "${CARGO_HOME:-$HOME/.cargo}/bin/rustup"; do
    if [ -n "$r" ] && [ -x "$r" ]; then
      echo "$r"
      return
    fi
  done
  return 1
}

find_cargo && exit 0

if ! rustup=$(find_rustup); then
  # Distributions newer than Debian 12 have rustup.
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && apt-get -s install rustup >/dev/null 2>&1 &&
    ! dpkg-query -W -f '${db:Status-Abbrev}\n' cargo 2>/dev/null | grep -q '^ii'; then
    say "installing rustup from this machine's packages"
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y -q --no-install-recommends install rustup >&2
  else
    command -v curl >/dev/null 2>&1 || die "curl is missing"
    say "installing Rust with rustup into ${CARGO_HOME:-$HOME/.cargo}"
    script=$(mktemp)
    trap 'rm -f "$script"' EXIT
    curl --proto '=https' --tlsv1.2 -sSf --retry 3 https://sh.rustup.rs -o "$script" || die "cannot download rustup"
    sh "$script" -y -q --profile minimal --default-toolchain stable --no-modify-path >&2
  fi
  rustup=$(find_rustup) || die "rustup did not arrive"
fi
find_cargo && exit 0

say "installing the stable toolchain"
"$rustup" toolchain install stable --profile minimal >&2
"$rustup" default stable >&2
find_cargo && exit 0
cargo=$("$rustup" which --toolchain stable cargo 2>/dev/null) || cargo=
if [ -z "$cargo" ] || ! good "$cargo"; then die "no cargo >= 1.$MINOR after all"; fi
echo "$cargo"
