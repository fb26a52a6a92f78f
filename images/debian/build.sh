#!/bin/sh
# Builds an image of Debian of Debian's own packages: systemd, cloud-init, OpenSSH, and a kernel that GRUB starts, so that a
# guest's own upgrades of it count.
#
#   build.sh 12|13 OUTDIR
#
# OUTDIR gets disk.qcow2 and manifest.json. It appears whole or not at all. Needs root, as mmdebstrap does here, and minutes.
# AWAN_DEBIAN_MIRROR and AWAN_DEBIAN_SECURITY_MIRROR name other places than deb.debian.org.
#
# Guests are prepared by cloud-init, which finds EC2's metadata service; the account that it makes is `admin`, as in Debian's
# images at EC2. Nothing that makes one machine another's is left in: no keys of hosts, no machine id, no passwords.
set -eu
LC_ALL=C
export LC_ALL

REVISION=1
LABEL=debianroot
CMDLINE="root=LABEL=$LABEL ro console=tty0 console=ttyS0,115200 quiet"
: "${SOURCE_DATE_EPOCH:=$(date +%s)}"
export SOURCE_DATE_EPOCH
mirror=${AWAN_DEBIAN_MIRROR:-http://deb.debian.org/debian}
security=${AWAN_DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}

PACKAGES='linux-image-cloud-amd64 initramfs-tools grub-pc grub-efi-amd64-bin systemd-sysv systemd-resolved
  systemd-timesyncd libpam-systemd dbus udev kmod cloud-init cloud-guest-utils cloud-initramfs-growroot openssh-server
  sudo iproute2 iputils-ping netbase ca-certificates curl wget less vim-tiny procps e2fsprogs fdisk locales tzdata
  bash-completion man-db apt-utils lsb-release gnupg'

say() { printf 'debian image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# shellcheck source=images/disk.sh
. "$(dirname "$0")/../disk.sh"

check_tools() {
  [ "$(uname -m)" = x86_64 ] || die "this image is for x86_64 only; this machine is $(uname -m)"
  [ "$(id -u)" = 0 ] || die "this needs root"
  missing=
  need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
  need mmdebstrap mmdebstrap
  need mke2fs e2fsprogs
  need sfdisk fdisk
  need mformat mtools
  need qemu-img qemu-utils
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"
  [ -z "$missing" ] || die "packages missing on this machine: $(echo "$missing" | xargs -n 1 | sort -u | xargs)"
}

unpack() {
  signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
  say "unpacking Debian $release ($codename)"
  # GRUB is put on the disk here; a guest that upgrades it is not asked where to.
  cat >"$work/answers" <<'EOF'
grub-pc grub-pc/install_devices multiselect
grub-pc grub-pc/install_devices_empty boolean true
EOF
  # shellcheck disable=SC2016 # mmdebstrap says what $1 is
  mmdebstrap --quiet --mode=root --variant=minbase --format=directory --skip=cleanup/apt \
    --include="$(echo "$PACKAGES" | xargs | tr ' ' ,)" \
    --essential-hook='chroot "$1" debconf-set-selections </dev/stdin' \
    "$codename" "$root" \
    "deb $signed $mirror $codename main" \
    "deb $signed $mirror $codename-updates main" \
    "deb $signed $security $codename-security main" <"$work/answers" >"$work/mmdebstrap.log" 2>&1 ||
    { tail -n 20 "$work/mmdebstrap.log" >&2; die "Debian's packages do not unpack"; }
}

# put MODE PATH: standard input becomes that file of the root file system.
put() {
  mkdir -p "$root${2%/*}"
  rm -f "$root$2"
  cat >"$root$2"
  chmod "$1" "$root$2"
}

configure() {
  printf 'LABEL=%s / ext4 defaults,noatime 0 1\n' "$LABEL" | put 644 /etc/fstab
  echo localhost | put 644 /etc/hostname
  printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' | put 644 /etc/hosts
  for suite in "$codename" "$codename-updates"; do echo "deb $mirror $suite main"; done | put 644 /etc/apt/sources.list
  echo "deb $security $codename-security main" >>"$root/etc/apt/sources.list"
  put 644 /etc/cloud/cloud.cfg.d/10_awan.cfg <<'EOF'
# Where to look for who this machine is, and what else would take its time at the first boot.
datasource_list: [Ec2, None]
ssh_genkeytypes: [ed25519, ecdsa]
apt:
  preserve_sources_list: true
system_info:
  default_user:
    name: admin
    gecos: Debian
EOF
  echo 'C.UTF-8 UTF-8' | put 644 /etc/locale.gen
  echo 'LANG=C.UTF-8' | put 644 /etc/default/locale
  cat >>"$root/etc/default/grub" <<EOF
GRUB_TIMEOUT=0
GRUB_CMDLINE_LINUX_DEFAULT=quiet
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200"
GRUB_TERMINAL=console
EOF
  chroot "$root" systemctl -q enable systemd-networkd systemd-resolved systemd-timesyncd ssh
  # Made anew by each machine.
  rm -f "$root"/etc/ssh/ssh_host_*
  : >"$root/etc/machine-id"
  rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/apt \
    "$root"/var/log/*.log "$root/var/lib/systemd/random-seed" "$root/var/lib/cloud"
  ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
}

write_grub() {
  kernel=$(find "$root/boot" -name 'vmlinuz-*' -printf '%f\n' | sort -V | tail -n 1)
  KVER=${kernel#vmlinuz-}
  [ -n "$KVER" ] && [ -e "$root/boot/initrd.img-$KVER" ] || die "the kernel's packages have no kernel, or no initrd was made"
  mkdir -p "$root/boot/grub/i386-pc"
  # What a guest's update-grub writes loads them.
  cp "$root"/usr/lib/grub/i386-pc/*.mod "$root"/usr/lib/grub/i386-pc/*.lst "$root/boot/grub/i386-pc/"
  # By the 32-bit protocol the kernel would be unpacked while emulated memory is slow: linux16 saves seconds.
  put 644 /boot/grub/grub.cfg <<EOF
set timeout=0
if [ "\$grub_platform" = pc ]; then
  linux16 /boot/vmlinuz-$KVER $CMDLINE
  initrd16 /boot/initrd.img-$KVER
else
  linux /boot/vmlinuz-$KVER $CMDLINE
  initrd /boot/initrd.img-$KVER
fi
boot
EOF
  # Debian's own GRUB, whatever this machine has.
  libraries=$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu
  GRUB=$root/usr/lib/grub
  MKIMAGE="$root/lib64/ld-linux-x86-64.so.2 --library-path $libraries $root/usr/bin/grub-mkimage"
  grub_images
}

make_root() {
  root_mib=$((($(du -sm "$root" | cut -f1) + 320 + 7) / 8 * 8))
  mke2fs -q -F -t ext4 -L $LABEL -m 1 -b 4096 -E lazy_itable_init=1 -d "$root" "$work/root.ext4" "${root_mib}M" >/dev/null
}

write_manifest() {
  version=$(cat "$root/etc/debian_version")
  cat >"$out/manifest.json" <<EOF
{
  "name": "debian-$release-$version-$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d)-$REVISION",
  "description": "Debian $release ($codename) of Debian's own packages: systemd, cloud-init, OpenSSH",
  "architecture": "x86_64",
  "virtual_size_bytes": $((total * 512)),
  "sha256": "$(sha256sum "$out/disk.qcow2" | cut -d' ' -f1)"
}
EOF
}

# ---------------------------------------------------------------------------------------------------------------------

[ $# = 2 ] || die "usage: build.sh 12|13 OUTDIR"
release=$1
case $release in
  12) codename=bookworm ;;
  13) codename=trixie ;;
  *) die "there is no Debian $release here: 12 or 13" ;;
esac
PATH=$PATH:/usr/sbin:/sbin
umask 022
check_tools
target=$(realpath -m "$2")
mkdir -p "${target%/*}"
work=$(mktemp -d "$target.XXXXXX")
case $work in *[[:space:]]*) die "a folder with a space in its name: $work" ;; esac
# What mmdebstrap mounted goes before what it made.
clean() {
  for m in proc sys dev/pts dev; do
    if mountpoint -q "$work/root/$m"; then umount -l "$work/root/$m" || exit 1; fi
  done
  rm -rf --one-file-system "$work"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM
out=$work/out root=$work/root
mkdir "$out"

unpack
configure
write_grub
say "packing"
make_root
make_disk
write_manifest

chmod 755 "$out"
if [ -e "$target" ]; then mv "$target" "$work/old"; fi
mv "$out" "$target"
say "$(sed -n 's/.*"name": "\(.*\)",/\1/p' "$target/manifest.json"), $(($(stat -c %s "$target/disk.qcow2") / 1000000)) MB, in $target"
