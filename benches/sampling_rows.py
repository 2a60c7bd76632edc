"""What measuring costs: the daemon beside the recorders that people use for it, over the same processes and seconds."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from measure import clock_seconds, resident_bytes, three_digits, wait_until, written_bytes
from peers import say
from rows import Row, row

BELOW_VERSION = "0.9.0"
PROCESSES, JOBS, TICKING = 500, 20, 10
INTERVAL_SECONDS = 1

# Two hundredths of a core, some of the memory and a few pages of a file: a job that looks at data and thinks.
JOB = """
import os, time
kept, file = [], open(os.environ["STOKED_BENCH"] + "/" + os.environ["STOKED_JOB"], "wb")
while True:
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass
    kept = kept[-200:] + [bytearray(10_000)]
    file.seek(0)
    file.write(bytes(20_000))
    file.flush()
    time.sleep(0.49)
"""

# Measured each second while they run, and nothing else: estimates from open files are no sampling.
SETTINGS = "".join(
    ["[sampling]\n", *(f'{name}_interval = "{INTERVAL_SECONDS}s"\n' for name in ("host", "job", "gpu", "idle", "battery")),
     "[progress]\nopen_files = false\n"])


class Crowd:
    """Processes that nobody asked for: most stand still, some start another one each second."""

    def __init__(self, count, ticking):
        nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        tick = ["sh", "-c", "while sleep 1; do :; done"]
        self.processes = [subprocess.Popen(tick if number < ticking else ["sleep", "infinity"], **nothing)
                          for number in range(count)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.wait()


class Recorder:
    """A program that writes down what it sees, into a place of its own."""

    def __init__(self, place, command, last=signal.SIGTERM):
        self.place, self.last = place, last
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, cwd=place)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(self.last)
        self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)


def packaged(program, package):
    """The path of a program, installed from its Debian package where root may; None when absent."""
    places = os.environ.get("PATH", "") + ":/usr/sbin:/usr/lib/sysstat"
    if not shutil.which(program, path=places) and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing the Debian package {package}")
        subprocess.run(["apt-get", "install", "-y", "-q", package], stdout=sys.stderr, check=False)
    path = shutil.which(program, path=places)
    if not path:
        say(f"NO {program.upper()}: install the package {package}; it is left out")
    return path


def find_below(cache):
    """The path of below, built on first use where there is a compiler for its part in the kernel; None without."""
    built = os.path.join(cache, "bin", "below")
    found = shutil.which("below") or (built if os.path.exists(built) else None)
    clang = next(filter(None, (shutil.which(f"clang-{version}") for version in range(21, 14, -1))), None)
    if found or not clang:
        if not found:
            say("NO BELOW: its part in the kernel needs clang 15 or newer and libelf-dev; it is left out")
        return found
    say(f"building below {BELOW_VERSION} into {cache} (once, some minutes)")
    subprocess.run(["cargo", "install", "below", "--version", BELOW_VERSION, "--locked", "--root", cache],
                   env={**os.environ, "CLANG": clang}, stdout=sys.stderr, check=False)
    if os.path.exists(built):
        return built
    say("NO BELOW: it could not be built; it is left out")
    return None


def cgroup2():
    """Where the tree of cgroup v2 is mounted: hosts that have v1 too have it elsewhere than usual."""
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        kinds = [line.split()[1:3] for line in mounts]
    return next((place for place, kind in kinds if kind == "cgroup2"), "/sys/fs/cgroup")


def recorders(ctx):
    """Those that can be had, by name, each as a function that starts it."""
    found = {}

    def new(name):
        return tempfile.mkdtemp(prefix=f"{name}-", dir=ctx.place)

    if atop := packaged("atop", "atop"):
        found["atop"] = lambda: Recorder(new("atop"), [atop, "-w", "raw", str(INTERVAL_SECONDS)])
    if sadc := packaged("sadc", "sysstat"):
        found["sadc"] = lambda: Recorder(new("sadc"), [sadc, "-S", "ALL", str(INTERVAL_SECONDS), "raw"])
    if below := find_below(ctx.cache):
        def start():
            place = new("below")
            with open(os.path.join(place, "conf"), "w", encoding="utf-8") as file:
                file.write(f'log_dir = "{place}/log"\nstore_dir = "{place}/store"\ncgroup_root = "{cgroup2()}"\n')
            # It does not end by SIGTERM.
            return Recorder(place, [below, "--config", "conf", "record", "--interval-s", str(INTERVAL_SECONDS),
                                    "--disable-exitstats"], signal.SIGKILL)
        found["below"] = start
    return found


@row("sampling", f"{PROCESSES} processes, {JOBS} of them jobs, measured each second, beside atop, sadc and below")
def sampling(ctx):
    settle, seconds = ctx.pick((60, 300), (5, 20))
    with contextlib.ExitStack() as stack:
        pids = {}
        stack.enter_context(Crowd(PROCESSES - JOBS, TICKING))
        if ctx.binaries:
            stoked = stack.enter_context(ctx.stoked(settings=SETTINGS))
            client = stoked.client()
            stoked.group(client, "busy", parallelism=JOBS)
            spec = stoked.spec(sys.executable, "-c", JOB, group="busy")
            stoked.submit(client, [spec] * JOBS)
            wait_until(lambda: len(stoked.active(client)) == JOBS, 60, "all jobs run")
            client.close()
            pids["stoked"] = stoked.daemon.pid
        others = {name: stack.enter_context(start()) for name, start in recorders(ctx).items()} if ctx.cache else {}
        # What a start costs is not what an hour costs.
        time.sleep(settle)
        for name, one in others.items():
            if one.process.poll() is None:
                pids[name] = one.process.pid
            else:
                say(f"NO {name.upper()}: it ended by itself with {one.process.returncode}; it is left out")
        cpu = {name: clock_seconds(pid) for name, pid in pids.items()}
        written = {name: written_bytes(pid) for name, pid in pids.items()}
        start = time.perf_counter()
        time.sleep(seconds)
        per_hour = 3600 / (time.perf_counter() - start)
        found = {name: ((clock_seconds(pid) - cpu[name]) * per_hour, resident_bytes(pid) / 2**20,
                        (written_bytes(pid) - written[name]) * per_hour / 2**20) for name, pid in pids.items()}
    for place, (what, unit, budget) in enumerate((("sampling at 1 Hz, CPU", "s/hour", 10), ("… resident", "MiB", 25),
                                                  ("… written", "MiB/hour", None))):
        values = {name: figures[place] for name, figures in found.items()}
        own = values.pop("stoked", None)
        note = ", ".join(f"{name} {three_digits(value)}" for name, value in values.items())
        yield Row(what, unit, "low", own, budget, values, note)
