//! What a process that looks at GPUs says: what is understood of a line reads the same when it is written again.

use stoked::sampling::gpu::replay::Frame;
use stoked::sampling::gpu::talk::{Reply, Request};

/// Each line is read as a request, a reply and a line of a recording.
pub fn check(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(reply) = serde_json::from_slice::<Reply>(line) {
            let again = serde_json::to_vec(&reply).expect("what was read can be written");
            assert_eq!(serde_json::from_slice::<Reply>(&again).ok(), Some(reply));
        }
        if let Ok(request) = serde_json::from_slice::<Request>(line) {
            let again = serde_json::to_vec(&request).expect("what was read can be written");
            assert_eq!(
                serde_json::from_slice::<Request>(&again).ok(),
                Some(request)
            );
        }
        if let Ok(frame) = serde_json::from_slice::<Frame>(line) {
            let again = serde_json::to_vec(&frame).expect("what was read can be written");
            assert_eq!(serde_json::from_slice::<Frame>(&again).ok(), Some(frame));
        }
    }
}
