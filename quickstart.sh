#!/bin/sh
# From nothing to a login: builds Awan, starts it on this machine, launches a real instance through the EC2 API and logs
# in to it over SSH. Needs root or sudo, or --rootless. Run again, it is quick and uses what is there.
#
#   quickstart.sh            all that
#   quickstart.sh --stop     stops every instance and the server; data stay, and a later run goes on with them
#   quickstart.sh --purge    the same, and deletes the data: nothing of Awan is left running or stored outside this folder
#   quickstart.sh --rootless [--stop | --purge]
#                            each of them as an ordinary user; docs/rootless.md says what is different then
#
# AWAN_DATA_DIR is where the data are (default: /var/lib/awan; rootless: ~/.local/share/awan). Every option of
# `awan serve` can be set by its variable, like AWAN_LISTEN=127.0.0.1:9000. CARGO_TARGET_DIR is where the program is built
# (default: target). AWAN_PROGRAM is a program that is built already.
set -eu
export LC_ALL=C
umask 022
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

NAME=quickstart
TYPE=t3.nano
# Seconds. The first start builds the image.
READY_WITHIN=420 STATE_WITHIN=120 LOGIN_WITHIN=240 STOP_WITHIN=60

here=$PWD
cd "$(dirname "$0")"
root=$(pwd)
began=$(date +%s)
at=0 of=0 doing='' told=''

elapsed() { echo $(($(date +%s) - began)); }
# step WHAT...: what is done now, how far that is, and for how long this has run
step() {
  at=$((at + 1)) doing=$*
  printf '[%s/%s %3s s] %s\n' "$at" "$of" "$(elapsed)" "$doing"
}
say() { printf '            %s\n' "$*"; }
# die WHAT DO...: what went wrong, and what to do about it
die() {
  told=1
  printf '\nquickstart.sh: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}
ended() {
  status=$?
  [ $status = 0 ] || [ -n "$told" ] ||
    printf '\nquickstart.sh: step %s (%s) failed; the reason is above. Run it again: what is done already is kept.\n' "$at" "$doing" >&2
}

task=run rootless=
for a in "$@"; do
  case $a in
    --stop) task=stop ;;
    --purge) task=purge ;;
    --rootless) rootless=1 ;;
    -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$root/quickstart.sh"; exit 0 ;;
    *) echo "quickstart.sh: unknown option $a; see quickstart.sh --help" >&2; exit 2 ;;
  esac
done
trap ended EXIT

# ---- who runs this, and where ----------------------------------------------------------------------------------------

if [ -n "$rootless" ]; then
  [ "$(id -u)" != 0 ] || die "--rootless is for an ordinary user, and this is root" "Run it as yourself, without sudo; or run $0 without --rootless."
elif [ "$(id -u)" != 0 ]; then
  why="instances need networks, control groups and user ids of their own, which only root can make"
  command -v sudo >/dev/null 2>&1 || die "this needs root: $why" "There is no sudo here. Become root (su -) and run $root/quickstart.sh again." \
    "Or go on without: $root/quickstart.sh --rootless"
  echo "This needs root: $why. Going on with sudo."
  keep=$(env | sed -n 's/^\(AWAN_[A-Z_]*\|CARGO_[A-Z_]*\|RUSTUP_[A-Z_]*\|[A-Za-z]*_[Pp][Rr][Oo][Xx][Yy]\)=.*/\1/p' | paste -sd, -)
  cd "$here"
  exec sudo ${keep:+"--preserve-env=$keep"} sh "$root/quickstart.sh" "$@"
fi

home_of() { getent passwd "$1" | cut -d: -f6; }
if [ -z "${HOME:-}" ]; then HOME=$(home_of "$(id -u)"); fi
export HOME="${HOME:-/root}"

