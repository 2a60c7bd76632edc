"""What is limited is limited: memory, processes, CPUs. In a machine with a kernel of its own, and slow: few jobs do."""

import os

import lab
from lab import job, sh, show, unit, until


def setUpModule():
    lab.install()


def run(options, script, user="alice"):
    """The job that a script ran in, over."""
    number = int(sh(f"stoke run -d {options} -- bash -c '{script}'", user))
    sh(f"stoke wait {number} || true", user)
    return job(number)


class Limits(lab.Case):
    def test_memory_beyond_the_limit_ends_all_of_the_job_and_is_told_as_that(self):
        # Something that would outlive the one that takes the memory.
        found = run("--memory-max 64M", "sleep 98765 & head -c 200M /dev/zero | tail")
        self.assertEqual((found["state"], found["failure"]["class"]), ("failed", "oom"), found)
        self.assertEqual(lab.processes("sleep 98765"), [])
        self.assertEqual(found["limits"], {"memory_max_bytes": 64 << 20})
        # The kernel counts a handful of pages for each CPU ahead, and takes them back where the limit says no.
        self.assertLess(found["attempts"][0]["usage"]["memory_peak_bytes"], 66 << 20)
        until(lambda: unit(found["id"]) in lab.units(), False, "the unit")

    def test_what_stays_inside_the_limit_goes_well(self):
        found = run("--memory-max 200M", "head -c 50M /dev/zero | tail > /dev/null")
        self.assertEqual(found["state"], "completed", found)

    def test_processes_are_counted(self):
        found = run("--tasks-max 10", "for i in $(seq 30); do sleep 5 & done 2>/dev/null; exit 3")
        self.assertIn(found["state"], ("failed",))
        number = int(sh("stoke run -d --tasks-max 10 -- sleep 1000", "alice"))
        lab.reaches(number, "running")
        place = f"/sys/fs/cgroup/stoked.slice/stoked-u1000.slice/{unit(number)}"
        with open(f"{place}/pids.max", encoding="utf-8") as file:
            self.assertEqual(file.read().strip(), "10")
        sh(f"stoke cancel {number}", "alice")

    def test_cpus_and_weights_are_those_asked_for(self):
        number = int(sh("stoke run -d --allowed-cpus 1 --cpu-weight 50 --io-weight 20 -- sleep 1000", "alice"))
        lab.reaches(number, "running")
        found = show(unit(number), "CPUWeight", "IOWeight", "AllowedCPUs")
        self.assertEqual(found, {"CPUWeight": "50", "IOWeight": "20", "AllowedCPUs": "1"})
        self.assertEqual(os.sched_getaffinity(job(number)["attempts"][0]["pid"]), {1})
        sh(f"stoke cancel {number}", "alice")

    def test_a_limit_that_is_none_is_refused(self):
        for options, field in (("--cpu-weight 0", "cpu_weight"), ("--allowed-cpus x", "allowed_cpus"),
                               ("--tasks-max 0", "tasks_max")):
            done = sh(f"stoke run -d {options} -- true", "alice", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(field, done.stderr)
        done = sh("stoke run --allowed-gpus 7 -- true", "alice", check=False)
        self.assertIn("GPU 7", done.stderr)

    def test_devices_of_gpus_are_closed_to_who_may_use_none(self):
        sh("mknod /dev/nvidia0 c 195 0; chmod 666 /dev/nvidia0; mknod /dev/lab-zero c 1 5; chmod 666 /dev/lab-zero")
        found = run("", "exec 3</dev/nvidia0")
        log = sh(f"stoke logs {found['id']} 2>&1", "alice")
        self.assertNotIn("not permitted", log)
        found = run("--allowed-gpus none", "exec 3</dev/null 4</dev/zero; exec 5</dev/nvidia0")
        self.assertEqual(found["state"], "failed")
        self.assertIn("Operation not permitted", sh(f"stoke logs {found['id']} 2>&1", "alice"))

    def test_a_bomb_of_forks_ends_with_its_job(self):
        number = int(sh("stoke run -d --tasks-max 50 -- bash -c 'bomb() { bomb | bomb & }; bomb; sleep 1000'", "alice"))
        lab.reaches(number, "running")
        sh(f"stoke cancel --grace 0 {number}; stoke wait {number} || true", "alice")
        self.assertEqual(job(number)["state"], "cancelled")
        until(lambda: unit(number) in lab.units(), False, "the unit")


if __name__ == "__main__":
    lab.main()
