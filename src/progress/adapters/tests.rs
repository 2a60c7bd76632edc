//! The shipped adapters, and files that are wrong.

use super::*;

#[test]
fn shipped_files_have_no_problems() {
    for (name, text) in shipped::FILES {
        let (entries, problems) = parse::parse(text, &Origin::Shipped);
        assert!(problems.is_empty(), "{name}: {}", problems[0]);
        assert!(!entries.is_empty(), "{name}");
    }
}

#[test]
fn every_file_is_shipped() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/adapters.d");
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "toml") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let is_shipped = shipped::FILES.iter().any(|(known, _)| *known == name);
            assert!(is_shipped, "{} is not in FILES", path.display());
        }
    }
}

#[test]
fn shipped_patterns_compile_and_are_tried_on_few_lines() {
    for adapter in Catalogue::shipped().adapters() {
        for (at, rule) in (1..).zip(adapter.lines()) {
            let name = &adapter.name;
            assert!(
                rule.pattern.is_sound() && rule.pairs.is_sound(),
                "{name}, line {at}"
            );
            let rarest = rule.needs.first().map_or(1.0, window::need_weight);
            assert!(
                rarest < 0.002,
                "{name}, line {at}: {rarest} of all places have what it needs"
            );
        }
    }
}

/// What is wrong with a file of adapters.
fn faults(text: &str) -> Vec<String> {
    let file = Origin::File("/etc/a.toml".into());
    let (_, problems) = parse::parse(text, &file);
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let line = |text: &str| format!("[[adapter]]\nname = \"a\"\n[[adapter.line]]\n{text}\n");
    let table = [
        (
            "adaptor = 1".to_owned(),
            "/etc/a.toml:1: adaptor: a file of adapters has",
        ),
        ("[adapter]\nname = \"a\"".to_owned(), "adapters begin with"),
        ("name = ".to_owned(), "/etc/a.toml:1: "),
        ("[[adapter]]".to_owned(), "name: a name of a-z"),
        (
            "[[adapter]]\nname = \"a\"".to_owned(),
            "adapter a: line: at least one",
        ),
        (
            "[[adapter]]\nname = \"a\"\nbuiltin = \"jsn\"".to_owned(),
            "/etc/a.toml:3: adapter a: builtin: it is",
        ),
        (line(""), "adapter a: pattern: a regular expression"),
        (
            line("pattern = '(?<step>x'"),
            "/etc/a.toml:4: adapter a: pattern: no regular expression: unclosed group",
        ),
        (line("pattern = 'x'"), "it reads nothing"),
        (
            line("pattern = '(?<Step>x)'"),
            "the group `Step` means nothing: do you mean `step`?",
        ),
        (
            line("pattern = '(?<step>x)'\nkeeps = true"),
            "/etc/a.toml:5: adapter a: keeps: there is no such key: do you mean `keep`?",
        ),
        (line("pattern = '(?<step>x)'\nbar = 1"), "bar: it is `true`"),
        (
            line("pattern = '(?<step>x)'\nscale = 1025"),
            "scale: it is 1000 or 1024",
        ),
        (
            line("pattern = '(?<step>x)'\nset = { phas = \"x\" }"),
            "set.phas: there is no such field: do you mean `phase`?",
        ),
        (
            line("pattern = '(?<step>x)'\nset = { phase = \"{of}\" }"),
            "`{of}` is no group of this pattern",
        ),
        (
            line("pattern = '(?<metrics>x)'\nmetrics = 'x'"),
            "metrics: it needs the groups",
        ),
        (
            line("pattern = '(?<step>x)'\ndone = true"),
            "done: it needs a group `item`",
        ),
        (
            line("pattern = '(?<step>(?:\\w{100}){100})'"),
            "the regular expression is too large",
        ),
    ];
    for (text, expected) in table {
        let faults = faults(&text);
        assert!(
            faults.iter().any(|it| it.contains(expected)),
            "{text}\n{faults:?}\n{expected}"
        );
    }
}

#[test]
fn one_bad_adapter_hinders_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let good = |name: &str, signs: &str| {
        format!("[[adapter]]\nname = \"{name}\"\nsummary = \"{signs}\"\nbuiltin = \"json\"\n")
    };
    let files = [
        (
            "1.toml",
            "[[adapter]]\nname = \"tqdm\"\nbad = 1\n".to_owned() + &good("own", "first"),
        ),
        (
            "2.toml",
            good("own", "second") + "[[adapter]]\nname = \"rich\"\ndisabled = true\n",
        ),
        ("3.toml", "not TOML".to_owned()),
        ("4.txt", "not looked at".to_owned()),
        (".5.toml", "not looked at either".to_owned()),
    ];
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::fs::create_dir(dir.path().join("6.toml")).unwrap();
    let loaded = load::load(&[dir.path().to_owned(), "/nonexistent".into()]);
    let catalogue = &loaded.catalogue;
    assert_eq!(catalogue.find("own").unwrap().summary, "second");
    assert_eq!(catalogue.find("tqdm").unwrap().origin, Origin::Shipped);
    assert!(catalogue.find("rich").is_none(), "it is switched off");
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert_eq!(loaded.files.len(), 4);
    assert_eq!(catalogue.adapters().last().unwrap().name, "ratio");
}

#[test]
fn the_text_of_an_adapter_is_its_own() {
    let catalogue = Catalogue::shipped();
    let text = |name| catalogue.find(name).unwrap().text.as_str();
    assert!(text("json").ends_with("builtin = \"json\""));
    assert!(text("ratio").starts_with("[[adapter]]\nname = \"ratio\""));
    for adapter in catalogue.adapters() {
        let (entries, problems) = parse::parse(&adapter.text, &Origin::Shipped);
        assert!(problems.is_empty(), "{}: {}", adapter.name, problems[0]);
        assert_eq!(entries.len(), 1, "{}", adapter.name);
    }
}

#[test]
fn hints_decide_who_is_asked_and_first() {
    let entries = |name: &str, more: &str| {
        let text = format!("[[adapter]]\nname = \"{name}\"\nbuiltin = \"json\"\n{more}");
        parse::parse(&text, &Origin::Shipped).0
    };
    let all = [
        entries("a", ""),
        entries("b", "commands = [\"b*\"]"),
        entries("c", "kinds = [\"train\"]\nhinted_only = true"),
    ];
    let catalogue = Catalogue::of(all.into_iter().flatten().collect());
    let command = |text: &str| -> Vec<String> { vec!["sh".to_owned(), text.to_owned()] };
    let ranks = |kind, text| catalogue.ranks(&Hints::new(kind, &command(text)));
    assert_eq!(ranks(None, "x"), [Some(0), Some(1), None]);
    assert_eq!(ranks(None, "/usr/bin/b2 x"), [Some(1), Some(0), None]);
    assert_eq!(ranks(Some("train"), "x"), [Some(1), Some(2), Some(0)]);
    assert_eq!(catalogue.ranks_of("b"), [None, Some(0), None]);
}