absolute() { case $1 in /*) echo "$1" ;; *) echo "$here/$1" ;; esac; }
default_dir=/var/lib/awan
[ -z "$rootless" ] || default_dir=$HOME/.local/share/awan
dir=$(absolute "${AWAN_DATA_DIR:-$default_dir}")
export AWAN_DATA_DIR="$dir"
target=$(absolute "${CARGO_TARGET_DIR:-$root/target}")
export CARGO_TARGET_DIR="$target"
awan=$(absolute "${AWAN_PROGRAM:-$target/release/awan}")
log=$dir/server.log

# What is built in somebody's folder is theirs, with their Rust, though sudo made us root.
owner=
if [ "${SUDO_UID:-0}" != 0 ] && [ "$(stat -c %u "$root")" = "$SUDO_UID" ]; then
  [ -e "$target" ] && [ "$(stat -c %u "$target")" != "$SUDO_UID" ] || owner=$SUDO_USER
fi
as_owner() {
  if [ -n "$owner" ]; then runuser -u "$owner" -- env HOME="$(home_of "$owner")" "$@"; else "$@"; fi
}

# One at a time for one data directory. The lock is the directory's own, so that no file is left.
alone() {
  exec 9<"$dir"
  flock -n 9 || die "another quickstart.sh works on $dir" "Wait until it has ended, then run this again."
  if pid=$(server) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != awan ]; then
    die "$dir is in use by a process that cannot be seen from here" "Is it another container's? Give this one its own: AWAN_DATA_DIR=/some/where"
  fi
}

# ---- the parts -------------------------------------------------------------------------------------------------------

packages() {
  if [ -n "$rootless" ]; then
    scripts/setup-host.sh --rootless --check || die "packages are missing, and only root can install them" \
      "They are named above. Have them installed: sudo $root/scripts/setup-host.sh --rootless" "Then run this again."
    return 0
  fi
  scripts/setup-host.sh || die "the packages that Awan needs could not be installed" \
    "apt's words are above. Usual reasons: no way to the package mirror, or another apt at work." \
    "See what is missing with scripts/setup-host.sh --dry-run, then run this again."
}

build() {
  if [ -n "${AWAN_PROGRAM:-}" ]; then
    [ -x "$awan" ] || die "there is no program $awan" "Unset AWAN_PROGRAM to have one built."
    return 0
  fi
  cargo=$(as_owner scripts/setup-rust.sh) || die "no Rust that can build Awan, and none could be installed" \
    "Install Rust 1.89 or newer (https://rustup.rs), then run this again."
  cargo=$(printf '%s\n' "$cargo" | tail -n 1)
  [ -e "$awan" ] || say "the first build takes some minutes"
  as_owner env PATH="$(dirname "$cargo"):$PATH" "$cargo" build --release --locked -p awan || die "the program could not be built" \
    "The compiler's words are above. Usual reasons: no way to the crates' registry, less than 2 GB of memory, or a full disk." \
    "Run this again: what is built already is kept."
}

# Makes the data directory, and marks it as Awan's. Somebody else's folder is refused: --purge would delete it.
make_dir() {
  if [ -d "$dir" ] && [ ! -e "$dir/control.lock" ] && [ ! -e "$dir/endpoint" ] &&
    [ -n "$(find "$dir" -mindepth 1 -maxdepth 1 ! -name awan.toml ! -name images ! -name cache -print -quit)" ]; then
    die "$dir is not empty and is not Awan's" "Choose a folder that is empty or not there yet: AWAN_DATA_DIR=/some/where $0"
  fi
  # shellcheck disable=SC2174 # the folders above are nobody's secret
  [ -d "$dir" ] || mkdir -p -m 700 "$dir" || die "$dir cannot be made" "Choose another folder: AWAN_DATA_DIR=/some/where $0"
  [ -e "$dir/control.lock" ] || : >"$dir/control.lock"
}

# needed: the program, also where it was deleted since
needed() {
  [ -x "$awan" ] || { packages; build; }
}

# The process that serves this data directory; fails if there is none.
server() {
  [ -e "$dir/control.lock" ] || return 1
  if flock -n "$dir/control.lock" true 2>/dev/null; then return 1; fi
  cat "$dir/control.lock"
}

lives() { case $(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null) in '' | Z | X) return 1 ;; esac; }

end_server() {
  pid=$(server) || { say "it does not run"; return 0; }
  kill -TERM "$pid" 2>/dev/null || true
  for n in $(seq 100); do
    lives "$pid" || { say "process $pid ended"; return 0; }
    [ "$n" != 80 ] || kill -KILL "$pid" 2>/dev/null || true
    sleep 0.1
  done
  die "the server, process $pid, does not end" "Look at it with \`ps -fp $pid\`, then run this again."
}

start_server() {
  [ "${AWAN_HYPERVISOR:-}" != simulated ] || die "AWAN_HYPERVISOR=simulated runs no guest that one could log in to" "Unset it, and run this again."
  [ -c /dev/net/tun ] || modprobe tun 2>/dev/null || true
  [ -c /dev/net/tun ] || die "there is no /dev/net/tun, so instances could have no network" \
    "On a machine of your own: modprobe tun, with the package of your kernel's modules installed." \
    "In a container: start it with --device /dev/net/tun and --privileged."
  [ -r /dev/net/tun ] && [ -w /dev/net/tun ] || die "/dev/net/tun is not yours to open, so instances could have no network" \
    "Have it opened to all, as distributions do: sudo chmod 666 /dev/net/tun"
  # Nobody may take an earlier server's line for this one's.
  : >"$dir/server.out"
  # A session and a folder of its own, and no open file of whoever runs this.
  (
    cd /
    exec setsid "$awan" serve </dev/null >"$dir/server.out" 2>>"$log" 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  ) &
  pid=$!
  n=0
  until grep -q '^ready ' "$dir/server.out" 2>/dev/null; do
    lives "$pid" || no_server
    n=$((n + 1))
    [ $((n % 50)) != 0 ] || say "$((n / 5)) s: $(tail -n 1 "$log" | sed 's/^[^ ]* *[A-Z]* *//')"
    [ $((n / 5)) -lt $READY_WITHIN ] || die "the server was not ready within $READY_WITHIN s" "Its log is $log. End it with $0 --stop, then run this again."
    sleep 0.2
  done
  say "process $pid: $(head -n 1 "$dir/server.out")"
  case $(head -n 1 "$dir/server.out") in
    *hypervisor=tcg*) say "KVM cannot run a guest here, so software emulation does: instances are slow" ;;
  esac
}

