//! Flows: counted as a look at every job would count them; and events of before.

use super::*;
use crate::model::flow::{Flow, FlowKey};
use std::collections::BTreeMap;

/// Jobs of every sort, in flows of three users and in none.
fn jobs() -> Vec<Job> {
    let states = every_state();
    let numbered = (1..=300_u64).zip(states.iter().cycle());
    let jobs = numbered.map(|(id, state)| {
        let mut job = job(id);
        let mut spec = JobSpec::clone(&job.spec);
        spec.flow = ["a", "b", "c/d"]
            .get(id as usize % 4)
            .map(|it| (*it).to_owned());
        job.spec = Arc::new(spec);
        let uid = 1000 + u32::try_from(id % 7 % 3).unwrap();
        job.owner = Arc::new(Owner {
            uid,
            gid: 100,
            user: format!("user{uid}"),
        });
        job.created = at(id.cast_signed());
        job.finished = state.is_final().then(|| at(id.cast_signed() + 500));
        if state.holds_place() {
            let attempt = AttemptId {
                job: job.id,
                attempt: 2,
            };
            job.attempt = Some(full_attempt(attempt));
        }
        job.state = state.clone();
        job
    });
    jobs.collect()
}

fn counted(jobs: &[Job]) -> BTreeMap<FlowKey, (Flow, JobId)> {
    let mut flows: BTreeMap<FlowKey, (Flow, JobId)> = BTreeMap::new();
    for job in jobs {
        let Some(name) = &job.spec.flow else { continue };
        let key = FlowKey {
            uid: job.owner.uid,
            name: name.as_str().into(),
        };
        let (flow, newest) = flows.entry(key).or_default();
        let finished = job.finished.unwrap_or(job.created);
        flow.moved(job.id, None, job.state.name(), finished.wall_ms);
        let first = flow.first_submitted_ms.unwrap_or(i64::MAX);
        flow.first_submitted_ms = Some(first.min(job.created.wall_ms));
        flow.user.clone_from(&job.owner.user);
        *newest = (*newest).max(job.id);
    }
    flows
}

#[test]
fn flows_are_counted_as_a_look_at_every_job_would() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let jobs = jobs();
    wait(store.commit(jobs.iter().map(added).collect())).unwrap();
    let wanted = counted(&jobs);
    let reader = store.reader();
    for (key, (flow, newest)) in &wanted {
        let record = reader.flow(key).unwrap().unwrap();
        assert_eq!((&record.flow, record.newest), (flow, *newest), "{key:?}");
        let attempts: Vec<JobId> = record.attempts.keys().copied().collect();
        assert_eq!(attempts, flow.active.keys().copied().collect::<Vec<_>>());
        assert_eq!(record.as_of, Seq(300));
    }
    let missing = FlowKey {
        uid: 1,
        name: "a".into(),
    };
    assert_eq!(reader.flow(&missing).unwrap(), None);
    let mut order: Vec<(JobId, FlowKey)> = wanted
        .iter()
        .map(|(key, (_, newest))| (*newest, key.clone()))
        .collect();
    order.sort_by(|one, other| other.cmp(one));
    let (mut listed, mut before) = (Vec::new(), None);
    loop {
        let page = reader.flows(None, before, 2).unwrap();
        listed.extend(page.items.into_iter().map(|it| (it.newest, it.key)));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(listed, order);
    let theirs = reader.flows(Some(1001), None, 100).unwrap().items;
    assert_eq!(theirs.len(), 3);
    assert!(theirs.iter().all(|it| it.key.uid == 1001));
    assert_eq!(reader.flow_owners("c/d").unwrap(), [1000, 1001, 1002]);
    assert_eq!(reader.uid_of("user1002").unwrap(), Some(1002));
    assert_eq!(reader.uid_of("nobody").unwrap(), None);
}

#[test]
fn final_states_that_were_stored_as_moves_are_read_by_name() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    wait(store.commit(vec![added(&job(1))])).unwrap();
    store.close();
    let by_hand = rusqlite::Connection::open(directory.path().join("stoked.db")).unwrap();
    by_hand
        .execute_batch(
            "INSERT INTO events (at_ms, channel, kind, uid, is_final, job, body) VALUES \
             (1, 'job/1/state', 'state', 0, 1, 1, '{\"job\":1,\"state\":\"timed_out\"}')",
        )
        .unwrap();
    drop(by_hand);
    let store = open(directory.path()).store;
    let page = store
        .reader()
        .events(Seq(0), 10, &EventFilter::default())
        .unwrap();
    let kinds: Vec<&str> = page.events.iter().map(|event| &*event.kind).collect();
    assert_eq!(kinds, ["state", "timed_out"]);
}
