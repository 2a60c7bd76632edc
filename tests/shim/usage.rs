//! What an attempt used: told at its end, whatever held its processes together.

use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::fs::statfs;
use stoked::wire::shim::{ContainmentSpec, ExitRecord};

use crate::daemon::Attempt;

/// Set for a copy of this program that is to be a load.
const LOAD: &str = "STOKED_TEST_LOAD";
/// How much is read and written at once.
const PART: u64 = 64 << 10;
/// File systems in memory, on which nothing is read or written.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// CPU time of this process, or of its children, microseconds.
fn used_us(who: UsageWho) -> i64 {
    let usage = getrusage(who).unwrap();
    let (user, system) = (usage.user_time(), usage.system_time());
    (user.tv_sec() + system.tv_sec()) * 1_000_000 + user.tv_usec() + system.tv_usec()
}

fn burn(us: i64) {
    let end = used_us(UsageWho::RUSAGE_SELF) + us;
    while used_us(UsageWho::RUSAGE_SELF) < end {}
}

/// No test of its own: in a copy that is to be a load it burns CPU time, also in children that are soon gone, and says
/// how much.
#[test]
fn load() {
    match std::env::var(LOAD).as_deref() {
        Ok("parent") => {
            println!("\nbegan {}", used_us(UsageWho::RUSAGE_SELF));
            burn(300_000);
            for _ in 0..10 {
                let child = copy();
                let mut command = Command::new(&child[0]);
                let status = command.args(&child[1..]).env(LOAD, "child").status();
                assert!(status.unwrap().success());
            }
            let all = used_us(UsageWho::RUSAGE_SELF) + used_us(UsageWho::RUSAGE_CHILDREN);
            println!("\nused {all}");
        }
        Ok(_) => burn(60_000),
        Err(_) => {}
    }
}

/// The command that runs this program again as a load.
fn copy() -> Vec<String> {
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap().to_owned();
    let args = ["--exact", "usage::load", "--nocapture"].map(str::to_owned);
    std::iter::once(program).chain(args).collect()
}

fn in_both(make: impl Fn() -> Attempt, check: impl Fn(&Attempt, &ExitRecord)) {
    let attempt = make();
    check(&attempt, &attempt.run());
    if let Some(attempt) = make().in_cgroup() {
        check(&attempt, &attempt.run());
    }
}

#[test]
fn cpu_time_is_that_of_all_who_ever_ran() {
    let make = || {
        let command = copy();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut attempt = Attempt::new(&command);
        attempt.record.env.push((LOAD.into(), "parent".into()));
        attempt
    };
    in_both(make, |attempt, record| {
        let text = attempt.text();
        let said = |word: &str| -> f64 {
            let found = text.lines().find_map(|line| line.strip_prefix(word));
            found.unwrap().parse().unwrap()
        };
        // Its end comes after it spoke, and is not dearer than its beginning.
        let (began, used) = (said("began "), said("used "));
        let told = record.cpu_us.unwrap() as f64;
        let known = used * 0.99..used * 1.01 + began;
        assert!(known.contains(&told), "{told} of {used}");
        let parts = record.user_cpu_ms + record.system_cpu_ms;
        assert!(
            parts.abs_diff(record.cpu_us.unwrap() / 1000) <= 2,
            "{record:?}"
        );
    });
}

/// What the kernel had counted for a process and all it waited for, as this process told: `NAME FIELD: BYTES`.
fn told(text: &str, field: &str) -> u64 {
    let told = ["main", "orphan"].map(|name| {
        let start = format!("{name} {field}: ");
        let found = text.lines().find_map(|line| line.strip_prefix(&start));
        found.unwrap().parse::<u64>().unwrap()
    });
    told.iter().sum()
}

#[test]
fn input_and_output_are_exact() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if IN_MEMORY.contains(&statfs(disk.path()).unwrap().f_type) {
        println!("skipped: there is no disk below {}", disk.path().display());
        return;
    }
    let file = disk.path().join("file");
    let file = file.to_str().unwrap();
    // The second part is written and read by orphans, which the shim itself waits for. Each tells at its end what the
    // kernel has counted for it, and reads and writes nothing more.
    let tells =
        |name: &str| format!("while read -r it; do echo \"{name} $it\"; done < /proc/$$/io");
    let (orphan, main) = (tells("orphan"), tells("main"));
    let script = format!(
        "dd if=/dev/zero of={file} bs=64k count=32 conv=fsync\n\
         (sh -c 'dd if=/dev/zero of={file}.2 bs=64k count=16 oflag=direct\n\
         dd if={file} of=/dev/null bs=64k iflag=direct; {orphan} > $DONE' &)\n\
         while read -r it; do echo \"$it\"; done < $DONE\n{main}"
    );
    let make = || {
        let mut attempt = Attempt::shell(&script);
        let done = attempt.fifo("done");
        let entry = ("DONE".into(), done.as_os_str().into());
        attempt.record.env.push(entry);
        attempt
    };
    in_both(make, |attempt, record| {
        if record.io_write_bytes.is_none() && !rustix::process::geteuid().is_root() {
            println!("skipped: of orphans that have ended the kernel tells root only");
            return;
        }
        let text = attempt.text();
        let counted = ["write_bytes", "read_bytes"].map(|field| told(&text, field));
        let recorded = [record.io_write_bytes, record.io_read_bytes].map(Option::unwrap);
        if matches!(attempt.record.containment, ContainmentSpec::Tree) {
            assert_eq!(recorded, counted, "to the byte\n{text}");
        }
        // A cgroup counts besides what reaches the disk because of it: the file system may write a block or two of its
        // own, and which these are no process is told.
        let [written, read] = recorded;
        assert!(written >= counted[0] && read >= counted[1], "{text}");
        assert!((48 * PART..49 * PART).contains(&written), "{record:?}");
        // Where memory is short, parts of the programs themselves are read once more, which the kernel counts as well.
        assert!((32 * PART..48 * PART).contains(&read), "{record:?}");
    });
}

#[test]
fn the_most_memory_of_one_process_is_that_of_a_known_size() {
    let bytes: u64 = 256 << 20;
    let script = format!("dd if=/dev/zero of=/dev/null bs={bytes} count=1");
    in_both(
        || Attempt::shell(&script),
        |_, record| {
            let used = record.memory_peak_bytes.unwrap_or(record.max_rss_bytes);
            // What dd itself takes comes on top.
            assert!((bytes..bytes + bytes / 50).contains(&used), "{record:?}");
        },
    );
}
