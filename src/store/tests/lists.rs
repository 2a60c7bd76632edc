//! Lists: every filter and page against a list that is simply searched, and how long they take.

use super::*;
use proptest::prelude::*;
use std::time::Instant;

fn fits(filter: &JobFilter, job: &Job) -> bool {
    fn any<T: PartialEq>(wanted: &[T], is: &T) -> bool {
        wanted.is_empty() || wanted.contains(is)
    }
    let kind = job.spec.kind.as_ref();
    any(&filter.states, &job.state.name())
        && any(&filter.uids, &job.owner.uid)
        && any(&filter.users, &job.owner.user)
        && any(&filter.groups, &job.spec.group)
        && (filter.kinds.is_empty() || kind.is_some_and(|kind| filter.kinds.contains(kind)))
        && filter
            .flow
            .as_ref()
            .is_none_or(|flow| job.spec.flow.as_ref() == Some(flow))
        && filter
            .name
            .as_ref()
            .is_none_or(|name| *name == job.spec.name)
        && filter
            .since_ms
            .is_none_or(|since| job.created.wall_ms >= since)
        && filter
            .until_ms
            .is_none_or(|until| job.created.wall_ms < until)
        && filter.ids.as_ref().is_none_or(|ids| ids.contains(&job.id))
        && filter.labels.iter().all(|(name, value)| {
            job.spec
                .labels
                .get(name)
                .is_some_and(|is| value.as_ref().is_none_or(|value| value == is))
        })
}

fn word() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "a'%_*", "ä\n"]).prop_map(str::to_owned)
}

fn any_job() -> impl Strategy<Value = Job> {
    let state = prop::sample::select(every_state());
    let labels = prop::collection::btree_map(word(), word(), 0..3);
    let texts = (
        word(),
        word(),
        prop::option::of(word()),
        prop::option::of(word()),
    );
    (state, 0..3_u32, texts, labels, 0..50_i64).prop_map(
        |(state, uid, (name, group, kind, flow), labels, created)| {
            let mut job = job(0);
            let spec = JobSpec {
                name,
                group,
                kind,
                flow,
                labels,
                ..(*job.spec).clone()
            };
            job.spec = Arc::new(spec);
            job.owner = Arc::new(Owner {
                uid,
                gid: uid,
                user: ["root", "ada", "bob"][uid as usize].to_owned(),
            });
            job.state = state;
            job.created = at(created);
            job
        },
    )
}

fn any_filter() -> impl Strategy<Value = JobFilter> {
    let few = |values| prop::collection::vec(values, 0..3);
    let states = few(prop::sample::select(StateName::ALL.to_vec()).boxed());
    let users = prop::sample::select(vec!["root", "ada", "nobody"]).prop_map(str::to_owned);
    let label = (word(), prop::option::of(word()));
    let rarely = |values: BoxedStrategy<String>| prop::option::weighted(0.2, values);
    let time = || prop::option::weighted(0.2, (0..50_i64).prop_map(|ms| at(ms).wall_ms));
    (
        (states, prop::collection::vec(0..3_u32, 0..3)),
        prop::collection::vec(users, 0..2),
        (
            prop::collection::vec(word(), 0..3),
            prop::collection::vec(word(), 0..2),
        ),
        prop::collection::vec(label, 0..2),
        (rarely(word().boxed()), rarely(word().boxed())),
        (time(), time()),
        prop::option::weighted(
            0.2,
            prop::collection::vec((0..40_u64).prop_map(JobId), 0..9),
        ),
    )
        .prop_map(
            |(
                (states, uids),
                users,
                (groups, kinds),
                labels,
                (flow, name),
                (since, until),
                ids,
            )| {
                JobFilter {
                    states,
                    uids,
                    users,
                    groups,
                    kinds,
                    labels,
                    flow,
                    name,
                    since_ms: since,
                    until_ms: until,
                    ids,
                }
            },
        )
}

/// Every page, joined.
fn all_pages(reader: &Reader, filter: &JobFilter, limit: usize) -> Vec<Job> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = reader.jobs(filter, after, limit).unwrap();
        assert!(page.items.len() <= limit);
        all.extend(page.items);
        let Some(next) = page.next else { return all };
        assert_eq!(all.last().unwrap().id, next);
        after = Some(next);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn lists_are_what_searching_every_job_would_give(
        mut jobs in prop::collection::vec(any_job(), 0..40),
        filters in prop::collection::vec((any_filter(), 1..9_usize), 40),
    ) {
        let directory = TempDir::new().unwrap();
        let store = open(directory.path()).store;
        for (id, job) in (1..).zip(&mut jobs) {
            job.id = JobId(id);
        }
        wait(store.commit(jobs.iter().map(added).collect())).unwrap();
        for (filter, limit) in filters {
            let expected: Vec<Job> =
                jobs.iter().rev().filter(|job| fits(&filter, job)).cloned().collect();
            let listed = all_pages(&store.reader(), &filter, limit);
            prop_assert_eq!(listed, expected, "{:?}", filter);
        }
    }
}

