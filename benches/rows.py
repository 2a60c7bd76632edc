"""The rows of the table: each measures stoked and, in the same minute, whoever else can do the thing."""

import contextlib
import functools
import json
import os
import threading
import time
from dataclasses import dataclass, field

from daemon import Stoked, Stream
from measure import Idle, median, percentile, private_bytes, process_seconds
from peers import TSP_MOST_WAITING, Pueue, Tsp, find_pueue, find_tsp

ROWS = {}


@dataclass
class Row:
    """One line. `better` says which way is good; `budget` is the bound that stoked set itself."""

    what: str
    unit: str
    better: str
    stoked: float | None
    budget: float | None = None
    peers: dict = field(default_factory=dict)
    note: str = ""


def row(name, about):
    def keep(function):
        ROWS[name] = (function, about)
        return function
    return keep


class Context:
    """What a row may use. Each instance it starts is private and gone when the row ends."""

    def __init__(self, quick, history, place, binaries, cache):
        self.quick, self.history, self.place, self.binaries = quick, history, place, binaries
        # Where peers are built; None where none are wanted.
        self.cache = cache
        self.filled = None

    @functools.cached_property
    def pueue_folder(self):
        return find_pueue(self.cache) if self.cache else None

    @functools.cached_property
    def tsp_program(self):
        return find_tsp() if self.cache else None

    def pick(self, full, quick):
        return quick if self.quick else full

    def stoked(self, **more):
        return Stoked(self.binaries, self.place, **more) if self.binaries else contextlib.nullcontext()

    def pueue(self, **more):
        return Pueue(self.pueue_folder, self.place, **more) if self.pueue_folder else contextlib.nullcontext()

    def tsp(self):
        return Tsp(self.tsp_program, self.place) if self.tsp_program else contextlib.nullcontext()

    def with_history(self):
        """A daemon on a state with many finished jobs, which the rows that need one share."""
        if self.binaries and not self.filled:
            folder = os.path.join(self.place, "filled")
            os.makedirs(folder, mode=0o700)
            with self.stoked(state=folder) as stoked:
                stoked.fill(self.history)
            self.filled = folder
        return self.stoked(state=self.filled)


def in_turn(count, commands):
    """Medians of whole processes in ms, one of each in turn, so that all meet the same weather."""
    times = {name: [] for name in commands}
    for number in range(count + 3):
        for name, (command, env) in commands.items():
            seconds = process_seconds(command, env)
            if number >= 3:  # The first few warm caches.
                times[name].append(seconds * 1e3)
    return {name: median(values) for name, values in times.items()}


def apart(medians):
    """(stoked's own, the peers') of medians by name."""
    peers = {name: value for name, value in medians.items() if name in ("pueue", "tsp")}
    return medians.get("stoked"), peers


@row("run", "a submission as a whole process")
def whole_process(ctx):
    with ctx.stoked() as stoked, ctx.pueue() as pueue, ctx.tsp() as tsp:
        commands = {"floor": (["/bin/true"], None)}
        if stoked:
            commands["stoked"] = (stoked.stoke("run", "-d", "--", "true"), stoked.env)
        if pueue:
            commands["pueue"] = (pueue.command("add", "--", "true"), None)
        if tsp:
            commands["tsp"] = (tsp.command("-n", "true"), tsp.env)
        medians = in_turn(ctx.pick(200, 40), commands)
    own, peers = apart(medians)
    yield Row("stoke run -d, whole process", "ms", "low", own, 5, peers, f"/bin/true alone {medians['floor']:.2f} ms")


@row("submit", "durable submissions over the socket")
def submissions(ctx):
    if not ctx.binaries:
        return
    with ctx.stoked() as stoked:
        client = stoked.client()
        stoked.group(client, "still", parallelism=1, paused=True)
        count = ctx.pick(2000, 300)
        request = client.request("POST", "/v1/jobs", stoked.spec("true", group="still"))
        start = time.perf_counter()
        for _ in range(count):
            client.exchange(request)
        single = count / (time.perf_counter() - start)
        batches, size = ctx.pick(10, 3), 1000
        request = client.request("POST", "/v1/jobs", {"jobs": [stoked.spec("true", group="still")] * size})
        start = time.perf_counter()
        for _ in range(batches):
            client.exchange(request)
        batched = batches * size / (time.perf_counter() - start)
        client.close()
    yield Row("durable submissions, one client", "/s", "high", single, 2000)
    yield Row(f"durable submissions, {size} a request", "/s", "high", batched, 20000)


