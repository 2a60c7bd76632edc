//! Configuration as people write it: rightly, wrongly, in several files.

use super::load::{Loaded, Sources, load};
use super::*;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const SHIPPED: &str = include_str!("../../packaging/config/stoked.toml");

fn defaults() -> Settings {
    Settings::of_system(Path::new("/var/lib/stoked"), Path::new("/run/stoked"))
}

fn load_text(text: &str) -> Result<Loaded, ConfigError> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("t.toml");
    fs::write(&file, text).unwrap();
    let outcome = load(&Sources {
        only: Some(file),
        ..Sources::of(defaults(), Path::new("/nonexistent"))
    });
    outcome.map_err(|error| {
        let relative = |mut problem: Problem| {
            let place = problem.place.as_mut();
            place
                .into_iter()
                .for_each(|place| place.file = "t.toml".into());
            problem
        };
        ConfigError {
            problems: error.problems.into_iter().map(relative).collect(),
        }
    })
}

fn problems(text: &str) -> Vec<String> {
    let error = load_text(text).unwrap_err();
    error.problems.iter().map(ToString::to_string).collect()
}

/// The shipped file with every key made to count.
fn uncommented() -> String {
    let is_key = |line: &str| {
        line.strip_prefix('#')
            .and_then(|rest| rest.split_once(" = "))
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    SHIPPED
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_shipped_file_says_the_defaults_and_every_key() {
    assert_eq!(load_text(SHIPPED).unwrap().settings, defaults());
    let mut other = Settings::of_user(Path::new("/x"), Path::new("/y"));
    other.jobs.default_grace = Duration::from_secs(1);
    let mut problems = Vec::new();
    let mut places = BTreeMap::new();
    let mut reading = fragment::Reading {
        settings: &mut other,
        places: &mut places,
        problems: &mut problems,
    };
    fragment::apply(&uncommented(), Path::new("shipped"), &mut reading);
    assert_eq!(problems, []);
    assert_eq!(other, defaults());
    let named: Vec<&str> = places.keys().map(String::as_str).collect();
    let mut every: Vec<&str> = keys::KEYS.iter().map(|key| key.name).collect();
    every.sort_unstable();
    assert_eq!(named, every);
    // Which ones are live is said there too.
    for key in keys::KEYS {
        let (section, leaf) = key.name.split_once('.').unwrap();
        let (_, section) = SHIPPED.split_once(&format!("[{section}]\n")).unwrap();
        let before = section.split(&format!("\n#{leaf} = ")).next().unwrap();
        let paragraph = before.rsplit("\n\n").next().unwrap();
        assert_eq!(paragraph.contains("[live]"), key.live, "{}", key.name);
    }
}

#[test]
fn what_is_shown_can_be_read_back() {
    let mut settings = defaults();
    settings.daemon.log = "a \"b\" \\ c\n=info".to_owned();
    settings.jobs.stop_signal = 34;
    settings.jobs.default_grace = Duration::from_millis(1_500);
    settings.store.ballast_bytes = 0;
    let group = GroupSettings { parallelism: 3 };
    settings.groups.insert("a b.c".to_owned(), group);
    assert_eq!(
        load_text(&settings.lines().join("\n")).unwrap().settings,
        settings
    );
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place() {
    let text = "\
jbos = 1
state_dir = \"/x\"

[jobs]
log_limt = \"1MiB\"
default_grace = 10
log_limit = \"1 MiBB\"
containment = \"docker\"
stop_signal = \"NOPE\"
xyzzy = true
session_variables = [\"A\", 1]

[daemn]
log = \"debug\"

[api]
max_connections = -1
heartbeat = \"0s\"
client_queue = 0

[groups]
gpu = 2
[groups.cpu]
paralelism = 2

[events]
keep = 1
";
    insta::assert_snapshot!(problems(text).join("\n"), @r#"
    t.toml:1: jbos: there is no such key: did you mean "jobs"?
    t.toml:2: state_dir: there is no such key: did you mean "daemon.state_dir"?
    t.toml:5: jobs.log_limt: there is no such key: did you mean "jobs.log_limit"?
    t.toml:6: jobs.default_grace: 10 is not right: write a length of time with its unit, as in "10s", "1h 30m" or "2d"
    t.toml:7: jobs.log_limit: "1 MiBB" is not right: write a size with its unit, as in "256MiB"
    t.toml:8: jobs.containment: "docker" is not right: write "auto", "service", "cgroup" or "tree"
    t.toml:9: jobs.stop_signal: "NOPE" is not right: write a signal by name, as in "TERM", or by number
    t.toml:10: jobs.xyzzy: there is no such key; [jobs] knows default_parallelism, default_grace, log_limit, journal, containment, on_stop, pam, stop_signal, session_variables
    t.toml:11: jobs.session_variables: 1 is not right: write a list of texts, as in ["TMUX*", "OLDPWD"]
    t.toml:13: daemn: there is no such key: did you mean "daemon"?
    t.toml:17: api.max_connections: -1 is not right: write a whole number from 1 to 4294967295
    t.toml:19: api.client_queue: 0 is not right: write a whole number from 1 to 4294967295
    t.toml:22: groups.gpu: this is a group: write [groups.gpu] and parallelism = 4 below
    t.toml:24: groups.cpu.paralelism: there is no such key: a group has "parallelism"
    t.toml:18: api.heartbeat: it is too short: use "1s" or more
    t.toml:27: events.ring: 8192 events in memory, but only 1 on disk: lower it, or raise events.keep
    "#);
}

#[test]
fn what_is_logged_has_levels() {
    for text in [
        "info",
        "WARN",
        "off",
        "info,stoked::store=debug",
        "warn, stoked=trace",
    ] {
        let text = format!("[daemon]\nlog = \"{text}\"\n");
        assert!(load_text(&text).is_ok(), "{text}");
    }
    for (text, wrong) in [
        ("loud", "loud"),
        ("info,stoked::store", "stoked::store"),
        ("", ""),
    ] {
        let text = format!("[daemon]\nlog = \"{text}\"\n");
        let said = problems(&text).join("\n");
        let named = format!("t.toml:2: daemon.log: \"{wrong}\" names no level");
        assert!(said.starts_with(&named), "{said}");
    }
}

#[test]
fn what_is_kept_is_a_matter_of_ages() {
    let text = "[retention]\narchive_after = \"0s\"\ndelete_archived_after = \"365d\"\narchive_max = \"10GiB\"\n";
    let retention = load_text(text).unwrap().settings.retention;
    assert_eq!(retention.archive_after, Duration::ZERO);
    assert_eq!(
        retention.delete_archived_after,
        Duration::from_hours(365 * 24)
    );
    assert_eq!(retention.archive_max_bytes, 10 << 30);
    assert_eq!(retention.logs_after, Duration::from_hours(30 * 24));
    assert_eq!(
        problems("[retention]\ndelete_archived_after = \"7d\"\n"),
        [
            "t.toml:2: retention.delete_archived_after: what is archived cannot be deleted before it is: make it as \
             long as retention.archive_after, or \"0s\" for never"
        ]
    );
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    insta::assert_snapshot!(problems("[jobs]\nlog_limit = \n\n[store\n").join("\n"), @r#"
    t.toml:2: string values must be quoted, expected literal string
    t.toml:4: unclosed table, expected `]`
    "#);
}

#[test]
fn later_files_win_and_the_environment_stands_above() {
    let vendor = TempDir::new().unwrap();
    let ours = TempDir::new().unwrap();
    let write = |directory: &TempDir, name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let files = [
        write(
            &vendor,
            "stoked.toml",
            "[jobs]\nlog_limit = \"1MiB\"\nstop_signal = \"INT\"\n[groups.a]\nparallelism = 1",
        ),
        write(
            &vendor,
            "stoked.toml.d/50.toml",
            "jobs.log_limit = \"2MiB\"",
        ),
        write(
            &ours,
            "stoked.toml.d/10.toml",
            "jobs.default_grace = \"3s\"",
        ),
        write(
            &ours,
            "stoked.toml.d/20.toml",
            "jobs.default_grace = \"4s\"\ngroups.b.parallelism = 2\ndaemon.state_dir = \"/f\"",
        ),
    ];
    write(&ours, "stoked.toml.d/.30.toml", "no toml");
    write(&ours, "stoked.toml.d/README", "no toml");
    let mut sources = Sources::of(defaults(), ours.path());
    sources.directories[0] = vendor.path().to_owned();
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.files, files);
    let mut expected = defaults();
    expected.jobs.log_limit_bytes = 2 << 20;
    expected.jobs.stop_signal = 2;
    expected.jobs.default_grace = Duration::from_secs(4);
    expected.daemon.state_dir = "/f".into();
    for (name, parallelism) in [("a", 1), ("b", 2)] {
        expected
            .groups
            .insert(name.to_owned(), GroupSettings { parallelism });
    }
    assert_eq!(loaded.settings, expected);
    sources.state_dir = Some("/e".into());
    sources.runtime_dir = Some("/r".into());
    let loaded = load(&sources).unwrap().settings;
    assert_eq!(loaded.daemon.state_dir, Path::new("/e"));
    assert_eq!(loaded.daemon.runtime_dir, Path::new("/r"));
    sources.only = Some("/nonexistent/stoked.toml".into());
    let error = load(&sources).unwrap_err().to_string();
    assert!(
        error.contains("/nonexistent/stoked.toml: it cannot be read"),
        "{error}"
    );
    sources.only = Some(files[2].clone());
    assert_eq!(load(&sources).unwrap().files, files[2..3]);
}

#[test]
fn a_relative_or_long_directory_from_outside_is_refused() {
    let mut sources = Sources::of(defaults(), Path::new("/nonexistent"));
    sources.state_dir = Some("state".into());
    sources.runtime_dir = Some(format!("/{}", "x".repeat(100)).into());
    let error = load(&sources).unwrap_err();
    let keys: Vec<&str> = error
        .problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(keys, ["daemon.runtime_dir", "daemon.state_dir"]);
}

#[test]
fn a_reload_says_what_takes_a_restart() {
    let old = load_text("groups.a.parallelism = 1").unwrap().settings;
    let text = "jobs.log_limit = \"1MiB\"\napi.heartbeat = \"9s\"\ngroups.b.parallelism = 1";
    let new = load_text(text).unwrap().settings;
    let changes = Settings::live_changes(&old, &new);
    let applied = [
        "groups.\"a\".parallelism",
        "groups.\"b\".parallelism",
        "jobs.log_limit",
    ];
    assert_eq!(changes.applied, applied);
    assert_eq!(changes.needs_restart, ["api.heartbeat"]);
    assert_eq!(Settings::live_changes(&new, &new), LiveChanges::default());
}

#[test]
fn what_is_told_of_others_is_one_of_three_words() {
    use crate::model::access::Others;
    let others = |text: &str| load_text(text).map(|loaded| loaded.settings.access.others);
    assert_eq!(others("").unwrap(), Others::Usage);
    assert_eq!(
        others("access.others = \"states\"").unwrap(),
        Others::States
    );
    assert_eq!(
        others("access.others = \"nothing\"").unwrap(),
        Others::Nothing
    );
    let error = others("access.others = \"names\"").unwrap_err().to_string();
    assert!(
        error.contains(
            "access.others: \"names\" is not right: write \"usage\", \"states\" or \"nothing\""
        ),
        "{error}"
    );
    let old = load_text("").unwrap().settings;
    let new = load_text("access.others = \"states\"\naccess.max_jobs_per_user = 7").unwrap();
    let changes = Settings::live_changes(&old, &new.settings);
    assert_eq!(changes.applied, ["access.max_jobs_per_user"]);
    assert_eq!(changes.needs_restart, ["access.others"]);
}

#[test]
fn a_service_of_pam_is_a_plain_name() {
    for good in ["", "stoked", "my-own_jobs.2"] {
        assert!(
            load_text(&format!("[jobs]\npam = \"{good}\"\n")).is_ok(),
            "{good}"
        );
    }
    for wrong in ["../shadow", "/etc/pam.d/stoked", ".hidden", "a b"] {
        let found = problems(&format!("[jobs]\npam = \"{wrong}\"\n"));
        assert!(found[0].contains("names no service of PAM"), "{found:?}");
    }
}
