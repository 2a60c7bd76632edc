"""What the cases have in common: the daemon installed as a package would do it, commands as some user, and waiting."""

import contextlib
import glob
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
import unittest

SOCKET = "/run/stoked/stoked.sock"

# How long anything may take that is waited for.
PATIENCE = 60


def install():
    """Puts programs and units where a package puts them, and starts the service."""
    os.makedirs("/usr/libexec/stoked", exist_ok=True)
    shutil.copy("/lab/bin/stoked", "/usr/bin")
    shutil.copy("/lab/bin/stoke", "/usr/bin")
    for program in ("stoked-shim", "stoked-pam"):
        shutil.copy(f"/lab/bin/{program}", "/usr/libexec/stoked")
    for kind, place in (("system", "/usr/lib/systemd/system"), ("user", "/usr/lib/systemd/user"),
                        ("sysusers.d", "/usr/lib/sysusers.d"), ("tmpfiles.d", "/usr/lib/tmpfiles.d")):
        for file in glob.glob(f"/lab/systemd/{kind}/*"):
            shutil.copy(file, place)
    sh("systemd-sysusers stoked.conf && systemd-tmpfiles --create stoked.conf && systemctl daemon-reload")
    sh("systemctl start stoked.socket stoked.service")


def sh(script, user=None, check=True, **options):
    """What a script of the shell prints; as a user, in a home directory and with a clean environment."""
    options = {**of_user(user), **options}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE * 2, **options)
    if check and done.returncode:
        raise AssertionError(f"{script!r} as {user or 'root'} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip() if check else done


def of_user(user):
    """What makes a process one of a user: who he is, his home directory and a clean environment."""
    if not user:
        return {}
    entry = pwd.getpwnam(user)
    environment = {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    return {"user": user, "group": entry.pw_gid, "extra_groups": os.getgrouplist(user, entry.pw_gid),
            "cwd": entry.pw_dir, "env": environment}


def start(command, user):
    """A process of a user, with pipes to and from it."""
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **of_user(user))


CROWD = """
import resource, socket, sys
count = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 1000, count + 1000))
crowd = []
for _ in range(count):
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    try:
        client.connect(sys.argv[1])
    except OSError:
        pass
    crowd.append(client)
print("crowded", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def crowd(user, processes, each):
    """So many processes of a user, each with so many connections that say nothing."""
    children = [start(["python3", "-c", CROWD, SOCKET, str(each)], user) for _ in range(processes)]
    for child in children:
        if (said := child.stdout.readline()) != b"crowded\n":
            raise AssertionError(f"there is no crowd: {said!r}")
    yield
    for child in children:
        child.communicate()


def submit(user, script, *options):
    """The number of a job that runs a script of the shell."""
    return int(sh(f"stoke run -d {' '.join(options)} -- sh -c '{script}'", user))


def job(number, user=None):
    """All that is known of a job."""
    return json.loads(sh(f"stoke show {number} --json", user))


def until(question, wanted=True, what=None):
    """Asks until the answer is what is wanted."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = question()
        if answer == wanted:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or question}: waited for {wanted!r}, and it is {answer!r}")
        time.sleep(0.01)


def reaches(number, state):
    """Waits until a job is in a state."""
    until(lambda: job(number)["state"], state, f"state of job {number}")


def unit(number, attempt=1):
    return f"stoked-job-{number}-{attempt}.service"


def show(name, *properties):
    """Properties of a unit."""
    wanted = " ".join(f"-p {it}" for it in properties)
    lines = sh(f"systemctl show {name} {wanted}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def units():
    """The units of jobs that systemd knows, in whatever state."""
    listed = sh("systemctl list-units --all --plain --no-legend 'stoked-job-*'")
    return [line.split()[0] for line in listed.splitlines()]


def daemon():
    """The process of the daemon, 0 where there is none."""
    return int(show("stoked.service", "MainPID")["MainPID"])


def processes(text):
    """Living processes whose command line has a text in it."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if text in " ".join(words) and int(path.split("/")[2]) != os.getpid():
            found.append(int(path.split("/")[2]))
    return found


def end_all():
    """Ends all jobs that a test left, so that the next one has all places."""
    for found in json.loads(sh("stoke ls --json --state live"))["items"]:
        sh(f"stoke cancel --grace 0 {found['id']}; stoke wait {found['id']}", check=False)


class Case(unittest.TestCase):
    """Tests that leave no job behind."""

    def tearDown(self):
        end_all()


def main():
    unittest.main(verbosity=2, failfast=False, argv=[sys.argv[0]])
