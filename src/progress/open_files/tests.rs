//! Which file is followed and what is said of it: on made-up looks, and on real processes.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::model::progress::Tracker;
use crate::model::time::Stamp;

const MIB: u64 = 1 << 20;

fn file(descriptor: u32, is_read: bool, offset: u64, size: u64) -> OpenFile {
    OpenFile {
        key: Key {
            pid: 7,
            start_ticks: 70,
            descriptor,
            device: (8, 1),
            inode: 100 + u64::from(descriptor),
        },
        name: format!("file{descriptor}"),
        offset,
        size,
        is_read,
        is_allocated: false,
    }
}

fn shown(sight: &Sight) -> Option<(&str, f64, Option<f64>)> {
    match sight {
        Sight::Moved(seen) => Some((
            seen.phase.as_deref().unwrap(),
            seen.step.unwrap(),
            seen.total_steps,
        )),
        Sight::Perhaps | Sight::Nothing => None,
    }
}

#[test]
fn a_file_counts_once_it_has_moved() {
    let mut files = OpenFiles::default();
    assert_eq!(
        files.see(vec![file(3, true, MIB, 8 * MIB)]),
        Sight::Perhaps,
        "an offset may have been left there by somebody"
    );
    let sight = files.see(vec![file(3, true, 2 * MIB, 8 * MIB)]);
    assert_eq!(
        shown(&sight),
        Some(("file3", 2_097_152.0, Some(8_388_608.0)))
    );
    let Sight::Moved(seen) = sight else { panic!() };
    assert!(seen.estimated && seen.unit.as_deref() == Some("B"));
    assert_eq!(seen.source, Source::Adapter(SOURCE.to_owned()));
    let again = files.see(vec![file(3, true, 2 * MIB, 8 * MIB)]);
    assert_eq!(again, Sight::Nothing, "it stands");
}

#[test]
fn what_never_moves_is_not_waited_for() {
    let mut files = OpenFiles::default();
    let mapped = || vec![file(3, true, 0, 8 * MIB)];
    let sights: Vec<Sight> = (0..4).map(|_| files.see(mapped())).collect();
    assert_eq!(sights[0], Sight::Perhaps);
    assert_eq!(sights[2..], [Sight::Nothing, Sight::Nothing]);
    // It does after all.
    let sight = files.see(vec![file(3, true, MIB, 8 * MIB)]);
    assert!(shown(&sight).is_some());
}

#[test]
fn the_largest_that_is_read_comes_before_what_is_written() {
    let mut files = OpenFiles::default();
    let look = |at: u64| {
        vec![
            file(1, false, 3 * at * MIB, 90 * MIB),
            file(3, true, at * MIB, 10 * MIB),
            file(4, true, at * MIB, 20 * MIB),
            file(5, true, 0, 800 * MIB),
        ]
    };
    files.see(look(1));
    assert_eq!(shown(&files.see(look(2))).unwrap().0, "file4");
}

#[test]
fn a_file_is_followed_for_as_long_as_it_is_open() {
    let mut files = OpenFiles::default();
    files.see(vec![file(3, true, 0, 4 * MIB)]);
    files.see(vec![file(3, true, MIB, 4 * MIB)]);
    let larger = |at| file(4, true, at, 400 * MIB);
    for step in 2..4 {
        let sight = files.see(vec![
            file(3, true, step * MIB, 4 * MIB),
            larger(step * 50 * MIB),
        ]);
        assert_eq!(shown(&sight).unwrap().0, "file3");
    }
    let sight = files.see(vec![larger(300 * MIB)]);
    assert_eq!(shown(&sight).unwrap().0, "file4");
}

#[test]
fn each_file_is_a_phase_of_its_own_and_a_closed_one_is_taken_back() {
    let mut files = OpenFiles::default();
    let mut tracker = Tracker::default();
    let mut now_ms = 0_u32;
    let mut look = |open: Vec<OpenFile>| {
        now_ms += 1_000;
        let at = Stamp {
            wall_ms: i64::from(now_ms),
            boot_ms: u64::from(now_ms),
        };
        if let Sight::Moved(seen) = files.see(open) {
            tracker.observe(*seen, at);
        }
        tracker.refresh(at);
        tracker.progress().clone()
    };
    for offset in 0..6 {
        look(vec![file(3, true, offset * MIB, 20 * MIB)]);
    }
    let first = look(vec![file(3, true, 6 * MIB, 20 * MIB)]);
    assert_eq!(first.percent, Some(30.0));
    assert!(first.estimated && first.eta_seconds.is_some());
    // Another of the same size, further on when it is found: not the first one gone on.
    for offset in 8..10 {
        look(vec![file(4, true, offset * MIB, 20 * MIB)]);
    }
    let second = look(vec![file(4, true, 10 * MIB, 20 * MIB)]);
    assert_eq!(second.percent, Some(50.0));
    assert_eq!(second.phase.as_deref(), Some("file4"));
    assert_eq!(second.phase_number, first.phase_number + 1);
    look(Vec::new());
    let after = look(Vec::new());
    assert_eq!(
        (
            after.percent,
            after.step,
            after.phase,
            after.rate,
            after.eta_seconds
        ),
        (None, None, None, None, None)
    );
    assert!(!after.estimated && after.phase_number == second.phase_number + 1);
    assert_eq!(look(Vec::new()).phase_number, after.phase_number);
    look(vec![file(5, true, MIB, 2 * MIB)]);
    let third = look(vec![file(5, true, 2 * MIB, 2 * MIB)]);
    assert_eq!(third.percent, Some(100.0));
    // A word of the job itself, however coarse, ends it.
    let mut said = Observation::new(Source::Adapter("ratio".to_owned()));
    said.percent = Some(5.0);
    tracker.observe(
        said,
        Stamp {
            wall_ms: 60_000,
            boot_ms: 60_000,
        },
    );
    let said = tracker.progress();
    assert_eq!((said.percent, said.estimated), (Some(5.0), false));
}

