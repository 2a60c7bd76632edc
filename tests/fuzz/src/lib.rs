//! What the fuzz targets have in common: the checks, and a limit to how much memory any of them may hold.

pub mod checks;

/// No target holds more than this, the compiled adapters included, whatever it is given.
const MOST_BYTES: usize = 192 << 20;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, MOST_BYTES);
