//! Full disks and directories that somebody else has been in.

use super::*;

#[test]
fn planted_files_are_not_read_and_do_not_hold_up_the_reader() {
    let (root, dir) = log_dir();
    write_all(&dir, 1 << 20, &[Write(Stream::Stdout, b"mine".to_vec(), 0)]).finish();
    let secret = root.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    std::os::unix::fs::symlink(&secret, dir.join("stderr.0")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        dir.join("stdout.100"),
        rustix::fs::Mode::RWXU,
    )
    .unwrap();
    fs::create_dir(dir.join("order.3200")).unwrap();
    fs::write(dir.join("stdout.junk"), "junk").unwrap();
    for from in [
        From::Start,
        From::Tail { lines: 9 },
        From::Since { wall_ms: 0 },
        From::TailBytes(99),
    ] {
        let got = text(&read(&dir, Selection::Both, from));
        assert_eq!(got, "mine");
    }
}

#[test]
fn a_log_that_goes_on_in_an_old_directory_overwrites_nothing() {
    let (_root, dir) = log_dir();
    let first = [
        Write(Stream::Stdout, b"one ".to_vec(), 0),
        Write(Stream::Stderr, b"two ".to_vec(), 9),
    ];
    drop(write_all(&dir, 1 << 20, &first));
    write_all(
        &dir,
        1 << 20,
        &[Write(Stream::Stdout, b"three".to_vec(), 20)],
    )
    .finish();
    let chunks = read(&dir, Selection::Both, From::Start);
    assert_eq!(gaps(&chunks), 0);
    assert_eq!(flat(&chunks).len(), 13);
}

/// Runs the test called `name` again as the only one of a child with a small tmpfs of its own, and
/// tells that child where it is. `None` in the parent, when the child is done.
fn on_small_disk(name: &str) -> Option<PathBuf> {
    const PLACE: &str = "STOKED_TEST_SMALL_DISK";
    if let Some(place) = std::env::var_os(PLACE) {
        return Some(place.into());
    }
    let root = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=256k,mode=700 small \"$1\" || exit 77; shift; \"$@\"";
    let done = std::process::Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(root.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", name])
        .env(PLACE, root.path())
        .output();
    match done {
        Ok(done) if done.status.success() => {
            let said = String::from_utf8_lossy(&done.stdout);
            assert!(said.contains("1 passed"), "no such test: {name}");
        }
        Ok(done) if done.status.code() == Some(101) => {
            panic!("{}", String::from_utf8_lossy(&done.stderr))
        }
        done => eprintln!("SKIPPED {name}: no private tmpfs here: {done:?}"),
    }
    None
}

#[test]
fn a_full_disk_is_survived_and_counted() {
    let name = "logs::read::tests::hostile::a_full_disk_is_survived_and_counted";
    let Some(disk) = on_small_disk(name) else {
        return;
    };
    let dir = disk.join("42.1");
    let filler = disk.join("filler");
    let mut log = AttemptLog::open(&dir, 1 << 30);
    let mut follower = open(&dir, Selection::Both, From::Start).unwrap();
    let mut followed = Vec::new();
    let mut writes = Vec::new();
    for n in 0..400_i64 {
        // The disk is full by turns, and full at the end.
        match n % 100 {
            10 => fs::write(&filler, vec![0; 200 << 10]).unwrap_or_default(),
            60 => fs::remove_file(&filler).unwrap(),
            _ => {}
        }
        let stream = if n % 3 == 0 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        let bytes = vec![u8::try_from(n % 251).unwrap(); 1_700];
        log.append(stream, &bytes, n * 10);
        writes.push(Write(stream, bytes, 0));
        followed.extend(drain(&mut follower, 4096));
        assert_eq!(gaps(&followed), log.dropped_bytes(), "told at once");
    }
    assert!(log.dropped_bytes() > 100_000, "the disk was never full");
    log.finish();
    followed.extend(drain(&mut follower, 4096));
    let written = merged(&writes);
    let chunks = read(&dir, Selection::Both, From::Start);
    for chunks in [&chunks, &followed] {
        assert_true(chunks, &written);
        assert_eq!(gaps(chunks), log.dropped_bytes());
        assert_eq!(
            flat(chunks).len() as u64 + gaps(chunks),
            written.len() as u64
        );
    }
    assert!(text(&chunks).contains("[stoked: "));
}

#[test]
fn a_directory_that_cannot_be_made_drops_and_counts() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("file"), "").unwrap();
    let mut log = AttemptLog::open(&root.path().join("file/42.1"), 1 << 20);
    log.append(Stream::Stdout, b"12345", 0);
    log.append(Stream::Stderr, b"678", 0);
    log.finish();
    assert_eq!(log.dropped_bytes(), 8);
}