#[test]
fn what_is_only_written_has_no_total() {
    let mut files = OpenFiles::default();
    files.see(vec![file(3, false, MIB, MIB)]);
    let sight = files.see(vec![file(3, false, 2 * MIB, 2 * MIB)]);
    assert_eq!(shown(&sight), Some(("file3", 2_097_152.0, None)));
}

#[test]
fn room_made_beforehand_is_the_total_until_it_proves_wrong() {
    let mut files = OpenFiles::default();
    let look = |offset, size| {
        let mut file = file(3, false, offset, size);
        file.is_allocated = true;
        vec![file]
    };
    files.see(look(MIB, 9 * MIB));
    let sight = files.see(look(2 * MIB, 9 * MIB));
    assert_eq!(shown(&sight).unwrap().2, Some(9_437_184.0));
    let sight = files.see(look(9 * MIB, 9 * MIB));
    assert_eq!(shown(&sight).unwrap().2, Some(9_437_184.0));
    for size in [10 * MIB, 20 * MIB] {
        let sight = files.see(look(9 * MIB + size / 10, size));
        assert_eq!(shown(&sight).unwrap().2, None, "it grows: nothing is known");
    }
}

#[test]
fn one_that_goes_back_and_forth_is_given_up() {
    let mut files = OpenFiles::default();
    let mut last = Sight::Nothing;
    for offset in [0, 5, 1, 6, 2, 7, 3, 8, 1] {
        last = files.see(vec![file(3, true, offset * MIB, 9 * MIB)]);
    }
    assert_eq!(last, Sight::Nothing);
    let other = |at| vec![file(3, true, at, 9 * MIB), file(4, true, at, 3 * MIB)];
    files.see(other(MIB));
    assert_eq!(shown(&files.see(other(2 * MIB))).unwrap().0, "file4");
}

#[test]
fn of_many_small_files_what_is_written_tells() {
    let mut files = OpenFiles::default();
    let mut seen = None;
    for look in 1..8 {
        let mut small = file(4, true, MIB, 2 * MIB);
        small.key.inode = 1000 + look;
        let archive = file(3, false, look * MIB, look * MIB);
        let sight = files.see(vec![small, archive]);
        seen = shown(&sight).map(|(name, ..)| name.to_owned()).or(seen);
    }
    assert_eq!(seen.as_deref(), Some("file3"));
    let mut alone = OpenFiles::default();
    let mut soon = 0;
    for look in 1..100 {
        let mut small = file(4, true, MIB, 2 * MIB);
        small.key.inode = 1000 + look;
        soon += u32::from(alone.see(vec![small]) == Sight::Perhaps);
    }
    assert!(soon <= MOST_UNDECIDED, "it is not looked at all the time");
}

#[test]
fn stokeds_own_files_are_known_by_their_directories() {
    let scope = Scope {
        programs: Vec::new(),
        excluded: vec![PathBuf::from("/var/lib/stoked")],
    };
    for own in [
        "/var/lib/stoked",
        "/var/lib/stoked/logs/1.1/stdout.0",
        "/var/lib/stoked/x (deleted)",
    ] {
        assert!(scope.excludes(own.as_bytes()), "{own}");
    }
    assert!(!scope.excludes(b"/var/lib/stoked-data/x") && !scope.excludes(b"/x"));
}

