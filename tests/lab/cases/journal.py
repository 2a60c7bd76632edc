"""What happens to jobs is in the journal by the number of the job, and what they print on request."""

import json
import shutil

import lab
from lab import sh, until


def setUpModule():
    shutil.copy("/lab/packaging/catalog/stoked.catalog", "/usr/lib/systemd/catalog")
    sh("journalctl --update-catalog")
    lab.install()


def messages(*matches):
    """Entries of the journal, each as a dictionary."""
    # What was sent is written down when this returns.
    sh("journalctl --sync")
    return [json.loads(line) for line in sh(f"journalctl -b -o json {' '.join(matches)}").splitlines()]


class Journal(lab.Case):
    def test_a_job_is_found_by_its_number(self):
        number = int(sh("stoke run -d -n train-it -- sh -c 'exit 3'", "alice"))
        sh(f"stoke wait {number} || true", "alice")
        until(lambda: len(messages(f"STOKED_JOB={number}", "_SYSTEMD_UNIT=stoked.service")), 2, "messages")
        started, ended = messages(f"STOKED_JOB={number}", "_SYSTEMD_UNIT=stoked.service")
        for entry in (started, ended):
            self.assertEqual((entry["STOKED_USER"], entry["STOKED_JOB_NAME"], entry["STOKED_ATTEMPT"]),
                             ("alice", "train-it", "1"))
            self.assertEqual(len(entry["MESSAGE_ID"]), 32)
        self.assertEqual(started["MESSAGE"], f"job {number} (train-it) of alice started")
        self.assertTrue(ended["MESSAGE"].startswith(f"job {number} (train-it) of alice failed: "), ended["MESSAGE"])
        self.assertLess(int(ended["PRIORITY"]), int(started["PRIORITY"]))
        explained = sh(f"journalctl -x -b STOKED_JOB={number} _SYSTEMD_UNIT=stoked.service")
        self.assertIn(f"Subject: Job {number} has failed", explained)
        self.assertIn(f"stoke logs {number}", explained)

    def test_output_is_there_on_request_and_not_else(self):
        script = 'echo to-stdout; echo to-stderr >&2; printf "10%%\\\\r20%%\\\\rdone\\\\n"; printf "no end"; printf "MESSAGE=x" >&2'
        number = int(sh(f"stoke run -d --journal -n printer -- sh -c '{script}'", "alice"))
        sh(f"stoke wait {number}", "alice")
        unit = f"_SYSTEMD_UNIT={lab.unit(number)}"
        found = {entry["MESSAGE"]: entry for entry in messages(unit, "SYSLOG_IDENTIFIER=printer")}
        self.assertEqual(set(found), {"to-stdout", "to-stderr", "done", "no end", "MESSAGE=x"})
        self.assertEqual((found["to-stdout"]["PRIORITY"], found["to-stderr"]["PRIORITY"]), ("6", "4"))
        # What the unit of a job says is said of that job.
        self.assertEqual({entry["STOKED_JOB"] for entry in found.values()}, {str(number)})
        self.assertIn("to-stdout", sh(f"stoke logs {number}", "alice"))
        number = int(sh("stoke run -d -- echo quiet-please", "alice"))
        sh(f"stoke wait {number}", "alice")
        self.assertEqual([it for it in messages() if it.get("MESSAGE") == "quiet-please"], [])

    def test_the_daemon_speaks_with_its_own_priorities(self):
        found = [it for it in messages("_SYSTEMD_UNIT=stoked.service") if it["MESSAGE"] == "ready"]
        self.assertTrue(found)
        self.assertEqual(found[0]["SOCKET"], lab.SOCKET)


if __name__ == "__main__":
    lab.main()
