//! Every verb on a job in every state: the exact reply and actions, or the exact refusal.

use crate::rig::{Rig, draft, spec};
use stoked::engine::command::{Edit, Reply, SignalTarget, Verb};
use stoked::engine::input::Input;
use stoked::engine::step::Action;
use stoked::model::failure::{Ending, Failure, FailureClass};
use stoked::model::id::JobId;
use stoked::model::progress::Observation;
use stoked::model::state::{HeldFor, StateName};

/// One way to bring a job into a state; says which job.
type Scene = fn(&mut Rig) -> JobId;

fn held(rig: &mut Rig, waits_for: HeldFor) -> JobId {
    let mut held = draft(spec(), &[]);
    held.held = Some(waits_for);
    rig.submit(vec![held]).unwrap()[0]
}

fn running(rig: &mut Rig) -> JobId {
    let id = rig.one(spec(), &[]);
    rig.started(id);
    id
}

fn ended(rig: &mut Rig, code: i32) -> JobId {
    let id = running(rig);
    rig.ended(id, code);
    id
}

fn stopping(rig: &mut Rig, verb: Verb) -> JobId {
    let id = running(rig);
    rig.verb(id, verb).unwrap();
    id
}

fn timed_out(rig: &mut Rig) -> JobId {
    let mut short = spec();
    short.timeout_ms = Some(10);
    let id = rig.one(short, &[]);
    rig.started(id);
    rig.pass(10);
    rig.ended(id, 0);
    id
}

fn backoff(rig: &mut Rig) -> JobId {
    let mut stubborn = spec();
    stubborn.retry.max_attempts = 2;
    let id = rig.one(stubborn, &[]);
    rig.started(id);
    rig.ended(id, 1);
    id
}

fn lost(rig: &mut Rig) -> JobId {
    let id = running(rig);
    let failure = Failure::new(FailureClass::HostLost, "the host went down");
    rig.report(Input::Ended {
        attempt: rig.attempt(id),
        ending: Ending::Unseen { failure },
        usage: None,
        at: rig.now,
    });
    id
}

fn scenes() -> Vec<(&'static str, Scene)> {
    let restart = |rig: &mut Rig| stopping(rig, Verb::Restart { grace_ms: None });
    vec![
        ("held", |rig| held(rig, HeldFor::Owner)),
        ("held for approval", |rig| held(rig, HeldFor::Approval)),
        ("queued behind another", |rig| {
            running(rig);
            rig.one(spec(), &[])
        }),
        ("queued after another", |rig| {
            let first = held(rig, HeldFor::Owner);
            rig.one(spec(), &[first])
        }),
        ("starting", |rig| rig.one(spec(), &[])),
        ("running", running),
        ("paused", |rig| stopping(rig, Verb::Pause)),
        ("stopping, cancel", |rig| {
            stopping(rig, Verb::Cancel { grace_ms: None })
        }),
        ("stopping, killed", |rig| {
            stopping(rig, Verb::Cancel { grace_ms: Some(0) })
        }),
        ("stopping, restart", restart),
        ("backoff", backoff),
        ("completed", |rig| ended(rig, 0)),
        ("failed", |rig| ended(rig, 1)),
        ("cancelled", |rig| {
            let id = held(rig, HeldFor::Owner);
            rig.verb(id, Verb::Cancel { grace_ms: None }).unwrap();
            id
        }),
        ("timed out", timed_out),
        ("skipped", |rig| {
            let first = held(rig, HeldFor::Approval);
            let id = rig.one(spec(), &[first]);
            rig.verb(first, Verb::Reject).unwrap();
            id
        }),
        ("lost", lost),
        ("removed", |rig| {
            let id = ended(rig, 0);
            rig.verb(id, Verb::Remove).unwrap();
            id
        }),
        ("never submitted", |_| JobId(9)),
    ]
}

fn verbs() -> Vec<(&'static str, Verb)> {
    let signal = Verb::Signal {
        signal: 10,
        to: SignalTarget::Main,
    };
    let edit = Edit {
        priority: Some(1),
        ..Edit::default()
    };
    let nowhere = Edit {
        group: Some("nowhere".to_owned()),
        ..Edit::default()
    };
    let report = |attempt| Verb::Report {
        attempt,
        observation: Box::new(Observation::new(stoked::model::progress::Source::Api)),
    };
    vec![
        ("cancel", Verb::Cancel { grace_ms: None }),
        ("cancel now", Verb::Cancel { grace_ms: Some(0) }),
        ("restart", Verb::Restart { grace_ms: None }),
        ("signal", signal),
        ("pause", Verb::Pause),
        ("resume", Verb::Resume),
        ("hold", Verb::Hold),
        ("release", Verb::Release),
        ("approve", Verb::Approve),
        ("reject", Verb::Reject),
        ("retry", Verb::Retry),
        ("edit", Verb::Edit(Box::new(edit))),
        ("edit group", Verb::Edit(Box::new(nowhere))),
        ("remove", Verb::Remove),
        ("report", report(None)),
        ("report as 7", report(Some(7))),
    ]
}

fn told(action: &Action) -> String {
    match action {
        Action::Launch { job } => format!("launch {}", job.attempt.as_ref().unwrap().id),
        Action::Adopt { job } => format!("adopt {}", job.id),
        Action::Signal {
            attempt,
            signal,
            to,
        } => format!("signal {attempt} {signal} {to:?}").to_lowercase(),
        Action::Kill { attempt } => format!("kill {attempt}"),
        Action::Freeze { attempt } => format!("freeze {attempt}"),
        Action::Thaw { attempt } => format!("thaw {attempt}"),
        Action::Forget { attempt } => format!("forget {attempt}"),
        Action::Recall { attempt, .. } => format!("recall runs like {attempt}"),
        Action::RemoveLogs { job } => format!("remove logs of {job}"),
    }
}

#[test]
fn every_verb_in_every_state() {
    let mut table = String::new();
    for (name, scene) in scenes() {
        table.push_str(&format!("{name}\n"));
        for (verb_name, verb) in verbs() {
            let mut rig = Rig::new(1);
            let id = scene(&mut rig);
            let reply = match rig.verb(id, verb) {
                Ok(Reply::Job(job)) => format!("-> {}", job.state.name()),
                Ok(Reply::Removed) => "-> gone".to_owned(),
                Ok(other) => format!("{other:?}"),
                Err(refusal) => format!("no: {refusal}"),
            };
            let actions: Vec<String> = rig.actions.iter().map(told).collect();
            let line = format!("    {verb_name:<11} {reply} | {}", actions.join(", "));
            table.push_str(line.trim_end_matches([' ', '|']));
            table.push('\n');
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn the_scenes_are_what_they_say() {
    for (name, scene) in scenes() {
        let mut rig = Rig::new(1);
        let id = scene(&mut rig);
        let word = name.split([' ', ',']).next().unwrap();
        let state = match word {
            "timed" => StateName::TimedOut,
            "removed" | "never" => continue,
            word => StateName::parse(word).unwrap(),
        };
        assert_eq!(rig.state(id), state, "{name}");
    }
}
