"""A stoked of the benchmark's own, and the smallest HTTP client that does not get in the way of what is measured."""

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from urllib.parse import quote

from measure import marked, name, status_field, wait_until

FINAL = {"completed", "failed", "cancelled", "timed_out", "skipped", "lost"}
PATH = "/usr/local/bin:/usr/bin:/bin"


class HttpError(RuntimeError):
    """An answer other than 2xx, with what it says."""


def split_head(data):
    """(status, headers in lower case, rest) once the head is complete, else None."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    return int(lines[0].split()[1]), headers, rest


class Dechunker:
    """Takes the chunked transfer coding off a stream, whatever pieces it comes in."""

    def __init__(self):
        self.data = b""
        self.ended = False

    def feed(self, data):
        self.data += data
        out = []
        while not self.ended:
            line, found, rest = self.data.partition(b"\r\n")
            if not found:
                break
            length = int(line.split(b";")[0], 16)
            if len(rest) < length + 2:
                break
            out.append(rest[:length])
            self.data = rest[length + 2:]
            self.ended = length == 0
        return b"".join(out)


class SseParser:
    """Server-sent events out of bytes: (event, data, id) each; comments and empty ones are left out."""

    def __init__(self):
        self.rest = b""
        self.event, self.data, self.id = "message", [], None

    def feed(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        found = []
        for line in lines:
            line = line.rstrip(b"\r").decode("utf-8", "replace")
            if not line:
                if self.data or self.event != "message":
                    found.append((self.event, "\n".join(self.data), self.id))
                self.event, self.data, self.id = "message", [], None
                continue
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                self.event = value
            elif name == "data":
                self.data.append(value)
            elif name == "id":
                self.id = value
        return found


class Client:
    """One kept connection; a request is one write, so that the far end never waits for the second half."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(path)

    def close(self):
        self.socket.close()

    @staticmethod
    def request(method, path, body=None):
        """The bytes of a request, so that a loop can prepare them."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: stoked\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        return head.encode() + b"\r\n" + data

    def exchange(self, request):
        """Sends prepared bytes; gives back the body of the answer."""
        self.socket.sendall(request)
        data = b""
        while (head := split_head(data)) is None:
            data += self.receive()
        status, headers, body = head
        if headers.get("transfer-encoding") == "chunked":
            dechunker = Dechunker()
            body = dechunker.feed(body)
            while not dechunker.ended:
                body += dechunker.feed(self.receive())
        else:
            parts, missing = [body], int(headers.get("content-length", 0)) - len(body)
            while missing > 0:
                parts.append(self.receive())
                missing -= len(parts[-1])
            body = b"".join(parts)
        if not 200 <= status < 300:
            raise HttpError(f"{request.split(b' HTTP')[0].decode()}: {status} {body[:300].decode('utf-8', 'replace')}")
        return body

    def receive(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError("the daemon closed the connection")
        return data

    def call(self, method, path, body=None):
        answer = self.exchange(self.request(method, path, body))
        return json.loads(answer) if answer else None


class Stream:
    """State events as (time of arrival, job, state), read by a thread of its own."""

    def __init__(self, path):
        self.arrived = queue.SimpleQueue()
        self.client = Client(path)
        self.client.socket.settimeout(None)
        self.client.socket.sendall(
            f"GET /v1/events?channel={quote('job/*/state', safe='')} HTTP/1.1\r\nHost: stoked\r\n"
            "Accept: text/event-stream\r\n\r\n".encode())
        self.thread = threading.Thread(target=self.read, name="events", daemon=True)
        self.thread.start()
        hello = self.arrived.get(timeout=30)
        if hello[1] != "hello":
            raise RuntimeError(f"the event stream began with {hello}")

    def read(self):
        data, head, dechunker, parser = b"", None, Dechunker(), SseParser()
        try:
            while True:
                piece = self.client.socket.recv(1 << 18)
                now = time.perf_counter()
                if not piece:
                    raise ConnectionError("the event stream ended")
                if head is None:
                    data += piece
                    head = split_head(data)
                    if head is None:
                        continue
                    if head[0] != 200:
                        raise HttpError(f"GET /v1/events: {head[0]} {head[2][:300]!r}")
                    piece = head[2]
                if head[1].get("transfer-encoding") == "chunked":
                    piece = dechunker.feed(piece)
                for kind, text, _ in parser.feed(piece):
                    if kind == "hello":
                        self.arrived.put((now, "hello", None))
                    elif kind == "gap":
                        raise RuntimeError(f"the daemon dropped this reader: {text}")
                    elif kind == "state" or kind in FINAL:
                        body = json.loads(text)["body"]
                        self.arrived.put((now, body["job"], body["state"]))
        except (OSError, RuntimeError, ValueError, KeyError) as fault:
            self.arrived.put((time.perf_counter(), "fault", str(fault)))

    def next(self, timeout=60):
        try:
            found = self.arrived.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no event for {timeout:g} s") from None
        if found[1] == "fault":
            raise RuntimeError(found[2])
        return found

    def wait_final(self, jobs, timeout=600):
        """When the last of these jobs ended; a job that did not complete is an error."""
        left, last = set(jobs), time.perf_counter()
        until = last + timeout
        while left:
            last, job, state = self.next(max(0.1, until - time.perf_counter()))
            if job in left and state in FINAL:
                if state != "completed":
                    raise RuntimeError(f"job {job} ended as {state}")
                left.discard(job)
        return last

    def close(self):
        self.client.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.client.close()


class Stoked:
    """A private daemon: its own state, its own socket, and nothing of it is left afterwards."""

    def __init__(self, binaries, place, state=None, settings=""):
        self.binaries = binaries
        self.keeps_state = state is not None
        self.state = state or tempfile.mkdtemp(prefix="stoked-", dir=place)
        # The path of a socket may have 107 bytes only.
        self.run = tempfile.mkdtemp(prefix="bench-")
        self.socket = os.path.join(self.run, "stoked.sock")
        self.mark = f"STOKED_BENCH={self.run}"
        self.job_env = {"PATH": PATH, "STOKED_BENCH": self.run}
        # An empty place for settings: the numbers are those of the defaults, whatever this user has configured.
        # But for those that a row names.
        os.mkdir(os.path.join(self.run, "stoked"), mode=0o700)
        with open(os.path.join(self.run, "stoked", "stoked.toml"), "w", encoding="utf-8") as file:
            file.write(settings)
        self.env = {**os.environ, "STOKED_BENCH": self.run, "STOKE_SOCKET": self.socket, "XDG_CONFIG_HOME": self.run}
        self.log = os.path.join(self.state, "bench-daemon.log")
        self.daemon = None
        self.ready_seconds = self.start()
        self.pause_all(False)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                print("".join(file.readlines()[-15:]))
        try:
            self.cancel_running()
        except (OSError, RuntimeError):
            pass  # What does not obey is killed below.
        self.daemon.send_signal(signal.SIGTERM)
        try:
            self.daemon.wait(20)
        except subprocess.TimeoutExpired:
            pass
        for pid in marked(self.mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemon.wait()
        shutil.rmtree(self.run, ignore_errors=True)
        if not self.keeps_state:
            shutil.rmtree(self.state, ignore_errors=True)

    def stoke(self, *args):
        return [os.path.join(self.binaries, "stoke"), *args]

    def start(self):
        """Starts the daemon; seconds until it answered a question about its jobs."""
        start = time.perf_counter()
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(
                [os.path.join(self.binaries, "stoked"), "--user", "--state-dir", self.state, "--runtime-dir", self.run],
                env=self.env, stdout=log, stderr=log)

        def answers():
            if self.daemon.poll() is not None:
                with open(self.log, encoding="utf-8", errors="replace") as file:
                    raise RuntimeError(f"stoked ended at once: {''.join(file.readlines()[-5:]).strip()}")
            try:
                client = Client(self.socket)
                client.call("GET", "/v1/jobs?limit=1")
                client.close()
                return True
            except (OSError, HttpError):
                return False

        wait_until(answers, 60, "stoked ready", every=0.001)
        return time.perf_counter() - start

    def kill_and_start(self):
        """SIGKILL, then the seconds until a new daemon answers."""
        self.daemon.kill()
        self.daemon.wait()
        return self.start()

    def client(self):
        return Client(self.socket)

    def group(self, client, name, **fields):
        client.call("PUT", f"/v1/groups/{name}", fields)

    def spec(self, *command, **fields):
        return {"command": list(command), "cwd": "/", "env": self.job_env, **fields}

    def submit(self, client, specs):
        return client.call("POST", "/v1/jobs", {"jobs": specs})["ids"]

    def active(self, client):
        """Every job that has not ended, by its state."""
        found = []
        for state in ("running", "starting", "stopping", "paused", "backoff"):
            cursor = ""
            while cursor is not None:
                page = client.call("GET", f"/v1/jobs?state={state}&limit=1000{cursor}")
                found += page["items"]
                cursor = f"&cursor={quote(page['next'], safe='')}" if "next" in page else None
        return found

    def pause_all(self, paused):
        client = self.client()
        for group in client.call("GET", "/v1/groups")["items"]:
            if group["paused"] != paused:
                self.group(client, group["name"], paused=paused)
        client.close()

    def cancel_running(self):
        self.pause_all(True)
        client = self.client()
        for job in self.active(client):
            client.call("POST", f"/v1/jobs/{job['id']}/cancel", {"grace": 0})
        wait_until(lambda: not self.active(client), 30, "jobs cancelled", every=0.05)
        client.close()

    def fill(self, count):
        """Runs jobs that do nothing until `count` more have finished."""
        client, stream = self.client(), Stream(self.socket)
        self.group(client, "fill", parallelism=16)
        for start in range(0, count, 1000):
            specs = [self.spec("true", group="fill") for _ in range(min(1000, count - start))]
            stream.wait_final(self.submit(client, specs))
        stream.close()
        client.close()

    def shims(self):
        """The parents of the jobs: shims themselves carry no environment that could mark them."""
        parents = {status_field(pid, "PPid") for pid in marked(self.mark)}
        return [pid for pid in parents if pid and name(pid) == "stoked-shim"]
