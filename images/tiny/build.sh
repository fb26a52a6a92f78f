#!/bin/sh
# Builds the tiny image: a small Linux for virtual machines, made of packages of this machine's own Debian or Ubuntu.
#
#   build.sh OUTDIR [CACHEDIR]
#
# OUTDIR gets disk.qcow2, vmlinux and initrd.cpio (for booting without a boot loader) and manifest.json. It appears whole
# or not at all. Packages are kept in CACHEDIR (default: OUTDIR.debs) and used again.
#
# The disk boots by BIOS, by UEFI, and by a kernel given from outside; all three find the root file system by its label.
# Partitions are numbered as in Debian's cloud images: 14 is GRUB for BIOS, 15 is GRUB for UEFI, and 1 is the root, last
# on the disk so that it can grow. Nothing here needs root, a mount or a loop device, and equal packages give equal files.
set -eu
LC_ALL=C
export LC_ALL

REVISION=1.0
LABEL=tinyroot
CMDLINE="console=ttyS0 root=LABEL=$LABEL rw quiet random.trust_cpu=on panic=5 no_timer_check"
: "${SOURCE_DATE_EPOCH:=1735689600}"
export SOURCE_DATE_EPOCH
export E2FSPROGS_FAKE_TIME="$SOURCE_DATE_EPOCH"

# Modules the guest may need, and those it needs to find its root.
MODULES='virtio_pci virtio_mmio virtio_blk virtio_net virtio-rng virtio_balloon virtio_console virtio_scsi sd_mod sr_mod
  isofs vfat nls_cp437 nls_ascii nls_utf8 button evdev qemu_fw_cfg vmgenid ena tun'
BOOT_MODULES='virtio_pci virtio_mmio virtio_blk virtio_net button evdev'
PROGRAMS='busybox-static dropbear-bin e2fsprogs fdisk util-linux wide-dhcpv6-client'

