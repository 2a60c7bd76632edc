//! What must hold of every parser, whatever it is given.
//!
//! Each module has a `check` that panics where it does not hold. The fuzz targets call them with what they make up,
//! the ordinary tests (`tests/core/fuzzed.rs`) with every input that once did harm, and with the first inputs of the fuzzer.

pub mod adapters;
pub mod catalogue;
pub mod cursor;
pub mod fdinfo;
pub mod gpu_talk;
pub mod job_spec;
pub mod kernel_files;
pub mod kernel_log;
pub mod log_order;
pub mod progress_file;
pub mod sd_notify;
pub mod shim_frames;
pub mod sse_client;
pub mod sse_filters;

mod output;
mod progress;

/// Cuts bytes into pieces of 1 to 64; the cuts follow from the bytes, so that the same input is always cut alike.
fn pieces(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut chance = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // Short pieces cut more often between two bytes that belong together.
        let longest = if chance >> 63 == 0 { 4 } else { 64 };
        let length = 1 + usize::try_from(chance >> 32).unwrap_or(0) % longest;
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}

/// Parts of an input that are given one after the other: NUL stands between them.
fn parts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == 0)
}
