//! What `src/SECURITY.md` says, held against the tree.

use std::path::Path;

use super::{Source, collect, paths};

/// Where in the daemon and the shim something is connected to: all of it is named by themselves.
const CONNECTING: &[&str] = &["src/contain/socket.rs"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether a file has a test of this name: a function, or in a script the text of a check.
fn has_test(file: &str, name: &str) -> bool {
    let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    let forms = [
        format!("fn {name}("),
        format!("def {name}("),
        format!("good \"{name}\""),
        format!("gives 'needs io.stoked.Stoked1.manage-others' \"{name}\""),
    ];
    forms.iter().any(|form| text.contains(form))
}

#[test]
fn every_test_that_security_rests_on_is_there() {
    let text = std::fs::read_to_string(root().join("src/SECURITY.md")).unwrap_or_default();
    let named: Vec<(&str, &str)> = text
        .split('`')
        .filter_map(|part| part.split_once("::"))
        .collect();
    assert!(named.len() > 60, "only {} tests are named", named.len());
    let missing: Vec<_> = named
        .iter()
        .filter(|(file, name)| !has_test(file, name))
        .collect();
    assert!(missing.is_empty(), "not there: {missing:#?}");
}

#[test]
fn every_attack_has_a_test() {
    let text = std::fs::read_to_string(root().join("src/SECURITY.md")).unwrap_or_default();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
    let bare = |row: &&&str| !row.contains("::") && !row.ends_with("tried by |");
    let without: Vec<_> = rows.iter().filter(bare).collect();
    assert!(without.is_empty(), "nothing tries {without:#?}");
}

/// A part with more rights than its client must not be sent anywhere by it.
#[test]
fn the_daemon_connects_where_it_decides_alone() {
    let mut sources = Vec::new();
    collect(root(), &root().join("src"), &mut sources).unwrap_or_else(|fault| panic!("{fault}"));
    let is_client = |source: &&Source| {
        let layer = source.layer().unwrap_or_default();
        ["client", "cli", "bin/stoke"].contains(&layer) || source.name.contains("/tests")
    };
    let mut found = 0;
    for source in sources.iter().filter(|source| !is_client(source)) {
        for path in paths(&source.production) {
            let connects = match path.parts.as_slice() {
                [.., of, name] => {
                    let sockets = ["UnixStream", "UnixDatagram", "TcpStream", "UdpSocket"];
                    sockets.contains(&of.as_str()) && name.starts_with("connect")
                }
                _ => false,
            };
            found += u32::from(connects);
            let allowed = CONNECTING.contains(&source.name.as_str());
            assert!(!connects || allowed, "{}:{}", source.name, path.line);
        }
    }
    assert!(found > 0, "the search finds nothing any more");
}
