//! The house plan as a test: who may import whom, where outside crates live, and what a file may look like.
//!
//! The sources are read as tokens, not as text, so that comments and string literals never count and grouped
//! imports are seen as the paths they stand for. Each rule is a function of one file and is itself tested on
//! planted violations. What a macro assembles, or a layer re-exports, is beyond its sight.

#[path = "architecture/promises.rs"]
mod promises;
#[path = "architecture/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use source::{Source, paths};

/// Each layer (or binary) with the layers it may import. Itself is always allowed; no row means not allowed to exist.
const LAYERS: &[(&str, &str)] = &[
    ("model", ""),
    ("engine", "model"),
    ("wire", "model"),
    ("config", "model"),
    ("contain", ""),
    ("sampling", "model contain"),
    ("logs", ""),
    ("progress", "model"),
    ("events", "model"),
    ("store", "model"),
    ("shim", "wire contain logs"),
    ("supervise", "model wire contain"),
    ("auth", "model"),
    ("control", "model engine"),
    ("api", "model wire auth control events store logs"),
    ("dbus", "model wire auth events logs api"),
    (
        "daemon",
        "model engine wire config contain sampling logs progress events store shim supervise auth control api dbus",
    ),
    ("client", "wire"),
    ("cli", "model progress wire client config"),
    ("bin/stoked", "daemon"),
    ("bin/stoked-shim", "shim"),
    ("bin/stoked-pam", "wire shim"),
    ("bin/stoke", "cli"),
];

/// Outside crates that have a home, with the places (below `src/`) where they may be named.
const HOMES: &[(&str, &str)] = &[
    ("anyhow", "daemon/ cli/"),
    ("axum", "api/"),
    ("clap", "cli/ bin/ daemon/args.rs"),
    ("clap_complete", "cli/"),
    ("clap_mangen", "cli/ daemon/args.rs"),
    ("comfy_table", "cli/"),
    ("hyper", "client/ api/"),
    ("hyper_util", "client/ api/"),
    ("libloading", "bin/stoked-pam/library.rs"),
    ("memchr", "progress/"),
    ("nvml_wrapper", "sampling/gpu/nvml.rs sampling/gpu/nvml/"),
    ("parquet", "cli/commands/series.rs cli/commands/series/"),
    ("procfs", "sampling/"),
    ("regex", "progress/adapters/"),
    ("regex_syntax", "progress/adapters/"),
    ("rusqlite", "store/"),
    ("sd_notify", "daemon/notices.rs"),
    ("tikv_jemallocator", "bin/stoked.rs"),
    ("tracing_journald", "daemon/logging.rs"),
    ("zstd", "store/ logs/"),
    ("toml", "config/ progress/adapters/ cli/commands/submit.rs"),
    ("zbus", "dbus/ auth/polkit.rs supervise/systemd.rs"),
    ("zbus_polkit", "auth/polkit.rs"),
];

/// Layers that decide and therefore may touch nothing outside themselves.
const PURE: &[&str] = &["model", "engine"];

/// What a pure layer may not name: the start of a path, or a type wherever it comes from.
const IMPURE_PATHS: &[&str] = &[
    "tokio",
    "nix",
    "rustix",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
];
const IMPURE_TYPES: &[&str] = &["HashMap", "HashSet"];

/// Ways to wait for a time instead of an event, as the end of a path.
const SLEEPS: &[&str] = &["thread::sleep", "thread::sleep_ms", "time::sleep"];

/// The one file that calls what no compiler checks. All else forbids it, or has no need to.
const UNCHECKED: &str = "src/bin/stoked-pam/library.rs";

/// Names that say where something was put, not what it is.
const VAGUE: &[&str] = &[
    "common", "helper", "helpers", "manager", "misc", "util", "utils",
];

/// The longest a file may get, in lines that carry code, inline tests not counted.
const MAX_CODE_LINES: usize = 500;

type Rule = fn(&Source) -> Vec<String>;

// === The rules on the tree ===

#[test]
fn layers_import_only_what_the_matrix_allows() {
    hold(imports_follow_the_matrix);
}

#[test]
fn outside_crates_stay_at_home() {
    hold(crates_stay_at_home);
}

#[test]
fn unchecked_code_stays_in_its_file() {
    hold(unsafe_stays_at_home);
}

#[test]
fn deciding_layers_stay_pure() {
    hold(pure_layers_stay_pure);
}

#[test]
fn imports_name_one_layer_each() {
    hold(no_grouped_crate_imports);
}