say() { printf 'tiny image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# shellcheck source=images/disk.sh
. "$(dirname "$0")/../disk.sh"

check_tools() {
  [ "$(uname -m)" = x86_64 ] || die "this image is for x86_64 only; this machine is $(uname -m)"
  missing=
  need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
  need apt-get apt
  need dpkg-deb dpkg
  need mke2fs e2fsprogs
  need debugfs e2fsprogs
  need sfdisk fdisk
  need mformat mtools
  need grub-mkimage grub-common
  need depmod kmod
  need cpio cpio
  need gzip gzip
  need xz xz-utils
  need zstd zstd
  need lz4 lz4
  need qemu-img qemu-utils
  [ -e /usr/lib/grub/i386-pc/boot.img ] || missing="$missing grub-pc-bin"
  [ -e /usr/lib/grub/x86_64-efi/moddep.lst ] || missing="$missing grub-efi-amd64-bin"
  [ -z "$missing" ] || die "packages missing on this machine: $(echo "$missing" | xargs -n 1 | sort -u | xargs)"
}

# ---- packages -------------------------------------------------------------------------------------------------------

kernel_package() {
  for meta in linux-image-cloud-amd64 linux-image-virtual linux-image-amd64; do
    name=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^[ |]*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    if [ -n "$name" ]; then
      echo "$name"
      return
    fi
  done
  return 1
}

# The names of all packages to unpack: programs, the libraries they depend on, and the kernel.
wanted() {
  kernel=$(kernel_package) || return 1
  echo "$kernel"
  # Ubuntu keeps the modules apart from the kernel.
  modules=linux-modules-${kernel#linux-image-}
  if apt-cache show "$modules" >/dev/null 2>&1; then echo "$modules"; fi
  for p in $PROGRAMS; do echo "$p"; done
  # shellcheck disable=SC2086 # a list
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
    $PROGRAMS | grep '^z*lib[^:]*$' | sort -u
}


# Fetches what is missing in the cache and writes the file names to $work/debs.
# shellcheck disable=SC2086 # lists of names
fetch() {
  if names=$(wanted) &&
    apt-get -o APT::Sandbox::User=root download --print-uris $names >"$work/uris" 2>"$work/apt.log"; then
    awk '{ print $2, $3 }' "$work/uris" >"$work/files"
    missing=
    while read -r file size; do
      if [ "$(stat -c %s "$cache/$file" 2>/dev/null)" != "$size" ]; then missing="$missing ${file%%_*}"; fi
    done <"$work/files"
    if [ -n "$missing" ]; then
      say "fetching $(echo "$missing" | wc -w) packages"
      (cd "$cache" && apt-get -q -o APT::Sandbox::User=root download $missing >"$work/apt.log" 2>&1) || return 1
    fi
    cut -d' ' -f1 "$work/files" >"$work/debs"
    cp "$work/debs" "$cache/tiny.list"
  elif [ -s "$cache/tiny.list" ] && (cd "$cache" && xargs ls >/dev/null 2>&1 <tiny.list); then
    say "apt knows no packages here; using those of the last build"
    cp "$cache/tiny.list" "$work/debs"
  else
    return 1
  fi
}

fetch_packages() {
  mkdir -p "$cache"
  fetch && return
  if [ "$(id -u)" = 0 ]; then
    say "refreshing apt's package lists"
    apt-get -q update >"$work/apt.log" 2>&1 || true
    fetch && return
  fi
  cat "$work/apt.log" >&2
  die "cannot fetch the packages; \`apt-get update\` as root may help"
}

unpack() {
  mkdir -p "$work/x"
  # The kernel takes longest, so it is unpacked beside the others.
  while read -r deb; do
    case $deb in
      linux-*) dpkg-deb -x "$cache/$deb" "$work/kernel" & kernel_unpack="${kernel_unpack:-} $!" ;;
      *) dpkg-deb -x "$cache/$deb" "$work/x" ;;
    esac
  done <"$work/debs"
  for p in $kernel_unpack; do wait "$p" || die "a kernel package does not unpack"; done
  VMLINUZ=$(find "$work/kernel/boot" -name 'vmlinuz-*' | head -n 1)
  [ -n "$VMLINUZ" ] || die "the kernel package has no /boot/vmlinuz"
  KVER=${VMLINUZ##*/vmlinuz-}
}

# file NAME: where an unpacked package has it.
file() {
  for d in bin sbin usr/bin usr/sbin lib/x86_64-linux-gnu usr/lib/x86_64-linux-gnu lib64 usr/lib64 etc; do
    if [ -e "$work/x/$d/$1" ]; then
      readlink -f "$work/x/$d/$1"
      return
    fi
  done
  die "no package has $1"
}

# ---- kernel, modules, initrd ----------------------------------------------------------------------------------------

# number OFFSET SIZE FILE: a little-endian number
number() { od -An -v -t "u$2" -j "$1" -N "$2" "$3" | tr -d ' '; }

# A vmlinuz is a boot sector, set-up code, and a compressed ELF file followed by its size in 4 bytes.
extract_vmlinux() {
  setup=$(number 497 1 "$VMLINUZ")
  [ "$setup" != 0 ] || setup=4
  start=$(((setup + 1) * 512 + $(number 584 4 "$VMLINUZ")))
  size=$(number 588 4 "$VMLINUZ")
  tail -c "+$((start + 1))" "$VMLINUZ" | head -c "$size" >"$work/payload"
  head -c "$((size - 4))" "$work/payload" >"$work/payload.cut"
  case $(od -An -v -t x1 -N 4 "$work/payload" | tr -d ' ') in
    02214c18) unpacker='lz4 -dc' ;;
    1f8b*) unpacker='gzip -dc' ;;
    28b52ffd) unpacker='zstd -dc' ;;
    fd377a58) unpacker='xz -dc' ;;
    7f454c46) unpacker='cat' ;;
    *) unpacker=false ;;
  esac
  for p in payload.cut payload; do
    if $unpacker <"$work/$p" >"$1" 2>/dev/null && [ "$(od -An -c -j 1 -N 3 "$1" | tr -d ' ')" = ELF ]; then return; fi
  done
  say "the kernel is packed in an unknown way; QEMU will unpack it at each boot"
  cp "$VMLINUZ" "$1"
}

# closure NAME...: files of the modules and of what they depend on, in order of loading; names nothing has are left out.
closure() {
  awk -v names="$*" '
    function base(f) { sub(/.*\//, "", f); sub(/\.ko.*/, "", f); gsub(/-/, "_", f); return f }
    function add(f) { if (!(f in seen)) { seen[f] = 1; print f } }
    { f = $1; sub(/:$/, "", f); path[base(f)] = f; $1 = ""; deps[base(f)] = $0 }
    END {
      n = split(names, want, " ")
      for (i = 1; i <= n; i++) {
        m = base(want[i])
        if (!(m in path)) continue
        for (j = split(deps[m], d, " "); j > 0; j--) add(d[j])
        add(path[m])
      }
    }' "$modules/modules.dep"
}

# run_depmod DIR: depmod looks below lib or usr/lib, depending on its build.
run_depmod() {
  ln -s . "$1/usr"
  depmod -b "$1" "$KVER"
  rm "$1/usr"
}

# install_module FILE TARGET: the guest's loader reads only plain modules.
install_module() {
  mkdir -p "${2%/*}"
  case $1 in
    *.xz) xz -dc "$1" >"$2" ;;
    *.zst) zstd -qdc "$1" >"$2" ;;
    *.gz) gzip -dc "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
  esac
}

