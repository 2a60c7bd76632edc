//! What drivers tell of a descriptor: what is understood of it says the same in any order of its lines.

use stoked::sampling::gpu::drm::parse;

/// Keys that come once are understood wherever they stand.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(info) = parse(&text) else { return };
    assert!(!info.driver.is_empty());
    assert!(info.engines.len() + info.memory.len() <= text.lines().count());
    let known = info.memory.values().filter_map(|memory| memory.bytes());
    let sum = known.fold(0_u64, u64::saturating_add);
    assert!(info.device_bytes().is_none_or(|bytes| bytes <= sum));
    let mut keys: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once(':')?.0))
        .collect();
    keys.sort_unstable();
    if keys.windows(2).all(|pair| pair[0] != pair[1]) {
        let backwards: Vec<&str> = text.lines().rev().collect();
        assert_eq!(parse(&backwards.join("\n")), Some(info));
    }
}
