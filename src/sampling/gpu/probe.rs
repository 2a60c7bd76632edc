//! Which sources of GPUs a host needs: found without touching a GPU, so that a host without one has no extra process.

use crate::sampling::gpu::Kind;
use crate::sampling::gpu::amd::AMD;
use crate::sampling::gpu::cards::cards;
use crate::sampling::gpu::eyes::Places;
use crate::sampling::gpu::intel::INTEL;
use std::collections::BTreeSet;

/// The kinds of sources whose drivers are there.
#[must_use]
pub fn kinds(places: &Places) -> BTreeSet<Kind> {
    let mut kinds = BTreeSet::new();
    // Whoever names a library wants it to be used.
    if places.nvml_library.is_some() || places.sys.join("module/nvidia").is_dir() {
        kinds.insert(Kind::Nvml);
    }
    if !cards(&places.sys, AMD).is_empty() {
        kinds.insert(Kind::Amd);
    }
    if !cards(&places.sys, INTEL).is_empty() {
        kinds.insert(Kind::Intel);
    }
    kinds
}