# plain FILE: its name without a suffix of compression
plain() { echo "${1%.ko*}.ko"; }

prepare_modules() {
  mkdir -p "$work/all/lib/modules" "$work/some/lib/modules/$KVER"
  for d in "$work/kernel/lib/modules" "$work/kernel/usr/lib/modules"; do
    if [ -d "$d/$KVER" ]; then mv "$d/$KVER" "$work/all/lib/modules/"; fi
  done
  modules=$work/all/lib/modules/$KVER
  some=$work/some/lib/modules/$KVER
  [ -d "$modules" ] || die "the kernel package has no modules"
  run_depmod "$work/all"
  # shellcheck disable=SC2086 # a list
  for m in $(closure $MODULES); do install_module "$modules/$m" "$some/$(plain "$m")"; done
  for f in modules.order modules.builtin modules.builtin.modinfo; do
    if [ -e "$modules/$f" ]; then cp "$modules/$f" "$some/"; fi
  done
  run_depmod "$work/some"
}

make_initrd() {
  i=$work/initrd
  mkdir -p "$i/bin" "$i/m" "$i/dev" "$i/proc" "$i/sys" "$i/mnt"
  cp "$(file busybox)" "$i/bin/busybox"
  for a in sh mount insmod cat dd findfs usleep switch_root; do ln -s busybox "$i/bin/$a"; done
  # shellcheck disable=SC2086 # a list
  for m in $(closure $BOOT_MODULES); do
    n=$(plain "${m##*/}")
    cp "$some/$(plain "$m")" "$i/m/$n"
    echo "insmod /m/$n 2>/dev/null"
  done >"$work/load"
  {
    cat <<'EOF'
#!/bin/busybox sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
EOF
    cat "$work/load"
    cat <<'EOF'
root=/dev/vda1
for a in $(cat /proc/cmdline); do case $a in root=*) root=${a#root=} ;; esac; done
# A second volume made from the same image has the same label, so the first disk is looked at first.
find_root() {
  case $root in
    LABEL=*)
      for dev in /dev/vda1 /dev/nvme0n1p1 /dev/sda1; do
        [ -b $dev ] && [ "$(dd if=$dev bs=1 skip=1144 count=16 2>/dev/null)" = "${root#LABEL=}" ] && return
      done
      dev=$(findfs "$root" 2>/dev/null)
      ;;
    UUID=*) dev=$(findfs "$root" 2>/dev/null) ;;
    *) dev=$root ;;
  esac
  [ -b "$dev" ]
}
n=0
until find_root; do
  n=$((n + 1))
  [ $n -le 500 ] || { echo "awan-tiny: no root file system $root"; exec sh; }
  usleep 20000
done 2>/dev/null
mount -t ext4 -o rw,noatime "$dev" /mnt || exec sh
mount --move /dev /mnt/dev
mount --move /proc /mnt/proc
mount --move /sys /mnt/sys
exec switch_root /mnt /sbin/init
EOF
  } >"$i/init"
  chmod 755 "$i/init"
  find "$i" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  (cd "$i" && find . | sort | cpio -o -H newc --quiet -R 0:0 --reproducible) >"$out/initrd.cpio"
}

# ---- root file system -----------------------------------------------------------------------------------------------

# put MODE PATH: standard input becomes that file of the root file system.
put() {
  mkdir -p "$root${2%/*}"
  rm -f "$root$2"
  cat >"$root$2"
  chmod "$1" "$root$2"
}

install_program() {
  rm -f "$root$2"
  cp "$(file "$1")" "$root$2"
  chmod 755 "$root$2"
  # The programs' own loader says which libraries they want.
  "$(file ld-linux-x86-64.so.2)" --library-path "$work/x/lib/x86_64-linux-gnu:$work/x/usr/lib/x86_64-linux-gnu" \
    --list "$root$2" | awk '$2 == "=>" && $1 !~ "/" { print $1 }' >>"$work/libs"
}

