//! What decides which jobs may start: groups, and whether the host is drained.

use super::*;

#[test]
fn groups_are_set_counted_and_removed() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    let mut running = job(1);
    let set = |group: &Group| Change::GroupSet {
        group: group.clone(),
        at: at(1),
    };
    let (gone, kept) = (group("gone", 1), group("default", 4));
    let mut changes = vec![set(&gone), set(&group("default", 1)), set(&kept)];
    changes.extend([added(&running), added(&job(2)), added(&job(3))]);
    running.state = JobState::Starting { since: at(5) };
    changes.push(moved(&running, StateName::Queued));
    changes.push(Change::GroupRemoved {
        name: "gone".to_owned(),
        at: at(6),
    });
    wait(store.commit(changes)).unwrap();
    let (groups, as_of) = store.reader().group_counts(&always()).unwrap();
    assert_eq!(
        groups,
        [GroupCount {
            group: kept.clone(),
            active: 1,
            waiting: 2
        }]
    );
    assert_eq!(as_of, Seq(8));
    let (counts, _) = store.reader().counts().unwrap();
    let expected = [(StateName::Queued, 2), (StateName::Starting, 1)];
    assert_eq!(counts, expected.into_iter().collect());
    store.close();
    assert_eq!(open(directory.path()).recovered.gates.groups, [kept]);
}

#[test]
fn that_the_host_is_drained_outlives_the_daemon() {
    let directory = TempDir::new().unwrap();
    for draining in [true, true, false] {
        let store = open(directory.path()).store;
        let at = at(1);
        let events = wait(store.commit(vec![Change::DrainSet { draining, at }])).unwrap();
        assert_eq!(&*events[0].channel, "daemon/self/drain");
        assert_eq!(store.reader().gates().unwrap().draining, draining);
        store.close();
        let gates = open(directory.path()).recovered.gates;
        assert_eq!(gates.draining, draining);
    }
}
