"""Numbers and how they are taken: medians, whole processes by the wall clock, what /proc says of a process."""

import os
import subprocess
import time


def percentile(values, share):
    """The value below which `share` (0 to 1) of the values lie, between neighbours by proportion."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def median(values):
    return percentile(values, 0.5)


def three_digits(value):
    """As many decimals as three telling digits need, with thousands parted."""
    if value == 0:
        return "0"
    for bound, decimals in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= bound - bound * 0.005:
            return f"{value:,.{decimals}f}"
    return f"{value:.3f}".rstrip("0")


def process_seconds(command, env=None):
    """Wall time of one process from its start to its end; its output goes nowhere. A failure is an error.

    posix_spawn and a bare wait: subprocess would add a millisecond of its own to something that takes three.
    """
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    environment = dict(os.environ if env is None else env)
    start = time.perf_counter()
    pid = os.posix_spawn(command[0], command, environment, file_actions=nowhere)
    _, status = os.waitpid(pid, 0)
    seconds = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        raise RuntimeError(f"{' '.join(command)} ended with {code}: {(again.stderr or again.stdout).strip()[:300]}")
    return seconds


def status_field(pid, name, root="/proc"):
    """A number from /proc/PID/status (or of one task), or 0 where the kernel does not tell."""
    with open(f"{root}/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0


def resident_bytes(pid):
    return status_field(pid, "VmRSS") * 1024


def voluntary_switches(pid, root="/proc"):
    """How often each thread of the process went to sleep by itself: each wake-up has one before it."""
    switches = {}
    for task in os.listdir(f"{root}/{pid}/task"):
        try:
            switches[task] = status_field(task, "voluntary_ctxt_switches", f"{root}/{pid}/task")
        except FileNotFoundError:
            pass  # A thread that ended meanwhile.
    return switches


def switches_between(before, after):
    """Of the threads that are still there: one that ended takes its count along."""
    return sum(count - before.get(task, 0) for task, count in after.items())


def cpu_seconds(pid, root="/proc"):
    with open(f"{root}/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def clock_seconds(pid):
    """CPU time of a process by its own clock, to the nanosecond, threads that ended included (clock_getcpuclockid)."""
    return time.clock_gettime((~pid << 3) | 2)


def written_bytes(pid, root="/proc"):
    """What a process has had written to disks so far, what it wrote again and deleted soon included."""
    with open(f"{root}/{pid}/io", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("write_bytes:"))


def private_bytes(pid, root="/proc"):
    """Memory that would be free if the process were gone."""
    with open(f"{root}/{pid}/smaps_rollup", encoding="utf-8") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))


def name(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        return file.read().strip()


def marked(mark, comm=None):
    """Processes whose environment holds the entry `mark` (NAME=value)."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as file:
                if mark.encode() not in file.read().split(b"\0"):
                    continue
            called = name(entry)
        except OSError:
            continue  # Ended meanwhile, or not ours to read.
        if comm is None or called == comm:
            found.append(int(entry))
    return found


def wait_until(true, seconds, what, every=0.005):
    """Looks again and again until `true()` is so; gives back how long that took."""
    start = time.perf_counter()
    while not true():
        if time.perf_counter() - start > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
    return time.perf_counter() - start


class Idle:
    """What a process does while nothing is asked of it."""

    def __init__(self, pid, seconds):
        switches, cpu = voluntary_switches(pid), cpu_seconds(pid)
        start = time.perf_counter()
        time.sleep(seconds)
        passed = time.perf_counter() - start
        self.switches_per_minute = switches_between(switches, voluntary_switches(pid)) * 60 / passed
        self.cpu_percent = (cpu_seconds(pid) - cpu) * 100 / passed
        self.resident_mib = resident_bytes(pid) / 2**20