install_programs() {
  cp "$(file busybox)" "$root/bin/busybox"
  "$root/bin/busybox" --list-full | while read -r applet; do
    case $applet in bin/busybox | *dpkg* | *rpm*) continue ;; esac
    mkdir -p "$root/${applet%/*}"
    ln -s /bin/busybox "$root/$applet"
  done
  # ssh runs commands with a short PATH
  for a in ip ifconfig route; do [ -e "$root/bin/$a" ] || ln -sf /bin/busybox "$root/bin/$a"; done
  : >"$work/libs"
  install_program dropbear /usr/sbin/dropbear
  install_program dropbearkey /usr/bin/dropbearkey
  install_program dbclient /usr/bin/dbclient
  install_program resize2fs /sbin/resize2fs
  install_program mke2fs /sbin/mke2fs
  install_program e2fsck /sbin/e2fsck
  install_program sfdisk /sbin/sfdisk
  install_program partx /sbin/partx
  install_program setpriv /bin/setpriv
  install_program dhcp6c /usr/sbin/dhcp6c
  ln -s mke2fs "$root/sbin/mkfs.ext4"
  ln -s dbclient "$root/usr/bin/ssh"
  cp "$(file mke2fs.conf)" "$root/etc/mke2fs.conf"
  # busybox, being static, loads the last two to look up names
  for l in $(sort -u "$work/libs") libc.so.6 libnss_files.so.2 libnss_dns.so.2 libresolv.so.2; do
    cp "$(file "$l")" "$root/lib/x86_64-linux-gnu/$l"
  done
  cp "$(file ld-linux-x86-64.so.2)" "$root/lib64/ld-linux-x86-64.so.2"
  chmod 755 "$root/lib64/"* "$root/lib/x86_64-linux-gnu/"*
}

write_accounts() {
  put 644 /etc/passwd <<'EOF'
root:x:0:0:root:/root:/bin/sh
ec2-user:x:1000:1000:EC2 user:/home/ec2-user:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
EOF
  put 644 /etc/group <<'EOF'
root:x:0:
tty:x:5:
ec2-user:x:1000:
nogroup:x:65534:
EOF
  # No account has a password, so only keys open the door.
  put 600 /etc/shadow <<'EOF'
root:*:19000:0:99999:7:::
ec2-user:*:19000:0:99999:7:::
EOF
  echo /bin/sh | put 644 /etc/shells
  echo '127.0.0.1 localhost' | put 644 /etc/hosts
  echo localhost | put 644 /etc/hostname
  put 644 /etc/nsswitch.conf <<'EOF'
passwd: files
group: files
shadow: files
hosts: files dns
EOF
  put 644 /etc/profile <<'EOF'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
PS1='\u@\h:\w\$ '
EOF
  echo "NAME=\"Awan Tiny\"
ID=awan-tiny
VERSION_ID=\"$REVISION\"
PRETTY_NAME=\"Awan Tiny $REVISION\"" | put 644 /etc/os-release
}

# What runs from power on to power off.
write_boot() {
  put 644 /etc/inittab <<'EOF'
::sysinit:/etc/init.d/start
::respawn:/sbin/acpid -f -l /dev/null
::respawn:/etc/init.d/dhcp
::respawn:/etc/init.d/dhcp6
::respawn:/sbin/uevent /etc/init.d/hotplug
::once:/etc/init.d/ec2
ttyS0::respawn:/sbin/getty -L 115200 ttyS0 vt100
::ctrlaltdel:/sbin/reboot
::shutdown:/etc/init.d/stop
EOF
  put 644 /usr/lib/awan/say <<'EOF'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
say() {
  read -r up _ </proc/uptime
  echo "awan-tiny: $up $*" >/dev/console
}
EOF
  # Only what must come first: the power button has to work before the network does.
  put 755 /etc/init.d/start <<'EOF'
#!/bin/sh
if [ ! -e /proc/uptime ]; then
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t devtmpfs dev /dev
  mount -o remount,rw /
fi
. /usr/lib/awan/say
say start
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs shm /dev/shm
rm -f /tmp/* 2>/dev/null
modprobe -a -q button evdev virtio_net
hostname -F /etc/hostname
ip link set lo up
(
  modprobe -a -q virtio-rng virtio_balloon virtio_console virtio_scsi sd_mod vmgenid ena
  syslogd -C128
) >/dev/null 2>&1 &
EOF
  # init's own shutdown sleeps for seconds, so the last step is done here when it is known: after the power button, and
  # after /sbin/reboot by that name (a bare `reboot` in a shell is busybox's own, and takes init's time).
  put 755 /etc/init.d/stop <<'EOF'
#!/bin/sh
. /usr/lib/awan/say
trap '' TERM HUP
say stopping
kill -TERM -1
usleep 300000
kill -KILL -1
next=$(cat /run/next 2>/dev/null)
say "${next:-halt}"
sync
umount -a -r 2>/dev/null
[ -z "$next" ] || exec /bin/busybox "$next" -f
EOF
  for next in poweroff reboot; do
    signal=USR2
    [ $next = poweroff ] || signal=TERM
    put 755 /sbin/$next <<EOF
#!/bin/sh
[ \$# = 0 ] || exec /bin/busybox $next "\$@"
echo $next >/run/next && kill -$signal 1
EOF
  done
  put 755 /etc/acpi/PWRF/00000080 <<'EOF'
#!/bin/sh
. /usr/lib/awan/say
say "power button"
exec /sbin/poweroff
EOF
  put 755 /usr/sbin/growroot <<'EOF'
#!/bin/sh
# growroot: the root file system grows to the end of its disk, while in use.
dev=$(awk '$2 == "/" && $1 ~ "^/dev/" { print $1; exit }' /proc/mounts)
part=${dev#/dev/}
sys=/sys/class/block/$part
if [ -e "$sys/partition" ]; then
  disk=$(readlink -f "$sys")
  disk=${disk%/*}
  disk=${disk##*/}
  read -r total </sys/class/block/"$disk"/size
  read -r start <"$sys/start"
  read -r size <"$sys/size"
  read -r number <"$sys/partition"
  if [ $((total - start - size)) -gt 4096 ]; then
    # The kernel does not read the table of a disk in use again, but takes the size of one partition.
    echo ', +' | sfdisk -q --force --no-reread --no-tell-kernel -N "$number" "/dev/$disk"
    partx -u --nr "$number" "/dev/$disk"
  fi
