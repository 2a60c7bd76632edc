//! Processes that compute on AMD's GPUs through the door for computing (`/dev/kfd`, ROCm). They are listed apart, with
//! the memory that they hold; what they compute is told nowhere.

use crate::model::gpu::{GpuProcess, GpuProcessKind};
use crate::sampling::gpu::cards::{read, read_number};
use std::fs;
use std::path::Path;

/// The processes that compute on the GPU at a place of the bus.
#[must_use]
pub fn processes(sys: &Path, bus_id: &str) -> Vec<GpuProcess> {
    let root = sys.join("class/kfd/kfd");
    let Some(gpu) = number_of(&root, bus_id) else {
        return Vec::new();
    };
    let entries = fs::read_dir(root.join("proc"));
    let mut found: Vec<GpuProcess> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let bytes = read_number(&entry.path().join(format!("vram_{gpu}")))?;
            Some(GpuProcess {
                pid,
                kind: GpuProcessKind::Compute,
                memory_bytes: Some(bytes as u64),
                utilization_percent: None,
                encoder_percent: None,
                decoder_percent: None,
            })
        })
        // A process is listed with GPUs that it may use and does not.
        .filter(|process| process.memory_bytes != Some(0))
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// The number that this door gives to the GPU at a place: nodes tell where they are in `location_id` and `domain`.
fn number_of(root: &Path, bus_id: &str) -> Option<u64> {
    let nodes = fs::read_dir(root.join("topology/nodes")).ok()?;
    let mut nodes = nodes.flatten().map(|entry| entry.path());
    nodes.find_map(|node| {
        let properties = read(&node.join("properties"))?;
        let property = |name: &str| {
            let mut lines = properties.lines().filter_map(|line| line.split_once(' '));
            lines
                .find(|(key, _)| *key == name)?
                .1
                .trim()
                .parse::<u64>()
                .ok()
        };
        let (place, domain) = (property("location_id")?, property("domain").unwrap_or(0));
        let (bus, device, function) = (place >> 8 & 0xff, place >> 3 & 0x1f, place & 7);
        let text = format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}");
        (text == bus_id).then(|| read(&node.join("gpu_id"))?.parse().ok())?
    })
}
