//! Links `stoked-shim` with the C library inside, where this host can.
//!
//! The shim is started twice per attempt, and half of what a start costs is the loading and
//! relocating of shared libraries: 0.9 ms of CPU time become 0.5 ms. Only this program is linked
//! so; daemon and client ask the host's user database, which needs the host's own C library.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names under which rustc asks the linker for shared libraries.
const SHARED: [&str; 3] = ["libgcc_s.so", "libc.so", "libm.so"];

/// What stands in their place: a linker script that names the archives.
const ARCHIVES: &str = "GROUP(-l:libgcc_eh.a -l:libgcc.a -l:libm.a -l:libc.a)\n";

/// Set this to `1` for a shim that is linked like every other program.
const OPT_OUT: &str = "STOKED_SHIM_SHARED";

fn main() {
    println!("cargo::rerun-if-changed=packaging/build.rs");
    println!("cargo::rerun-if-env-changed={OPT_OUT}");
    let Some(dir) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return;
    };
    if !is_wanted() {
        return;
    }
    let arguments = [
        format!("-L{}", dir.display()),
        "-static-pie".to_owned(),
        // Without a dynamic linker nobody resolves these, and they must read as absent.
        "-Wl,-z,nodynamic-undefined-weak".to_owned(),
    ];
    // A host without the archives, or with a linker of other habits, gets the usual program.
    if write_scripts(&dir).is_ok() && works(&dir, &arguments).unwrap_or(false) {
        for argument in arguments {
            println!("cargo::rustc-link-arg-bin=stoked-shim={argument}");
        }
    }
}

/// Only the GNU C library comes in two forms, and only a program for this host can be tried out.
fn is_wanted() -> bool {
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    let chosen = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && env::var_os("HOST") == env::var_os("TARGET")
        && !chosen.split(',').any(|feature| feature == "crt-static")
        && !is(OPT_OUT, "1")
}

/// A linker looks here first, and takes what it finds for the library.
fn write_scripts(dir: &Path) -> io::Result<()> {
    SHARED
        .iter()
        .try_for_each(|name| fs::write(dir.join(name), ARCHIVES))
}

/// Whether a program linked like this runs, and loads nothing: one that does what the shim cannot
/// do without, memory and a child.
fn works(dir: &Path, arguments: &[String]) -> io::Result<bool> {
    let source = dir.join("trial.rs");
    let program = dir.join("trial");
    fs::write(
        &source,
        r#"fn main() {
    let me = std::env::args_os().next().expect("a name");
    if std::env::args_os().count() == 1 {
        let child = std::process::Command::new(me).arg("child").status();
        assert!(child.expect("a child").success());
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        assert!(!maps.contains(".so"), "{maps}");
    }
}
"#,
    )?;
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2021", "--crate-type", "bin", "-o"]);
    rustc.arg(&program).arg(&source);
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut chosen = OsString::from("-Clinker=");
        chosen.push(linker);
        rustc.arg(chosen);
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    rustc.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    rustc.args(arguments.iter().map(|it| format!("-Clink-arg={it}")));
    Ok(succeeds(&mut rustc)? && succeeds(&mut Command::new(&program))?)
}

fn succeeds(command: &mut Command) -> io::Result<bool> {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    Ok(quiet.status()?.success())
}
