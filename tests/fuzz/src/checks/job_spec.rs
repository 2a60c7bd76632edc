//! Submissions: what is accepted is within every limit, what is refused says why, and JSON keeps what it says.

use stoked::api::check_submission;
use stoked::auth::Subject;
use stoked::model::spec::{JobSpec, LAST_PRIORITY, StopPolicy};
use stoked::wire::request::{JobEdit, JobSubmit};

const MOST_JOBS: usize = 8;

/// Takes the body of `POST /v1/jobs`.
pub fn check(data: &[u8]) {
    same_after_writing::<JobSubmit>(data);
    same_after_writing::<JobEdit>(data);
    let subject = Subject {
        uid: 1000,
        gid: 1000,
        pid: None,
        user: "somebody".into(),
        home: None,
        in_admin_group: false,
        refused: None,
    };
    match check_submission(data, &subject, StopPolicy::default(), MOST_JOBS) {
        Ok(drafts) => {
            assert!((1..=MOST_JOBS).contains(&drafts.len()));
            for draft in drafts {
                is_within_limits(&draft.spec);
            }
        }
        Err(problem) => {
            assert_eq!(problem.status, 400, "{problem:?}");
            let texts = [
                Some(&problem.title),
                problem.detail.as_ref(),
                problem.hint.as_ref(),
            ];
            for text in texts.into_iter().flatten() {
                assert!(!text.is_empty() && text.len() <= 4_096, "{problem:?}");
                assert!(!text.chars().any(char::is_control), "{problem:?}");
            }
        }
    }
}

fn is_within_limits(spec: &JobSpec) {
    assert!(
        spec.command
            .first()
            .is_some_and(|program| !program.is_empty())
    );
    assert!(spec.command.iter().all(|argument| !argument.contains('\0')));
    assert!(spec.cwd.starts_with('/') && spec.cwd.len() <= 4_096);
    let words = [
        Some(&spec.name),
        Some(&spec.group),
        spec.kind.as_ref(),
        spec.flow.as_ref(),
    ];
    for word in words.into_iter().flatten() {
        assert!(!word.is_empty() && word.chars().count() <= 128, "{word:?}");
        assert!(!word.chars().any(char::is_control), "{word:?}");
    }
    assert!(!spec.group.contains('/'));
    assert!(spec.labels.len() <= 64 && spec.priority <= LAST_PRIORITY);
    assert!((1..=64).contains(&spec.stop.signal));
    assert!(spec.retry.max_attempts >= 1 && spec.retry.backoff_cap_ms >= spec.retry.backoff_ms);
    let stored = serde_json::to_string(spec).expect("a spec can be stored");
    let read: JobSpec = serde_json::from_str(&stored).expect("a stored spec can be read");
    assert_eq!(read, *spec);
}

fn same_after_writing<T>(data: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let written = serde_json::to_vec(&value).expect("what was read can be written");
        let read: T = serde_json::from_slice(&written).expect("what was written can be read");
        assert_eq!(read, value);
    }
}
