//! Progress from all four sources, as a job reports it, through to what clients see.

use crate::harness::Host;
use crate::stream::Message;
use serde_json::{Value, json};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Runs `script`, which reports and then waits at the gate `go`; gives the progress that clients see meanwhile.
fn reported(host: &mut Host, command: Value, is_there: impl Fn(&Value) -> bool) -> Value {
    let go = host.gate("go");
    let mut env = host.environment();
    env["STOKE"] = json!(env!("CARGO_BIN_EXE_stoke"));
    env["REPORTS"] = json!("1");
    let held = host.submit(json!({"command": command, "env": env, "hold": true}));
    let mut events = host.events(&format!("channel=job/{held}/*"));
    host.act(held, "release");
    let told = |it: &Message| is_there(&it.data["body"]["current_step"]);
    let message = events.until(|it| it.kind == "progress" && told(it));
    assert_eq!(message.data["channel"], format!("job/{held}/progress"));
    assert!(
        message.seq().is_none() && message.id.is_none(),
        "progress is not durable"
    );
    let shown = host.job(held)["progress"].clone();
    assert!(is_there(&shown["step"]), "{shown:#}");
    // A late joiner sees it at once.
    let mut late = host.events(&format!("channel=job/{held}/progress&snapshot=1"));
    late.until(told);
    go.open();
    let job = host.ended(held);
    assert_eq!(job["state"], "completed", "{job:#}");
    let kept = &job["attempts"][0]["progress"];
    assert!(is_there(&kept["step"]), "it is not kept: {job:#}");
    // The history may lag behind by seconds, but not beyond the end of the daemon.
    host.stop();
    host.boot();
    let history = host.get(&format!("/v1/jobs/{held}/progress"));
    assert!(
        !history["items"].as_array().unwrap().is_empty(),
        "{history:#}"
    );
    shown
}

#[test]
fn a_job_reports_through_the_client() {
    let mut host = Host::start();
    let script = "\"$STOKE\" progress --step 3/10 --metric loss=0.25 evaluating && read x < $W/go";
    let shown = reported(&mut host, json!(["sh", "-c", script]), |it| *it == 3.0);
    assert_eq!(
        (&shown["total_steps"], &shown["percent"]),
        (&json!(10.0), &json!(30.0)),
        "{shown:#}"
    );
    assert_eq!(
        (&shown["message"], &shown["metrics"]["loss"]),
        (&json!("evaluating"), &json!(0.25))
    );
    assert_eq!(shown["source"], "api");
}

/// A count of before does not stand for named steps that moved since.
#[test]
fn named_steps_take_over_from_a_count() {
    let mut host = Host::start();
    let script = "p=\"$STOKE progress\"; $p --percent 60 && $p --steps a,b && $p --step-fail b && $p --step-done a && \
                  ! $p --step 5/3 2>$W/refused && read x < $W/go";
    let shown = reported(&mut host, json!(["sh", "-c", script]), |it| *it == 1.0);
    assert_eq!(
        (&shown["percent"], &shown["total_steps"]),
        (&json!(50.0), &json!(2.0)),
        "{shown:#}"
    );
    assert_eq!(shown["phase_number"], 1, "it fell from 60: {shown:#}");
}

#[test]
fn a_job_reports_in_a_file() {
    let mut host = Host::start();
    let file = json!({"current_step": 500, "total_steps": 1000, "loss": 0.5, "current_epoch": 1, "total_epochs": 1});
    let script = format!(
        "echo '{file}' > $STOKED_PROGRESS_FILE.new && mv $STOKED_PROGRESS_FILE.new $STOKED_PROGRESS_FILE && read x < $W/go"
    );
    let shown = reported(&mut host, json!(["sh", "-c", script]), |it| *it == 500.0);
    assert_eq!(
        (&shown["percent"], &shown["source"]),
        (&json!(50.0), &json!("file")),
        "{shown:#}"
    );
    assert_eq!(shown["metrics"]["loss"], 0.5);
}

