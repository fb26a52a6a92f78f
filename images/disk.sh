# How images are packed: a disk that boots by BIOS and by UEFI. Sourced by the scripts that build images, which set LABEL,
# work, out and root_mib, and have `die`. Nothing here needs root, a mount or a loop device.
# shellcheck shell=sh disable=SC2034,SC2154 # what one script sets, the other reads

# Sectors of 512 bytes.
BIOS_START=2048 BIOS_SIZE=2048
ESP_START=4096 ESP_SIZE=8192
ROOT_START=12288

# Where GRUB's parts are, and what makes an image of them.
GRUB=/usr/lib/grub
MKIMAGE=grub-mkimage

# GRUB finds the root by its label, and there what to start.
grub_images() {
  cat >"$work/grub-early.cfg" <<EOF
search --set=root --hint hd0,gpt1 --label $LABEL
set prefix=(\$root)/boot/grub
EOF
  modules='part_gpt ext2 search search_label linux normal configfile boot test echo'
  # shellcheck disable=SC2086 # a list, and a command
  $MKIMAGE -O i386-pc -d "$GRUB/i386-pc" -p /boot/grub -c "$work/grub-early.cfg" -o "$work/core.img" biosdisk linux16 $modules
  # shellcheck disable=SC2086 # a list, and a command
  $MKIMAGE -O x86_64-efi -d "$GRUB/x86_64-efi" -p /boot/grub -c "$work/grub-early.cfg" -o "$work/BOOTX64.EFI" fat $modules
}

# le VALUE SIZE: a number as little-endian bytes
le() {
  v=$1 n=$2
  while [ "$n" -gt 0 ]; do
    printf '%b' "\\0$(printf %o $((v & 255)))"
    v=$((v >> 8)) n=$((n - 1))
  done
}

# patch FILE OFFSET: standard input goes there
patch() { dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# place FILE SECTOR
place() { dd if="$1" of="$disk" bs=1M seek="$(($2 * 512))" oflag=seek_bytes conv=notrunc,sparse status=none; }

make_disk() {
  disk=$work/disk.raw
  root_size=$((root_mib * 2048))
  total=$((ROOT_START + root_size + 2048))
  truncate -s $((total * 512)) "$disk"
  sfdisk -q "$disk" <<EOF
label: gpt
label-id: 6177616E-7469-4E79-8000-000000000003
first-lba: 2048
${disk}1 : start=$ROOT_START, size=$root_size, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=6177616E-7469-4E79-8000-000000000011, name=root
${disk}14 : start=$BIOS_START, size=$BIOS_SIZE, type=21686148-6449-6E6F-744E-656564454649, uuid=6177616E-7469-4E79-8000-000000000014, name=bios
${disk}15 : start=$ESP_START, size=$ESP_SIZE, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=6177616E-7469-4E79-8000-000000000015, name=esp
EOF
  # BIOS: the boot sector loads the first sector of core.img from a block number in it, and that one the rest.
  core_sectors=$((($(stat -c %s "$work/core.img") + 511) / 512))
  [ $core_sectors -le $BIOS_SIZE ] || die "GRUB is too large for its partition"
  { le $((BIOS_START + 1)) 8; le $((core_sectors - 1)) 2; le $((0x820)) 2; } | patch "$work/core.img" $((0x1f4))
  head -c 440 "$GRUB/i386-pc/boot.img" >"$work/boot.img"
  le $BIOS_START 8 | patch "$work/boot.img" $((0x5c))
  # no check of the drive number, as grub-install does for hard disks
  printf '\220\220' | patch "$work/boot.img" $((0x66))
  patch "$disk" 0 <"$work/boot.img"
  place "$work/core.img" $BIOS_START
  # UEFI
  esp=$work/esp.img
  truncate -s $((ESP_SIZE * 512)) "$esp"
  mformat -i "$esp" -T $ESP_SIZE -h 16 -s 32 -N 6177616e -v ESP ::
  mmd -i "$esp" ::/EFI ::/EFI/BOOT
  touch -d "@$SOURCE_DATE_EPOCH" "$work/BOOTX64.EFI"
  mcopy -m -i "$esp" "$work/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
  place "$esp" $ESP_START
  place "$work/root.ext4" $ROOT_START
  qemu-img convert -c -O qcow2 -o compression_type=zstd "$disk" "$out/disk.qcow2"
}