#[test]
fn files_say_what_they_are_for() {
    hold(opens_with_its_purpose);
}

#[test]
fn files_stay_readable() {
    hold(fits_the_size_budget);
}

#[test]
fn files_have_telling_names() {
    hold(name_tells_what_it_is);
}

#[test]
fn tests_wait_for_events() {
    hold(tests_never_sleep);
}

#[test]
fn the_matrix_has_no_cycle() {
    // Layers are taken away as soon as all they import is gone; in a cycle nothing can be taken.
    let mut left: BTreeMap<&str, Vec<&str>> = LAYERS
        .iter()
        .map(|(layer, may)| (*layer, may.split_whitespace().collect()))
        .collect();
    while !left.is_empty() {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, may)| may.iter().all(|target| !left.contains_key(target)))
            .map(|(layer, _)| *layer)
            .collect();
        assert!(!free.is_empty(), "a cycle among {:?}", left.keys());
        left.retain(|layer, _| !free.contains(layer));
    }
}

/// Applies a rule to every source of the package and reports all faults at once.
fn hold(rule: Rule) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for top in ["src", "tests"] {
        if let Err(fault) = collect(root, &root.join(top), &mut sources) {
            panic!("failed to read {top}: {fault}");
        }
    }
    let found = sources.len();
    assert!(found >= LAYERS.len(), "found only {found} sources");
    let faults: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn collect(root: &Path, folder: &Path, into: &mut Vec<Source>) -> io::Result<()> {
    let entries: io::Result<BTreeSet<PathBuf>> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect();
    for path in entries? {
        if path.is_dir() {
            collect(root, &path, into)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
            into.push(Source::new(&name, &std::fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

// === The rules ===

fn imports_follow_the_matrix(source: &Source) -> Vec<String> {
    let Some(layer) = source.layer() else {
        return Vec::new();
    };
    let Some((_, may)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
        return vec![format!("{}: {layer} has no row in LAYERS", source.name)];
    };
    let inside = source.module_depth();
    let mut faults = Vec::new();
    for path in paths(&source.production) {
        let climbs = path
            .parts
            .iter()
            .take_while(|part| *part == "super")
            .count();
        let target = match path.parts[0].as_str() {
            "crate" => path.parts.get(1),
            "stoked" if layer.starts_with("bin/") => path.parts.get(1),
            "super" if climbs >= inside => path.parts.get(climbs),
            _ => continue,
        };
        let Some(target) = target else { continue };
        if target != layer && !may.split_whitespace().any(|allowed| allowed == target) {
            faults.push(source.at(path.line, format!("{layer} may not import {target}")));
        }
    }
    faults
}

fn crates_stay_at_home(source: &Source) -> Vec<String> {
    let Some(place) = source.name.strip_prefix("src/") else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for path in paths(&source.production) {
        let home = HOMES
            .iter()
            .find(|(name, _)| *name == path.parts[0] && path.parts.len() > 1);
        if let Some((name, homes)) = home
            && !homes.split_whitespace().any(|home| place.starts_with(home))
        {
            faults.push(source.at(path.line, format!("{name} belongs in {homes}")));
        }
    }
    faults
}

fn unsafe_stays_at_home(source: &Source) -> Vec<String> {
    if source.name == UNCHECKED {
        return Vec::new();
    }
    let tokens = source.production.iter().chain(&source.tests);
    let unchecked = tokens.filter(|token| token.text == "unsafe");
    unchecked
        .map(|token| source.at(token.line, format!("unsafe belongs in {UNCHECKED}")))
        .collect()
}

fn pure_layers_stay_pure(source: &Source) -> Vec<String> {
    if !source.layer().is_some_and(|layer| PURE.contains(&layer)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for path in paths(&source.production) {
        let full = path.parts.join("::");
        let last = path.parts.last().map_or("", String::as_str);
        let impure = IMPURE_PATHS.iter().any(|start| {
            full.strip_prefix(start).is_some_and(|rest| {
                rest.starts_with("::") || (rest.is_empty() && full.contains("::"))
            })
        });
        let hashed = path
            .parts
            .iter()
            .any(|part| IMPURE_TYPES.contains(&part.as_str()));
        let reads_clock = last == "now" && (path.called || path.parts.len() > 1);
        if impure || hashed || reads_clock {
            faults.push(source.at(path.line, format!("{full} in a pure layer")));
        }
    }
    faults
}

fn no_grouped_crate_imports(source: &Source) -> Vec<String> {
    source
        .production
        .windows(3)
        .filter(|window| {
            matches!(
                [&*window[0].text, &*window[1].text, &*window[2].text],
                ["crate", "::", "{"]
            )
        })
        .map(|window| source.at(window[0].line, "write one `use crate::layer::…` per layer"))
        .collect()
}

fn opens_with_its_purpose(source: &Source) -> Vec<String> {
    if source.first_line.starts_with("//! ") {
        return Vec::new();
    }
    vec![source.at(
        1,
        "the first line is not a `//!` that says what the file is for",
    )]
}

fn fits_the_size_budget(source: &Source) -> Vec<String> {
    if source.is_test_file() {
        return Vec::new();
    }
    let lines: BTreeSet<usize> = source
        .production
        .iter()
        .flat_map(|token| token.line..=token.last_line)
        .collect();
    if lines.len() <= MAX_CODE_LINES {
        return Vec::new();
    }
    vec![format!(
        "{}: {} lines of code, {MAX_CODE_LINES} allowed",
        source.name,
        lines.len()
    )]
}

fn name_tells_what_it_is(source: &Source) -> Vec<String> {
    source
        .name
        .split(['/', '.'])
        .filter(|part| VAGUE.contains(part))
        .map(|part| format!("{}: `{part}` says nothing", source.name))
        .collect()
}

fn tests_never_sleep(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for path in paths(&source.tests) {
        let full = format!("::{}", path.parts.join("::"));
        if SLEEPS
            .iter()
            .any(|sleep| full.ends_with(&format!("::{sleep}")))
        {
            faults.push(source.at(path.line, "a test sleeps instead of waiting for an event"));
        }
    }
    faults
}

// === The rules on planted violations ===

/// Rule, file, text and the fault it must raise (empty: none), parted by `|`; `⏎` stands for a line break.
const PLANTED: &str = "
imports | src/store/jobs.rs | use crate::model::Job;⏎use crate::api::x; | jobs.rs:2: store may not import api
imports | src/cli/a.rs      | fn f() { crate::logs::read() }            | cli may not import logs
imports | src/cli/a.rs      | pub(crate) fn f() { $crate::config::x }   |
imports | src/api/a.rs      | use super::super::engine::Engine;         | api may not import engine
imports | src/api/a.rs      | use super::jobs; use super::super::auth;  |
imports | src/api/mod.rs    | use super::client;                        | api may not import client
imports | src/daemon/mod.rs | use crate::client::Client;                | daemon may not import client
imports | src/bin/stoke.rs  | fn main() { stoked::daemon::run() }       | bin/stoke may not import daemon
imports | src/bin/stoke.rs  | fn main() { stoked::cli::main() }         |
imports | src/novel/mod.rs  | struct A;                                 | novel has no row
imports | src/lib.rs        | pub mod model;                            |
imports | src/store/mod.rs  | #[cfg(test)] mod tests { use crate::api; }                        |
imports | src/store/mod.rs  | #[cfg(test)]⏎mod tests { use crate::api; }⏎use crate::cli::x; | mod.rs:3: store may not
imports | src/store/mod.rs  | #[cfg(test)] use crate::api::x;           | store may not import api

homes | src/api/jobs.rs          | use rusqlite::Connection;          | rusqlite belongs in store/
homes | src/store/open.rs        | use rusqlite::Connection;          |
homes | src/daemon/app.rs        | #[derive(clap::Parser)] struct A;  | clap belongs in
homes | src/daemon/args.rs       | #[derive(clap::Parser)] struct A;  |
homes | src/cli/commands/show.rs | toml::from_str(x)                  | toml belongs in
homes | src/wire/mod.rs          | use ::axum::Json;                  | axum belongs in api/
homes | src/wire/mod.rs          | use {std::fmt, hyper::body};       | hyper belongs in
homes | src/config/mod.rs        | let axum = read(); axum.len()      |
homes | src/wire/mod.rs          | // axum::Json⏎let x = \"axum::Json\"; |

imports | src/bin/stoked-pam/session.rs | use stoked::daemon::x; use super::library; | bin/stoked-pam may not import daemon

unsafe | src/shim/exec.rs              | unsafe { f() } // unsafe  | exec.rs:1: unsafe belongs in
unsafe | src/a.rs                      | #[cfg(test)]⏎mod tests { unsafe fn f() {} } | a.rs:2: unsafe belongs in
unsafe | src/bin/stoked-pam/library.rs | unsafe { f() }            |
unsafe | src/lib.rs                    | #![forbid(unsafe_code)]   |

pure | src/engine/mod.rs | use tokio::sync::mpsc;                    | tokio::sync::mpsc in a pure layer
pure | src/model/a.rs    | use std::{fmt, fs::{self, File}, io};     | std::fs in; std::fs::File in
pure | src/model/a.rs    | use std::process;                         | std::process in
pure | src/model/a.rs    | let process = std::processor::x;          |
pure | src/engine/a.rs   | let t = Instant::now();                   | Instant::now in
pure | src/engine/a.rs   | let t = clock.now();                      | now in
pure | src/engine/a.rs   | x.unwrap_or_else(Stamp::now)              | Stamp::now in
pure | src/engine/a.rs   | fn handle(&mut self, now: Stamp) { f(now) } |
pure | src/model/a.rs    | use std::collections::{BTreeMap, HashMap}; | HashMap in
pure | src/model/a.rs    | fn f() -> HashSet<u8> { g() }             | HashSet in
pure | src/model/a.rs    | /* HashSet */ // std::fs⏎let s = r#\"std::env\"#; |
pure | src/store/a.rs    | use std::fs;                              |

grouped | src/api/a.rs | ⏎use crate::{model, wire};   | a.rs:2: write one
grouped | src/api/a.rs | use crate ::⏎  { model };    | a.rs:1: write one
grouped | src/api/a.rs | use crate::model::{a, b};    |

purpose | src/a.rs | use std::fmt;⏎//! Late.   | a.rs:1: the first line
purpose | src/a.rs |                           | a.rs:1: the first line
purpose | src/a.rs | //! Holds a.⏎             |

names | src/api/util.rs     | | `util` says nothing
names | tests/common/mod.rs | | `common` says nothing
names | src/api/jobs.rs     | |

sleeps | tests/e2e/a.rs | use std::{thread::{self, sleep}, time};          | a.rs:1: a test sleeps
sleeps | tests/e2e/a.rs | tokio::time::sleep(x).await                      | a.rs:1: a test sleeps
sleeps | tests/e2e/a.rs | time::sleep_until(x).await; \"thread::sleep\"    |
sleeps | src/a/tests.rs | thread::sleep(x)                                 | tests.rs:1: a test sleeps
sleeps | src/a.rs       | fn f() { time::sleep(x) }                        |
sleeps | src/a.rs       | #[cfg(test)]⏎#[expect(y)]⏎mod tests {⏎ time::sleep(x) } | a.rs:4: a test sleeps
";

#[test]
fn planted_violations_are_caught_and_nothing_else() {
    for row in PLANTED.lines().filter(|row| !row.is_empty()) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [rule, name, text, expected] = cells[..] else {
            panic!("not four cells: {row}");
        };
        let rule: Rule = match rule {
            "imports" => imports_follow_the_matrix,
            "homes" => crates_stay_at_home,
            "unsafe" => unsafe_stays_at_home,
            "pure" => pure_layers_stay_pure,
            "grouped" => no_grouped_crate_imports,
            "purpose" => opens_with_its_purpose,
            "names" => name_tells_what_it_is,
            "sleeps" => tests_never_sleep,
            other => panic!("no rule {other}"),
        };
        let faults = rule(&Source::new(name, &text.replace('⏎', "\n")));
        let expected: Vec<&str> = expected.split("; ").filter(|e| !e.is_empty()).collect();
        let all_meant = faults.iter().zip(&expected).all(|(f, e)| f.contains(e));
        assert!(
            faults.len() == expected.len() && all_meant,
            "{row}\n{faults:#?}"
        );
    }
}

#[test]
fn a_long_file_is_caught() {
    let faults = |name: &str, text: &str| fits_the_size_budget(&Source::new(name, text)).len();
    let full = "//! Doc.\n\nconst A: u8 = 1; // why\n".repeat(MAX_CODE_LINES);
    assert_eq!(faults("src/a.rs", &full), 0);
    assert_eq!(faults("src/a.rs", &format!("{full}fn f() {{}}")), 1);
    let tested = format!("{full}/* a\nb */\n#[cfg(test)]\nmod tests {{\nfn f() {{}}\n}}");
    assert_eq!(faults("src/a.rs", &tested), 0);
    let literal = format!("const A: &str = \"{}\";", "row\n".repeat(MAX_CODE_LINES));
    assert_eq!(faults("src/a.rs", &literal), 1);
    assert_eq!(faults("src/a/tests.rs", &literal), 0);
}
