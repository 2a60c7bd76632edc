//! The per-attempt parent process. It is started by `stoked`, never by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoked::shim::main()
}