@row("drain", "jobs that do nothing, from queued to all finished")
def drain(ctx):
    for parallel in (2, 16):
        own, peers, counts = None, {}, {}
        if ctx.binaries:
            count = counts["stoked"] = ctx.pick(1000, 200)
            with ctx.stoked() as stoked:
                client, stream = stoked.client(), Stream(stoked.socket)
                stoked.group(client, "drain", parallelism=parallel, paused=True)
                jobs = stoked.submit(client, [stoked.spec("true", group="drain")] * count)
                start = time.perf_counter()
                stoked.group(client, "drain", paused=False)
                own = count / (stream.wait_final(jobs) - start)
                stream.close()
                client.close()
        with ctx.pueue() as pueue:
            if pueue:  # At 6 a second 1,000 would take three minutes; its rate does not depend on the count here.
                count = counts["pueue"] = ctx.pick({2: 200, 16: 600}[parallel], 40)
                peers["pueue"] = count / pueue.drain(count, parallel)
        with ctx.tsp() as tsp:
            if tsp:
                count = counts["tsp"] = ctx.pick(TSP_MOST_WAITING, 200)
                peers["tsp"] = count / tsp.drain(count, parallel)
        note = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield Row(f"no-op jobs, {parallel} at a time", "jobs/s", "high", own, 400, peers, f"jobs: {note}")


@row("history", "a submission with many finished jobs in the store")
def with_history(ctx):
    count = ctx.pick(50, 15)
    with contextlib.ExitStack() as stack:
        empty, full, peers = {}, {}, {}
        if ctx.binaries:
            one, many = stack.enter_context(ctx.stoked()), stack.enter_context(ctx.with_history())
            empty["stoked"] = (one.stoke("run", "-d", "--", "true"), one.env)
            full["stoked"] = (many.stoke("run", "-d", "--", "true"), many.env)
        if ctx.pueue_folder:
            full["pueue"] = (stack.enter_context(ctx.pueue(history=ctx.history)).command("add", "--", "true"), None)
        before = in_turn(count, empty)
        own, peers = apart(in_turn(count, full))
    budget = before["stoked"] * 1.25 if before else None
    note = f"with none {before['stoked']:.2f} ms" if before else ""
    yield Row(f"stoke run -d, {ctx.history:,} finished jobs", "ms", "low", own, budget, peers, note)


class Starts:
    """Jobs that write into a pipe as the first thing they do."""

    def __init__(self, place):
        self.path = os.path.join(place, "started")
        os.mkfifo(self.path)
        # Open for writing too, so that it never looks closed between two jobs.
        self.fd = os.open(self.path, os.O_RDWR)
        self.job = ["sh", "-c", f"echo > {self.path}"]

    def wait(self):
        os.read(self.fd, 1)
        return time.perf_counter()

    def close(self):
        os.close(self.fd)
        os.unlink(self.path)


@row("latency", "queued → running, and exit → seen by a subscriber")
def latency(ctx):
    count = ctx.pick(300, 40)
    starts = Starts(ctx.place)
    with contextlib.closing(starts):
        if ctx.binaries:
            begun, seen = [], []
            with ctx.stoked() as stoked:
                client, stream = stoked.client(), Stream(stoked.socket)
                for _ in range(count):
                    request = client.request("POST", "/v1/jobs", stoked.spec(*starts.job))
                    start = time.perf_counter()
                    client.socket.sendall(request)
                    ran = starts.wait()
                    begun.append((ran - start) * 1e3)
                    job = client_ids(client)
                    seen.append((stream.wait_final(job) - ran) * 1e3)
                stream.close()
                client.close()
            note = "from the request to the job's own first write, fsync of the submission included"
            yield Row("queued → running, p50", "ms", "low", median(begun), 10, note=note)
            yield Row("queued → running, p99", "ms", "low", percentile(begun, 0.99), 50)
            yield Row("exit → seen by a subscriber, p50", "ms", "low", median(seen))
            yield Row("exit → seen by a subscriber, p99", "ms", "low", percentile(seen, 0.99), 20)
        yield typed_to_running(ctx, starts, ctx.pick(40, 10))


