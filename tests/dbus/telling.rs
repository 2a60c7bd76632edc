//! What is told without being asked for: how often, to whom, and that it is nothing where nothing changes.

use crate::bus::{JOB, MANAGER, World, changed, has_name, is_move, options, soon, told, until};
use crate::harness::Host;
use serde_json::json;
use std::process::{Command, Stdio};
use std::time::Instant;
use tokio_stream::StreamExt;
use zbus::message::Type;

fn report(host: &Host, id: u32, percent: f64) {
    let body = json!({"percent": percent});
    host.post(&format!("/v1/jobs/{id}/progress"), &body).ok();
}

/// Starts a job that runs until it is ended.
async fn running(world: &World) -> u32 {
    let mut signals = world.signals().await;
    let id = world.submit(&world.script("exec sleep 600")).await;
    until(&mut signals, |it| is_move(it, id, "running")).await;
    id
}

/// Ends a job, so that nothing is left running.
fn end(host: &Host, id: u32) {
    host.act(u64::from(id), "cancel");
    host.ended(u64::from(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_told_where_nothing_changes() {
    let Some(world) = World::start("[progress]\ninterval = \"0s\"\n").await else {
        return;
    };
    let mut signals = world.signals().await;
    let id = running(&world).await;
    report(&world.host, id, 50.0);
    // All that there is to tell of it has been told.
    let (mut counted, mut reported) = (false, false);
    until(&mut signals, |it| {
        let has = |interface, name| changed(it, interface).is_some_and(|it| it.contains_key(name));
        counted |= has(MANAGER, "JobsRunning");
        reported |= has(JOB, "Progress");
        counted && reported
    })
    .await;
    let mut monitor = world.monitor().await;
    for _ in 0..200 {
        report(&world.host, id, 50.0);
        report(&world.host, id, 50.1);
        world.host.get("/v1/jobs");
        world.host.get("/v1/operations");
    }
    let mark = world.submit(&world.script("true")).await;
    let seen = until(&mut monitor, |it| told(it).starts_with("JobAdded")).await;
    let signals = seen.iter().filter(|it| {
        // The bus itself says that the monitor came.
        let header = it.header();
        let by_bus = header
            .sender()
            .is_some_and(|it| it == "org.freedesktop.DBus");
        it.message_type() == Type::Signal && !by_bus
    });
    let signals: Vec<String> = signals.map(told).collect();
    assert_eq!(signals.len(), 1, "{signals:#?}");
    world.host.ended(u64::from(mark));
    end(&world.host, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_between_two_tellings_is_set_right() {
    let Some(world) = World::start("").await else {
        return;
    };
    let mut signals = world.signals().await;
    let manager = world.manager().await;
    let mut spec = world.script("true");
    spec.extend(options(&[("hold", true.into())]));
    let held = |it: &zbus::Message| {
        let counted = changed(it, MANAGER).and_then(|mut it| it.remove("JobsHeld"));
        counted.and_then(|count| u32::try_from(count).ok())
    };
    let first = world.submit(&spec).await;
    until(&mut signals, |it| held(it) == Some(1)).await;
    // It goes and another one comes, faster than that is told; but somebody saw that there was none.
    let () = manager.call("Cancel", &(first,)).await.unwrap();
    let seen: u32 = manager.get_property("JobsHeld").await.unwrap();
    assert_eq!(seen, 0);
    world.submit(&spec).await;
    until(&mut signals, |it| held(it) == Some(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn however_fast_it_changes_it_is_told_once_a_second() {
    let Some(world) = World::start("[progress]\ninterval = \"0s\"\n").await else {
        return;
    };
    let id = running(&world).await;
    let mut monitor = world.monitor().await;
    let began = Instant::now();
    let mut told = 0;
    let mut step = 0_u32;
    while told < 3 {
        report(&world.host, id, f64::from(step % 100));
        step += 1;
        // What has come so far, without waiting for more.
        while let Ok(Some(message)) =
            tokio::time::timeout(std::time::Duration::ZERO, monitor.next()).await
        {
            told += u32::from(changed(&message.unwrap(), JOB).is_some());
        }
    }
    // Between the first and the last of them are whole seconds, however slow this host is.
    let seconds = began.elapsed().as_secs_f64();
    assert!(f64::from(told - 1) <= seconds, "{told} in {seconds} s");
    end(&world.host, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_tells_its_holder_alone() {
    let config = "[sampling]\nhost_interval = \"100ms\"\nidle_interval = \"100ms\"\n";
    let Some(world) = World::start(config).await else {
        return;
    };
    let others = world.bus.client().await;
    let mut monitor = world.monitor().await;
    let manager = world.manager().await;
    let half = options(&[("metrics_ms", 500_u32.into())]);
    let lease: u64 = manager.call("Subscribe", &(half.clone(),)).await.unwrap();
    let host = "io.stoked.Stoked1.Host";
    let seen = until(&mut monitor, |it| {
        changed(it, host).is_some_and(|it| it.contains_key("CpuPercent"))
    })
    .await;
    let last = seen.last().unwrap();
    let to = last.header().destination().unwrap().to_string();
    assert_eq!(to, world.client.unique_name().unwrap().as_str());
    // Nobody else may end it.
    let other = zbus::Proxy::new(&others, crate::bus::NAME, crate::bus::ROOT, MANAGER)
        .await
        .unwrap();
    assert!(
        other
            .call::<_, _, ()>("Unsubscribe", &(lease,))
            .await
            .is_err()
    );
    let () = manager.call("Unsubscribe", &(lease,)).await.unwrap();
    assert!(
        manager
            .call::<_, _, ()>("Unsubscribe", &(lease,))
            .await
            .is_err()
    );
    for _ in 0..8 {
        let _lease: u64 = manager.call("Subscribe", &(half.clone(),)).await.unwrap();
    }
    let ninth = manager.call::<_, _, u64>("Subscribe", &(half,)).await;
    assert_eq!(crate::calls::refusal(ninth).0, "QuotaExceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_stopped_hurts_nobody() {
    let Some(world) = World::start("").await else {
        return;
    };
    let mut listener = Command::new("dbus-monitor")
        .arg("--address")
        .arg(world.bus.address())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = crate::outside::Process::of(listener.id().into());
    stoked::contain::identity::signal(&process.0, rustix::process::Signal::STOP).unwrap();
    let mut signals = world.signals().await;
    for _ in 0..50 {
        let id = world.submit(&world.script("true")).await;
        until(&mut signals, |it| is_move(it, id, "completed")).await;
    }
    listener.kill().unwrap();
    listener.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_comes_back_with_the_bus() {
    let Some(mut world) = World::start("").await else {
        return;
    };
    let id = running(&world).await;
    assert!(standing(&world.host).contains("on the session bus"));
    world.bus.stop();
    soon(world.client.closed()).await;
    // Without a bus all goes on.
    assert_eq!(world.host.job(u64::from(id))["state"], "running");
    assert!(world.bus.serve());
    world.client = world.bus.client().await;
    has_name(&world.client).await;
    let manager = world.manager().await;
    let mut signals = world.signals().await;
    let () = manager.call("Cancel", &(id,)).await.unwrap();
    until(&mut signals, |it| is_move(it, id, "cancelled")).await;
}

#[test]
fn without_a_bus_all_goes_on_and_health_says_so() {
    let host = Host::start();
    assert!(standing(&host).contains("DBUS_SESSION_BUS_ADDRESS"));
    assert_eq!(host.health_of("dbus")["health"], "healthy");
    let host = Host::with_config("[dbus]\nenabled = false\n");
    assert!(standing(&host).contains("dbus.enabled"));
}

fn standing(host: &Host) -> String {
    host.health_of("dbus")["message"]
        .as_str()
        .unwrap()
        .to_owned()
}