fi
exec resize2fs "$dev"
EOF
}

write_network() {
  # A machine restored from a snapshot gets its network card only now: wait for it, then set the clock.
  put 755 /etc/init.d/dhcp <<'EOF'
#!/bin/sh
. /usr/lib/awan/say
if [ ! -e /sys/class/net/eth0 ]; then
  say template-ready
  while [ ! -e /sys/class/net/eth0 ]; do usleep 20000; done
  hwclock -u -s
  say "network card"
fi
for n in /sys/class/net/eth[1-9]*; do
  [ ! -e "$n" ] || /etc/init.d/hotplug "${n##*/}"
done
ip link set eth0 up
exec udhcpc -f -i eth0 -t 10 -T 1 -A 1 -O mtu -O staticroutes -O search >/dev/null 2>&1
EOF
  # The kernel finds its router by itself; busybox has no client of DHCP for IPv6. Of a further interface the addresses are
  # the user's own affair.
  put 755 /etc/init.d/dhcp6 <<'EOF'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
# Who has no address of its own yet asks in vain.
until ip -6 addr show dev eth0 scope link 2>/dev/null | grep inet6 | grep -qv tentative; do sleep 1; done
mkdir -p /var/lib/dhcpv6
dhcp6c -f -c /etc/dhcp6c.conf -p /run/dhcp6c.pid eth0 >/dev/null 2>&1
sleep 5
EOF
  put 644 /etc/dhcp6c.conf <<'EOF'
interface eth0 { send ia-na 0; };
id-assoc na 0 { };
EOF
  # Run by uevent for each change the kernel tells of, and by hand with the name of a further interface.
  put 755 /etc/init.d/hotplug <<'EOF'
#!/bin/sh
[ $# = 0 ] || { ACTION=add SUBSYSTEM=net INTERFACE=$1; }
case $ACTION:$SUBSYSTEM:$INTERFACE in
  add:net:eth[1-9]*)
    [ ! -e "/run/udhcpc.$INTERFACE.pid" ] || kill "$(cat "/run/udhcpc.$INTERFACE.pid")" 2>/dev/null
    ip link set "$INTERFACE" up
    udhcpc -b -i "$INTERFACE" -p "/run/udhcpc.$INTERFACE.pid" -t 10 -T 1 -A 1 -O mtu -O staticroutes </dev/null >/dev/null 2>&1
    ;;
  remove:net:eth[1-9]*)
    [ ! -e "/run/udhcpc.$INTERFACE.pid" ] || kill "$(cat "/run/udhcpc.$INTERFACE.pid")" 2>/dev/null
    ip rule del table $((1000 + ${INTERFACE#eth})) 2>/dev/null
    rm -f "/run/udhcpc.$INTERFACE.pid" "/run/lease.$INTERFACE"
    ;;
esac
EOF
  put 755 /etc/udhcpc/default.script <<'EOF'
#!/bin/sh
# udhcpc calls this with what the lease says in its environment.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
case $1 in
  deconfig)
    rm -f "/run/lease.$interface"
    ip -4 addr flush dev "$interface"
    ip link set "$interface" up
    exit
    ;;
  bound | renew) ;;
  *) exit ;;
