//! The keeper of PAM sessions. It is started by `stoked-shim`, never by hand.

mod library;
mod session;

use std::process::ExitCode;

fn main() -> ExitCode {
    stoked::shim::keeper::main(session::open)
}
