"""The rows about event streams: how long news take to many, to one from each source, and what streams leave behind."""

import json
import os
import subprocess
import time

from daemon import FINAL, Client, Dechunker, SseParser, split_head
from measure import percentile, resident_bytes
from rows import Row, row

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What a job runs that tells how far it is, and takes down when it did so.
REPORTER = r'''
import json, os, socket, sys, time
source, count, spacing, notes = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
file = os.environ["STOKED_PROGRESS_FILE"]
times = {}
time.sleep(1)
for step in range(1, count + 1):
    times[step] = time.perf_counter()
    if source == "notify":
        notify.sendto(f"X_STOKED_PROGRESS={step}/{count}".encode(), os.environ["NOTIFY_SOCKET"])
    elif source == "output":
        print(f"step {step}/{count}", flush=True)
    else:
        with open(file + ".new", "w") as out:
            json.dump({"current_step": step, "total_steps": count}, out)
        os.rename(file + ".new", file)
    time.sleep(spacing)
with open(notes, "w") as out:
    json.dump(times, out)
'''


def load_client(ctx):
    """The program that plays many subscribers, built once."""
    if not hasattr(ctx, "load_client"):
        built = subprocess.run(["cargo", "build", "--release", "--locked", "--bench", "streams", "--message-format=json"],
                               cwd=ROOT, check=True, capture_output=True, text=True)
        targets = [json.loads(line) for line in built.stdout.splitlines()]
        ctx.load_client = next(one["executable"] for one in targets
                               if one.get("executable") and one["target"]["name"] == "streams")
    return ctx.load_client


def load(ctx, stoked, *words):
    """What the load client found, as numbers."""
    command = [load_client(ctx), *(str(word) for word in words)]
    command.insert(2, stoked.socket)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[:2])}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def running(stoked, count):
    """Numbers of jobs that run for as long as they are left."""
    client, watch = stoked.client(), Watch(stoked.socket, "channel=job/*/state")
    stoked.group(client, "reports", parallelism=count)
    jobs = set(stoked.submit(client, [stoked.spec("sleep", "1000000", group="reports")] * count))
    waiting = set(jobs)
    while waiting:
        _, kind, event = watch.next()
        if kind == "state" and event["body"]["state"] == "running":
            waiting.discard(event["body"]["job"])
    watch.close()
    client.close()
    return ",".join(str(job) for job in sorted(jobs))


class Watch:
    """An event stream, read where it is asked: (time of arrival, type, data) each."""

    def __init__(self, path, query):
        self.client = Client(path)
        self.client.socket.sendall(f"GET /v1/events?{query} HTTP/1.1\r\nHost: stoked\r\n\r\n".encode())
        self.dechunker, self.parser, self.ready = Dechunker(), SseParser(), []
        data = b""
        while (head := split_head(data)) is None:
            data += self.client.receive()
        self.feed(head[2])
        while not self.ready:
            self.feed(self.client.receive())
        self.ready.pop(0)  # hello

    def feed(self, piece):
        now = time.perf_counter()
        self.ready += [(now, kind, json.loads(text)) for kind, text, _ in self.parser.feed(self.dechunker.feed(piece))]

    def next(self):
        while not self.ready:
            self.feed(self.client.receive())
        return self.ready.pop(0)

    def close(self):
        self.client.close()


@row("fanout", "500 subscribers, 100 events a second")
def fan_out(ctx):
    if not ctx.binaries:
        return
    subscribers, seconds = ctx.pick(500, 200), ctx.pick(10, 3)
    for stuck, budget in ((0, 20), (1, 20)):
        with ctx.stoked() as stoked:
            found = load(ctx, stoked, "fanout", running(stoked, 10), subscribers, stuck, 100, seconds)
        who = f"{subscribers} subscribers" + (", one of them stuck" if stuck else "")
        note = f"report sent → read; {found['received']:,} of {found['sent']:,} one by one, the rest coalesced"
        yield Row(f"{who}, p50", "ms", "low", found["p50_ms"])
        yield Row(f"{who}, p99", "ms", "low", found["p99_ms"], budget, note=f"{note}; slowest {found['max_ms']:.1f}")


@row("sources", "from what a job tells to a subscriber, by how it tells it")
def sources(ctx):
    if not ctx.binaries:
        return
    count, spacing = ctx.pick(200, 40), 0.08
    with ctx.stoked() as stoked:
        yield told("report over the API → seen", by_report(stoked, count, spacing), 20)
        for source, what, budget in (("notify", "sd_notify", 20), ("output", "line of output", 20),
                                     ("file", "progress.json", 100)):
            yield told(f"{what} → seen", by_job(ctx, stoked, source, count, spacing), budget)