def client_ids(client):
    """The ids in an answer whose request was sent by hand."""
    return json.loads(client.exchange(b""))["ids"]


def typed_to_running(ctx, starts, count):
    """From starting the client's process to the job's first instruction, ms."""
    with ctx.stoked() as stoked, ctx.pueue() as pueue, ctx.tsp() as tsp:
        commands = {}
        if stoked:
            commands["stoked"] = (stoked.stoke("run", "-d", "--", *starts.job), stoked.env)
        if pueue:
            commands["pueue"] = (pueue.command("add", "--", starts.job[-1]), None)
        if tsp:
            commands["tsp"] = (tsp.command("-n", *starts.job), tsp.env)
        times = {name: [] for name in commands}
        for _ in range(count):
            for name, (command, env) in commands.items():
                start = time.perf_counter()
                process_seconds(command, env)
                times[name].append((starts.wait() - start) * 1e3)
    own, peers = apart({name: median(values) for name, values in times.items()})
    return Row("client started → job running", "ms", "low", own, None, peers)


@row("idle", "memory and wake-ups of a daemon that has nothing to do")
def idle(ctx):
    seconds = ctx.pick(30, 5)
    found = {}
    with ctx.stoked() as stoked, ctx.stoked(settings="[sampling]\nenabled = false\n") as blind, \
            ctx.pueue() as pueue, ctx.tsp() as tsp:
        pids = {}
        for name, one in (("stoked", stoked), ("blind", blind)):
            if one:
                client = one.client()
                client.call("GET", "/v1/jobs")
                client.close()
                pids[name] = one.daemon.pid
        if pueue:
            pids["pueue"] = pueue.daemon.pid
        if tsp:
            pids["tsp"] = tsp.server_pid()
        # Whatever a start or a closed connection leaves to be done is not idleness: threads that had something to do end
        # when they had nothing more for ten seconds, and what is old is looked for in the first minute.
        time.sleep(ctx.pick(75, 2))
        for name, pid in pids.items():
            found[name] = Idle(pid, seconds)
    # Who measures wakes up for it; who does not must not wake up at all.
    seeing = {name: one for name, one in found.items() if name != "blind"}
    blind = {("stoked" if name == "blind" else name): one for name, one in found.items() if name != "stoked"}
    for what, unit, part, budget, of in (
            ("idle daemon, resident", "MiB", "resident_mib", 12, seeing),
            ("idle daemon, wake-ups", "/min", "switches_per_minute", None, seeing),
            ("… without sampling", "/min", "switches_per_minute", 0, blind),
            ("idle daemon, CPU", "%", "cpu_percent", 0.1, seeing)):
        own, peers = apart({name: getattr(one, part) for name, one in of.items()})
        yield Row(what, unit, "low", own, budget, peers, f"over {seconds} s" if part != "resident_mib" else "")


@row("restart", "SIGKILL, and ready again with running and finished jobs")
def restart(ctx):
    running = ctx.pick(200, 30)
    own, peers, note = None, {}, ""
    if ctx.binaries:
        with ctx.with_history() as stoked:
            client, stream = stoked.client(), Stream(stoked.socket)
            stoked.group(client, "asleep", parallelism=running)
            jobs = set(stoked.submit(client, [stoked.spec("sleep", "1000000", group="asleep")] * running))
            waiting = set(jobs)
            while waiting:
                _, job, state = stream.next()
                if state == "running":
                    waiting.discard(job)
            pids = {job["id"]: job.get("pid") for job in stoked.active(client)}
            stream.close()
            client.close()
            times = []
            for _ in range(ctx.pick(5, 2)):
                times.append(stoked.kill_and_start())
            client = stoked.client()
            after = {job["id"]: job.get("pid") for job in stoked.active(client)}
            client.close()
            if set(pids) != jobs or pids != after:
                raise RuntimeError(f"{len(jobs)} jobs ran before, and not the same processes run after the restart")
            note = "the same processes run on"
            own = median(times) * 1e3
    with ctx.pueue(history=ctx.history) as pueue:
        if pueue:
            peers["pueue"] = pueue.ready_seconds * 1e3
    note = f"{note}; pueue with none running" if note else "pueue with none running"
    yield Row(f"restart, {running} running, {ctx.history:,} finished", "ms", "low", own, 1000, peers, note)


