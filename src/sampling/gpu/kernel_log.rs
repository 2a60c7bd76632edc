//! Errors of NVIDIA's driver from the kernel's log: unlike those that the driver's library tells of, they say which
//! process it happened to.

use crate::model::gpu::Xid;
use crate::sampling::gpu::talk::LogPlace;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where the kernel gives its log, record by record.
pub const KERNEL_LOG: &str = "/dev/kmsg";

/// Longest record that the kernel gives at once.
const MAX_RECORD: usize = 8192;

/// What stands before the facts of an error.
const MARK: &str = "NVRM: Xid (PCI:";

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number.
    pub number: u64,
    /// Microseconds since the host started, on a clock that stands still while it sleeps.
    pub at_us: u64,
    /// What it says.
    pub text: &'a str,
}

/// Reads a record: `6,1234,98765,-;text`, without the lines that may follow with what it is about.
#[must_use]
pub fn record(line: &str) -> Option<Record<'_>> {
    let (head, text) = line.split_once(';')?;
    let mut fields = head.split(',');
    let _priority: u64 = fields.next()?.parse().ok()?;
    let number = fields.next()?.parse().ok()?;
    let at_us = fields.next()?.parse().ok()?;
    Some(Record {
        number,
        at_us,
        text: text.lines().next().unwrap_or_default(),
    })
}

/// Reads an error of the driver from a line such as
/// `NVRM: Xid (PCI:0000:61:00): 45, pid=4242, name=python3, Ch 00000008`.
#[must_use]
pub fn xid(text: &str, at_ms: i64) -> Option<Xid> {
    let facts = &text[text.find(MARK)? + MARK.len()..];
    let (place, facts) = facts.split_once(')')?;
    let mut facts = facts.strip_prefix(':')?.split(',').map(str::trim);
    let code = facts.next()?.parse().ok()?;
    let mut xid = Xid {
        at_ms,
        uuid: None,
        pci_bus_id: Some(bus_id(place)?),
        code,
        pid: None,
        process: None,
    };
    for fact in facts {
        // The driver writes '<unknown>' where it does not know.
        match fact.trim_matches('\'').split_once('=') {
            Some(("pid", pid)) => {
                xid.pid = pid.trim_matches('\'').parse().ok().filter(|pid| *pid > 0);
            }
            Some(("name", name)) if !name.contains("unknown>") && !name.is_empty() => {
                xid.process = Some(name.chars().take(64).collect());
            }
            _ => {}
        }
    }
    Some(xid)
}

/// A place on the PCI bus as sysfs writes it: `0000:61:00.0`, from what drivers write (`00000000:61:00.0`, `0000:61:00`).
#[must_use]
pub fn bus_id(text: &str) -> Option<String> {
    let (rest, function) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = rest.split(':');
    let domain = hex(parts.next()?, u32::MAX)?;
    let bus = hex(parts.next()?, 0xff)?;
    let device = hex(parts.next()?, 0x1f)?;
    let function = hex(function, 7)?;
    let is_all = parts.next().is_none();
    is_all.then(|| format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}"))
}

fn hex(text: &str, most: u32) -> Option<u32> {
    // A sign is taken for a digit otherwise.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u32::from_str_radix(text, 16).ok()?;
    (is_plain && number <= most).then_some(number)
}

/// The kernel's log, from some record on.
#[derive(Debug)]
pub struct KernelLog {
    log: File,
    after: Option<u64>,
}

impl KernelLog {
    /// Opens it, and finds out where its end is unless that is known.
    ///
    /// # Errors
    /// Where it cannot be opened or read: most hosts let only root do that.
    pub fn open(path: &Path, from: LogPlace) -> io::Result<Self> {
        let mut log = File::options()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(path)?;
        let mut after = match from {
            LogPlace::After(number) => Some(number),
            LogPlace::End => None,
        };
        if from == LogPlace::End {
            // Where the log ends is known by number only once all of it was read.
            while read_some(&mut log, |record| after = Some(record.number))? {}
        }
        fcntl_setfl(&log, OFlags::empty())?;
        Ok(Self { log, after })
    }