#[test]
fn one_row_that_cannot_be_read_does_not_hide_the_others() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).store;
    wait(store.commit((1..=3).map(|id| added(&job(id))).collect())).unwrap();
    let hand = rusqlite::Connection::open(directory.path().join("stoked.db")).unwrap();
    hand.execute("UPDATE job_specs SET spec = '{' WHERE job = 2", [])
        .unwrap();
    let reader = store.reader();
    let page = reader.jobs(&JobFilter::default(), None, 9).unwrap();
    assert_eq!(page.items, [job(3), job(1)]);
    assert!(matches!(
        reader.job(JobId(2)),
        Err(StoreError::Corrupt { .. })
    ));
    let fetch = Fetch {
        jobs: vec![JobId(2)],
        ..Fetch::default()
    };
    let fetched = store.fetch(fetch);
    let committed = store.commit(vec![added(&job(4))]);
    assert!(matches!(wait(fetched), Err(StoreError::Corrupt { .. })));
    assert!(wait(committed).is_ok());
}

/// A history of `count` jobs, all but the last `live` finished, as a busy host leaves it.
pub(in super::super) fn history(store: &Store, count: u64, live: u64) {
    let failure = Failure::new(FailureClass::Exit, "ended with exit status 3");
    let mut last = None;
    for batch in (1..=count).collect::<Vec<_>>().chunks(2_000) {
        let mut changes = Vec::new();
        for &id in batch {
            let mut job = job(id);
            changes.push(added(&job));
            job.attempt = Some(full_attempt(job.next_attempt()));
            job.state = if id > count - live {
                JobState::Running {
                    since: at(1),
                    ran_before_ms: 0,
                }
            } else if id % 1_000 == 0 {
                JobState::Failed {
                    failure: failure.clone(),
                    exit: Some(Exit::with_code(3)),
                }
            } else {
                JobState::Completed
            };
            changes.push(moved(&job, StateName::Queued));
        }
        last = Some(store.commit(changes));
    }
    wait(last.unwrap()).unwrap();
}

/// Prints how long things take with a long history; asserts only what no slow machine can miss.
/// `STOKED_TEST_HISTORY=100000` makes it the size of the budgets.
#[test]
fn a_long_history_costs_nothing() {
    let count = std::env::var("STOKED_TEST_HISTORY")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5_000);
    let directory = TempDir::new().unwrap();
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let begin = Instant::now();
        work();
        println!("{what}: {:.2?}", begin.elapsed());
    };
    let store = open(directory.path()).store;
    timed("write the history", &mut || history(&store, count, 1_000));
    let reader = store.reader();
    let filters = [
        ("first page", JobFilter::default()),
        (
            "running",
            JobFilter {
                states: vec![StateName::Running],
                ..JobFilter::default()
            },
        ),
        (
            "failed or lost",
            JobFilter {
                states: vec![StateName::Failed, StateName::Lost],
                ..JobFilter::default()
            },
        ),
        (
            "every live state",
            JobFilter {
                states: StateName::ALL[..7].to_vec(),
                uids: vec![1000],
                ..JobFilter::default()
            },
        ),
        (
            "of nobody",
            JobFilter {
                uids: vec![7, 8],
                ..JobFilter::default()
            },
        ),
        (
            "failed of one user",
            JobFilter {
                states: vec![StateName::Failed],
                uids: vec![1000],
                ..JobFilter::default()
            },
        ),
        (
            "by label",
            JobFilter {
                labels: vec![("model".to_owned(), Some("llama".to_owned()))],
                ..JobFilter::default()
            },
        ),
        (
            "since the end",
            JobFilter {
                since_ms: Some(at(i64::MAX / 4).wall_ms),
                ..JobFilter::default()
            },
        ),
        (
            "by a name nobody has",
            JobFilter {
                name: Some("x".to_owned()),
                ..JobFilter::default()
            },
        ),
    ];
    for (what, filter) in filters {
        let mut found = 0;
        timed(what, &mut || {
            found = reader.jobs(&filter, None, 100).unwrap().items.len();
        });
        println!("    {found} jobs");
    }
    timed("counts", &mut || drop(reader.counts().unwrap()));
    timed("groups", &mut || {
        drop(reader.group_counts(&always()).unwrap());
    });
    let mut id = count;
    timed("100 submissions, one by one", &mut || {
        for _ in 0..100 {
            id += 1;
            wait(store.commit(vec![added(&job(id))])).unwrap();
        }
    });
    timed("10,000 submissions in one call", &mut || {
        let changes = (1..=10_000).map(|next| added(&job(id + next))).collect();
        wait(store.commit(changes)).unwrap();
    });
    timed("close", &mut || store.close());
    let bytes = directory.path().join("stoked.db").metadata().unwrap().len();
    println!("database: {} MiB", bytes >> 20);
    let mut live = 0;
    timed("open", &mut || {
        live = open(directory.path()).recovered.live.len();
    });
    assert_eq!(live, 11_100);
}
