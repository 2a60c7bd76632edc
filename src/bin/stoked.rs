//! The daemon.

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// Gives back what is freed: the usual allocator keeps a few hundred megabytes after one large request,
/// because what lives on lies between what does not. How it is set up is in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    stoked::daemon::main()
}
