//! Jobs of several users: what one may have, and what one may know of another's.

use crate::rig::{Rig, draft, spec, submission};
use stoked::engine::command::{Command, Refusal, Reply, Submission, Verb};
use stoked::model::state::StateName;

#[test]
fn who_may_not_know_of_a_job_cannot_wait_for_it_either() {
    let mut rig = Rig::new(1);
    let theirs = rig.submit_of(1, vec![draft(spec(), &[])]).unwrap()[0];
    let own = rig.submit_of(2, vec![draft(spec(), &[])]).unwrap()[0];
    rig.started(theirs);
    let ask = |rig: &mut Rig, dependency| {
        rig.ask(Command::Submit(Submission {
            sees_others: false,
            ..submission(2, vec![draft(spec(), &[dependency])])
        }))
    };
    let refused = |reply| reply == Err(Refusal::UnknownDependency(theirs.to_string()));
    // Neither while it lives nor when it has ended.
    assert!(refused(ask(&mut rig, theirs)));
    rig.ended(theirs, 1);
    assert!(refused(ask(&mut rig, theirs)));
    assert!(matches!(ask(&mut rig, own), Ok(Reply::Submitted { .. })));
    // Who may know waits, and is told how it ended.
    let waiter = rig.submit_of(2, vec![draft(spec(), &[theirs])]).unwrap()[0];
    assert_eq!(rig.state(waiter), StateName::Skipped);
}

#[test]
fn a_submission_that_would_be_too_many_changes_nothing() {
    let mut rig = Rig::new(1);
    rig.quota(Some(2));
    let three = || (0..3).map(|_| draft(spec(), &[])).collect::<Vec<_>>();
    let refused = rig.submit_of(1, three()).unwrap_err();
    let wanted = Refusal::TooManyJobs {
        user: "ada".to_owned(),
        live: 0,
        more: 3,
        most: 2,
    };
    assert_eq!(refused, wanted);
    assert_eq!(
        refused.to_string(),
        "user ada may have 2 unfinished jobs, has 0, and 3 more would be too many"
    );
    let first = rig.submit_of(1, three()[..2].to_vec()).unwrap()[0];
    assert_eq!(first.0, 1, "no number was spent");
    // Another user has as many of his own, and root as many as he likes.
    rig.submit_of(2, three()[..2].to_vec()).unwrap();
    rig.submit_of(0, three()).unwrap();
    // What has ended makes room; who brings it back takes that again.
    rig.started(first);
    rig.ended(first, 0);
    rig.restart();
    rig.submit_of(1, three()[..1].to_vec()).unwrap();
    let refused = rig.verb(first, Verb::Retry).unwrap_err();
    assert!(
        matches!(
            refused,
            Refusal::TooManyJobs {
                live: 2,
                more: 1,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(rig.state(first), StateName::Completed);
    rig.quota(None);
    rig.verb(first, Verb::Retry).unwrap();
}
