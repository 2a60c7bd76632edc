//! Links C libraries into the programs, where this host can.
//!
//! `stoked-shim` has all of the C library inside: it is started twice per attempt, and half of what a start costs is
//! the loading and relocating of shared libraries: 0.9 ms of CPU time become 0.5 ms. Daemon and client ask the host's
//! user database, and `stoked-pam` loads modules, which needs the host's own C library, so they have only the unwinder
//! inside. Their relocations are
//! packed: unpacked, these are most of a megabyte that a daemon which does nothing keeps in memory. The loaders of C
//! libraries before 2022 do not know them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set this to `1` for programs that are linked like every other program.
const OPT_OUT: &str = "STOKED_LINK_SHARED";

/// A way to link programs.
struct Way {
    /// Where its files are, below the output directory.
    name: &'static str,
    programs: &'static [&'static str],
    /// Names under which rustc asks the linker for shared libraries, and the linker script that stands in their place
    /// and names archives.
    scripts: &'static [(&'static str, &'static str)],
    /// Arguments beside them. The first that work are taken.
    choices: &'static [&'static [&'static str]],
    /// No such library may be loaded.
    absent: &'static str,
}

const ALL_INSIDE: &str = "GROUP(-l:libgcc_eh.a -l:libgcc.a -l:libm.a -l:libc.a)\n";

const WAYS: [Way; 2] = [
    Way {
        name: "shim",
        programs: &["stoked-shim"],
        scripts: &[
            ("libgcc_s.so", ALL_INSIDE),
            ("libc.so", ALL_INSIDE),
            ("libm.so", ALL_INSIDE),
        ],
        choices: &[&[
            "-static-pie",
            // Without a dynamic linker nobody resolves these, and they must read as absent.
            "-Wl,-z,nodynamic-undefined-weak",
        ]],
        absent: ".so",
    },
    Way {
        name: "others",
        programs: &["stoked", "stoke", "stoked-pam"],
        scripts: &[("libgcc_s.so", "GROUP(-l:libgcc_eh.a -l:libgcc.a)\n")],
        choices: &[&["-Wl,-z,pack-relative-relocs"], &[]],
        absent: "libgcc_s",
    },
];

fn main() {
    println!("cargo::rerun-if-changed=packaging/build.rs");
    println!("cargo::rerun-if-env-changed={OPT_OUT}");
    let Some(out) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        return;
    };
    if !is_wanted() {
        return;
    }
    for way in &WAYS {
        // A host without the archives, or with a linker of other habits, gets the usual programs.
        let Some(arguments) = first_that_works(way, &out.join(way.name)) else {
            continue;
        };
        for program in way.programs {
            for argument in &arguments {
                println!("cargo::rustc-link-arg-bin={program}={argument}");
            }
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

fn first_that_works(way: &Way, dir: &Path) -> Option<Vec<String>> {
    // What an earlier build left would stand in the place of libraries as well.
    let _left = fs::remove_dir_all(dir);
    fs::create_dir_all(dir).ok()?;
    // A linker looks here first, and takes what it finds for the library.
    for (name, script) in way.scripts {
        fs::write(dir.join(name), script).ok()?;
    }
    way.choices.iter().find_map(|choice| {
        let mut arguments = vec![format!("-L{}", dir.display())];
        arguments.extend(choice.iter().map(|it| (*it).to_owned()));
        let works = works(way, dir, &arguments).unwrap_or(false);
        works.then_some(arguments)
    })
}

/// Whether a program linked like this runs, and loads nothing that it should not: one that does what ours cannot do
/// without, memory, a child, a panic that is caught and a logarithm.
fn works(way: &Way, dir: &Path, arguments: &[String]) -> io::Result<bool> {
    let source = dir.join("trial.rs");
    let program = dir.join("trial");
    let text = r#"fn main() {
    let me = std::env::args_os().next().expect("a name");
    if std::env::args_os().count() == 1 {
        let child = std::process::Command::new(me).arg("child").status();
        assert!(child.expect("a child").success());
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        assert!(!maps.contains("ABSENT"), "{maps}");
        let many = maps.len() as f64;
        assert!((many.ln().exp() - many).abs() < 1e-6 * many);
        assert!(std::panic::catch_unwind(|| panic!("{many}")).is_err());
    }
}
"#;
    fs::write(&source, text.replace("ABSENT", way.absent))?;
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
