"""The installed package under three users with two hundred jobs each, while the daemon is restarted twenty times, killed
five times and once upgraded. After that it is purged.

The packages are the files stoked_*.deb in /lab, in the order of their names.
"""

import glob
import json
import os
import signal

import lab
from lab import sh, until

USERS = ("alice", "bob", "carol")
JOBS = 200
RESTARTS = 20
KILLS = 5
# Before this turn the package is upgraded.
UPGRADE = 12

PACKAGES = sorted(glob.glob("/lab/stoked_*.deb"))
CONFIGURATION = "/etc/stoked/stoked.toml.d/crowd.toml"
FILES = "/lab/cases/files"

# Each says that it began, takes a moment, prints who it is, and ends with a status of its own.
JOB = 'echo %(index)s >> began; sleep 0.%(pause)s; echo %(user)s-%(index)s; exit %(status)s'


def apt(words):
    sh(f"DEBIAN_FRONTEND=noninteractive dpkg {words}")


def configure():
    os.makedirs(os.path.dirname(CONFIGURATION), exist_ok=True)
    with open(CONFIGURATION, "w", encoding="utf-8") as file:
        file.write("jobs.default_parallelism = 16\n")
    sh("systemctl reload stoked")


def of(user, index):
    return JOB % {"user": user, "index": index, "pause": index % 5, "status": index % 7}


def submitting(user):
    """A process that submits all jobs of a user, one after the other, and prints their numbers."""
    lines = [f"stoke run -d -n {user}-{index} -- sh -c '{of(user, index)}' || echo failed" for index in range(JOBS)]
    return lab.start(["bash", "-c", "\n".join(lines)], user)


def ended():
    """How many jobs have come to their end; nothing while the daemon is away."""
    done = sh("stoke ls --json --state final --limit 1000", check=False)
    return len(json.loads(done.stdout)["items"]) if done.returncode == 0 else 0


class Crowd(lab.Case):
    def test_nothing_is_lost_and_nothing_mixed_up(self):
        self.assertEqual(len(PACKAGES), 2)
        before = sh(FILES).splitlines()
        apt(f"-i {PACKAGES[0]}")
        configure()
        self.three_users_at_once()
        apt("--purge stoked")
        self.assertEqual(sh(FILES).splitlines(), before, "a purge leaves nothing behind")
        self.assertEqual(lab.units(), [])

    def tearDown(self):
        """There is no daemon any more that jobs could be left to."""

    def three_users_at_once(self):
        clients = {user: submitting(user) for user in USERS}
        every = len(USERS) * JOBS // (RESTARTS + KILLS + 1)
        for turn in range(RESTARTS + KILLS):
            until(lambda turn=turn: ended() >= turn * every, True, f"{turn * every} ends")
            before = lab.daemon()
            if turn == UPGRADE:
                apt(f"-i {PACKAGES[1]}")
                until(lambda before=before: lab.daemon() not in (0, before), True, "the new daemon")
                before = lab.daemon()
            if turn % (RESTARTS // KILLS + 1) == 0:
                os.kill(before, signal.SIGKILL)
            else:
                sh("systemctl restart stoked")
            until(lambda before=before: lab.daemon() not in (0, before), True, "another daemon")
        numbers = {}
        for user, client in clients.items():
            said = client.communicate()[0].decode().split()
            self.assertEqual(len(said), JOBS)
            self.assertNotIn("failed", said)
            numbers[user] = [int(number) for number in said]
        together = [number for user in USERS for number in numbers[user]]
        self.assertEqual(len(set(together)), len(together))
        until(ended, len(together), "all ends")
        found = {it["id"]: it for it in json.loads(sh("stoke ls --json -a --limit 1000"))["items"]}
        for user in USERS:
            for index, number in enumerate(numbers[user]):
                job = found[number]
                self.assertEqual((job["owner"]["user"], job["name"]), (user, f"{user}-{index}"))
                self.assertEqual(job.get("exit"), {"code": index % 7}, job)
                self.assertEqual(job["attempt"], 1)
            with open(f"/home/{user}/began", encoding="utf-8") as file:
                began = sorted(int(line) for line in file)
            self.assertEqual(began, list(range(JOBS)), "each began once")
            for index in range(0, JOBS, 20):
                self.assertEqual(sh(f"stoke logs {numbers[user][index]}", user), f"{user}-{index}")
        self.strangers_get_nothing(numbers)
        until(lab.units, [], "units")
        self.assertEqual(os.listdir("/var/lib/stoked/attempts"), [])
        self.assertEqual(os.listdir("/run/stoked/reports"), [])

    def strangers_get_nothing(self, numbers):
        for user in USERS:
            other = USERS[USERS.index(user) - 1]
            number = numbers[other][7]
            seen = json.loads(sh(f"stoke show {number} --json", user))
            self.assertNotIn("command", seen)
            for words in ("logs", "retry", "rm"):
                done = sh(f"stoke {words} {number}", user, check=False)
                self.assertEqual(done.returncode, 5, f"{words} as {user}: {done.stderr}")


if __name__ == "__main__":
    lab.main()
