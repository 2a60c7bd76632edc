//! Limits: who is at one is told so, and harms nobody else.

use super::*;

fn small() -> Limits {
    Limits {
        connections: 6,
        connections_for_root: 2,
        connections_per_uid: 3,
        streams_per_uid: 2,
        streams_per_job: 3,
        requests_per_second: 10,
        request_burst: 5,
        submissions_per_second: 4,
        submission_burst: 8,
        body_bytes_per_uid: 100,
        ..Limits::of(Mode::System)
    }
}

#[test]
fn one_user_at_its_limit_harms_no_other() {
    let ledger = Ledger::new(small());
    let mut first: Vec<Slot> = (0..3).map(|_| ledger.connect(1000).unwrap()).collect();
    let refused = ledger.connect(1000).unwrap_err();
    assert!(refused.0.is(ProblemKind::LimitReached) && refused.0.title.contains("user 1000"));
    let other = ledger.connect(1001).unwrap();
    first.pop();
    let again = ledger.connect(1000).unwrap();
    drop((first, other, again));
    assert_eq!(ledger.in_use(), (0, 0));
}

#[test]
fn root_gets_in_when_all_others_are_refused() {
    let ledger = Ledger::new(small());
    let all: Vec<Slot> = [1, 1, 2, 2].map(|uid| ledger.connect(uid).unwrap()).into();
    assert!(ledger.connect(3).is_err());
    let root = [ledger.connect(0).unwrap(), ledger.connect(0).unwrap()];
    assert!(ledger.connect(0).is_err());
    drop((all, root));
}

#[test]
fn streams_are_counted_per_user_and_per_job() {
    let ledger = Ledger::new(small());
    let job = Some(JobId(42));
    let held: Vec<Slot> = [1, 1, 2].map(|uid| ledger.stream(uid, job).unwrap()).into();
    let by_job = ledger.stream(3, job).unwrap_err();
    assert!(by_job.0.title.contains("watch this job"), "{by_job:?}");
    let by_user = ledger.stream(1, Some(JobId(43))).unwrap_err();
    assert!(by_user.0.title.contains("event streams"), "{by_user:?}");
    drop(held);
    assert!(ledger.counts().streams_of_jobs.is_empty());
    assert!(ledger.stream(3, job).is_ok());
}

#[test]
fn requests_are_throttled_after_a_burst() {
    let ledger = Ledger::new(small());
    let now = Instant::now();
    for _ in 0..5 {
        ledger.request(1, now).unwrap();
    }
    let refused = ledger.request(1, now).unwrap_err();
    assert_eq!(refused.0.retry_after_ms, Some(101));
    let detail = refused.0.detail.unwrap();
    assert!(
        detail.contains("api.requests_per_second_per_uid"),
        "{detail}"
    );
    assert!(ledger.request(2, now).is_ok());
    let later = now + Duration::from_millis(250);
    assert!(ledger.request(1, later).is_ok() && ledger.request(1, later).is_ok());
    assert!(ledger.request(1, later).is_err());
}

#[test]
fn jobs_are_counted_and_not_requests() {
    let ledger = Ledger::new(small());
    let now = Instant::now();
    assert!(ledger.submission(1, 8, now).is_ok());
    let refused = ledger.submission(1, 2, now).unwrap_err();
    assert!(refused.0.title.contains("more than 4 jobs per second"));
    assert!(
        refused
            .0
            .retry_after_ms
            .is_some_and(|ms| (500..600).contains(&ms))
    );
    assert!(ledger.submission(2, 8, now).is_ok());
    assert!(
        ledger
            .submission(1, 2, now + Duration::from_millis(501))
            .is_ok()
    );
}

#[test]
fn root_is_bounded_by_what_there_is_alone() {
    let ledger = Ledger::new(small());
    let now = Instant::now();
    let held: Vec<Slot> = (0..6).map(|_| ledger.connect(0).unwrap()).collect();
    assert!(ledger.connect(0).is_err(), "there are no more");
    for _ in 0..50 {
        ledger.request(0, now).unwrap();
        ledger.submission(0, 100, now).unwrap();
    }
    drop(held);
    let own = Ledger::new(Limits {
        root_is_exempt: false,
        ..small()
    });
    let held: Vec<Slot> = (0..3).map(|_| own.connect(0).unwrap()).collect();
    assert!(own.connect(0).is_err());
    drop(held);
}

#[test]
fn bodies_in_flight_are_bounded_per_user() {
    let ledger = Ledger::new(small());
    let first = ledger.body(1, 80).unwrap();
    assert!(ledger.body(1, 30).is_err());
    assert!(ledger.body(2, 100).is_ok());
    drop(first);
    assert!(ledger.body(1, 100).is_ok());
}
