#!/usr/bin/env bash
# Makes panel.png and bar.png again: a private daemon with real jobs on a bus of its own, GPUs of a made-up driver, the
# panel on a screen that nobody sees, and waybar in a compositor without one.
#
#     ./screenshot.sh panel [FILE]
#     ./screenshot.sh bar [FILE]
#
# It installs nothing and leaves nothing behind. The programs come from target/debug, or from $STOKED_BIN.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
what=${1:-panel}
picture=$(realpath -m "${2:-$here/$what.png}")
bin=$(realpath -m "${STOKED_BIN:-$root/target/debug}")

die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# === What it needs ===

missing=()
need() { command -v "$2" >/dev/null 2>&1 || missing+=("$1"); } # PACKAGE COMMAND
need dbus dbus-daemon; need build-essential cc; need python3 python3; need curl curl
case $what in
    panel)
        need gjs gjs; need xvfb Xvfb; need imagemagick import
        if command -v gjs >/dev/null; then
            gjs -c "imports.gi.versions.Gtk = '4.0'; imports.gi.Gtk" 2>/dev/null || missing+=(gir1.2-gtk-4.0)
        fi ;;
    bar)
        [ "$(id -u)" != 0 ] || die "sway does not run as root: run this as an ordinary user"
        need sway sway; need waybar waybar; need xvfb Xvfb; need xdotool xdotool; need imagemagick import ;;
    *) die "what is $what? One of: panel, bar" ;;
esac
[ "${#missing[@]}" = 0 ] || die "missing: sudo apt-get install ${missing[*]}"
[ -x "$bin/stoked" ] || die "there is no $bin/stoked: cargo build, or set STOKED_BIN"
export PATH=$bin:$PATH

# === What is left in the end: nothing ===