#[test]
fn a_job_is_understood_as_it_is() {
    let mut host = Host::start();
    let bar = " 45%|####5     | 450/1000 [00:12<00:15, 35.90it/s, loss=0.2]";
    let script = format!("printf '\\r{}' >&2; read x < $W/go", bar.replace('%', "%%"));
    let shown = reported(&mut host, json!(["sh", "-c", script]), |it| *it == 450.0);
    assert_eq!(
        (&shown["percent"], &shown["total_steps"]),
        (&json!(45.0), &json!(1000.0)),
        "{shown:#}"
    );
    assert_eq!(shown["source"], "tqdm", "{shown:#}");
}

#[test]
fn a_job_reports_as_services_do() {
    let mut host = Host::start();
    let own = std::env::current_exe().unwrap();
    let command = json!([own, "--exact", "progress::notifier", "--nocapture"]);
    let shown = reported(&mut host, command, |it| *it == 7.0);
    assert_eq!(
        (&shown["percent"], &shown["source"]),
        (&json!(70.0), &json!("notify")),
        "{shown:#}"
    );
    assert_eq!(
        (&shown["message"], &shown["metrics"]["loss"]),
        (&json!("well under way"), &json!(0.125))
    );
}

/// Not a test but the job of the one above, which has no program at hand that sends datagrams.
#[test]
fn notifier() {
    if std::env::var_os("REPORTS").is_none() {
        return;
    }
    let name = std::env::var("NOTIFY_SOCKET").unwrap();
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let text =
        "READY=1\nSTATUS=well under way\nX_STOKED_PROGRESS=7/10\nX_STOKED_METRIC=loss=0.125\n";
    let socket = UnixDatagram::unbound().unwrap();
    socket
        .send_to_addr(text.as_bytes(), &address.unwrap())
        .unwrap();
    let gate = std::path::PathBuf::from(std::env::var_os("W").unwrap()).join("go");
    let mut line = [0; 3];
    std::io::Read::read_exact(&mut std::fs::File::open(gate).unwrap(), &mut line).unwrap();
}

#[test]
fn a_report_for_another_attempt_is_refused() {
    let host = Host::start();
    let up = host.gate("up");
    let id = host.sh("echo up > $W/up; exec sleep 1000");
    up.hear();
    let target = format!("/v1/jobs/{id}/progress");
    host.post(&target, &json!({"step": 1, "attempt": 2}))
        .problem("wrong-state");
    let problem = host
        .post(&target, &json!({"percent": 101}))
        .problem("invalid-request");
    assert_eq!(problem["field"], "percent");
    host.post(&target, &json!({"steps": [{"name": "x", "state": "odd"}]}))
        .problem("invalid-request");
    assert!(host.job(id)["progress"]["step"].is_null());
    host.act_with(id, "cancel", &json!({"grace": 0}));
    host.ended(id);
    host.post(&target, &json!({"step": 1}))
        .problem("wrong-state");
}

#[test]
fn progress_goes_on_after_a_restart() {
    let mut host = Host::start();
    let go = host.gate("go");
    let script = "read x < $W/go; printf '[%s/10]\\n' $x; read x < $W/go; printf '[%s/10]\\n' $x; read x < $W/go";
    let id = host.sh(script);
    host.reaches(id, "running");
    let reaches = |host: &Host, step: f64| {
        let mut events = host.events(&format!("channel=job/{id}/progress&snapshot=1"));
        events.until(|it| it.data["body"]["current_step"] == step);
    };
    go.say("4");
    reaches(&host, 4.0);
    host.kill9();
    go.say("8");
    host.boot();
    reaches(&host, 8.0);
    assert_eq!(host.job(id)["progress"]["percent"], 80.0);
    go.open();
    assert_eq!(host.ended(id)["state"], "completed");
}

