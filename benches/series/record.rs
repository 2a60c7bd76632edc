//! Makes a recording of this host and of programs that run as twenty jobs, with the sampler's own readers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use stoked::contain::cgroup::{Base, Cgroup};
use stoked::contain::identity;
use stoked::model::attempt::Process;
use stoked::model::id::{AttemptId, JobId};
use stoked::model::sample::Pass;
use stoked::model::time::Stamp;
use stoked::sampling::Watch;
use stoked::sampling::files::Roots;
use stoked::sampling::host::{HostReader, Settings};
use stoked::sampling::jobs::Jobs;
use stoked::sampling::processes::Processes;

use crate::trace::Recorder;

/// What the jobs run, in a shell, again and again: what compiles, packs, copies, counts, talks and waits.
const PROGRAMS: [&str; 20] = [
    "for i in 1 2 3 4 5 6; do echo \"int f$i(int a){int s=0;for(int i=0;i<a;i++)s+=i*a^i;return s;}\"; done > a.c; gcc -O2 -c a.c -o a.o; sleep 0.4",
    "python3 -c 'import hashlib,time\nfor i in range(200):\n hashlib.sha256(b\"x\"*2000000).digest(); time.sleep(0.05)'",
    "python3 -c 'import time\nwhile True:\n t=time.time()\n while time.time()-t<0.02: pass\n time.sleep(0.18)'",
    "dd if=/dev/zero of=out bs=64k count=160 conv=fsync status=none; sleep 1.5",
    "dd if=/dev/urandom of=noise bs=64k count=64 status=none; sleep 2",
    "tar -cf - /usr/include 2>/dev/null | gzip -1 > pack.gz; sleep 3",
    "head -c 300000 /proc/self/exe | xz -1 > pack.xz; sleep 1",
    "seq 60000 | sort -R | sort -n > sorted; sleep 2",
    "sleep 600",
    "sleep 3600 & sleep 600",
    "python3 -c 'import time\nheld=[]\nfor i in range(120):\n held.append(bytearray(700000)); time.sleep(0.5)'",
    "find /usr/share -name '*.txt' > found; sleep 4",
    "python3 -m http.server 18431 --bind 127.0.0.1 >/dev/null 2>&1",
    "for i in 1 2 3 4 5; do python3 -c 'import urllib.request as u; u.urlopen(\"http://127.0.0.1:18431/\").read()' 2>/dev/null; sleep 1; done",
    "python3 -c 'import threading,time\ndef work():\n for i in range(300): sum(range(3000)); time.sleep(0.1)\nall=[threading.Thread(target=work) for i in range(8)]\nfor it in all: it.start()\nfor it in all: it.join()'",
    "sha256sum /usr/lib/x86_64-linux-gnu/*.so > sums 2>/dev/null; sleep 5",
    "python3 -c 'import sqlite3,time\ndb=sqlite3.connect(\"rows.db\"); db.execute(\"create table if not exists t(a)\")\nfor i in range(200):\n db.execute(\"insert into t values(?)\",(\"x\"*500,)); db.commit(); time.sleep(0.2)'",
    "grep -rc include /usr/include > counted 2>/dev/null; sleep 6",
    "python3 -c 'import json,random,time\nw=[random.random() for i in range(200000)]\nfor step in range(40):\n for part in range(10):\n  w=[x*0.999+0.001 for x in w]; time.sleep(0.15)\n if step%5==4: json.dump(w,open(\"checkpoint\",\"w\"))'",
    "for i in 1 2 3 4 5 6 7 8; do true | cat; sleep 0.3; done",
];

/// A program that runs as a job.
struct Running {
    shell: Child,
    cgroup: Cgroup,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(fs::write(self.cgroup.dir().join("cgroup.kill"), "1"));
        drop(self.shell.kill());
        drop(self.shell.wait());
        drop(self.cgroup.remove(Duration::from_secs(5)));
    }
}

fn start(number: u64, program: &str, dir: &Path, base: &Base) -> (Running, Watch) {
    let cgroup = base.attempt(&format!("{number}.1"));
    cgroup.create().expect("a cgroup can be made");
    let place = dir.join(number.to_string());
    fs::create_dir_all(&place).expect("a directory can be made");
    let enter = format!("echo $$ > {}/cgroup.procs; ", cgroup.dir().display());
    let shell = Command::new("nice")
        .args(["sh", "-c", &format!("{enter}while :; do {program}\ndone")])
        .current_dir(place)
        .stdin(Stdio::null())
        .spawn()
        .expect("a shell starts");
    let identity = identity::of_pid(shell.id()).expect("it lives");
    let watch = Watch {
        attempt: AttemptId {
            job: JobId(number),
            attempt: 1,
        },
        shim: Some(Process {
            pid: identity.pid,
            start_ticks: identity.start_ticks,
        }),
        main: None,
        cgroup: Some(cgroup.dir().to_owned()),
        token: None,
        is_adopted: false,
    };
    (Running { shell, cgroup }, watch)
}

/// Records so many passes, a second apart. Jobs start and end meanwhile: of five one is begun anew each minute.
pub(crate) fn record(path: &Path, passes: u64) {
    let dir = PathBuf::from(format!("/tmp/stoked-trace-{}", std::process::id()));
    let base = Base::probe(&format!("trace-{}", std::process::id()));
    let base = base.unwrap_or_else(|why| {
        panic!("without cgroups what the jobs leave behind cannot be ended: {why}")
    });
    let roots = Roots::default();
    let mut host = HostReader::new(&roots, &Settings::default());
    let mut table = Processes::new(&roots, 0);
    let mut jobs = Jobs::new(&roots, &table);
    let mut next = 1;
    let mut running: Vec<(AttemptId, Running)> = Vec::new();
    let mut recorder = Recorder::default();
    // Nobody ever sends: what is waited for is the next second.
    let (_sender, ticks): (_, Receiver<()>) = channel();
    let began = Instant::now();
    let wall_ms = jiff::Timestamp::now().as_millisecond();
    for number in 0..passes {
        let is_minute = number % 60 == 0;
        for place in 0..PROGRAMS.len() {
            let is_new = number == 0
                || (is_minute && place % 5 == usize::try_from(number / 60).unwrap_or(0) % 5);
            if !is_new {
                continue;
            }
            let (started, watch) = start(next, PROGRAMS[place], &dir, &base);
            next += 1;
            jobs.watch(&watch, &mut table);
            let now = (watch.attempt, started);
            if number == 0 {
                running.push(now);
            } else {
                let (attempt, ended) = std::mem::replace(&mut running[place], now);
                drop(ended);
                jobs.forget(attempt, Stamp::default(), &mut table);
            }
        }
        let due = began + Duration::from_secs(number);
        while let Some(left) = due
            .checked_duration_since(Instant::now())
            .filter(|it| !it.is_zero())
        {
            let _nobody_sends = ticks.recv_timeout(left);
        }
        let after_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(0);
        let at = Stamp {
            wall_ms: wall_ms + after_ms,
            boot_ms: after_ms.unsigned_abs(),
        };
        table.refresh(at);
        let mut sample = host.read(at);
        table.tell(&mut sample);
        recorder.take(&Pass {
            at,
            host: Some(Arc::new(sample)),
            gpus: Vec::new(),
            jobs: jobs.read(at, &table).into_iter().map(Arc::new).collect(),
        });
    }
    drop(running);
    drop(fs::remove_dir_all(&dir));
    base.leave();
    let bytes = recorder.keep(path);
    crate::tell(&format!("{passes} passes, {bytes} bytes"));
}
