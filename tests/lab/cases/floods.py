"""One user floods the socket in every way there is; what is asked is how the others fare meanwhile."""

import json
import re
import time

import lab
from lab import sh, submit


def setUpModule():
    lab.install()


# Another user's answer may take this long while the flood lasts: it comes, on a machine that has much else to do, too.
BEARABLE = lab.PATIENCE

# Each goes on until its standard input ends, and says when it has begun.
FLOOD = """
import os, select, socket, sys, threading
path = sys.argv[1]

def over():
    return bool(select.select([sys.stdin], [], [], 0)[0])

def fresh():
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(path)
    return client

def flood(say):
    while not over():
        try:
            client = fresh()
            say(client)
            client.close()
        except OSError:
            pass

%s
print("begun", flush=True)
threads = [threading.Thread(target=flood, args=(say,)) for _ in range(8)]
for it in threads: it.start()
for it in threads: it.join()
"""

# What each connection of a flood says.
WAYS = {
    "heads without end": """
def say(client):
    client.sendall(b"GET /v1/jobs HTTP/1.1\\r\\n")
    while not over():
        client.sendall(b"x: " + b"y" * 4000 + b"\\r\\n")
""",
    "heads that come byte by byte": """
def say(client):
    for byte in b"GET /v1/jobs HTTP/1.1\\r\\nhost: " + b"x" * 1000:
        if over(): return
        client.sendall(bytes([byte]))
        select.select([sys.stdin], [], [], 0.05)
""",
    "chunks without end": """
def say(client):
    client.sendall(b"POST /v1/jobs HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/json\\r\\ntransfer-encoding: chunked\\r\\n\\r\\n")
    while not over():
        client.sendall(b"10000\\r\\n" + b" " * 0x10000 + b"\\r\\n")
""",
    "bodies that are promised and never come": """
def say(client):
    client.sendall(b"POST /v1/jobs HTTP/1.1\\r\\nhost: x\\r\\ncontent-type: application/json\\r\\ncontent-length: 30000000\\r\\n\\r\\n[")
    select.select([sys.stdin], [], [], 2)
""",
    "thousands of small requests at once": """
def say(client):
    client.settimeout(0.2)
    ask = b"GET /v1/jobs HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n" * 2000
    try:
        client.sendall(ask)
    except socket.timeout:
        pass
""",
    "nonsense": """
def say(client):
    client.sendall(os.urandom(65536))
""",
    "connections that come and go": """
def say(client):
    pass
""",
}


class Floods(lab.Case):
    def setUp(self):
        self.daemon = lab.daemon()

    def tearDown(self):
        super().tearDown()
        self.assertEqual(lab.daemon(), self.daemon, "the daemon is another one")

    def others_are_served(self, what):
        worst = 0
        for _ in range(5):
            begun = time.monotonic()
            self.assertEqual(sh("stoke run -- echo here", "bob"), "here", what)
            json.loads(sh("stoke ls --json", "carol"))
            worst = max(worst, time.monotonic() - begun)
        self.assertLess(worst, BEARABLE, what)
        return worst

    def test_no_flood_of_requests_keeps_others_out(self):
        for what, way in WAYS.items():
            with self.subTest(what):
                flood = lab.start(["python3", "-c", FLOOD % way, lab.SOCKET], "alice")
                self.assertEqual(flood.stdout.readline(), b"begun\n")
                worst = self.others_are_served(what)
                print(f"{what}: {worst:.2f} s")
                flood.communicate(b"\n")
        with open(f"/proc/{lab.daemon()}/status", encoding="utf-8") as file:
            most = int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1])
        # All that all users may have under way, and the daemon.
        self.assertLess(most, 600 << 10, "memory of the daemon, KiB")

    def test_ten_thousand_connections_of_one_user_keep_no_other_out(self):
        with lab.crowd("alice", processes=2, each=5000):
            print(f"crowd: {self.others_are_served('ten thousand connections'):.2f} s")

    def test_a_job_that_fills_its_log_leaves_room_and_time_for_others(self):
        number = submit("alice", "yes hello-hello-hello", "--log-limit 1M")
        lab.reaches(number, "running")
        self.others_are_served("a log without end")
        size = int(sh(f"du -sb /var/lib/stoked/logs/{number}.1 | cut -f 1"))
        self.assertLess(size, 4 << 20)
        sh(f"stoke cancel --grace 0 {number}", "alice")
        lab.reaches(number, "cancelled")


if __name__ == "__main__":
    lab.main()
