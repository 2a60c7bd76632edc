//! The manual pages say what the programs do, and every formatter takes them.

use crate::tools::{draft, files, has, make, root, run, succeed};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use stoked::config::Settings;
use stoked::config::load::{Sources, load};
use stoked::config::paths;
use stoked::wire::error::ProblemKind;

/// The OpenAPI document, as a test of the API holds it against the table of routes.
const OPENAPI: &str =
    include_str!("../../src/api/tests/snapshots/stoked__api__tests__routes__openapi.snap");
const API_PAGE: &str = include_str!("../../packaging/man/stoked-api.7");

/// Interfaces with all that may stand in them, and what may be said of them in each way.
const INTERFACES: &str = r#"<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">
<!-- Errors are Error.{NotFound,
     Busy}. -->
<node>
  <!-- Looks at jobs. -->
  <interface name="io.stoked.Stoked1.Manager">
    <!-- Takes a `spec`. .Answers with its number. -->
    <method name="Submit"><arg name="spec" type="a{sv}" direction="in"/><arg name="id" type="u" direction="out"/></method>
    <method name="Drain"><annotation name="org.gtk.GDBus.DocString" value="Starts nothing new."/></method>
    <signal name="JobAdded"><!-- A job is there. --><arg name="id" type="u"/></signal>
    <property name="Version" type="s" access="read"/>
  </interface>
  <interface name="org.freedesktop.DBus.Peer"><method name="Ping"/></interface>
</node>
"#;

/// What of the page comes out of the files.
fn interfaces(page: &str) -> &str {
    let (_, rest) = page.split_once("dbus-1/interfaces .\n").unwrap();
    rest.split_once(".Sh SEE ALSO\n").unwrap().0
}

#[test]
fn the_page_of_the_configuration_has_every_key_with_its_default() {
    let mut page = Command::new("packaging/man/configuration");
    let page = succeed(page.arg("packaging/config/stoked.toml"));
    let mut section = "";
    let mut documented: BTreeMap<String, String> = BTreeMap::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix(".Ss [") {
            section = name.trim_end_matches(']');
        } else if let Some(item) = line.strip_prefix(".It Ic ") {
            let (key, value) = item.split_once(" = ").unwrap_or((item, ""));
            let value = value.strip_prefix('"').unwrap_or(value);
            let value = value.strip_suffix('"').unwrap_or(value);
            let value = value.replace("\\(dq", "\"").replace("\\-", "-");
            documented.insert(format!("{section}.{key}"), value);
        }
    }
    documented.remove("groups.NAME.parallelism").unwrap();

    let dir = draft();
    let in_force = |text: &str| {
        let file = dir.path().join("stoked.toml");
        fs::write(&file, text).unwrap();
        // The defaults of the system's daemon are those that are documented.
        let defaults = Settings::of_system(
            Path::new(paths::SYSTEM_STATE_DIR),
            Path::new(paths::SYSTEM_RUNTIME_DIR),
        );
        let sources = Sources {
            only: Some(file),
            ..Sources::of(defaults, dir.path())
        };
        load(&sources).unwrap().settings.lines()
    };
    let defaults = in_force("");
    let known: BTreeSet<&str> = defaults
        .iter()
        .filter_map(|line| Some(line.split_once(" = ")?.0))
        .collect();
    let in_page: BTreeSet<&str> = documented.keys().map(String::as_str).collect();
    assert_eq!(in_page, known);
    // A long one stands below its key, over several lines.
    let written: Vec<String> = documented
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    assert_eq!(in_force(&written.concat()), defaults);
}

#[test]
fn the_page_of_the_api_has_every_route() {
    let document = OPENAPI.splitn(3, "---\n").nth(2).unwrap();
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let summary = operation["summary"].as_str().unwrap();
            routes.push(format!(
                ".It Ic {} {path}\n{summary}.",
                method.to_uppercase()
            ));
        }
    }
    let (_, rest) = API_PAGE
        .split_once(".Sh ROUTES\n.Bl -tag -width Ds\n")
        .unwrap();
    let (list, _) = rest.split_once("\n.El\n").unwrap();
    let wanted = routes.join("\n");
    // What differs, as it has to stand in packaging/man/stoked-api.7.
    let missing: Vec<&str> = wanted.lines().filter(|line| !list.contains(line)).collect();
    assert!(
        list == wanted,
        "packaging/man/stoked-api.7, ROUTES: missing\n{missing:#?}\nall:\n{wanted}"
    );
}