no_server() {
  last=$(tail -n 3 "$log")
  case $last in
    *'ddress already in use'*)
      address=$(printf '%s\n' "$last" | sed -n 's/.* \([0-9.:]*:[0-9][0-9]*\): Address.*/\1/p' | tail -n 1)
      user=$(ss -Hltnp "sport = :${address##*:}" 2>/dev/null | sed -n 's/.*users:((\(.*\)))$/\1/p' | head -n 1)
      die "another program has the port $address${user:+ ($user)}" \
        "End that program, or choose free ports:" \
        "AWAN_LISTEN=127.0.0.1:9773 AWAN_METRICS_LISTEN=127.0.0.1:9774 $0"
      ;;
    *)
      die "the server did not start; it said:" "$last" "The rest is in $log. When the reason is gone, run this again."
      ;;
  esac
}

# It goes on if it runs, and begins anew, under its instances, if it runs a program that was replaced.
ensure_server() {
  if pid=$(server); then
    if [ "$(readlink "/proc/$pid/exe")" != "$awan (deleted)" ]; then
      n=0
      until "$awan" list >/dev/null 2>&1; do
        server >/dev/null || { start_server; return; }
        n=$((n + 1))
        [ $n -lt $READY_WITHIN ] || die "the server, process $pid, does not answer" "Its log is $log. Stop it with $0 --stop, then run this again."
        sleep 1
      done
      say "process $pid runs already: $(cat "$dir/endpoint")"
      return
    fi
    say "the program is newer than the server: that begins anew, instances go on"
    end_server
  fi
  start_server
}

access() {
  "$awan" key $NAME >/dev/null || die "there is no key pair '$NAME' to log in with" \
    "Delete the key pair (aws ec2 delete-key-pair --key-name $NAME), or bring back its file $dir/keys/$NAME.pem."
  "$awan" open 22 || die "port 22 of the default security group could not be opened" "The reason is above; the server's log is $log."
}

# Our instance that is not terminated: id and state
mine() { "$awan" list --name $NAME | awk '$2 != "terminated" && $2 != "shutting-down" { print $1, $2; exit }'; }

launch() {
  script=$(mktemp)
  cat >"$script" <<'END'
#!/bin/sh
echo "user data of $(imds meta-data/instance-id) ran as $(id -un)" >/root/user-data-said
END
  instance=$("$awan" launch --type $TYPE --key $NAME --name $NAME --user-data "$script") || { rm -f "$script"; die "no instance could be launched" "The reason is above; the server's log is $log."; }
  rm -f "$script"
  say "$instance is launched: a $TYPE from the newest built-in image"
}

ensure_instance() {
  n=0 state='' instance=''
  while [ "$state" != running ]; do
    found=$(mine) || die "the server does not list instances" "The reason is above; the server's log is $log."
    instance=${found%% *} state=${found##* }
    case $state in
      '') launch ;;
      running) break ;;
      stopped)
        "$awan" start "$instance" >/dev/null || die "$instance could not be started" "The reason is above; the server's log is $log."
        say "$instance was stopped; it starts"
        ;;
    esac
    n=$((n + 1))
    [ $((n / 4)) -lt $STATE_WITHIN ] || die "$instance is still $state after $STATE_WITHIN s" \
      "Why: $awan admin why $instance" "Terminate it with \`$awan terminate $instance\` and run this again for another one."
    sleep 0.25
  done
  say "$instance is running"
}

in_instance() { timeout 30 "$awan" ssh "$instance" -- "$@" </dev/null 2>"$answer"; }

