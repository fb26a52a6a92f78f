#!/bin/sh
# Assembles the accelerator probe: crates/host/src/hypervisor/probe/probe.asm becomes probe.bin beside it.
#
#   assemble-probe.sh            writes probe.bin
#   assemble-probe.sh --check    compares only; exit status 1 if probe.bin is not what probe.asm says
#   assemble-probe.sh --run [ACCEL CPU]    runs it (default: tcg max) and says the exit status; 99 is success
set -eu
dir=$(cd "$(dirname "$0")/../crates/host/src/hypervisor/probe" && pwd)
command -v nasm >/dev/null 2>&1 || { echo "assemble-probe.sh: install nasm" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nasm -f bin -Werror -o "$work/probe.bin" "$dir/probe.asm"
case ${1:-} in
  '') cp "$work/probe.bin" "$dir/probe.bin" ;;
  --check)
    cmp "$work/probe.bin" "$dir/probe.bin" || { echo "probe.bin is not probe.asm assembled: run scripts/assemble-probe.sh" >&2; exit 1; }
    ;;
  --run)
    truncate -s 65536 "$work/rom"
    dd if="$work/probe.bin" of="$work/rom" conv=notrunc status=none
    printf '\352\000\000\000\360' | dd of="$work/rom" bs=1 seek=$((0xfff0)) conv=notrunc status=none
    rc=0
    timeout -k 1 3 qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -M q35 -m 8 \
      -accel "${2:-tcg}" -cpu "${3:-max}" -bios "$work/rom" -device isa-debug-exit,iobase=0xf4,iosize=1 || rc=$?
    echo "exit status $rc"
    [ $rc = 99 ]
    ;;
  *) sed -n '2,6s/^# *//p' "$0" >&2; exit 2 ;;
esac