/// What the daemon before has read already is no new beginning.
#[test]
fn old_output_does_not_run_backwards_after_a_restart() {
    let mut host = Host::start();
    let go = host.gate("go");
    let id = host.sh("while read x < $W/go; do printf '[%s/10]\\n' $x; done");
    let reaches = |host: &Host, step: f64| {
        let mut events = host.events(&format!("channel=job/{id}/progress&snapshot=1"));
        events.until(|it| it.data["body"]["current_step"] == step);
    };
    for step in ["2", "5", "8"] {
        go.say(step);
        reaches(&host, step.parse().unwrap());
    }
    // Stopped, so that all of it is stored.
    host.stop();
    host.boot();
    go.say("9");
    reaches(&host, 9.0);
    let progress = host.job(id)["progress"].clone();
    let phase = progress["phase_number"].as_u64().unwrap_or(0);
    assert_eq!(phase, 0, "{progress:#}");
    assert_eq!(progress["percent"], 90.0);
    host.act_with(id, "cancel", &json!({"grace": 0}));
    host.ended(id);
}

/// What is told over the API is told once: nobody can read it again after a restart.
#[test]
fn what_was_told_once_is_known_after_a_restart() {
    let mut host = Host::start();
    let go = host.gate("go");
    let id = host.sh("read x < $W/go");
    host.reaches(id, "running");
    let told = host.post(
        &format!("/v1/jobs/{id}/progress"),
        &json!({"step": 3, "total_steps": 10}),
    );
    assert!(told.is_success(), "{}", told.text());
    // Stopped, not killed: the history is written about a second late by design.
    host.stop();
    host.boot();
    let job = host.job(id);
    assert_eq!(job["progress"]["percent"], 30.0, "{job:#}");
    let groups = host.get("/v1/groups");
    assert_eq!(groups["items"][0]["name"], "default", "{groups:#}");
    go.open();
    host.ended(id);
}

/// However a job writes its file, what it wrote last is known.
#[test]
fn a_file_may_be_written_in_any_manner() {
    let host = Host::start();
    let go = host.gate("go");
    for named in [false, true] {
        let script = "while read manner step < $W/go; do
              cd ${STOKED_PROGRESS_FILE%/*}; file=${STOKED_PROGRESS_FILE##*/}
              text=\"{\\\"current_step\\\": $step, \\\"total_steps\\\": 100}\"
              case $manner in
              rename) echo \"$text\" > $file.new; mv $file.new $file ;;
              rewrite) echo \"$text\" > $file ;;
              append) : > $file; for part in '{' \"${text#?}\"; do printf %s \"$part\" >> $file; done ;;
              remove) rm $file; echo \"$text\" > $file ;;
              link) echo \"$text\" > other.$step; ln -sfn other.$step new.link; mv -T new.link $file ;;
              behind) echo \"$text\" > $(readlink $file) ;;
              directory) rm $file; mkdir $file; rmdir $file; echo \"$text\" > $file ;;
              fifo) mkfifo new.fifo; mv new.fifo $file; rm $file; echo \"$text\" > $file ;;
              end) exit ;;
              esac
            done";
        let mut spec = json!({"command": ["sh", "-c", script]});
        if named {
            spec["progress_file"] = json!(host.path("named.json"));
        }
        let id = host.submit(spec);
        host.reaches(id, "running");
        let mut events = host.events(&format!("channel=job/{id}/progress&snapshot=1"));
        let manners = "rename rewrite append remove link behind link behind rename rewrite directory fifo \
                       append link rewrite remove rename";
        let manners = manners.split_whitespace();
        for (step, manner) in (1_u32..).zip(manners) {
            go.say(&format!("{manner} {step}"));
            events.until(|it| it.data["body"]["current_step"] == f64::from(step));
        }
        go.say("end 0");
        assert_eq!(host.ended(id)["state"], "completed");
    }
}