@row("ls", "a list as a whole process, with many jobs in the store")
def listing(ctx):
    with ctx.with_history() as stoked, ctx.pueue(history=ctx.history) as pueue, ctx.tsp() as tsp:
        commands = {}
        if stoked:
            commands["stoked"] = (stoked.stoke("ls"), stoked.env)
        if pueue:
            commands["pueue"] = (pueue.command("status"), None)
        if tsp:
            for _ in range(TSP_MOST_WAITING):
                tsp.call("-n", "true")
            commands["tsp"] = (tsp.command("-l"), tsp.env)
        own, peers = apart(in_turn(ctx.pick(20, 5), commands))
    yield Row(f"stoke ls, {ctx.history:,} jobs", "ms", "low", own, 15, peers,
              f"stoke shows the newest, the others all (tsp {TSP_MOST_WAITING})")


@row("shim", "private memory of the process that owns an attempt")
def shim(ctx):
    if not ctx.binaries:
        return
    with ctx.stoked() as stoked:
        client, stream = stoked.client(), Stream(stoked.socket)
        count = 10
        stoked.group(client, "asleep", parallelism=count)
        # Output makes the shim touch its log buffers: an idle one would look better than it is.
        command = ("sh", "-c", "seq 20000; exec sleep 1000000")
        waiting = set(stoked.submit(client, [stoked.spec(*command, group="asleep")] * count))
        while waiting:
            _, job, state = stream.next()
            if state == "running":
                waiting.discard(job)
        stream.close()
        client.close()
        time.sleep(0.5)
        sizes = [private_bytes(pid) / 1024 for pid in stoked.shims()]
    if len(sizes) < count:
        raise RuntimeError(f"{len(sizes)} processes called stoked-shim for {count} running jobs")
    yield Row("shim, private memory", "KiB", "low", median(sizes), 500)


@row("archive", "many finished jobs moved into the archive while others submit")
def archiving(ctx):
    if not ctx.binaries:
        return
    with ctx.with_history() as stoked:
        # What is archived is no history for other rows any more.
        ctx.filled = None
        client, archivist = stoked.client(), stoked.client()
        archivist.socket.settimeout(None)
        stoked.group(client, "still", parallelism=1, paused=True)
        request = client.request("POST", "/v1/jobs", stoked.spec("true", group="still"))
        alone = [timed(lambda: client.exchange(request)) for _ in range(200)]
        report = {}
        work = threading.Thread(
            target=lambda: report.update(archivist.call("POST", "/v1/archive/now", {"older_than": 0})))
        stalls, start = [], time.perf_counter()
        work.start()
        while work.is_alive():
            stalls.append(timed(lambda: client.exchange(request)))
            work.join(0.005)
        seconds = time.perf_counter() - start
        if report.get("problem") or not report.get("jobs"):
            raise RuntimeError(f"not archived: {report}")
        jobs = report["jobs"]
        lists = [process_seconds(stoked.stoke("ls"), stoked.env) * 1e3 for _ in range(ctx.pick(20, 5))]
        bytes_of = client.call("GET", "/v1/archive")["bytes"]
        client.close()
        archivist.close()
        database = os.path.getsize(os.path.join(stoked.state, "stoked.db"))
    yield Row(f"archive {jobs:,} jobs", "s", "low", seconds, None, {},
              f"{bytes_of / jobs:.0f} bytes a job there, {database / jobs:.0f} left here")
    yield Row("longest submission meanwhile", "ms", "low", max(stalls) * 1e3, 20, {},
              f"p99 {percentile(stalls, 0.99) * 1e3:.1f} ms; alone at most {max(alone) * 1e3:.1f} ms")
    yield Row(f"stoke ls, {jobs:,} of the jobs archived", "ms", "low", median(lists), 15)


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
