//! Attempts that come and go, by the thousand, leave nothing in the tables.

use super::*;
use crate::sampling::jobs::Jobs;

#[test]
fn nothing_is_kept_of_attempts_that_are_gone() {
    let tree = Tree::new();
    let mut table = tree.table();
    let roots = Roots {
        proc: tree.root.path().to_owned(),
        sys: "/nowhere".into(),
    };
    let mut jobs = Jobs::new(&roots, &table);
    tree.put(&Fake { pid: 1, ..FAKE });
    let sizes = (0..2_000_u32).map(|round| {
        let attempt = AttemptId {
            job: JobId(u64::from(round) + 1),
            attempt: 1,
        };
        let (shim_pid, pid) = (10_000 + 2 * round, 10_001 + 2 * round);
        let start = 2_000 + u64::from(round);
        let [of_shim, of_job] = [(shim_pid, 1), (pid, shim_pid)].map(|(pid, parent)| Fake {
            pid,
            parent,
            start,
            ..FAKE
        });
        // Most have no process that is seen, as short ones have none.
        let is_seen = round % 50 == 0;
        if is_seen {
            tree.put(&of_shim);
            tree.put(&of_job);
        }
        let watch = Watch {
            attempt,
            shim: shim(shim_pid, start),
            cgroup: Some(tree.root.path().join(format!("stoked-x/{attempt}"))),
            token: Some(Token {
                secret: format!("token of {attempt}"),
                uid: 0,
            }),
            ..Watch::default()
        };
        jobs.watch(&watch, &mut table);
        let now = at(u64::from(round) * 1_000);
        table.refresh(now);
        assert_eq!(table.of(attempt).count(), usize::from(is_seen));
        jobs.read(now, &table);
        if is_seen {
            tree.remove(shim_pid);
            tree.remove(pid);
        }
        jobs.forget(attempt, now, &mut table);
        table.refresh(at(u64::from(round) * 1_000 + 500));
        jobs.read(now, &table);
        let Processes {
            owners,
            members,
            shims,
            table: all,
            ..
        } = &table;
        let numbers = [
            all.len(),
            members.len(),
            shims.len(),
            jobs.watched().count(),
        ];
        (numbers, table.descriptors().kept(), format!("{owners:?}"))
    });
    let sizes: Vec<_> = sizes.collect();
    assert_eq!(sizes[0].0, [1, 0, 0, 0]);
    let last = sizes.last();
    assert_eq!(sizes.first(), last);
}