proptest! {
    #[test]
    fn never_more_than_all_and_never_another_file_while_one_is_open(
        looks in proptest::collection::vec(
            proptest::collection::vec((0..5_u32, any::<bool>(), 0..40_u64, 0..40_u64, any::<bool>()), 0..6),
            1..40,
        ),
    ) {
        let mut files = OpenFiles::default();
        let mut followed: Option<Key> = None;
        for look in looks {
            let mut open: Vec<OpenFile> = Vec::new();
            for (descriptor, is_read, offset, size, is_allocated) in look {
                let mut next = file(descriptor, is_read, offset * MIB, size * MIB);
                next.is_allocated = is_allocated;
                if open.iter().all(|it| it.key != next.key) {
                    open.push(next);
                }
            }
            let keys: Vec<Key> = open.iter().map(|it| it.key).collect();
            let sight = files.see(open);
            if let Sight::Moved(seen) = &sight {
                let (step, total) = (seen.step.unwrap_or(0.0), seen.total_steps);
                prop_assert!(step >= 0.0 && total.is_none_or(|total| step <= total));
                prop_assert_eq!(seen.step.is_some(), files.followed.is_some());
                prop_assert!(seen.estimated && seen.percent.is_none());
            }
            if let Some(key) = followed.filter(|key| keys.contains(key)) {
                let given_up = files.tracks[&key].rewinds > MOST_REWINDS;
                prop_assert!(given_up || files.followed == Some(key));
            }
            followed = files.followed;
            prop_assert!(files.tracks.len() <= keys.len());
        }
    }
}

/// A process that is ended with the test.
struct Job(Child);

impl Job {
    fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    fn process(&self) -> Process {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        let rest = stat.rsplit(')').next().unwrap();
        let start_ticks = rest.split_whitespace().nth(19).unwrap().parse().unwrap();
        Process {
            pid: self.0.id(),
            start_ticks,
        }
    }

    /// Lets it write so much.
    fn take(&mut self, bytes: u64) {
        let mut sink = vec![0; usize::try_from(bytes).unwrap()];
        self.0
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut sink)
            .unwrap();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn sparse(dir: &tempfile::TempDir, name: &str, bytes: u64) -> PathBuf {
    let path = dir.path().join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

fn scope() -> Scope {
    Scope {
        programs: vec!["cat".to_owned()],
        excluded: Vec::new(),
    }
}

/// What a process may have read beyond what was taken from it: its buffer, and the pipe's.
const AHEAD: u64 = MIB / 2;

#[test]
fn a_real_reader_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = sparse(&dir, "big \u{1b}[31m.img", 32 * MIB);
    let mut job = Job::start(Command::new("cat").arg(&path));
    job.take(MIB);
    let mut files = OpenFiles::default();
    let process = job.process();
    let first = files.look(&[process], &scope(), false);
    assert_eq!(first, Sight::Perhaps);
    job.take(7 * MIB);
    let sight = files.look(&[process], &scope(), false);
    let (name, step, total) = shown(&sight).unwrap();
    assert!(name.starts_with("big "), "{name:?}");
    let (low, high) = (count(8 * MIB), count(8 * MIB + AHEAD));
    assert!(step >= low && step <= high, "{step}");
    assert_eq!(total, Some(count(32 * MIB)));
    // Deleted meanwhile, it is read on.
    std::fs::remove_file(&path).unwrap();
    job.take(MIB);
    let (name, ..) = shown(&files.look(&[process], &scope(), false))
        .map(|(name, step, total)| (name.to_owned(), step, total))
        .unwrap();
    assert!(name.ends_with(".img"), "{name:?}");
}

#[test]
fn a_redirected_input_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let input = File::open(sparse(&dir, "input", 8 * MIB)).unwrap();
    let mut job = Job::start(Command::new("cat").stdin(input));
    job.take(MIB);
    let mut files = OpenFiles::default();
    files.look(&[job.process()], &scope(), false);
    job.take(2 * MIB);
    let sight = files.look(&[job.process()], &scope(), false);
    assert_eq!(shown(&sight).unwrap().0, "input");
}

#[test]
fn strangers_other_programs_and_excluded_files_are_not_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = sparse(&dir, "big.img", 8 * MIB);
    let mut job = Job::start(Command::new("cat").arg(&path));
    job.take(MIB);
    let process = job.process();
    let found = |process, scope: &Scope, any| scan::open_files(process, scope, any).len();
    assert_eq!(found(process, &scope(), false), 1);
    assert_eq!(found(process, &Scope::default(), false), 0);
    assert_eq!(found(process, &Scope::default(), true), 1);
    let recycled = Process {
        start_ticks: process.start_ticks + 1,
        ..process
    };
    assert_eq!(found(recycled, &scope(), true), 0);
    let excluding = Scope {
        excluded: vec![dir.path().canonicalize().unwrap()],
        ..scope()
    };
    assert_eq!(found(process, &excluding, true), 0);
    drop(job);
    assert_eq!(found(process, &scope(), true), 0);
}

#[test]
fn many_descriptors_small_files_and_directories_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = sparse(&dir, "big.img", 8 * MIB);
    sparse(&dir, "small", MIB - 1);
    // 2,000 descriptors before the one that counts.
    let script = "i=10; while [ $i -lt 2000 ]; do eval \"exec $i</\"; i=$((i+1)); done; \
                  exec 3<big.img 4<small 5<.; head -c 2097152 <&3; read x";
    let mut job = Job::start(
        Command::new("bash")
            .args(["-c", script])
            .current_dir(dir.path())
            .stdin(Stdio::null()),
    );
    job.take(MIB);
    let files = scan::open_files(job.process(), &scope(), true);
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0].name, path.file_name().unwrap().to_str().unwrap());
}
