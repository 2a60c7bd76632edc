//! What each audience sees, field by field.

use super::*;
use crate::model::event::GpuFigures;
use crate::model::failure::{Ending, FailureClass};
use crate::model::gpu::GpuUuid;
use crate::model::group::{DEFAULT_GROUP, Gates, Group};
use crate::model::id::{AttemptId, JobId, Seq};
use crate::model::job::Owner;
use crate::model::spec::JobSpec;
use crate::model::state::StateName;
use crate::model::time::Stamp;
use std::sync::Arc;

fn at(wall_ms: i64) -> Stamp {
    Stamp {
        wall_ms,
        boot_ms: 0,
    }
}

fn failed_job() -> Job {
    let mut spec = JobSpec::new(
        vec!["train".into(), "--key=secret".into()],
        "/home/ann/secret",
    );
    spec.labels.insert("project".into(), "secret".into());
    let failure = Failure::new(FailureClass::Spawn, "no file /home/ann/secret");
    let id = AttemptId {
        job: JobId(42),
        attempt: 1,
    };
    let mut attempt = Attempt::claimed(id, "boot", at(2_000));
    attempt.ending = Some(Ending::NotStarted {
        failure: failure.clone(),
    });
    let mut progress = Progress::default();
    let mut seen = Observation::new(Source::Api);
    seen.percent = Some(40.0);
    seen.message = Some("secret".into());
    seen.metrics.insert("secret_loss".into(), 0.5);
    progress.observe(seen, at(2_500));
    attempt.progress = Some(Box::new(progress));
    Job {
        state: JobState::Failed {
            failure,
            exit: None,
        },
        attempt: Some(attempt),
        finished: Some(at(3_000)),
        ..Job::new(
            JobId(42),
            Arc::new(Owner {
                uid: 1000,
                gid: 1000,
                user: "ann".into(),
            }),
            Arc::new(spec),
            JobState::Queued,
            at(1_000),
        )
    }
}

