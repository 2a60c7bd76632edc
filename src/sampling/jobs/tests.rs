//! Readers of attempts, on made-up cgroups and on real processes.

use super::*;
use crate::model::id::JobId;

fn at(boot_ms: u64) -> Stamp {
    Stamp {
        wall_ms: 0,
        boot_ms,
    }
}

const ATTEMPT: AttemptId = AttemptId {
    job: JobId(7),
    attempt: 1,
};

#[test]
fn a_cgroup_that_is_not_there_has_no_sample() {
    let roots = Roots::default();
    let mut processes = Processes::new(&roots, 10);
    let mut jobs = Jobs::new(&roots, &processes);
    let watch = Watch {
        attempt: ATTEMPT,
        cgroup: Some("/sys/fs/cgroup/no/such".into()),
        ..Watch::default()
    };
    jobs.watch(&watch, &mut processes);
    processes.refresh(at(1_000));
    assert_eq!(jobs.read(at(1_000), &processes), []);
    jobs.forget(ATTEMPT, &mut processes);
    assert_eq!(jobs.watched().count(), 0);
}
