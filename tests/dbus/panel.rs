//! The panel of `examples/desktop`: what it knows, in its own words, and that it is drawn.

use crate::bus::{World, soon};
use crate::fake_nvml::{FakeDriver, gpu};
use crate::harness::{Host, say_skipped};
use crate::tools::{has, here};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tokio::sync::mpsc;

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// What the model of the panel knows, as it changes.
struct Model {
    states: mpsc::UnboundedReceiver<Value>,
    _gjs: Running,
}

impl Model {
    fn start(world: &World) -> Self {
        let script = here("tests/dbus/model.js");
        let mut gjs = Command::new("gjs")
            .arg("-m")
            .arg(script)
            .env("DBUS_SESSION_BUS_ADDRESS", world.bus.address())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(gjs.stdout.take().unwrap()).lines();
        let (send, states) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Once the test is over nobody listens.
                let _sent = send.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self {
            states,
            _gjs: Running(gjs),
        }
    }

    /// Waits until it knows this.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let state = soon(self.states.recv()).await;
            let state = state.expect("the model of the panel has ended");
            if wanted(&state) {
                return state;
            }
        }
    }
}

async fn world(fake: &FakeDriver) -> Option<World> {
    let config = format!(
        "[sampling]\nnvml_library = \"{}\"\ngpu_interval = \"100ms\"\nidle_interval = \"100ms\"\n",
        fake.library().display()
    );
    let mut host = Host::prepare(&config);
    host.tell("STOKED_GPU_PIDS", "outermost");
    World::of(host).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_of_the_panel_follows_jobs_and_the_daemon() {
    if !has("gjs") {
        say_skipped("gjs is not here (package gjs)");
        return;
    }
    let fake = FakeDriver::new(&gpu(0));
    let Some(mut world) = world(&fake).await else {
        return;
    };
    let mut model = Model::start(&world);
    // The daemon refuses such a name; another one may not.
    let text = model.until(|it| it["harmless"].is_string()).await;
    assert_eq!(text["harmless"], "a\\u{1b}\\u{202e}<b>");
    // What is measured comes because somebody looks.
    let first = model
        .until(|it| {
            it["health"] == "healthy"
                && it["gpus"][0]["utilPercent"] == 85
                && it["host"]["cpuPercent"].is_number()
        })
        .await;
    assert_eq!(first["gpus"][0]["name"], "NVIDIA Fake H100");
    assert_eq!(first["gpus"][0]["memoryTotal"], 80_u64 << 30);
    assert_eq!(
        (&first["jobs"], &first["counts"]),
        (&json!([]), &json!({"running": 0, "waiting": 0}))
    );

    let gate = world.host.gate("gate");
    let command = json!(["sh", "-c", "read x < $W/gate; exit 3"]);
    let spec = json!({"command": command, "name": "<b>&train"});
    let id = world.host.submit(spec);
    world
        .host
        .submit(json!({"command": ["true"], "hold": true}));
    let seen = model
        .until(|it| it["jobs"][0]["state"] == "running" && it["counts"]["waiting"] == 1)
        .await;
    // It is text, and no markup.
    assert_eq!(
        (&seen["jobs"][0]["name"], &seen["jobs"][0]["percent"]),
        (&json!("<b>&train"), &Value::Null)
    );
    let report = json!({"percent": 50, "eta_seconds": 600});
    world.host.act_with(id, "progress", &report);
    let seen = model.until(|it| it["jobs"][0]["percent"] == 50).await;
    assert!(
        seen["jobs"][0]["secondsLeft"].as_f64().unwrap() > 500.0,
        "{seen}"
    );

    world.host.kill9();
    let seen = model.until(|it| it["isHere"] == false).await;
    assert_eq!((&seen["jobs"], &seen["gpus"]), (&json!([]), &json!([])));
    world.host.boot();
    let seen = model.until(|it| it["jobs"][0]["id"] == id).await;
    assert_eq!(seen["isHere"], true);
    gate.say("go");
    let seen = model.until(|it| it["ended"][0]["state"] == "failed").await;
    assert_eq!(seen["ended"][0]["id"], id);
    model.until(|it| it["jobs"] == json!([])).await;
}

/// A screen that nobody sees, and what it is called.
fn screen() -> Option<(Running, String)> {
    let (read, write) = rustix::pipe::pipe().unwrap();
    let started = Command::new("Xvfb")
        .args(["-displayfd", "1", "-nolisten", "tcp"])
        .stdin(Stdio::null())
        .stdout(write)
        .stderr(Stdio::null())
        .spawn();
    let screen = Running(started.ok()?);
    let mut line = String::new();
    let read = BufReader::new(File::from(read)).read_line(&mut line);
    (read.unwrap() > 0).then(|| (screen, format!(":{}", line.trim())))
}

fn has_gtk() -> bool {
    let mut command = Command::new("gjs");
    command.args(["-c", "imports.gi.versions.Gtk = '4.0'; imports.gi.Gtk"]);
    command.stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_panel_is_drawn_and_follows() {
    if !has("gjs") || !has("Xvfb") || !has("xdotool") || !has_gtk() {
        say_skipped("packages gjs, gir1.2-gtk-4.0, xvfb and xdotool are not all here");
        return;
    }
    let Some(world) = World::start("").await else {
        return;
    };
    let Some((_screen, display)) = screen() else {
        say_skipped("Xvfb does not start");
        return;
    };
    let home = world.host.root().join("home");
    let panel = Command::new(here("examples/desktop/panel.js"))
        .env("DISPLAY", &display)
        .env("DBUS_SESSION_BUS_ADDRESS", world.bus.address())
        .env("GDK_BACKEND", "x11")
        .env("GSK_RENDERER", "cairo")
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", &home)
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut panel = Running(panel.unwrap());
    let titled = async |title: &str| {
        let mut search = tokio::process::Command::new("xdotool");
        search.args(["search", "--sync", "--name", title]);
        search.env("DISPLAY", &display).stdout(Stdio::null());
        let found = soon(search.kill_on_drop(true).status()).await.unwrap();
        assert!(found.success(), "no window is called {title}");
    };
    titled("^stoked  ·  healthy$").await;
    let gate = world.host.gate("gate");
    let id = world.host.sh("read x < $W/gate");
    titled("^stoked  ·  1 running$").await;
    gate.say("go");
    world.host.ended(id);
    titled("^stoked  ·  healthy$").await;
    // It said nothing of anything that went wrong.
    panel.0.kill().unwrap();
    let mut said = String::new();
    let mut errors = BufReader::new(panel.0.stderr.take().unwrap());
    std::io::Read::read_to_string(&mut errors, &mut said).unwrap();
    assert!(
        !said.contains("JS ERROR") && !said.contains("CRITICAL"),
        "{said}"
    );
}