home=$(mktemp -d "${TMPDIR:-/tmp}/st.XXXXXX")
# All that is started here carries this, and nothing else does.
export STOKED_PICTURE=$home
leftovers() { grep -lzxF "STOKED_PICTURE=$home" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3 | grep -vx $$ || true; }
clean_up() {
    local status=$? pid
    trap - EXIT
    # The shell need not tell of each that it is killed.
    disown -a
    # What is killed may be starting something just then.
    while [ -n "$(leftovers)" ]; do
        for pid in $(leftovers); do kill -KILL "$pid" 2>/dev/null || true; done
    done
    [ "$status" = 0 ] || tail -n 20 "$home"/*.log >&2 || true
    rm -rf "$home"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

until_there() { # FILE
    local left
    for left in $(seq 200); do [ ! -e "$1" ] || return 0; sleep 0.05; done
    die "$1 does not come"
}

# === A bus, GPUs and a daemon ===

export HOME=$home XDG_RUNTIME_DIR=$home/run XDG_CONFIG_HOME=$home/config XDG_CACHE_HOME=$home/cache
export XDG_DATA_HOME=$home/data NO_AT_BRIDGE=1 GSETTINGS_BACKEND=memory GTK_A11Y=none
mkdir -m 700 -p "$home/run" "$home/config/stoked" "$home/work" "$home/gpu"
bus="unix:path=$home/run/bus"
dbus-daemon --session --nofork --nopidfile --address="$bus" >"$home/bus.log" 2>&1 &
until_there "$home/run/bus"
export DBUS_SESSION_BUS_ADDRESS=$bus

cc -shared -fPIC -O1 -Wl,-soname,libnvidia-ml.so.1 -o "$home/gpu/libnvidia-ml.so.1" "$root"/tests/fake-nvml/*.c -lpthread -ldl
gpu() { # NUMBER BUSY MEMORY WATTS CELSIUS
    printf "gpu $1 %s\n" "uuid GPU-0000000$1-aaaa-bbbb-cccc-dddddddddddd" "name NVIDIA H100 80GB HBM3" "bus 0000:6$1:00.0" \
        "minor $1" "memory.total 80G" "memory.used $3" "utilization $2" "power $4" "power.limit 700" "temperature $5"
}
gpus() { # LINES-OF-PROCESSES
    { gpu 0 0:88,20:94 61.4G 612 71; gpu 1 0:35,20:42 22.8G 288 54; printf '%b' "$1"; } >"$home/gpu/draft"
    mv "$home/gpu/draft" "$home/gpu/control"
}
gpus ''
cat >"$home/config/stoked/stoked.toml" <<TOML
[sampling]
nvml_library = "$home/gpu/libnvidia-ml.so.1"
gpu_interval = "1s"
idle_interval = "1s"
[groups.train]
parallelism = 2
TOML
STOKED_GPU_PIDS=outermost setsid stoked --user --state-dir "$home/state" --runtime-dir "$home/run/stoked" \
    >"$home/daemon.log" 2>&1 &
until_there "$home/run/stoked/stoked.sock"

# === Jobs ===

cd "$home/work"
submit() { stoke run -d "$@"; }
steps() { # what a program with steps does: FROM TO PAUSE
    echo "for i in \$(seq $1 $2); do echo \"::progress \$i/$2\"; sleep $3; done"
}
head -c 300M /dev/zero >blob
python3 -u -m http.server 0 --bind 127.0.0.1 >"$home/http.log" 2>&1 &
port=
for left in $(seq 100); do
    port=$(sed -n 's/.* port \([0-9]*\).*/\1/p' "$home/http.log")
    [ -z "$port" ] || break
    sleep 0.05
done
[ -n "$port" ] || die "the web server does not say its port"
stoke wait "$(submit -n check-data -- true)" >/dev/null
# Of a failure a bar shows little else.
[ "$what" = bar ] || stoke wait "$(submit -n export-onnx -- sh -c 'exit 2')" >/dev/null || true
llama=$(submit -g train -n train-llama-8b -- sh -c "$(steps 412 1000 0.4)")
vision=$(submit -g train -n finetune-vit -- sh -c "$(steps 131 1000 0.2)")
submit -n train-digits -- python3 "$root/examples/digits/train.py" --epochs 200 >/dev/null
submit -n fetch-corpus --kind download -- curl -o corpus.bin --limit-rate 4M "http://127.0.0.1:$port/blob" >/dev/null
submit -g train -n eval-llama --after-ok "$llama" -- true >/dev/null
for left in 1 2; do submit -g train -n sweep -- true >/dev/null; done
pid_of() { stoke show --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])'; }
gpus "process 0 $(pid_of "$llama") compute 58G 90 40 0 0\nprocess 1 $(pid_of "$vision") compute 21G 40 20 0 0\n"
# By now their pace is known, and so is the time that is left.
sleep "${SETTLE_SECONDS:-20}"

# === The picture ===

screen() { # SIZE
    Xvfb -displayfd 7 -screen 0 "$1x24" -nolisten tcp 7>"$home/display" 2>"$home/xvfb.log" &
    for left in $(seq 100); do [ ! -s "$home/display" ] || break; sleep 0.05; done
    DISPLAY=:$(cat "$home/display")
    export DISPLAY
}

panel() {
    screen 456x900
    export GDK_BACKEND=x11 GSK_RENDERER=cairo GTK_THEME=${GTK_THEME:-Adwaita:dark}
    "$here/panel.js" >"$home/panel.log" 2>&1 &
    sleep 8
    import -window root "$home/whole.png"
    convert "$home/whole.png" -trim +repage "$picture"
}

bar() {
    screen 800x330
    export WLR_BACKENDS=x11 WLR_RENDERER=pixman
    mkdir -p "$home/config/waybar"
    cp "$here/waybar.jsonc" "$home/config/waybar/config"
    cp "$here/style.css" "$home/config/waybar/style.css"
    cat >"$home/sway" <<SWAY
output * resolution 800x330 background #241f31 solid_color
exec waybar >$home/waybar.log 2>&1
SWAY
    sway --config "$home/sway" >"$home/sway.log" 2>&1 &
    sleep 6
    # Somebody points at it.
    xdotool mousemove 50 15
    sleep 0.2
    xdotool mousemove 60 18
    sleep 3
    import -window root "$picture"
}

"$what"
if command -v pngquant >/dev/null; then
    pngquant --force --strip --output "$picture" "$picture"
fi
printf '%s: %s bytes\n' "$picture" "$(stat -c %s "$picture")"
