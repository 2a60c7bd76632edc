//! How many jobs are in which state and whether any starts, known from what happens and never by a look at all of them.

use crate::model::event::{Channel, DrainBody, Event};
use crate::model::job::Job;
use crate::model::state::StateName;
use serde::Deserialize;
use tokio::sync::watch;

pub(super) use crate::dbus::Overview;

/// As much of what happened to a job as counts.
#[derive(Deserialize)]
struct Move {
    state: StateName,
    #[serde(default)]
    from: Option<StateName>,
}

/// The count, and who follows it.
#[derive(Debug)]
pub(super) struct Census {
    overview: watch::Sender<Overview>,
    /// Where it is told whether the host is drained.
    drain: String,
}

impl Census {
    /// A count that begins with the jobs there are.
    pub(super) fn of(live: &[Job], draining: bool) -> Self {
        let mut overview = Overview {
            draining,
            ..Overview::default()
        };
        for job in live {
            *overview.counts.entry(job.state.name()).or_default() += 1;
        }
        Self {
            overview: watch::Sender::new(overview),
            drain: Channel::drain().to_string(),
        }
    }

    /// The count as it goes on.
    pub(super) fn follow(&self) -> watch::Receiver<Overview> {
        self.overview.subscribe()
    }

    /// Counts what has happened.
    pub(super) fn take(&self, events: &[Event]) {
        let drains = events.iter().filter(|event| *event.channel == *self.drain);
        let mut drains =
            drains.filter_map(|event| serde_json::from_str::<DrainBody>(&event.body).ok());
        if let Some(body) = drains.next_back() {
            let draining = body.draining;
            self.overview.send_modify(|it| it.draining = draining);
        }
        let moves = events
            .iter()
            .filter(|event| event.seq.is_some() && event.channel.ends_with("/state"))
            .filter(|event| event.channel.starts_with("job/"))
            .filter_map(|event| serde_json::from_str(&event.body).ok());
        let moves: Vec<Move> = moves
            .filter(|it: &Move| it.from != Some(it.state))
            .collect();
        if moves.is_empty() {
            return;
        }
        self.overview.send_modify(|Overview { counts, .. }| {
            for Move { state, from } in moves {
                if let Some(from) = from.filter(|it| !it.is_final()) {
                    let left = counts.entry(from).or_default();
                    *left = left.saturating_sub(1);
                }
                if !state.is_final() {
                    *counts.entry(state).or_default() += 1;
                }
            }
            counts.retain(|_, count| *count > 0);
        });
    }
}

/// What there is to do, in a line for people.
pub(super) fn sentence(overview: &Overview) -> String {
    let of = |states: &[StateName]| -> u64 {
        states.iter().filter_map(|it| overview.counts.get(it)).sum()
    };
    let parts = [
        (of(&[StateName::Starting, StateName::Running]), "running"),
        (of(&[StateName::Paused]), "paused"),
        (of(&[StateName::Stopping]), "ending"),
        (of(&[StateName::Queued, StateName::Backoff]), "waiting"),
        (of(&[StateName::Held]), "held"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let jobs = match parts.is_empty() {
        true => "No jobs".to_owned(),
        false => format!("Jobs: {}", parts.join(", ")),
    };
    match overview.draining {
        true => format!("Drained, nothing starts. {jobs}"),
        false => jobs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::change::Change;
    use crate::model::id::{JobId, Seq};
    use crate::model::time::Stamp;

    fn moved(state: &str, from: Option<&str>) -> Event {
        let body = match from {
            Some(from) => format!(r#"{{"state": "{state}", "from": "{from}"}}"#),
            None => format!(r#"{{"state": "{state}"}}"#),
        };
        Event {
            seq: Some(Seq(1)),
            at_ms: 0,
            channel: format!("job/{}/state", JobId(1)).into(),
            kind: "state".into(),
            uid: None,
            is_final: false,
            body: body.into(),
        }
    }

    #[test]
    fn jobs_are_counted_as_they_come_and_go() {
        let census = Census::of(&[], false);
        let sentence = || sentence(&census.follow().borrow());
        assert_eq!(sentence(), "No jobs");
        census.take(&[moved("queued", None), moved("queued", None)]);
        census.take(&[
            moved("starting", Some("queued")),
            moved("running", Some("starting")),
        ]);
        assert_eq!(sentence(), "Jobs: 1 running, 1 waiting");
        census.take(&[
            moved("completed", Some("running")),
            moved("skipped", Some("queued")),
        ]);
        assert_eq!(sentence(), "No jobs");
        census.take(&[moved("queued", Some("completed"))]);
        assert_eq!(sentence(), "Jobs: 1 waiting");
        let at = Stamp::default();
        let drained = |draining| Change::DrainSet { draining, at }.event().unwrap();
        census.take(&[drained(false), drained(true)]);
        assert_eq!(sentence(), "Drained, nothing starts. Jobs: 1 waiting");
        census.take(&[drained(false)]);
        assert_eq!(sentence(), "Jobs: 1 waiting");
    }
}
