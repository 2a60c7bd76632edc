"""What the row `units` runs in a booted system: measures the installed daemon there, and prints numbers as one line of JSON.

    python3 in_lab.py '{"starts": 300, "jobs": 10000, "calls": 300, "seconds": 10, "settle": 75}'
"""

import json
import os
import sys
import time
from collections import Counter

import gi
from gi.repository import Gio, GLib

from daemon import Client, Stream
from measure import resident_bytes

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases"))
import lab  # noqa: E402  It stands beside this file only where this runs.

gi.require_version("Gio", "2.0")

NAME, ROOT = "io.stoked.Stoked1", "/io/stoked/Stoked1"
# Jobs whose progress changes, and how often a second each.
REPORTERS, PACE = 100, 5


def spec(*command, **fields):
    return {"command": list(command), "cwd": "/", "env": {"PATH": "/usr/bin:/bin"}, **fields}


def starts(count):
    """Milliseconds from a request to the job's first write, and from there to its end seen by a subscriber."""
    path = "/run/started"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    client, stream = Client(lab.SOCKET), Stream(lab.SOCKET)
    begun, seen = [], []
    for _ in range(count):
        request = client.request("POST", "/v1/jobs", spec("sh", "-c", f"echo > {path}"))
        start = time.perf_counter()
        client.socket.sendall(request)
        os.read(fd, 1)
        ran = time.perf_counter()
        begun.append((ran - start) * 1e3)
        ids = json.loads(client.exchange(b""))["ids"]
        seen.append((stream.wait_final(ids) - ran) * 1e3)
    stream.close()
    client.close()
    return begun, seen


def summaries(bus, count):
    """Milliseconds of calls of `Summary()`."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        bus.call_sync(NAME, ROOT, f"{NAME}.Manager", "Summary", None, None, Gio.DBusCallFlags.NONE, -1, None)
        times.append((time.perf_counter() - start) * 1e3)
    return times


class Ear:
    """Counts what the daemon says on the bus, by object and second."""

    def __init__(self, bus):
        self.heard = Counter()
        bus.signal_subscribe(NAME, None, None, None, None, Gio.DBusSignalFlags.NONE, self.hear)

    def hear(self, _bus, _sender, path, _interface, _signal, _values):
        self.heard[path] += 1

    def listen(self, seconds, meanwhile=None):
        """What is heard in that time; `meanwhile` is called PACE times a second."""
        self.heard.clear()
        loop = GLib.MainLoop()
        GLib.timeout_add(int(seconds * 1e3), loop.quit)
        if meanwhile:
            GLib.timeout_add(int(1e3 / PACE), meanwhile)
        loop.run()
        return Counter(self.heard)


def reporters(client):
    """Numbers of jobs that run until they are ended."""
    client.call("PUT", "/v1/groups/reports", {"parallelism": REPORTERS})
    answer = client.call("POST", "/v1/jobs", {"jobs": [spec("sleep", "1000000", group="reports")] * REPORTERS})
    lab.until(lambda: client.call("GET", "/v1/jobs?state=running&group=reports&limit=1000")["items"].__len__(), REPORTERS)
    return answer["ids"]


def main():
    wanted = json.loads(sys.argv[1])
    lab.sh("cp /lab/packaging/dbus-1/*.conf /usr/share/dbus-1/system.d && systemctl reload dbus")
    lab.install()
    lab.until(lambda: lab.sh(f"busctl status {NAME}", check=False).returncode, 0, "the name on the bus")
    bus = Gio.bus_get_sync(Gio.BusType.SYSTEM, None)
    summaries(bus, 1)
    time.sleep(wanted["settle"])
    found = {"resident_mib": resident_bytes(lab.daemon()) / 2**20}
    found["begun"], found["seen"] = starts(wanted["starts"])
    client = Client(lab.SOCKET)
    client.call("PUT", "/v1/groups/still", {"parallelism": 1, "paused": True})
    for _ in range(wanted["jobs"] // 1000):
        client.call("POST", "/v1/jobs", {"jobs": [spec("true", group="still")] * 1000})
    found["summaries"] = summaries(bus, wanted["calls"])
    ids, ear, step = reporters(client), Ear(bus), [0]
    # What is left to be told of the starts is told.
    ear.listen(3)
    found["silent"] = sum(ear.listen(wanted["seconds"]).values())

    def report():
        step[0] += 1
        for job in ids:
            client.call("POST", f"/v1/jobs/{job}/progress", {"step": step[0], "total_steps": 1000})
        return True

    heard = ear.listen(wanted["seconds"], report)
    found["messages_per_second"] = sum(heard.values()) / wanted["seconds"]
    # The first one may come at once, and then one each second.
    found["most_per_object"] = max(heard.values()) / (wanted["seconds"] + 1)
    for job in ids:
        client.call("POST", f"/v1/jobs/{job}/cancel", {"grace": 0})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
