//! What the kernel tells of the files that a process has open: name, size, offset. Nothing is opened or read
//! but `/proc` itself, so looking at a file changes nothing, not even its access time.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::time::ClockId;

use crate::model::attempt::Process;

use super::Scope;

/// Files with fewer bytes are over before anybody looks; a reader takes them in a few gulps.
const LEAST_BYTES: u64 = 1 << 20;

/// Descriptors of one process that are looked at: what copies has few, what has thousands is a server.
const MOST_DESCRIPTORS: usize = 1024;

/// Longest name of a program that the kernel keeps.
const COMM_BYTES: usize = 15;

/// Size of the units that the kernel counts blocks and disks in.
const SECTOR_BYTES: u64 = 512;

/// Flag of a descriptor that only names a file (`O_PATH`); it has no offset.
const PATH_ONLY: u64 = 0o10_000_000;

/// Which file of which process; the same as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) pid: u32,
    pub(super) start_ticks: u64,
    pub(super) descriptor: u32,
    pub(super) device: (u32, u32),
    pub(super) inode: u64,
}

/// A file as it is open at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenFile {
    pub(super) key: Key,
    /// Its last name, without a directory.
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) is_read: bool,
    /// Made by this very process, and every byte of its size has its place on the disk.
    pub(super) is_allocated: bool,
}

/// The files that `process` has open and that may tell how far it is. None where it is gone, is somebody
/// else by now, is not ours to see, or runs a program that does not count.
pub(super) fn open_files(process: Process, scope: &Scope, any_program: bool) -> Vec<OpenFile> {
    look_into(process, scope, any_program).unwrap_or_default()
}

fn look_into(process: Process, scope: &Scope, any_program: bool) -> io::Result<Vec<OpenFile>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Whatever is reached through this stays with the process, whoever gets its number next.
    let place = rustix::fs::open(format!("/proc/{}", process.pid), flags, Mode::empty())?;
    let stat = read_at(&place, "stat")?;
    let Some((program, start_ticks)) = program_and_start(&stat) else {
        return Ok(Vec::new());
    };
    if start_ticks != process.start_ticks || !(any_program || scope.has_program(program)) {
        return Ok(Vec::new());
    }
    let born_ms = started_wall_ms(start_ticks);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptors = rustix::fs::openat(&place, "fd", flags, Mode::empty())?;
    let mut found = Vec::new();
    for entry in Dir::read_from(&descriptors)?.take(MOST_DESCRIPTORS) {
        let Ok(entry) = entry else { break };
        let name = entry.file_name();
        let number = name.to_str().ok().and_then(|name| name.parse().ok());
        if let Some(number) = number {
            let look = Look {
                process,
                born_ms,
                scope,
                place: &place,
                descriptors: &descriptors,
            };
            // One that was closed meanwhile is none.
            found.extend(look.at(name, number).ok().flatten());
        }
    }
    Ok(found)
}

/// Everything that is needed to look at one descriptor.
struct Look<'a> {
    process: Process,
    born_ms: i64,
    scope: &'a Scope,
    place: &'a OwnedFd,
    descriptors: &'a OwnedFd,
}

impl Look<'_> {
    fn at(&self, name: &CStr, descriptor: u32) -> io::Result<Option<OpenFile>> {
        // What a server on the network may have changed meanwhile is not worth waiting for it.
        let flags = AtFlags::STATX_DONT_SYNC;
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(self.descriptors, name, flags, mask)?;
        let size = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => stat.stx_size,
            FileType::BlockDevice => disk_bytes(stat.stx_rdev_major, stat.stx_rdev_minor)?,
            FileType::Directory
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::Unknown => return Ok(None),
        };
        if size < LEAST_BYTES {
            return Ok(None);
        }
        let path = rustix::fs::readlinkat(self.descriptors, name, Vec::new())?;
        let path = path.to_bytes();
        let info = read_at(
            self.place,
            &format!("fdinfo/{}", name.to_str().unwrap_or("")),
        )?;
        let Some(info) = Info::parse(&info) else {
            return Ok(None);
        };
        let is_deleted = stat.stx_nlink == 0;
        // Unlinked and written to is scratch space. Of a file that took the number since, only half is known.
        let is_scratch = is_deleted && !info.is_read;
        let is_another = info.inode.is_some_and(|inode| inode != stat.stx_ino);
        if info.is_path || is_scratch || is_another || self.scope.excludes(path) {
            return Ok(None);
        }
        Ok(Some(OpenFile {
            key: Key {
                pid: self.process.pid,
                start_ticks: self.process.start_ticks,
                descriptor,
                device: (stat.stx_dev_major, stat.stx_dev_minor),
                inode: stat.stx_ino,
            },
            name: last_name(path, is_deleted),
            offset: info.offset,
            size,
            is_read: info.is_read,
            is_allocated: self.is_allocated(&stat),
        }))
    }

    /// Neither a hole nor what somebody else left there can be meant by such a size.
    fn is_allocated(&self, stat: &Statx) -> bool {
        let told = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        let born_ms = stat
            .stx_btime
            .tv_sec
            .saturating_mul(1000)
            .saturating_add(i64::from(stat.stx_btime.tv_nsec / 1_000_000));
        let full = stat.stx_blocks.saturating_mul(SECTOR_BYTES) >= stat.stx_size;
        told && full && born_ms >= self.born_ms
    }
}

