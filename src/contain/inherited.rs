//! Descriptors that a process has from whoever started it.

use std::fs;

/// Closes every descriptor from this number on. For a process that has opened nothing itself yet.
pub fn close_from(first: i32) {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten();
    let inherited: Vec<i32> = open
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor >= first)
        .collect();
    for descriptor in inherited {
        // The directory just read is in the list, and closed already.
        let _closed = nix::unistd::close(descriptor);
    }
}
