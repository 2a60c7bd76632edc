//! The records of the merged order: one piece of one stream each. Encoding only, no files.

use crate::logs::Stream;
use crate::logs::segment::MOST_OFFSET;

/// Size of one record on disk.
pub(super) const RECORD_BYTES: u64 = 32;

/// [`RECORD_BYTES`] as the length of a slice.
pub(super) const RECORD_LEN: usize = 32;

const VERSION: u8 = 1;

/// One piece of output in the merged order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Wall clock when the first byte of the piece was read from the job.
    pub(super) at_wall_ms: i64,
    /// Logical offsets of stdout and stderr before the piece.
    pub(super) before: [u64; 2],
    /// Bytes of the piece.
    pub(super) length: u32,
    /// The stream that grew.
    pub(super) stream: Stream,
}

impl Record {
    /// Logical offset of the first byte of the piece.
    pub(super) fn start(&self) -> u64 {
        self.before[self.stream.index()]
    }

    /// Logical offset after the last byte of the piece.
    pub(super) fn end(&self) -> u64 {
        self.start().saturating_add(u64::from(self.length))
    }

    /// Logical offsets of both streams after the piece.
    pub(super) fn after(&self) -> [u64; 2] {
        let mut after = self.before;
        after[self.stream.index()] = self.end();
        after
    }

    /// The record as it is written.
    pub(super) fn encode(&self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        bytes[0..8].copy_from_slice(&self.at_wall_ms.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.before[0].to_le_bytes());
        bytes[16..24].copy_from_slice(&self.before[1].to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28] = match self.stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        bytes[29] = VERSION;
        let check = check(&bytes[..30]);
        bytes[30..32].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// The record in `bytes`, or nothing when they are torn, damaged or of a later version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Record> {
        let bytes: &[u8; RECORD_LEN] = bytes.try_into().ok()?;
        let stream = match bytes[28] {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        };
        let whole = bytes[29] == VERSION && bytes[30..32] == check(&bytes[..30]).to_le_bytes();
        let record = Record {
            at_wall_ms: i64::from_le_bytes(word(bytes, 0)),
            before: [
                u64::from_le_bytes(word(bytes, 8)),
                u64::from_le_bytes(word(bytes, 16)),
            ],
            length: u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]),
            stream,
        };
        // A place beyond that is no place in a log: nobody could go on from there.
        let is_possible = record.after().iter().all(|offset| *offset <= MOST_OFFSET)
            && record.start() <= MOST_OFFSET;
        (whole && is_possible).then_some(record)
    }
}

fn word(bytes: &[u8; RECORD_LEN], at: usize) -> [u8; 8] {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    word
}

/// FNV-1a, folded. It has to tell a record from a hole or a torn one, not to resist an attacker:
/// whoever can forge a record owns the log anyway.
fn check(bytes: &[u8]) -> u16 {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_le_bytes();
    u16::from_le_bytes([a ^ c, b ^ d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_disk_and_damage_is_seen() {
        let record = Record {
            at_wall_ms: -1_700_000_000_123,
            before: [1 << 40, 77],
            length: 123,
            stream: Stream::Stderr,
        };
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Some(record));
        assert_eq!(record.after(), [1 << 40, 200]);
        assert_eq!(Record::decode(&bytes[..31]), None);
        assert_eq!(Record::decode(&[0; RECORD_LEN]), None);
        for bit in 0..RECORD_LEN * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&damaged), None, "bit {bit}");
        }
    }
}