#[test]
fn others_see_names_states_and_use() {
    let job = failed_job();
    let view = job_view(&job, Audience::Anybody, Surroundings::default());
    let text = serde_json::to_string(&view).unwrap();
    assert!(!text.contains("secret"), "{text}");
    assert_eq!(view.failure.unwrap().class, "spawn");
    assert_eq!(view.progress.unwrap().percent, Some(40.0));
    let attempt = attempt_view(job.attempt.as_ref().unwrap(), Audience::Anybody);
    let text = serde_json::to_string(&attempt).unwrap();
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn the_owner_sees_everything() {
    let job = failed_job();
    let view = job_view(&job, Audience::Owner, Surroundings::default());
    assert_eq!(view.command, ["train", "--key=secret"]);
    assert_eq!(view.cwd.as_deref(), Some("/home/ann/secret"));
    assert!(view.failure.unwrap().message.unwrap().contains("secret"));
    assert_eq!(
        view.progress.unwrap().metrics.get("secret_loss"),
        Some(&0.5)
    );
    assert_eq!(
        view.finished_at.unwrap().to_string(),
        "1970-01-01T00:00:03Z"
    );
}

#[test]
fn nothing_unknown_is_null_or_zero() {
    let job = Job {
        attempt: None,
        finished: None,
        state: JobState::Queued,
        ..failed_job()
    };
    let view = job_view(&job, Audience::Owner, Surroundings::default());
    let json = serde_json::to_value(&view).unwrap();
    for absent in [
        "started_at",
        "finished_at",
        "exit",
        "failure",
        "progress",
        "pid",
        "attempt",
    ] {
        assert!(json.get(absent).is_none(), "{absent} in {json}");
    }
    assert_eq!(json["reason"], "GroupLimit");
}

#[test]
fn the_reason_of_a_waiting_job_is_true() {
    let paused = Group {
        name: DEFAULT_GROUP.into(),
        parallelism: 1,
        paused: true,
    };
    let gates = Gates {
        groups: vec![paused],
        draining: false,
    };
    let around = Surroundings {
        gates: Some(&gates),
        now_wall_ms: 5_000,
        ..Surroundings::default()
    };
    let mut job = failed_job();
    for (state, unmet, wanted) in [
        (JobState::Queued, 0, Some("GroupPaused")),
        (JobState::Queued, 1, Some("Dependency")),
        (
            JobState::Held {
                waits_for: HeldFor::Owner,
            },
            0,
            Some("Owner"),
        ),
        (
            JobState::Held {
                waits_for: HeldFor::Approval,
            },
            0,
            Some("Approval"),
        ),
        (JobState::Completed, 0, None),
    ] {
        job.state = state;
        job.unmet = unmet;
        let view = job_view(&job, Audience::Owner, around);
        assert_eq!(view.reason.as_deref(), wanted);
    }
    job.state = JobState::Queued;
    let drained = Gates {
        draining: true,
        ..gates.clone()
    };
    let around = Surroundings {
        gates: Some(&drained),
        ..around
    };
    let view = job_view(&job, Audience::Owner, around);
    assert_eq!(view.reason.as_deref(), Some("Draining"));
}

fn event(kind: &str, uid: Option<u32>, body: String) -> Event {
    Event {
        seq: Some(Seq(1)),
        at_ms: 0,
        channel: "job/42/state".into(),
        kind: kind.into(),
        uid,
        is_final: false,
        body: body.into(),
    }
}

#[test]
fn bodies_of_events_are_cut_to_the_audience() {
    let job = failed_job();
    let body = serde_json::to_string(&StateBody::of(&job, Some(StateName::Starting), 0)).unwrap();
    let state = event("state", Some(1000), body.clone());
    assert_eq!(event_body(&state, Audience::Owner), body);
    let others = event_body(&state, Audience::Anybody);
    assert!(
        others.contains("\"spawn\"") && !others.contains("secret"),
        "{others}"
    );

    let progress = Event::progress(&job, 0).unwrap();
    let owners = event_body(&progress, Audience::Owner);
    assert!(
        owners.contains("secret_loss") && owners.contains("\"timestamp\":\"1970"),
        "{owners}"
    );
    let others = event_body(&progress, Audience::Anybody);
    assert!(
        others.contains("\"progress\":40.0") && !others.contains("secret"),
        "{others}"
    );

    let unknown = event("later", Some(1000), "{\"secret\":1}".into());
    assert_eq!(event_body(&unknown, Audience::Anybody), "{}");
    let nobodys = event("group", None, "{\"name\":\n\"train\"}".into());
    assert_eq!(
        event_body(&nobodys, Audience::Anybody),
        "{\"name\": \"train\"}"
    );
    let told = event_body(&state, Audience::Stranger);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let wanted = serde_json::json!({
        "job": job.id, "group": job.spec.group, "user": job.owner.user, "state": "failed", "from": "starting", "attempt": 1
    });
    assert_eq!(told, wanted);
    assert_eq!(event_body(&progress, Audience::Stranger), "{}");
    assert_eq!(event_body(&unknown, Audience::Stranger), "{}");
    let broken = event("group", None, "{\"name\":".into());
    assert_eq!(event_body(&broken, Audience::Owner), "{}");
}

#[test]
fn what_gpus_do_is_told_without_the_jobs_that_strangers_may_not_know_of() {
    let told = |kind: &str, body: serde_json::Value, audience| -> serde_json::Value {
        let mut event = event(kind, None, body.to_string());
        event.channel = format!("gpu/0/{kind}").into();
        serde_json::from_str(&event_body(&event, audience)).unwrap()
    };
    let foreign = serde_json::json!({"pid": 8, "uid": 7});
    let of_job = serde_json::json!({"pid": 9, "job": 42, "attempt": 1});
    let metrics = serde_json::json!({"power_watts": 80, "processes": [foreign, of_job]});
    let wanted = serde_json::json!({"power_watts": 80, "processes": [foreign]});
    assert_eq!(told("metrics", metrics.clone(), Audience::Stranger), wanted);
    assert_eq!(told("metrics", metrics.clone(), Audience::Owner), metrics);
    let fault = serde_json::json!({"at_ms": 1, "code": 31, "pid": 9, "process": "python3", "job": 42, "attempt": 1});
    let wanted = serde_json::json!({"at_ms": 1, "code": 31});
    assert_eq!(told("xid", fault, Audience::Stranger), wanted);
}

#[test]
fn the_last_event_of_a_job_says_how_it_ended_and_how_far_it_came() {
    let mut job = failed_job();
    let read = |event: &Event, audience| -> serde_json::Value {
        serde_json::from_str(&event_body(event, audience)).unwrap()
    };
    let last = Event::state(&job, Some(StateName::Running), 0);
    assert_eq!((&*last.kind, last.is_final), ("failed", true));
    assert_eq!(&*last.channel, "job/42/state");
    let body = read(&last, Audience::Owner);
    assert_eq!(
        (&body["progress"], &body["state"]),
        (&40.0.into(), &"failed".into())
    );
    assert_eq!(body["metrics"]["secret_loss"], 0.5);
    assert_eq!(body["error"], "no file /home/ann/secret");
    let others = read(&last, Audience::Anybody);
    assert_eq!(others["progress"], 40.0);
    assert!(!others.to_string().contains("secret"), "{others}");

    let attempt = job.attempt.as_mut().unwrap();
    attempt.progress.as_mut().unwrap().error = Some("out of secrets".into());
    let said = Event::state(&job, None, 0);
    assert_eq!(read(&said, Audience::Owner)["error"], "out of secrets");
    job.state = JobState::Completed;
    let well = read(&Event::state(&job, None, 0), Audience::Owner);
    assert!(
        well.get("error").is_none() && well["progress"] == 40.0,
        "{well}"
    );
    job.state = JobState::Queued;
    let again = Event::state(&job, None, 0);
    assert_eq!(&*again.kind, "state");
    let body = read(&again, Audience::Owner);
    assert!(
        body.get("metrics").is_none() && body.get("progress").is_none(),
        "{body}"
    );
}

#[test]
fn final_states_that_were_stored_as_moves_are_told_by_name() {
    use crate::model::event::present_kind;
    let body = r#"{"job":1,"state":"timed_out","from":"stopping"}"#;
    assert_eq!(&*present_kind("state".into(), true, body), "timed_out");
    assert_eq!(&*present_kind("state".into(), false, body), "state");
    assert_eq!(
        &*present_kind("removed".into(), true, "{\"job\":1}"),
        "removed"
    );
    assert_eq!(&*present_kind("state".into(), true, "{"), "state");
}

#[test]
fn progress_is_told_flat_under_the_names_of_a_progress_file() {
    let mut job = failed_job();
    let mut seen = Observation::new(Source::File);
    (seen.step, seen.total_steps) = (Some(450.0), Some(1000.0));
    (seen.epoch, seen.total_epochs) = (Some(2.0), Some(3.0));
    seen.metrics = [("loss", 0.25), ("lr", 1e-4), ("accuracy", 0.9)]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    let mut progress = Progress::default();
    progress.observe(seen, at(2_500));
    job.attempt.as_mut().unwrap().progress = Some(Box::new(progress));
    let event = Event::progress(&job, 2_500).unwrap();
    let body: serde_json::Value =
        serde_json::from_str(&event_body(&event, Audience::Owner)).unwrap();
    for (field, value) in [
        ("job", serde_json::json!(42)),
        ("name", serde_json::json!("train")),
        ("status", serde_json::json!("failed")),
        ("current_step", serde_json::json!(450)),
        ("total_steps", serde_json::json!(1000)),
        ("current_epoch", serde_json::json!(2)),
        ("loss", serde_json::json!(0.25)),
        ("learning_rate", serde_json::json!(1e-4)),
        ("timestamp", serde_json::json!("1970-01-01T00:00:02.5Z")),
    ] {
        assert_eq!(body[field], value, "{field} in {body}");
    }
    assert_eq!(body["metrics"]["accuracy"], 0.9);
    assert!(body.get("eval_loss").is_none() && body.get("error").is_none());
    let view = serde_json::from_value::<crate::wire::message::ProgressMessage>(body)
        .unwrap()
        .into_view();
    let shown = job_view(&job, Audience::Owner, Surroundings::default()).progress;
    assert_eq!(Some(view), shown);
}

#[test]
fn a_report_becomes_an_observation_or_names_the_wrong_step() {
    let mut report = ProgressReport {
        step: Some(3.0),
        ..ProgressReport::default()
    };
    report.steps.push(StepSubmit {
        name: "load".into(),
        state: "completed".into(),
        ..StepSubmit::default()
    });
    let seen = observation(report.clone()).unwrap();
    assert_eq!(
        (seen.step, seen.source, seen.heartbeat),
        (Some(3.0), Source::Api, true)
    );
    report.steps[0].state = "almost".into();
    assert_eq!(observation(report).unwrap_err().state, "almost");
}

#[test]
fn instants_beyond_the_calendar_are_its_ends() {
    assert_eq!(timestamp(i64::MAX), jiff::Timestamp::MAX);
    assert_eq!(timestamp(i64::MIN), jiff::Timestamp::MIN);
}

fn running(progress: Progress, gpus: Vec<GpuFigures>) -> ProgressBody {
    ProgressBody {
        gpus,
        job: JobId(1),
        name: "x".into(),
        attempt: 1,
        status: StateName::Running,
        progress,
    }
}

#[test]
fn a_message_carries_what_the_job_uses_of_gpus() {
    let gpu = |index, utilization_percent, memory_bytes| GpuFigures {
        index,
        uuid: GpuUuid(format!("GPU-{index}").into()),
        utilization_percent,
        memory_bytes,
    };
    let message =
        |gpus| progress_message(&running(Progress::default(), gpus), 1, Audience::Anybody);
    let both = message(vec![
        gpu(0, Some(80.0), Some(2_000_000_000)),
        gpu(1, Some(41.3), Some(1_234_567_890)),
    ]);
    assert_eq!(both.gpu_utilization_percent, Some(60.7), "the mean of both");
    assert_eq!(both.gpu_memory_allocated_gb, Some(3.235), "the sum of both");
    let shown: Vec<_> = both
        .gpus
        .iter()
        .map(|it| (it.index, it.uuid.as_str()))
        .collect();
    assert_eq!(shown, [(0, "GPU-0"), (1, "GPU-1")]);
    assert_eq!(both.gpus[1].utilization_percent, Some(41.3));
    assert_eq!(both.gpus[1].memory_bytes, Some(1_234_567_890));
    // What is not known of one is not known of all, and what is held is held at least.
    let partly = message(vec![
        gpu(0, Some(80.0), None),
        gpu(1, None, Some(5_000_000)),
    ]);
    assert_eq!(partly.gpu_utilization_percent, None);
    assert_eq!(partly.gpu_memory_allocated_gb, Some(0.005));
    let none = serde_json::to_value(message(Vec::new())).unwrap();
    for name in ["gpus", "gpu_utilization_percent", "gpu_memory_allocated_gb"] {
        assert_eq!(none.get(name), None, "{none:#}");
    }
    // What the job says of itself goes before.
    let mut progress = Progress::default();
    let mut seen = Observation::new(Source::File);
    seen.metrics.insert("gpu_utilization_percent".into(), 12.0);
    seen.metrics.insert("gpu_memory_allocated_gb".into(), 1.5);
    progress.observe(seen, at(1));
    let said = running(progress, vec![gpu(0, Some(80.0), Some(2_000_000_000))]);
    let said = progress_message(&said, 1, Audience::Owner);
    assert_eq!(said.gpu_utilization_percent, Some(12.0));
    assert_eq!(said.gpu_memory_allocated_gb, Some(1.5));
    assert_eq!(said.gpus.len(), 1);
}

#[test]
fn figures_of_gpus_go_into_the_body_of_a_progress_event() {
    let body = running(Progress::default(), Vec::new());
    let event = Event {
        seq: None,
        at_ms: 1,
        channel: "job/1/progress".into(),
        kind: "progress".into(),
        uid: Some(1),
        is_final: false,
        body: serde_json::to_string(&body).unwrap().into(),
    };
    assert_eq!(event.clone().with_gpus(&[]), event);
    let figures = GpuFigures {
        index: 3,
        uuid: GpuUuid("GPU-3".into()),
        utilization_percent: Some(7.5),
        memory_bytes: None,
    };
    let told = event.clone().with_gpus(std::slice::from_ref(&figures));
    let read: ProgressBody = serde_json::from_str(&told.body).unwrap();
    assert_eq!(read.gpus, [figures]);
    assert_eq!(read.progress, body.progress, "the rest is as it was");
    let whole = serde_json::to_value(running(body.progress, read.gpus)).unwrap();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&told.body).unwrap(),
        whole
    );
    let rest = Event {
        body: told.body.clone(),
        ..event
    };
    assert_eq!(told, rest);
}

#[test]
fn a_message_says_when_counting_began_anew_and_what_is_not_kept() {
    let mut progress = Progress::default();
    for percent in [60.0, 30.0] {
        let mut seen = Observation::new(Source::File);
        seen.percent = Some(percent);
        seen.metrics = (0..65).map(|n| (n.to_string(), 1.0)).collect();
        progress.observe(seen, at(1));
    }
    let body = running(progress, Vec::new());
    let message = progress_message(&body, 1, Audience::Owner);
    assert_eq!((message.progress, message.phase_number), (Some(30.0), 1));
    assert_eq!(message.left_out, ["metrics"]);
    assert_eq!(message.into_view().phase_number, 1);
}