/// What `/proc/PID/fdinfo/N` says.
#[derive(Debug, PartialEq, Eq)]
struct Info {
    offset: u64,
    is_read: bool,
    is_path: bool,
    /// Older kernels do not say.
    inode: Option<u64>,
}

impl Info {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let field = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        let flags = u64::from_str_radix(field("flags")?, 8).ok()?;
        Some(Self {
            // Some special files have offsets below 0.
            offset: field("pos")?.parse().ok()?,
            is_read: flags & 0o3 == 0,
            is_path: flags & PATH_ONLY != 0,
            inode: field("ino").and_then(|inode| inode.parse().ok()),
        })
    }
}

/// The name in parentheses may hold anything, parentheses included, so fields are counted from the last one.
fn program_and_start(stat: &[u8]) -> Option<(&[u8], u64)> {
    let open = stat.iter().position(|&byte| byte == b'(')?;
    let close = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    // Field 22 of proc(5); the first one here is the third.
    let start_ticks = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some((stat.get(open + 1..close)?, start_ticks))
}

/// Whether the kernel would call a program of this name so.
pub(super) fn is_program(name: &str, comm: &[u8]) -> bool {
    let name = name.as_bytes();
    name.get(..COMM_BYTES).unwrap_or(name) == comm
}

/// When a process was started, on the clock that files are dated with.
fn started_wall_ms(start_ticks: u64) -> i64 {
    let now_ms = |clock| {
        let now = rustix::time::clock_gettime(clock);
        now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    };
    let ticks = rustix::param::clock_ticks_per_second().max(1);
    let since_boot_ms = i64::try_from(start_ticks.saturating_mul(1000) / ticks).unwrap_or(i64::MAX);
    let boot_wall_ms = now_ms(ClockId::Realtime) - now_ms(ClockId::Boottime);
    boot_wall_ms.saturating_add(since_boot_ms)
}

fn disk_bytes(major: u32, minor: u32) -> io::Result<u64> {
    let sectors = read_at(CWD, &format!("/sys/dev/block/{major}:{minor}/size"))?;
    let sectors = std::str::from_utf8(&sectors).ok();
    let sectors: Option<u64> = sectors.and_then(|text| text.trim().parse().ok());
    Ok(sectors.unwrap_or(0).saturating_mul(SECTOR_BYTES))
}

/// A file of the kernel's.
fn read_at(dir: impl AsFd, path: &str) -> io::Result<Vec<u8>> {
    let file = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::with_capacity(1024);
    File::from(file).take(16 << 10).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn last_name(path: &[u8], is_deleted: bool) -> String {
    let path = match path.strip_suffix(b" (deleted)") {
        Some(path) if is_deleted => path,
        _ => path,
    };
    let path = Path::new(OsStr::from_bytes(path));
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_a_descriptor_is_read() {
        let text = b"pos:\t4096\nflags:\t0100000\nmnt_id:\t27\nino:\t813\n";
        let info = Info {
            offset: 4096,
            is_read: true,
            is_path: false,
            inode: Some(813),
        };
        assert_eq!(Info::parse(text), Some(info));
        let written = Info::parse(b"pos:\t0\nflags:\t0100001\nmnt_id:\t27\n").unwrap();
        assert_eq!((written.is_read, written.inode), (false, None));
        let both = Info::parse(b"pos:\t0\nflags:\t02100002\n").unwrap();
        assert!(!both.is_read, "what is open both ways is no source");
        let named = Info::parse(b"pos:\t0\nflags:\t012100000\n").unwrap();
        assert!(named.is_path);
        for nonsense in [
            "",
            "pos:\t-1\nflags:\t0\n",
            "pos:\t1\n",
            "pos: x\nflags: 9\n",
        ] {
            assert_eq!(Info::parse(nonsense.as_bytes()), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_program_is_known_by_what_the_kernel_keeps_of_its_name() {
        let stat = b"42 (a) b (c) S 41 42 43 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99887 1 2";
        assert_eq!(
            program_and_start(stat),
            Some((b"a) b (c".as_slice(), 99_887))
        );
        assert_eq!(program_and_start(b"42 (x"), None);
        assert!(is_program("cp", b"cp") && !is_program("cp", b"cpio"));
        assert!(is_program(
            "a-very-long-name-of-a-program",
            b"a-very-long-nam"
        ));
    }

    #[test]
    fn a_name_comes_without_its_directories() {
        for (path, is_deleted, name) in [
            ("/data/big.img", false, "big.img"),
            ("/data/big.img (deleted)", true, "big.img"),
            ("/data/big.img (deleted)", false, "big.img (deleted)"),
            ("/", false, "/"),
        ] {
            assert_eq!(last_name(path.as_bytes(), is_deleted), name);
        }
    }
}