log_in() {
  answer=$(mktemp)
  n=0 since=$(elapsed)
  until in_instance true; do
    n=$(($(elapsed) - since))
    if [ $n -ge $LOGIN_WITHIN ]; then
      tail -n 3 "$answer" >&2
      rm -f "$answer"
      "$awan" console "$instance" | tail -n 12 >&2 || true
      die "no login to $instance within $LOGIN_WITHIN s; above are ssh's words and the end of the instance's console" \
        "Look further with \`$awan admin why $instance\`, or run \`$awan terminate $instance\` and this again for another one."
    fi
    [ $((n / 10)) = "${tens:-0}" ] || { tens=$((n / 10)); say "$n s: it boots"; }
    sleep 0.3
  done
  # User data run when SSH answers already.
  n=0
  until in_instance test -s /root/user-data-said || [ $n = 60 ]; do
    n=$((n + 1))
    sleep 0.5
  done
  said=$(in_instance 'uname -r; cat /proc/sys/kernel/random/boot_id; cut -d. -f1 /proc/uptime; cat /root/user-data-said; hostname') || true
  rm -f "$answer"
  # The versions may be equal where the image is built from the host's own distribution; the boot never is.
  kernel=$(printf '%s\n' "$said" | sed -n 1p) boot=$(printf '%s\n' "$said" | sed -n 2p)
  if [ -z "$boot" ] || [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ]; then
    die "the kernel that answered is this machine's own" "That must never be; please report it, with $log."
  fi
  case $(printf '%s\n' "$said" | sed -n 4p) in
    "user data of $instance ran as root") ;;
    *) die "$instance did not run its user data" "Its console: $awan console $instance" ;;
  esac
  say "its kernel  $kernel, up for $(printf '%s\n' "$said" | sed -n 3p) s; this machine's is $(uname -r)"
  say "its name    $(printf '%s\n' "$said" | sed -n 5p)"
  say "it says     $(printf '%s\n' "$said" | sed -n 4p)"
}

how_to_go_on() {
  as=${SUDO_USER:+sudo } place=''
  [ "$dir" = "$default_dir" ] || place=" --data-dir '$dir'"
  program=$as${awan#"$here/"}
  address=$("$awan" list --name $NAME | awk -v i="$instance" '$1 == i { print $4 }')
  other="${as}ssh -i $dir/keys/$NAME.pem root@$address" me=$0
  if [ -n "$rootless" ]; then
    other="$program forward$place $NAME 80     (its port 80, at a port of this machine)" me="$0 --rootless"
  fi
  image=$(find "${AWAN_IMAGES_DIR:-$dir/images}" -maxdepth 1 -name "ami-*" -printf "%f" -quit)
  cat <<END

Awan runs. Its API answers at $(cat "$dir/endpoint"); the server's log is $log.

  Log in       $program ssh$place $NAME
               $other
  Look         $program list$place
               $program console$place $NAME
  With AWS's   eval "\$($program env$place)"
  own tools    aws ec2 describe-instances
               aws ec2 run-instances --image-id $image --instance-type $TYPE --key-name $NAME
  Stop         $me --stop       (data stay)
  Delete       $me --purge      (nothing stays)
END
}

# ---- the tasks -------------------------------------------------------------------------------------------------------

run() {
  of=6
  step "packages"
  packages
  step "building the program"
  build
  make_dir
  alone
  step "starting the server"
  ensure_server
  step "a key pair, and port 22 open"
  access
  step "an instance"
  ensure_instance
  step "logging in to it over SSH"
  log_in
  echo "[done $(elapsed) s]"
  how_to_go_on
}

# on_now: ids of those of our instances that are on
on_now() { "$awan" list | awk '$2 ~ /^(pending|running|stopping)$/ { print $1 }'; }

stop_instances() {
  server >/dev/null || { say "no server runs"; return 0; }
  ids=$(on_now | xargs) || ids=
  [ -n "$ids" ] || { say "none is on"; return 0; }
  # shellcheck disable=SC2086 # ids
  "$awan" stop $ids >/dev/null || { say "they cannot be stopped by the API; they are ended with their networks"; return 0; }
  n=0
  while [ -n "$(on_now)" ]; do
    n=$((n + 1))
    [ $((n % 50)) != 0 ] || say "$((n / 5)) s: they shut down"
    [ $((n / 5)) -lt $STOP_WITHIN ] || { say "some take too long; they are ended with their networks"; return 0; }
    sleep 0.2
  done
  say "stopped: $ids"
}

stop() {
  of=3
  needed
  alone
  step "stopping instances"
  stop_instances
  step "stopping the server"
  end_server
  step "ending what other accounts run, and removing networks"
  "$awan" purge --keep-data || die "not all could be ended" "The reason is above. Run this again when it is gone."
  echo "[done $(elapsed) s] Everything is stopped; the data are in $dir. Go on with $0${rootless:+ --rootless}"
}

purge() {
  of=2
  needed
  alone
  step "stopping the server"
  end_server
  step "ending instances, removing networks, deleting $dir"
  "$awan" purge || die "not all could be deleted" "The reason is above. Run this again when it is gone."
  echo "[done $(elapsed) s] Nothing of $dir is left. Packages, Rust and what was built ($target) stay."
}

if [ $task != run ] && [ ! -d "$dir" ]; then
  echo "There is no $dir: nothing runs, and nothing is stored."
  exit 0
fi
$task
