#!/bin/sh
# Installs the packages that a machine needs to run Awan and to build it. For Debian 12 and 13, Ubuntu 22.04 and 24.04.
#
#   setup-host.sh [--with-tests] [--rootless] [--dry-run | --check]
#
# --rootless: for an ordinary user's server too. --check: installs nothing, and fails if something is missing.
#
# Changes nothing, asks the network nothing and is quick where all is there already. Everything comes from the machine's
# own apt sources.
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

RUN='nftables iproute2 conntrack mtools e2fsprogs fdisk grub-common grub-pc-bin grub-efi-amd64-bin kmod cpio gzip xz-utils lz4
  zstd openssh-client dpkg curl ca-certificates git'
ROOTLESS='passt'
BUILD='gcc libc6-dev make pkg-config'
TESTS='python3 python3-venv nasm tcpdump sqlite3 iputils-ping netcat-openbsd jq procps strace iperf3'
# Those that a distribution may not have: Ubuntu 22.04 has no passt. The last two make images of Debian.
PERHAPS='passt uidmap mmdebstrap debian-archive-keyring'
# qemu-utils is named beside QEMU on purpose: one from another suite would block it, or be removed by it.
QEMU='qemu-system-x86 qemu-utils ovmf'

say() { printf '==> %s\n' "$*"; }
die() { printf 'setup-host.sh: %s\n' "$*" >&2; exit 1; }

dry='' check='' perhaps=''
wanted="$RUN $BUILD"
for a in "$@"; do
  case $a in
    --dry-run) dry=1 ;;
    --check) check=1 ;;
    --rootless) wanted="$wanted $ROOTLESS" ;;
    --with-tests) wanted="$wanted $TESTS" perhaps=$PERHAPS ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) die "unknown option $a" ;;
  esac
done

# missing NAME...: those that are not installed
missing() {
  for p in "$@"; do
    case $(dpkg-query -W -f '${db:Status-Status} ' "$p" 2>/dev/null) in
      installed*) ;;
      *) echo "$p" ;;
    esac
  done
}

# known NAME...: those that apt's lists have
known() {
  for p in "$@"; do
    if apt-cache show "$p" >/dev/null 2>&1; then echo "$p"; fi
  done
}

command -v dpkg-query >/dev/null 2>&1 ||
  die "this is not Debian or Ubuntu. Install by hand: QEMU 7.2 or newer with qemu-img, nftables 1.0, iproute2, and a C compiler"
[ "$(dpkg --print-architecture)" = amd64 ] || die "this machine is $(dpkg --print-architecture); Awan runs on amd64"

# shellcheck disable=SC2046,SC2086 # lists of names
need=$(missing $wanted $(known $(missing $perhaps)) | xargs)
# shellcheck disable=SC2086 # lists of names
need_qemu=$(missing $QEMU | xargs)
if [ -z "$need$need_qemu" ]; then
  say "all packages are installed"
  exit 0
fi
if [ -n "$check" ]; then
  say "missing:${need:+ $need}${need_qemu:+ $need_qemu}"
  exit 1
fi
say "to install:${need:+ $need}${need_qemu:+ $need_qemu}"

if [ "$(id -u)" != 0 ] && [ -z "$dry" ]; then
  die "installing packages needs root: sudo $0 $*"
fi

apt() { apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -y -q --no-install-recommends "$@"; }
possible() { apt-get -s --no-install-recommends install "$@" >/dev/null 2>&1; }

# Sources that have nothing to do with this may fail; what is missing then shows at the install.
if [ -z "$dry" ]; then
  apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -q update || say "some package sources did not answer; going on"
fi

# After an update apt's lists may have what they had not.
# shellcheck disable=SC2046,SC2086 # lists of names
need=$(missing $wanted $(known $(missing $perhaps)) | xargs)

# choose_qemu: prints arguments of `apt-get install` with which all of QEMU gets installed and nothing of it removed.
choose_qemu() {
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  backports=$codename-backports
  # As installed already, so that nothing else on the machine gets another QEMU.
  version=$(dpkg-query -W -f '${db:Status-Abbrev}${Version}\n' qemu-utils qemu-system-common 2>/dev/null | sed -n 's/^ii *//p' | head -n 1)
  if [ -n "$version" ]; then
    pinned=
    for p in $QEMU; do
      case $p in qemu-*) pinned="$pinned $p=$version" ;; *) pinned="$pinned $p" ;; esac
    done
    # shellcheck disable=SC2086 # lists of names
    if possible $pinned; then echo "$pinned"; return; fi
  fi
  # shellcheck disable=SC2086 # lists of names
  if possible $QEMU; then echo "$QEMU"; return; fi
  # shellcheck disable=SC2086 # lists of names
  if possible -t "$backports" $QEMU; then echo "-t $backports $QEMU"; return; fi
  # The backports of the mirror this machine uses already.
  # shellcheck disable=SC2016 # apt's variables
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 2>/dev/null | awk -v c="$codename" '$2 == c { print $1; exit }')
  if [ -z "$dry" ] && [ -n "$mirror" ] && [ -e /etc/debian_version ] && ! grep -qi ubuntu /etc/os-release; then
    list=/etc/apt/sources.list.d/awan-backports.list
    echo "deb $mirror $backports main" >$list
    # shellcheck disable=SC2086 # lists of names
    if apt-get -q update >&2 && possible -t "$backports" $QEMU; then echo "-t $backports $QEMU"; return; fi
    rm -f $list
    apt-get -q update >&2 || true
  fi
  older=
  for p in $QEMU; do older="$older $p/$codename"; done
  # shellcheck disable=SC2086 # lists of names
  if possible --allow-downgrades $older; then echo "--allow-downgrades $older"; return; fi
  return 1
}

qemu=
if [ -n "$need_qemu" ]; then
  if qemu=$(choose_qemu); then
    say "QEMU: apt-get install $qemu"
  else
    # shellcheck disable=SC2086 # lists of names
    apt-get -s install $QEMU >&2 || true
    [ -n "$dry" ] || die "apt finds no QEMU that can be installed; its words are above"
    say "apt's lists are not enough to choose a QEMU without \`apt-get update\`"
  fi
fi
[ -z "$dry" ] || exit 0

# shellcheck disable=SC2086 # lists of names
[ -z "$qemu" ] || apt install $qemu
# shellcheck disable=SC2086 # lists of names
[ -z "$need" ] || apt install $need

# shellcheck disable=SC2086 # lists of names
left=$(missing $wanted $QEMU | xargs)
[ -z "$left" ] || die "not installed: $left"
say "$(qemu-system-x86_64 --version | head -n 1)"
[ -c /dev/net/tun ] || modprobe tun 2>/dev/null || say "warning: no /dev/net/tun, guests will have no network"
[ -w /dev/kvm ] || say "note: no /dev/kvm, guests will run by software emulation"
