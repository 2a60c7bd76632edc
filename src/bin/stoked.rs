//! The daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoked::daemon::main()
}