def told(what, found, budget):
    times, missing = found
    note = f"p50 {percentile(times, 0.5):.2f}, slowest {max(times):.1f}" + (f"; {missing} coalesced" if missing else "")
    return Row(f"{what}, p99", "ms", "low", percentile(times, 0.99), budget, note=note)


def by_report(stoked, count, spacing):
    job = running(stoked, 1)
    watch, client, times = Watch(stoked.socket, f"channel=job/{job}/progress"), stoked.client(), []
    for step in range(1, count + 1):
        sent = time.perf_counter()
        client.call("POST", f"/v1/jobs/{job}/progress", {"step": step, "total_steps": count})
        times.append((watch.next()[0] - sent) * 1e3)
        # As for the other sources: what comes faster than jobs' progress is told waits for the next turn.
        time.sleep(spacing)
    watch.close()
    client.close()
    return times, 0


def by_job(ctx, stoked, source, count, spacing):
    notes = os.path.join(ctx.place, f"notes-{source}")
    client, watch = stoked.client(), Watch(stoked.socket, "channel=job/*/*")
    job = stoked.submit(client, [stoked.spec("python3", "-c", REPORTER, source, str(count), str(spacing), notes)])[0]
    seen, state = {}, ""
    while state not in ("completed", "failed"):
        at, kind, event = watch.next()
        body = event["body"] if kind == "progress" or kind == "state" or kind in FINAL else {}
        if body.get("job") != job:
            continue
        if kind == "progress":
            if "current_step" in body:
                seen.setdefault(int(body["current_step"]), at)
        else:
            state = body["state"]
    watch.close()
    client.close()
    if state != "completed":
        raise RuntimeError(f"the job that reports by {source} ended as {state}")
    with open(notes, encoding="utf-8") as file:
        sent = {int(step): at for step, at in json.load(file).items()}
    times = [(seen[step] - at) * 1e3 for step, at in sent.items() if step in seen]
    return times, len(sent) - len(times)


def settled(pid):
    """Memory once it no longer changes: threads end when they had nothing to do for ten seconds, with what they kept."""
    time.sleep(11)
    last, same = resident_bytes(pid), 0
    while same < 6:
        time.sleep(0.5)
        now = resident_bytes(pid)
        same = same + 1 if abs(now - last) < 64 << 10 else 0
        last = now
    return last / 2**20


@row("leftover", "memory of the daemon before and after many events, subscribers and large requests")
def leftover(ctx):
    if not ctx.binaries:
        return
    events, connections, warm = ctx.pick(1_000_000, 50_000), ctx.pick(1000, 200), ctx.pick(12_000, 9_000)
    with ctx.stoked() as stoked:
        pid, jobs = stoked.daemon.pid, running(stoked, 10)
        fresh = settled(pid)
        fill_ring(stoked, warm)
        # Everything once, so that what is kept for reuse is there: threads, buffers, pages of the store.
        load(ctx, stoked, "churn", jobs, events // 20, 100)
        before = settled(pid)
        found = load(ctx, stoked, "churn", jobs, events, connections)
        after = settled(pid)
        note = (f"fresh {fresh:.1f}, after {warm:,} lifecycle events that fill the ring {before:.1f}, then {after:.1f} MiB; "
                f"{events / found['seconds']:,.0f} events/s")
        yield Row(f"left by {events:,} events, {connections:,} streams", "MiB", "low", max(0.0, after - before), 2, note=note)
        client = stoked.client()
        for body in large_bodies(stoked):
            client.socket.sendall(body)
            data = b""
            while split_head(data) is None or b"}" not in data:
                data += client.receive()
            client.close()
            client = stoked.client()
        client.close()
        last = settled(pid)
        yield Row("left by refused requests of 32 MiB", "MiB", "low", max(0.0, last - after), 4, note=f"then {last:.1f} MiB")


def fill_ring(stoked, count):
    """Lifecycle events, more than the ring holds."""
    client = stoked.client()
    stoked.group(client, "still", parallelism=1, paused=True)
    job = stoked.submit(client, [stoked.spec("true", group="still")])[0]
    both = [client.request("POST", f"/v1/jobs/{job}/{verb}", {}) for verb in ("hold", "release")]
    for number in range(count):
        client.exchange(both[number % 2])
    client.close()


def large_bodies(stoked):
    """Requests that are read whole and then refused, each for another reason."""
    spec = json.dumps(stoked.spec("true", labels={"text": "x" * 200}))
    many = "[" + ",".join([spec] * ((31 << 20) // (len(spec) + 1))) + "]"
    for text in ('{"jobs": ' + many + ', "wrong": 1}', '{"command": ["' + "y" * (31 << 20) + '"', '{"jobs": ' + many):
        body = text.encode()
        head = f"POST /v1/jobs HTTP/1.1\r\nHost: stoked\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        yield head.encode() + body
