//! The `stoke` client.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoked::cli::main()
}