    /// The newest record that is no news.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.after
    }

    /// Reads until it ends or cannot be read, which is never as a rule, and tells of errors of the driver, with the
    /// numbers of their records. `now_ms` is the wall clock.
    pub fn follow(mut self, now_ms: fn() -> i64, mut tell: impl FnMut(u64, Xid)) {
        let after = &mut self.after;
        let mut each = |record: Record<'_>| {
            if after.is_some_and(|after| record.number <= after) {
                return;
            }
            *after = Some(record.number);
            if let Some(xid) = xid(record.text, now_ms()) {
                tell(record.number, xid);
            }
        };
        while let Ok(true) = read_some(&mut self.log, &mut each) {}
    }
}

/// Reads what there is, a record at least; false where there is none, now or ever.
fn read_some(log: &mut File, mut each: impl FnMut(Record<'_>)) -> io::Result<bool> {
    let mut buffer = [0; MAX_RECORD];
    let length = match log.read(&mut buffer) {
        Ok(length) => length,
        // Records were overwritten before they were read: the next one is the oldest that is left.
        Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&buffer[..length]);
    text.lines().filter_map(record).for_each(&mut each);
    Ok(length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn read(line: &str) -> Option<Xid> {
        xid(record(line)?.text, 7)
    }

    #[test]
    fn an_error_is_read_with_its_process() {
        let line = "4,812,99123456,-;NVRM: Xid (PCI:0000:61:00): 45, pid=4242, name=python3, Ch 00000008\n SUBSYSTEM=pci";
        let xid = read(line).unwrap();
        assert_eq!((xid.code, xid.pid, xid.at_ms), (45, Some(4242), 7));
        assert_eq!(xid.process.as_deref(), Some("python3"));
        assert_eq!(xid.pci_bus_id.as_deref(), Some("0000:61:00.0"));
    }

    #[test]
    fn what_the_driver_does_not_know_is_absent() {
        let text = "NVRM: Xid (PCI:0000:61:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.";
        let found = xid(text, 0).unwrap();
        assert_eq!((found.code, found.pid, found.process), (79, None, None));
        let found = xid("NVRM: Xid (PCI:0000:61:00): 62, 0a12b3c4 00000001", 0).unwrap();
        assert_eq!((found.code, found.pid), (62, None));
    }

    #[test]
    fn other_lines_are_none() {
        for line in [
            "",
            "6,1,2,-;usb 1-1: new device",
            "NVRM: Xid (PCI:0000:61:00): 45",
            "4,1,2,-;NVRM: Xid (PCI:0000:61:00 45",
            "4,1,2,-;NVRM: Xid (PCI:zz:61:00): 45",
            "4,1,2,-;NVRM: Xid (PCI:0000:61:00): many",
            " 4,1,2,-;NVRM: Xid (PCI:0000:61:00:99): 45",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn places_on_the_bus_are_written_one_way() {
        for text in ["00000000:61:00.0", "0000:61:00", "0000:61:00.0"] {
            assert_eq!(bus_id(text).as_deref(), Some("0000:61:00.0"));
        }
        assert_eq!(bus_id("00010000:0A:1F.3").as_deref(), Some("10000:0a:1f.3"));
        for text in [
            "",
            "61:00",
            "0000:61:00.9",
            "0000:161:00.0",
            "0:0:0:0",
            "+1:0:0",
            "0:0:0.+1",
        ] {
            assert_eq!(bus_id(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for number in 1..=3 {
            writeln!(
                file,
                "4,{number},5,-;NVRM: Xid (PCI:0000:61:00): {number}, pid=1"
            )
            .unwrap();
        }
        let mut told = Vec::new();
        let log = KernelLog::open(file.path(), LogPlace::After(1)).unwrap();
        log.follow(|| 0, |number, xid| told.push((number, xid.code)));
        assert_eq!(told, [(2, 2), (3, 3)]);
        let log = KernelLog::open(file.path(), LogPlace::End).unwrap();
        assert_eq!(log.newest(), Some(3));
        log.follow(|| 0, |_, _| panic!("that is no news"));
    }

    proptest! {
        #[test]
        fn no_line_does_harm(line in "\\PC{0,80}", tail in "[0-9a-f:,.='<> a-z]{0,60}") {
            let _read = read(&line);
            let _read = read(&format!("1,2,3,-;{MARK}{tail}"));
            if let Some(id) = bus_id(&tail) {
                prop_assert_eq!(bus_id(&id), Some(id.clone()));
            }
        }
    }
}
