//! The fake driver of NVIDIA's GPUs, for tests: compiled when its source is newer, and driven by a file (`control.c`
//! says how).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;
use tempfile::TempDir;

const SOURCES: [&str; 5] = ["control.c", "control.h", "nvml.c", "nvml.h", "uses.c"];

/// The library, compiled with the C compiler that Rust links with.
pub(crate) fn library() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake-nvml");
    let times = SOURCES.map(|name| fs::metadata(dir.join(name)).unwrap().modified().unwrap());
    let newest = times.into_iter().max().unwrap();
    let newest = newest.duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fake-nvml");
    let library = place.join(format!("libnvidia-ml.{newest}.so"));
    if !library.exists() {
        fs::create_dir_all(&place).unwrap();
        // Tests run side by side: each compiles for itself, and the last one to be done puts the same there again.
        let draft = tempfile::Builder::new().tempfile_in(&place).unwrap();
        let sources = SOURCES.iter().filter(|name| name.ends_with(".c"));
        let status = Command::new("cc")
            .args([
                "-shared", "-fPIC", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
            ])
            .arg("-Wl,-soname,libnvidia-ml.so.1")
            .arg("-o")
            .arg(draft.path())
            .args(sources.map(|name| dir.join(name)))
            .args(["-lpthread", "-ldl"])
            .status();
        assert!(
            status.unwrap().success(),
            "the fake driver does not compile"
        );
        // Whoever compiled it, others may run the tests as well.
        fs::set_permissions(draft.path(), fs::Permissions::from_mode(0o755)).unwrap();
        draft.persist(&library).unwrap();
    }
    library
}

/// A driver of its own for one test: another copy of the library, with another control file beside it.
pub(crate) struct FakeDriver {
    dir: TempDir,
}

impl FakeDriver {
    /// A driver that says this.
    pub(crate) fn new(control: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = Self { dir };
        fs::copy(library(), fake.library()).unwrap();
        fake.say(control);
        fake
    }

    /// The library, as settings name it.
    pub(crate) fn library(&self) -> PathBuf {
        self.dir.path().join("libnvidia-ml.so.1")
    }

    /// The directory in which it is found by its usual name.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// From now on it says this instead.
    pub(crate) fn say(&self, control: &str) {
        self.say_silently(&format!("log {}\n{control}", self.log().display()));
    }

    /// The same, without taking down the calls that are made.
    pub(crate) fn say_silently(&self, control: &str) {
        let draft = self.dir.path().join("draft");
        fs::write(&draft, control).unwrap();
        fs::rename(&draft, self.dir.path().join("control")).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("calls")
    }

    /// The calls that were made so far: `nvmlDeviceGetName 0`.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Forgets them.
    pub(crate) fn forget_calls(&self) {
        let _gone = fs::remove_file(self.log());
    }
}

/// A whole GPU, as a control file says it, with what all of them have.
pub(crate) fn gpu(number: u32) -> String {
    let values = [
        (
            "uuid",
            format!("GPU-0000000{number}-aaaa-bbbb-cccc-dddddddddddd"),
        ),
        ("name", "NVIDIA Fake H100".to_owned()),
        ("bus", format!("0000:{:02x}:00.0", 0x60 + number)),
        ("minor", number.to_string()),
        ("memory.total", "80G".to_owned()),
        ("memory.used", "18G".to_owned()),
        ("memory.reserved", "1G".to_owned()),
        ("utilization", "85".to_owned()),
        ("memory.utilization", "40".to_owned()),
        ("power", "250".to_owned()),
        ("power.limit", "700".to_owned()),
        ("temperature", "66".to_owned()),
        ("temperature.slowdown", "90".to_owned()),
        ("clock.sm", "1980".to_owned()),
        ("clock.sm.max", "2100".to_owned()),
        ("clock.memory", "2619".to_owned()),
        ("pstate", "0".to_owned()),
        ("throttle", "4".to_owned()),
    ];
    let lines = values.map(|(key, value)| format!("gpu {number} {key} {value}\n"));
    lines.concat()
}

/// Its UUID.
pub(crate) fn uuid(number: u32) -> String {
    format!("GPU-0000000{number}-aaaa-bbbb-cccc-dddddddddddd")
}