esac
[ -z "$mtu" ] || ip link set "$interface" mtu "$mtu"
# Further interfaces answer from their own address through their own gateway, by a table of their own.
table=main
number=${interface#eth}
[ "$number" = 0 ] || table=$((1000 + number))
if ! ip -4 addr show dev "$interface" | grep -q " $ip/"; then
  ip -4 addr flush dev "$interface"
  ip addr add "$ip/${mask:-24}" broadcast + dev "$interface"
  # In a subnet that the first interface is in as well, the way to it would else lead through the last: there the first's
  # address is a stranger's.
  [ "$number" = 0 ] || ip -4 route show dev "$interface" | while read -r network _; do
    ip route del "$network" dev "$interface"
    ip route replace "$network" dev "$interface" src "$ip" table $table
  done
fi
if [ "$number" != 0 ]; then
  ip rule del table $table 2>/dev/null
  ip rule add from "$ip" table $table
fi
via() {
  case $2 in
    0.0.0.0) ip route replace "$1" dev "$interface" scope link table $table ;;
    *)
      ip route replace "$1" via "$2" dev "$interface" table $table 2>/dev/null ||
        ip route replace "$1" via "$2" dev "$interface" table $table onlink
      ;;
  esac
}
# RFC 3442: where classless routes are given, the router option does not count. Routes over a gateway come after those
# that reach the gateway.
if [ -n "$staticroutes" ]; then
  for pass in link gateway; do
    # shellcheck disable=SC2086 # pairs
    set -- $staticroutes
    while [ $# -ge 2 ]; do
      case $pass:$2 in
        link:0.0.0.0 | gateway:[1-9]*) via "$1" "$2" ;;
      esac
      shift 2
    done
  done
else
  for r in $router; do
    via 0.0.0.0/0 "$r"
    break
  done
fi
if [ "$number" = 0 ]; then
  {
    [ -z "$search$domain" ] || echo "search ${search:-$domain}"
    for d in $dns; do echo "nameserver $d"; done
  } >/etc/resolv.conf
fi
echo "$ip/${mask:-24}" >"/run/lease.$interface"
EOF
}

