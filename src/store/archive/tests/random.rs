//! Two stores get the same at random, and one of them archives in between: nobody can tell them apart.

use super::*;
use proptest::prelude::*;

/// Something that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// A job finishes so many months after the beginning, in a flow, with a name.
    Finished {
        months: i64,
        flow: Option<u8>,
        name: u8,
        waits_for: u8,
    },
    /// A job is submitted.
    Submitted { flow: Option<u8>, waits_for: u8 },
    /// A finished job is removed.
    Removed(u8),
    /// A finished job is queued again.
    Again(u8),
    /// What is older than so many months is archived, in one of the stores.
    Archived { months: i64, cut_short: bool },
    /// A job is brought back, in one of the stores.
    Back(u8),
    /// What was left over is cleared away, in one of the stores.
    Swept,
}

fn happening() -> impl Strategy<Value = Happening> {
    let flow = || prop::option::weighted(0.4, 0..3_u8);
    prop_oneof![
        6 => (0..5_i64, flow(), 0..3_u8, any::<u8>()).prop_map(|(months, flow, name, waits_for)| {
            Happening::Finished { months, flow, name, waits_for }
        }),
        2 => (flow(), any::<u8>()).prop_map(|(flow, waits_for)| Happening::Submitted { flow, waits_for }),
        1 => any::<u8>().prop_map(Happening::Removed),
        1 => any::<u8>().prop_map(Happening::Again),
        4 => (0..6_i64, any::<bool>())
            .prop_map(|(months, cut_short)| Happening::Archived { months, cut_short }),
        1 => any::<u8>().prop_map(Happening::Back),
        1 => Just(Happening::Swept),
    ]
}

/// Both stores, and the jobs so far.
struct Pair {
    plain: Store,
    archiving: Store,
    jobs: Vec<Option<Job>>,
}

impl Pair {
    fn both(&self) -> [&Store; 2] {
        [&self.plain, &self.archiving]
    }

    fn shaped(&self, flow: Option<u8>, name: u8, waits_for: u8) -> impl Fn(&mut Job) + use<> {
        let dependency = u64::from(waits_for) % (self.jobs.len() as u64 + 1);
        move |job: &mut Job| {
            let mut spec = (*job.spec).clone();
            spec.flow = flow.map(|flow| format!("flow-{flow}"));
            spec.name = format!("name-{name}");
            spec.env = None;
            if name == 0 {
                spec.labels.clear();
            }
            spec.after_ok = (dependency > 0)
                .then_some(JobId(dependency))
                .into_iter()
                .collect();
            job.spec = Arc::new(spec);
        }
    }

    /// The finished job that a random number stands for.
    fn a_finished(&self, number: u8) -> Option<Job> {
        let finished: Vec<&Job> = self
            .jobs
            .iter()
            .flatten()
            .filter(|job| job.state.is_final())
            .collect();
        let at = usize::from(number) % finished.len().max(1);
        finished.get(at).map(|job| (*job).clone())
    }

    fn happens(&mut self, happening: &Happening) {
        let next = self.jobs.len() as u64 + 1;
        match *happening {
            Happening::Finished {
                months,
                flow,
                name,
                waits_for,
            } => {
                let shape = self.shaped(flow, name, waits_for);
                let [job, _] = self
                    .both()
                    .map(|store| finished(store, next, months, &shape));
                self.jobs.push(Some(job));
            }
            Happening::Submitted { flow, waits_for } => {
                let mut fresh = job(next);
                self.shaped(flow, 1, waits_for)(&mut fresh);
                for store in self.both() {
                    commit(store, vec![added(&fresh)]);
                }
                self.jobs.push(Some(fresh));
            }
            Happening::Removed(number) => {
                if let Some(job) = self.a_finished(number) {
                    for store in self.both() {
                        commit(
                            store,
                            vec![Change::JobRemoved {
                                job: job.id,
                                uid: 1000,
                                at: at(1),
                            }],
                        );
                    }
                    self.jobs[usize::try_from(job.id.0).unwrap() - 1] = None;
                }
            }
            Happening::Again(number) => {
                if let Some(mut job) = self.a_finished(number) {
                    job.state = JobState::Queued;
                    job.finished = None;
                    let moved = Change::JobMoved {
                        job: Arc::new(job.clone()),
                        from: StateName::Completed,
                        at: at(1),
                    };
                    for store in self.both() {
                        commit(store, vec![moved.clone()]);
                    }
                    let place = usize::try_from(job.id.0).unwrap() - 1;
                    self.jobs[place] = Some(job);
                }
            }
            Happening::Archived { months, cut_short } => self.archived(months, cut_short),
            Happening::Back(number) => {
                if let Some(job) = self.a_finished(number) {
                    self.archiving.archive().bring_back(&[job.id]).unwrap();
                }
            }
            Happening::Swept => {
                let archive = self.archiving.archive();
                archive.clear_left().unwrap();
                for month in archive.all_months().unwrap() {
                    archive.sweep(month).unwrap();
                }
            }
        }
    }

    fn archived(&self, months: i64, cut_short: bool) {
        let before_ms = at(0).wall_ms + months * MONTH_MS;
        if !cut_short {
            archive_all(&self.archiving, before_ms);
            return;
        }
        let archive = self.archiving.archive();
        let due = archive.due(before_ms, JobId(0), usize::MAX).unwrap();
        for (number, job) in due.into_iter().enumerate() {
            archive.copy(job.month(), &mut [job]).unwrap();
            if number % 2 == 0 {
                archive.hand_over(job.month(), &[job]).unwrap();
            }
        }
        archive.move_events(before_ms, 3).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn archiving_changes_no_answer(happenings in prop::collection::vec(happening(), 1..40)) {
        let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let [plain, archiving] = [&dirs[0], &dirs[1]].map(|dir| open(dir.path()).store);
        let mut pair = Pair { plain, archiving, jobs: Vec::new() };
        for happening in &happenings {
            pair.happens(happening);
        }
        let last = pair.jobs.len() as u64;
        prop_assert_eq!(answers(&pair.archiving, last), answers(&pair.plain, last));
        for name in 0..3 {
            let wanted = crate::store::Fetch {
                names: vec![(1000, format!("name-{name}"))],
                ..crate::store::Fetch::default()
            };
            let [one, other] = pair.both().map(|store| wait(store.fetch(wanted.clone())).unwrap());
            prop_assert_eq!(one, other);
        }
    }
}
