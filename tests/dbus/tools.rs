//! Tools and clients that others made, as people use them.

use crate::bus::World;
use crate::fake_nvml::{FakeDriver, gpu};
use crate::harness::{Host, say_skipped};
use std::path::Path;
use std::process::{Command, Output, Stdio};

pub(crate) fn here(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A Python that has the bindings of GLib; distributions give them to their own one alone.
fn python() -> Option<&'static str> {
    let pythons = ["/usr/bin/python3", "python3"];
    pythons.into_iter().find(|python| {
        let mut command = Command::new(python);
        command.args(["-c", "from gi.repository import Gio"]);
        command.stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

pub(crate) fn has(program: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("command -v {program} >/dev/null")]);
    command.status().is_ok_and(|status| status.success())
}

/// Runs something that speaks to the bus of a world.
async fn run(world: &World, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("DBUS_SESSION_BUS_ADDRESS", world.bus.address())
        .env("NO_COLOR", "1")
        .current_dir(here(""))
        .stdin(Stdio::null());
    let running = tokio::task::spawn_blocking(move || command.output());
    crate::bus::soon(running).await.unwrap().unwrap()
}

fn out(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_interfaces_are_as_shipped() {
    let Some(python) = python() else {
        say_skipped("no Python has the bindings of GLib (package python3-gi)");
        return;
    };
    let fake = FakeDriver::new(&gpu(0));
    let config = format!(
        "[sampling]\nnvml_library = \"{}\"\ngpu_interval = \"100ms\"\nidle_interval = \"100ms\"\n",
        fake.library().display()
    );
    let mut host = Host::prepare(&config);
    host.tell("STOKED_GPU_PIDS", "outermost");
    let Some(world) = World::of(host).await else {
        return;
    };
    let held = world
        .host
        .submit(serde_json::json!({"command": ["true"], "hold": true}));
    let script = here("tests/dbus/interfaces.py");
    let shipped = here("packaging/dbus-1/interfaces/io.stoked.Stoked1.xml");
    let arguments = [
        script.to_str().unwrap(),
        shipped.to_str().unwrap(),
        &held.to_string(),
    ];
    let compared = run(&world, python, &arguments).await;
    assert_eq!(out(&compared), "the same: Gpu Host Job Manager\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_readme_work() {
    let Some(world) = World::start("").await else {
        return;
    };
    let readme = std::fs::read_to_string(here("README.md")).unwrap();
    let (_, section) = readme.split_once("## On the bus").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let lines: Vec<&str> = block.lines().filter(|it| !it.starts_with('#')).collect();
    assert_eq!(lines.len(), 3, "{block}");
    for line in lines {
        let program = line.split(' ').next().unwrap();
        let is_python = program.contains("python3");
        if !has(program) || (is_python && python() != Some(program)) {
            say_skipped(&format!("{program} cannot be run here: {line}"));
            continue;
        }
        let output = run(&world, "sh", &["-c", line]).await;
        let text = out(&output);
        assert!(
            text.contains("healthy") || text.contains("JobsRunning"),
            "{line}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn busctl_and_gdbus_do_what_people_do_with_them() {
    if !has("busctl") || !has("gdbus") {
        say_skipped("busctl or gdbus is not here (packages systemd, libglib2.0-bin)");
        return;
    }
    let Some(world) = World::start("").await else {
        return;
    };
    let address = format!("--address={}", world.bus.address());
    let name = "io.stoked.Stoked1";
    let root = "/io/stoked/Stoked1";
    let manager = "io.stoked.Stoked1.Manager";
    let busctl = async |rest: &[&str]| {
        let mut arguments = vec![address.as_str()];
        arguments.extend(rest);
        run(&world, "busctl", &arguments).await
    };
    let submitted = busctl(&[
        "call", name, root, manager, "Submit", "a{sv}", "2", "command", "as", "1", "true", "hold",
        "b", "true",
    ])
    .await;
    assert_eq!(out(&submitted), format!("uo 1 \"{root}/job/1\"\n"));
    let held = busctl(&["get-property", name, root, manager, "JobsHeld"]).await;
    assert_eq!(out(&held), "u 1\n");
    let refused = busctl(&["call", name, root, manager, "Cancel", "u", "7"]).await;
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("there is no job 7"), "{why}");

    let call = format!("{manager}.ListJobs");
    let arguments = [
        "call",
        "--session",
        "--dest",
        name,
        "--object-path",
        root,
        "--method",
        &call,
        "{'state': <'held'>}",
        "",
        "0",
    ];
    let listed = out(&run(&world, "gdbus", &arguments).await);
    assert!(listed.contains("'id': <uint64 1>"), "{listed}");
    let tree = busctl(&["tree", name]).await;
    assert!(out(&tree).contains("/io/stoked/Stoked1/host"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_glib_sees_what_changes() {
    let clients = [
        (python().unwrap_or("no Python with python3-gi"), "proxy.py"),
        ("gjs", "proxy.js"),
    ];
    for (program, script) in clients {
        if !has(program) {
            say_skipped(&format!("{program} is not here"));
            continue;
        }
        // One each: counts that are the same again within a second are not told, and the second client would wait for that.
        let Some(world) = World::start("").await else {
            return;
        };
        let script = here("tests/dbus").join(script);
        let seen = out(&run(&world, program, &[script.to_str().unwrap()]).await);
        assert!(seen.contains("JobAdded"), "{seen}");
        assert!(seen.contains("held is 1"), "{seen}");
        assert!(seen.contains("cancelled"), "{seen}");
    }
}