write_ec2() {
  put 755 /usr/bin/imds <<'EOF'
#!/bin/sh
# imds PATH: prints PATH of the instance metadata service, such as meta-data/instance-id. Version 2, else version 1.
host=169.254.169.254
saved=/run/imds-token
trap '' PIPE
new_token() {
  dir=$(mktemp -d /tmp/imds.XXXXXX) || return
  mkfifo "$dir/in"
  # The connection stays open for writing until the answer is there: some servers give up when a client half-closes.
  timeout 3 nc -w 3 $host 80 <"$dir/in" >"$dir/out" 2>/dev/null &
  exec 3>"$dir/in"
  printf 'PUT /latest/api/token HTTP/1.0\r\nHost: %s\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' $host >&3 2>/dev/null
  wait $!
  exec 3>&-
  read -r _ code _ <"$dir/out"
  if [ "$code" = 200 ]; then token=$(sed '1,/^\r*$/d' "$dir/out"); else token=; fi
  rm -r "$dir"
  [ "$(id -u)" != 0 ] || (umask 077 && echo "$token" >$saved)
}
get() {
  if [ -n "$token" ]; then
    timeout 5 wget -q -O - --header "X-aws-ec2-metadata-token: $token" "http://$host/latest/$1"
  else
    timeout 5 wget -q -O - "http://$host/latest/$1"
  fi
}
token=$(cat $saved 2>/dev/null)
[ -n "$token" ] || new_token
# A refusal may mean that a saved token is too old.
get "$1" 2>/run/imds.err.$$ || { grep -q 40[13] /run/imds.err.$$ 2>/dev/null && new_token && get "$1" 2>/dev/null; }
rc=$?
rm -f /run/imds.err.$$
exit $rc
EOF
  put 755 /etc/init.d/ec2 <<'EOF'
#!/bin/sh
# Makes this machine the instance that the metadata service says it is.
. /usr/lib/awan/say
state=/var/lib/ec2
hostkey=/etc/dropbear/dropbear_ed25519_host_key

while [ ! -e /run/lease.eth0 ]; do usleep 20000; done
say "address $(cat /run/lease.eth0)"
rm -f /run/imds-token
read -r up _ </proc/uptime
deadline=$((${up%.*} + 30))
until id=$(imds meta-data/instance-id) && [ -n "$id" ]; do
  read -r up _ </proc/uptime
  [ "${up%.*}" -lt $deadline ] || { say "no instance metadata"; id=; break; }
  usleep 300000
done

mkdir -p $state
# Another instance made of this one's disk is not this one: its host keys must differ.
if [ -n "$id" ] && [ "$id" != "$(cat $state/instance-id 2>/dev/null)" ]; then
  rm -f /etc/dropbear/*_host_key
  echo "$id" >$state/instance-id
fi
[ -s $hostkey ] || dropbearkey -t ed25519 -f $hostkey >/dev/null 2>&1

# Keys of the metadata service replace those it gave before; keys that a user added stay.
if [ -n "$id" ]; then
  for k in $(imds meta-data/public-keys/); do
    imds "meta-data/public-keys/${k%%=*}/openssh-key"
    echo
  done | grep . >/run/keys
  [ -e $state/keys ] || : >$state/keys
  for home in /root /home/ec2-user; do
    mkdir -p $home/.ssh
    touch $home/.ssh/authorized_keys
    { grep -vxFf $state/keys $home/.ssh/authorized_keys; cat /run/keys; } >/run/authorized_keys
    cat /run/authorized_keys >$home/.ssh/authorized_keys
    chmod 700 $home $home/.ssh
    chmod 600 $home/.ssh/authorized_keys
  done
  chown -R ec2-user:ec2-user /home/ec2-user
  if [ ! -e /usr/lib/awan/setpriv ]; then
    cp /bin/setpriv /usr/lib/awan/setpriv.new
    chgrp ec2-user /usr/lib/awan/setpriv.new
    chmod 4750 /usr/lib/awan/setpriv.new
    mv /usr/lib/awan/setpriv.new /usr/lib/awan/setpriv
  fi
  cp /run/keys $state/keys
  say "$(grep -c . /run/keys) keys installed"
fi
dropbear -R -s
say "ssh ready"

{
  echo '-----BEGIN SSH HOST KEY FINGERPRINTS-----'
  dropbearkey -y -f $hostkey | sed -n 's/^Fingerprint: \(.*\)/256 \1 (ED25519)/p'
  echo '-----END SSH HOST KEY FINGERPRINTS-----'
  echo '-----BEGIN SSH HOST KEY KEYS-----'
  dropbearkey -y -f $hostkey | grep '^ssh-'
  echo '-----END SSH HOST KEY KEYS-----'
} >/dev/console

name=$(imds meta-data/local-hostname)
if [ -n "$name" ]; then
  echo "$name" >/etc/hostname
  hostname "$name"
  printf '127.0.0.1 localhost\n%s %s %s\n' "$(sed 's:/.*::' /run/lease.eth0)" "$name" "${name%%.*}" >/etc/hosts
fi

growroot >/var/log/growroot.log 2>&1 && say "root $(df -h / | awk 'END { print $2 }')"

if [ -n "$id" ] && [ "$id" != "$(cat $state/user-data-ran 2>/dev/null)" ]; then
  rm -f $state/user-data
  (umask 077 && imds user-data >$state/user-data)
  # Written first: user data that reboots the machine must not run again.
  echo "$id" >$state/user-data-ran
  case $(head -c 2 $state/user-data) in
    '#!')
      say "user data runs"
      chmod 700 $state/user-data
      mkfifo /run/user-data.out
      # What the script leaves running may keep the pipe; nobody waits for its end.
      tee -a /var/log/user-data.log </run/user-data.out >/dev/console &
      (cd / && HOME=/root exec $state/user-data) >/run/user-data.out 2>&1 </dev/null
      say "user data ended with status $?"
      ;;
    ?*) say "user data is not a script, left in $state/user-data" ;;
  esac
fi
say ready
EOF
  # Scripts that name these often need nothing more of them.
  put 755 /bin/bash <<'EOF'
#!/bin/sh
exec /bin/sh "$@"
EOF
  # ec2-user may become root without a password, as on EC2. The copy of setpriv that can do it is made at
  # the first boot, and nobody else may run it.
  put 755 /usr/bin/sudo <<'EOF'
#!/bin/sh
# sudo [-u USER] [-i|-s] [NAME=VALUE...] COMMAND...
user=root shell=
while :; do
  case $1 in
    -u) user=$2; shift 2 ;;
    -i | -s) shell=1; shift ;;
    --) shift; break ;;
    -*) shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || shell=1
uid=$(id -u "$user") && gid=$(id -g "$user") || exit 1
home=$(awk -F: -v u="$user" '$1 == u { print $6 }' /etc/passwd)
[ -z "$shell" ] || set -- /bin/sh -l ${1:+-c "$*"}
[ "$(id -u)" = 0 ] && become=/bin/setpriv || become=/usr/lib/awan/setpriv
exec $become --reuid="$uid" --regid="$gid" --clear-groups env HOME="$home" USER="$user" SUDO_USER="$(id -un)" \
  PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
EOF
}

write_grub() {
  # By the 32-bit protocol the kernel would be unpacked while emulated memory is slow: linux16 saves seconds.
  put 644 /boot/grub/grub.cfg <<EOF
set timeout=0
if [ "\$grub_platform" = pc ]; then
  linux16 /boot/vmlinuz console=tty0 $CMDLINE
  initrd16 /boot/initrd
else
  linux /boot/vmlinuz console=tty0 $CMDLINE
  initrd /boot/initrd
fi
boot
EOF
  grub_images
}

make_root() {
  root=$work/root
  for d in bin sbin usr/bin usr/sbin etc/dropbear etc/init.d etc/acpi lib64 lib/x86_64-linux-gnu lib/modules proc sys dev \
    run tmp mnt root/.ssh var/log var/lib/ec2 var/empty boot/grub home/ec2-user/.ssh; do
    mkdir -p "$root/$d"
  done
  ln -s ../run "$root/var/run"
  install_programs
  write_accounts
  write_boot
  write_network
  write_ec2
  write_grub
  cp -r "$some" "$root/lib/modules/$KVER"
  cp "$VMLINUZ" "$root/boot/vmlinuz"
  gzip -9 -n -c "$out/initrd.cpio" >"$root/boot/initrd"
  chmod 755 "$root"
  find "$root" -type d -exec chmod 755 {} +
  chmod 1777 "$root/tmp"
  chmod 700 "$root/root" "$root/root/.ssh" "$root/home/ec2-user/.ssh" "$root/etc/dropbear"
  find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  root_mib=$((($(du -sm "$root" | cut -f1) + 28 + 7) / 8 * 8))
  mke2fs -q -F -t ext4 -L $LABEL -m 0 -b 4096 -i 8192 -J size=4 -U 6177616e-7469-4e79-8000-000000000001 \
    -E root_owner=0:0,lazy_itable_init=1,hash_seed=6177616e-7469-4e79-8000-000000000002 \
    -d "$root" "$work/root.ext4" "${root_mib}M" >/dev/null
  # Built by anybody at any time: owned by root, and of one date.
  (cd "$root" && find . -mindepth 1 | sed 's/^\.//' | sort) | while read -r f; do
    for field in 'uid 0' 'gid 0' "ctime @$SOURCE_DATE_EPOCH" "atime @$SOURCE_DATE_EPOCH"; do echo "sif \"$f\" $field"; done
  done >"$work/inodes"
  debugfs -w -f "$work/inodes" "$work/root.ext4" >/dev/null 2>"$work/debugfs.log" || die "debugfs cannot set owners"
}

write_manifest() {
  kernel_version=$(echo "$KVER" | sed 's/-\(cloud-amd64\|amd64\|generic\|virtual\)$//; s/[^0-9A-Za-z.-]/./g')
  cat >"$out/manifest.json" <<EOF
{
  "name": "awan-tiny-$REVISION-$kernel_version-x86_64",
  "architecture": "x86_64",
  "virtual_size_bytes": $((total * 512)),
  "kernel": "vmlinux",
  "initrd": "initrd.cpio",
  "cmdline": "$CMDLINE",
  "sha256": "$(sha256sum "$out/disk.qcow2" | cut -d' ' -f1)"
}
EOF
}

# ---------------------------------------------------------------------------------------------------------------------

case $# in 1 | 2) ;; *) die "usage: build.sh OUTDIR [CACHEDIR]" ;; esac
PATH=$PATH:/usr/sbin:/sbin
umask 022
check_tools
target=$(realpath -m "$1")
cache=$(realpath -m "${2:-$target.debs}")
mkdir -p "${target%/*}"
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
out=$work/out
mkdir "$out"

fetch_packages
unpack
extract_vmlinux "$out/vmlinux" &
vmlinux_job=$!
prepare_modules
make_initrd
make_root
make_disk
wait $vmlinux_job
write_manifest

chmod 755 "$out"
if [ -e "$target" ]; then mv "$target" "$work/old"; fi
mv "$out" "$target"
say "$(sed -n 's/.*"name": "\(.*\)",/\1/p' "$target/manifest.json"), $(($(stat -c %s "$target/disk.qcow2") / 1000000)) MB, in $target"
