//! What becomes of a submission: defaults, hashes, signals.

use super::*;
use crate::wire::request::JobSubmit;
use crate::wire::values::Span;
use proptest::prelude::*;

fn ann() -> Subject {
    Subject {
        uid: 1000,
        gid: 1000,
        pid: None,
        user: "ann".into(),
        home: Some("/home/ann".into()),
        in_admin_group: false,
        refused: None,
    }
}

fn job(command: &[&str]) -> JobSubmit {
    JobSubmit {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        ..JobSubmit::default()
    }
}

fn checked(job: JobSubmit) -> Result<Checked, Failure> {
    check(job, &ann(), StopPolicy::default(), Place(""))
}

#[test]
fn what_is_left_out_has_a_default() {
    let draft = checked(job(&["python3", "train.py"])).ok().unwrap().draft;
    assert_eq!(draft.spec.cwd, "/home/ann");
    assert_eq!(draft.spec.name, "train.py");
    assert_eq!(
        (draft.spec.group.as_str(), draft.spec.priority),
        ("default", 5)
    );
    assert!(draft.spec.env.is_none() && draft.held.is_none());
}

#[test]
fn what_is_given_is_taken() {
    let given = JobSubmit {
        stop_signal: Some("int".into()),
        grace: Some(Span::from_ms(0)),
        needs_approval: true,
        after_ok: vec![JobRef::Id(3), JobRef::Name("load".into())],
        retry: Some(RetrySubmit {
            attempts: 3,
            backoff: Some(Span::from_ms(7_200_000)),
            ..RetrySubmit::default()
        }),
        ..job(&["a"])
    };
    let draft = checked(given).ok().unwrap().draft;
    assert_eq!((draft.spec.stop.signal, draft.spec.stop.grace_ms), (2, 0));
    assert_eq!(draft.held, Some(HeldFor::Approval));
    assert_eq!(
        draft.after_ok,
        [Dependency::Id(JobId(3)), Dependency::Name("load".into())]
    );
    assert_eq!(draft.spec.retry.max_attempts, 3);
    let retry = &draft.spec.retry;
    assert!(
        retry.backoff_cap_ms >= retry.backoff_ms,
        "a cap below the first wait is no cap"
    );
}

#[test]
fn signals_have_names_and_numbers() {
    for (text, number) in [("TERM", 15), ("sigusr1", 10), ("9", 9), ("64", 64)] {
        assert_eq!(signal(text), Ok(number), "{text}");
    }
    for text in ["", "0", "65", "-1", "SIGSIGTERM", "TRM"] {
        assert!(signal(text).is_err(), "{text}");
    }
    assert!(signal("TREM").unwrap_err().contains("TERM"));
}

#[test]
fn edits_remove_what_is_emptied() {
    let edit = check_edit(JobEdit {
        kind: Some(String::new()),
        timeout: Some(Span::from_ms(0)),
        not_before: Some("now".into()),
        ..JobEdit::default()
    });
    let edit = edit.ok().unwrap();
    assert_eq!(
        (edit.kind, edit.timeout_ms, edit.not_before_ms),
        (Some(None), Some(None), Some(None))
    );
    assert!(check_edit(JobEdit::default()).is_err());
    let soon = JobEdit {
        not_before: Some("soon".into()),
        ..JobEdit::default()
    };
    assert_eq!(
        check_edit(soon).unwrap_err().0.field.as_deref(),
        Some("not_before")
    );
}

proptest! {
    #[test]
    fn environments_share_a_name_only_when_they_are_equal(
        a in prop::collection::btree_map("[A-Z]{1,3}", "[a-z=]{0,3}", 0..4),
        b in prop::collection::btree_map("[A-Z]{1,3}", "[a-z=]{0,3}", 0..4),
    ) {
        prop_assert_eq!(environment_id(&a) == environment_id(&b), a == b);
    }

    #[test]
    fn whatever_comes_is_taken_or_refused(command in prop::collection::vec(".*", 0..4), name in ".*", cwd in ".*", signal in ".*") {
        let given = JobSubmit {
            command: command.clone(),
            name: Some(name),
            cwd: Some(cwd),
            stop_signal: Some(signal),
            ..JobSubmit::default()
        };
        if let Ok(taken) = checked(given) {
            prop_assert!(taken.draft.spec.cwd.starts_with('/'));
            prop_assert!(!taken.draft.spec.name.chars().any(char::is_control));
            prop_assert_eq!(taken.draft.spec.command, command);
        }
    }
}