#[test]
fn the_page_of_the_api_has_every_kind_of_problem_and_every_limit_that_there_is() {
    for kind in ProblemKind::ALL {
        let item = format!(".It Ic {} No ({})\n", kind.name(), kind.status());
        assert!(API_PAGE.contains(&item), "{item}");
    }
    let said = API_PAGE.matches(".It Ic stoked:").count();
    assert_eq!(said, ProblemKind::ALL.len());
    let (_, limits) = API_PAGE.split_once(".Sh LIMITS\n").unwrap();
    let (limits, _) = limits.split_once(".Sh ROUTES\n").unwrap();
    let configuration = fs::read_to_string(root().join("packaging/config/stoked.toml")).unwrap();
    let (_, api) = configuration.split_once("[api]\n").unwrap();
    for key in limits.lines().filter_map(|line| line.strip_prefix(".Ic ")) {
        let key = key.trim_end_matches([' ', ',', ';']);
        assert!(
            api.contains(&format!("\n#{key} = ")),
            "there is no api.{key}"
        );
    }
}

#[test]
fn the_page_of_the_bus_is_made_from_its_interfaces() {
    let test = "the_page_of_the_bus_is_made_from_its_interfaces";
    if !has(test, "python3") {
        return;
    }
    let dir = draft();
    let file = dir.path().join("all.xml");
    fs::write(&file, INTERFACES).unwrap();
    let page = |file: &Path| {
        let mut make = Command::new("python3");
        run(make.arg("-B").arg("packaging/man/dbus.py").arg(file))
    };
    let said = page(&file);
    assert_eq!(said.status, Some(0), "{said:#?}");
    insta::assert_snapshot!(interfaces(&said.output));
    fs::write(&file, "<node><interface").unwrap();
    let said = page(&file);
    assert_eq!(
        (said.status, said.output.as_str()),
        (Some(1), ""),
        "{said:#?}"
    );
    assert!(said.error.contains("all.xml"), "{said:#?}");
}

#[test]
fn formatters_have_nothing_to_say_of_any_page() {
    let test = "formatters_have_nothing_to_say_of_any_page";
    let host = draft();
    let said = make(
        "install",
        &[("DESTDIR", host.path()), ("PREFIX", Path::new("/usr"))],
    );
    assert_eq!(said.status, Some(0), "{said:#?}");
    let man = host.path().join("usr/share/man");
    let pages = files(&man);
    for own in [
        "man1/stoke.1",
        "man5/stoked.toml.5",
        "man7/stoked-api.7",
        "man8/stoked.8",
    ] {
        assert!(pages.iter().any(|page| page == own), "{own} is missing");
    }
    let (has_man, has_mandoc) = (has(test, "man"), has(test, "mandoc"));
    for page in &pages {
        let path = man.join(page);
        if has_man {
            let mut format = Command::new("man");
            format
                .args(["--warnings", "--encoding=UTF-8", "--local-file"])
                .arg(&path);
            // Lines of a usage are as long as they are.
            let said = run(format.env("MANWIDTH", "200").env("LC_ALL", "C.UTF-8"));
            assert_eq!((said.status, said.error.as_str()), (Some(0), ""), "{page}");
            assert!(said.output.contains("NAME"), "{page}\n{}", said.output);
        }
        // Those that the programs print are as their parser has them.
        if !page.starts_with("man1/") && !page.starts_with("man8/") && has_mandoc {
            let mut lint = Command::new("mandoc");
            let said = run(lint.args(["-T", "lint", "-W", "warning"]).arg(&path));
            assert_eq!((said.status, said.output.as_str()), (Some(0), ""), "{page}");
        }
    }
}
