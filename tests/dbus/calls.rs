//! What can be asked over the bus, and how it is answered where it cannot.

use crate::bus::{JOB, MANAGER, Options, ROOT, World, changed, is_move, options, told, until};
use crate::http::Ask;
use std::io::Read;
use zbus::{OwnedFd, OwnedObjectPath, Variant};

/// The name of the error that a call ends with, and its sentence.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: zbus::Result<T>) -> (String, String) {
    match outcome {
        Err(zbus::Error::MethodError(name, text, _)) => {
            let name = name.as_str().replace("io.stoked.Stoked1.Error.", "");
            (name, text.unwrap_or_default())
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_watched_and_ended() {
    let Some(world) = World::start("").await else {
        return;
    };
    let mut signals = world.signals().await;
    let gate = world.host.gate("gate");
    let mut spec = world.script(&format!("read line < {}; exit 3", gate.path().display()));
    spec.extend(options(&[("name", "very-secret".into())]));
    let id = world.submit(&spec).await;
    let mut seen = until(&mut signals, |it| is_move(it, id, "running")).await;

    // A job that runs has an object, which every caller may read.
    let manager = world.manager().await;
    let path: OwnedObjectPath = manager.call("GetJob", &(id,)).await.unwrap();
    assert_eq!(path.as_str(), format!("{ROOT}/job/{id}"));
    let job = world.proxy(path.to_string(), JOB).await;
    let state: String = job.get_property("State").await.unwrap();
    assert_eq!(state, "running");
    let name: String = job.get_property("Name").await.unwrap();
    assert_eq!(name, "very-secret");
    let owner: u32 = job.get_property("OwnerUID").await.unwrap();
    assert_eq!(owner, rustix::process::getuid().as_raw());
    let running: u32 = manager.get_property("JobsRunning").await.unwrap();
    assert_eq!(running, 1);
    let health: String = manager.get_property("Health").await.unwrap();
    assert_eq!(health, "healthy");
    let version: String = manager.get_property("Version").await.unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));

    // It is in the list, with what it is made of.
    let filter = options(&[("state", vec!["running", "queued"].into())]);
    let (jobs, next): (Vec<Options>, String) = manager
        .call("ListJobs", &(filter, "", 10_u32))
        .await
        .unwrap();
    assert_eq!((jobs.len(), next.as_str()), (1, ""));
    let listed = jobs[0]["id"].try_clone().unwrap();
    assert_eq!(u64::try_from(listed).unwrap(), u64::from(id));
    assert_eq!(jobs[0]["command"].value_signature().to_string(), "as");

    // And in the line for widgets.
    let line: String = manager.call("Summary", &()).await.unwrap();
    let summary: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(summary["jobs"]["running"], 1, "{line}");
    assert_eq!(summary["mine"][0]["name"], "very-secret", "{line}");
    assert!(!line.contains('\n'));

    // How it ends is told before its object goes, and it stays for who asked for it.
    gate.say("go");
    seen.extend(until(&mut signals, |it| is_move(it, id, "failed")).await);
    seen.extend(
        until(&mut signals, |it| {
            crate::bus::changed(it, JOB).is_some_and(|it| it.contains_key("ExitCode"))
        })
        .await,
    );
    let code: i32 = job.get_property("ExitCode").await.unwrap();
    assert_eq!(code, 3);
    let members: Vec<String> = seen.iter().map(told).collect();
    let text = members.join("\n");
    assert!(text.contains("JobAdded"), "{text}");
    assert!(text.contains("InterfacesAdded"), "{text}");
    assert!(!text.contains("very-secret"), "a name in a signal: {text}");

    // A job is forgotten, and its object goes although somebody asked for it.
    let removed = Ask::post(format!("/v1/jobs/{id}/remove"), &serde_json::json!({}));
    assert_eq!(world.host.send(&removed).status, 204);
    let (mut forgotten, mut withdrawn) = (false, false);
    until(&mut signals, |it| {
        forgotten |= told(it).starts_with("JobRemoved");
        withdrawn |= told(it).starts_with("InterfacesRemoved");
        forgotten && withdrawn
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_controlled_and_what_is_wrong_is_named() {
    let Some(world) = World::start("").await else {
        return;
    };
    let manager = world.manager().await;
    let mut signals = world.signals().await;
    let gate = world.host.gate("gate");
    let mut spec = world.script(&format!("read line < {}", gate.path().display()));
    spec.extend(options(&[("hold", true.into())]));
    let id = world.submit(&spec).await;
    for (verb, state) in [
        ("Release", "running"),
        ("Pause", "paused"),
        ("Resume", "running"),
        ("Cancel", "cancelled"),
        ("Retry", "running"),
        ("Cancel", "cancelled"),
    ] {
        let () = manager.call(verb, &(id,)).await.unwrap();
        until(&mut signals, |it| is_move(it, id, state)).await;
    }
    let (name, text) = refusal(manager.call::<_, _, ()>("Cancel", &(id,)).await);
    assert_eq!(name, "Failed", "{text}");
    let (name, text) = refusal(manager.call::<_, _, ()>("Pause", &(9_999_u32,)).await);
    assert_eq!(
        (name.as_str(), text.as_str()),
        ("NotFound", "there is no job 9999")
    );
    let unknown = options(&[("comand", vec!["true"].into())]);
    let outcome = manager
        .call::<_, _, (u32, OwnedObjectPath)>("Submit", &(unknown,))
        .await;
    let (name, text) = refusal(outcome);
    assert_eq!(name, "InvalidSpec");
    assert!(text.contains("did you mean \"command\"?"), "{text}");
    let wrong = options(&[("stat", "running".into())]);
    let outcome = manager
        .call::<_, _, (Vec<Options>, String)>("ListJobs", &(wrong, "", 0_u32))
        .await;
    let (name, text) = refusal(outcome);
    assert_eq!(name, "InvalidSpec");
    assert!(text.contains("\"state\""), "{text}");
    for (ms, wanted) in [(499_u32, "InvalidSpec"), (3_600_001, "InvalidSpec")] {
        let fast = options(&[("metrics_ms", ms.into())]);
        let outcome = manager.call::<_, _, u64>("Subscribe", &(fast,)).await;
        assert_eq!(refusal(outcome).0, wanted, "{ms}");
    }
    let outcome = manager.call::<_, _, ()>("Unsubscribe", &(7_u64,)).await;
    assert_eq!(refusal(outcome).0, "NotFound");

    // Nobody gets more objects than he may.
    for _ in 0..64 {
        let held = world.submit(&spec).await;
        let _path: OwnedObjectPath = manager.call("GetJob", &(held,)).await.unwrap();
    }
    let one_more = world.submit(&spec).await;
    let outcome = manager
        .call::<_, _, OwnedObjectPath>("GetJob", &(one_more,))
        .await;
    assert_eq!(refusal(outcome).0, "QuotaExceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_output_are_opened_for_reading() {
    let Some(world) = World::start("").await else {
        return;
    };
    let manager = world.manager().await;
    let id = world
        .submit(&world.script("echo out; echo err >&2; exit 0"))
        .await;
    world.host.ended(u64::from(id));
    let open = async |pairs: &[(&str, Variant<'_>)]| {
        let options = options(pairs);
        manager
            .call::<_, _, OwnedFd>("OpenLog", &(id, options))
            .await
    };
    for (stream, wanted) in [("stdout", "out\n"), ("stderr", "err\n")] {
        let file = open(&[("stream", stream.into())]).await.unwrap();
        let flags = rustix::fs::fcntl_getfl(&file).unwrap();
        assert!(!flags.intersects(rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::RDWR));
        let mut text = String::new();
        let mut file = std::fs::File::from(std::os::fd::OwnedFd::from(file));
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, wanted);
    }
    let (name, _) = refusal(open(&[("attempt", 2_u32.into())]).await);
    assert_eq!(name, "NotFound");
    let (name, _) = refusal(open(&[("stream", "both".into())]).await);
    assert_eq!(name, "InvalidSpec");
    let (name, text) = refusal(open(&[("steam", "stdout".into())]).await);
    assert_eq!(name, "InvalidSpec", "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_drained_and_that_is_told() {
    let Some(world) = World::start("").await else {
        return;
    };
    let mut signals = world.signals().await;
    let manager = world.manager().await;
    for draining in [true, false] {
        manager
            .call::<_, _, ()>("Drain", &(draining,))
            .await
            .unwrap();
        let is_told = |message: &zbus::Message| {
            let values = changed(message, MANAGER).unwrap_or_default();
            values.contains_key("Draining")
        };
        until(&mut signals, is_told).await;
        let now: bool = manager.get_property("Draining").await.unwrap();
        assert_eq!(now, draining);
        let line: String = manager.call("Summary", &()).await.unwrap();
        assert!(line.contains(&format!("\"draining\":{draining}")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_are_what_get_all_says_and_nothing_can_be_set() {
    let Some(world) = World::start("").await else {
        return;
    };
    let properties = world
        .proxy(ROOT.to_owned(), "org.freedesktop.DBus.Properties")
        .await;
    let all: Options = properties.call("GetAll", &(MANAGER,)).await.unwrap();
    for name in ["JobsQueued", "JobsRunning", "JobsBackoff", "Health", "Mode"] {
        assert!(all.contains_key(name), "{all:?}");
    }
    let set = (MANAGER, "JobsQueued", Variant::from(7_u32));
    assert!(properties.call::<_, _, ()>("Set", &set).await.is_err());
}
