//! Files of the kernel's, as samplers read them: whatever is in them, what is told can be true.

use stoked::contain::account::{CpuStat, Io, IoStat, sum_io};
use stoked::contain::fields::{decimal, lines, name, number, signed, words};
use stoked::sampling::host::cpu::Stat as CpuTimes;
use stoked::sampling::host::disks::DiskLine;
use stoked::sampling::host::memory::{MemInfo, VmStat};
use stoked::sampling::host::networks::NetLine;
use stoked::sampling::host::pressure::Stalls;
use stoked::sampling::host::space::local_mounts;
use stoked::sampling::processes::stat::Stat;

use super::parts;

/// Takes two readings of a file, with NUL between them.
pub fn check(data: &[u8]) {
    let mut readings = parts(data);
    let (first, second) = (
        readings.next().unwrap_or_default(),
        readings.next().unwrap_or_default(),
    );
    cpu(first, second);
    for text in [first, second] {
        words_are_cut_out(text);
        whole_files(text);
    }
}

fn words_are_cut_out(text: &[u8]) {
    for line in lines(text) {
        assert!(!line.is_empty() && !line.contains(&b'\n'));
        for word in words(line) {
            assert!(!word.is_empty());
            if let Some(value) = number(word) {
                let digits = word.iter().skip_while(|digit| **digit == b'0');
                let digits: Vec<u8> = digits.copied().collect();
                let digits = if digits.is_empty() {
                    b"0".to_vec()
                } else {
                    digits
                };
                assert_eq!(value.to_string().into_bytes(), digits);
                assert!(signed(word).is_none_or(|it| u64::try_from(it) == Ok(value)));
            }
            assert!(decimal(word).is_none_or(f64::is_finite));
        }
        assert!(!name(line).contains('\n'));
    }
}

/// A newline at the end changes nothing, nor does one more line that nobody knows.
fn whole_files(text: &[u8]) {
    let more = [text, b"\nunknown line\n"].concat();
    assert_eq!(MemInfo::parse(text), MemInfo::parse(&more));
    assert_eq!(VmStat::parse(text), VmStat::parse(&more));
    assert_eq!(Stalls::parse(text), Stalls::parse(&more));
    assert_eq!(CpuStat::parse(text), CpuStat::parse(&more));
    assert_eq!(Io::parse(text), Io::parse(&more));
    assert_eq!(sum_io(text, |_| true), sum_io(&more, |_| true));
    assert_eq!(sum_io(text, |_| false), IoStat::default());
    assert_eq!(local_mounts(text), local_mounts(&more));
    for line in lines(text) {
        let disk = DiskLine::parse(line);
        assert!(disk.is_none_or(|disk| !disk.name.is_empty()));
        let net = NetLine::parse(line);
        assert!(net.is_none_or(|net| !net.name.is_empty()));
    }
    if let Some(stat) = Stat::parse(text) {
        let name = stat.name.text();
        assert!(!name.chars().any(char::is_control));
    }
}

fn cpu(first: &[u8], second: &[u8]) {
    let (mut before, mut now) = (CpuTimes::default(), CpuTimes::default());
    before.parse(first);
    // What was in it before does not matter.
    now.parse(first);
    now.parse(second);
    let mut alone = CpuTimes::default();
    alone.parse(second);
    assert_eq!(now, alone);
    let shares = now.total.zip(before.total);
    if let Some(shares) = shares.and_then(|(now, before)| now.shares_since(&before)) {
        let all = [shares.user, shares.system, shares.iowait, shares.steal];
        assert!(all.iter().all(|share| (0.0..=100.0).contains(share)));
        assert!(all.iter().sum::<f64>() <= 100.0 + 1e-6);
    }
}
