//! Watching at a terminal whose width changes, a daemon that does not answer, and jobs that are not there.

use crate::harness::Host;
use crate::heard::Heard;
use crate::outside::Process;
use crate::terminal::{Resizing, Terminal};
use rustix::process::Signal;
use serde_json::json;
use stoked::contain::identity::signal;

/// A change of the width: how much was said before it, and the new one.
type Change = (usize, u16);

fn shown(bytes: &[u8], changes: &[Change], resizing: Resizing) -> Vec<String> {
    let mut terminal = Terminal::new(100, resizing);
    let mut from = 0;
    for &(to, width) in changes {
        terminal.show(&bytes[from..to]);
        terminal.resize(width.into());
        from = to;
    }
    terminal.show(&bytes[from..]);
    terminal.rows()
}

/// The end of what was drawn whole: a drawing comes in one piece, but may be heard in several.
fn end_of_drawing(bytes: &[u8]) -> usize {
    let end = b"\x1b[?7h";
    let at = bytes.windows(end.len()).rposition(|it| it == end);
    at.map_or(0, |at| at + end.len())
}

/// Whether each job has one bar, in a row of its own, and nothing is left of others.
fn is_tidy(rows: &[String], percents: [&str; 2], width: u16) -> bool {
    let bars: Vec<&String> = rows.iter().filter(|row| row.contains('%')).collect();
    let fits = |row: &&String| row.chars().count() < usize::from(width);
    rows.len() == 2
        && bars.len() == 2
        && bars.iter().zip(percents).all(|(bar, it)| bar.contains(it))
        && rows.iter().all(|row| row.starts_with('●') && fits(&row))
}

#[test]
fn bars_are_drawn_anew_when_the_terminal_changes_its_width() {
    let host = Host::start();
    let go = host.gate("go");
    let name = "a-job-with-a-name-that-is-rather-long";
    let script = "read x < $W/go";
    let spec = json!({"command": ["sh", "-c", script], "name": name});
    let ids = [0; 2].map(|_| host.submit(spec.clone()));
    for (n, id) in ids.iter().enumerate() {
        host.reaches(*id, "running");
        let report = json!({"step": n + 1, "total_steps": 4, "message": "goes on and on and on"});
        host.act_with(*id, "progress", &report);
    }
    let watch = Heard::at_a_terminal(&host, &["watch"]);
    let mut changes: Vec<Change> = Vec::new();
    let percents = ["25%", "50%"];
    watch.out.until("bars", |bytes| {
        is_tidy(&shown(bytes, &[], Resizing::Continues), percents, 100)
    });
    for width in [30, 20, 120, 45] {
        // What is said between both is cut by the terminal, and drawn again.
        changes.push((end_of_drawing(&watch.out.all()), width));
        watch.resize(width);
        for resizing in [Resizing::Continues, Resizing::Cuts] {
            watch.out.until(&format!("bars at {width}"), |bytes| {
                bytes.len() > changes.last().map_or(0, |it| it.0)
                    && is_tidy(&shown(bytes, &changes, resizing), percents, width)
            });
        }
    }
    let out = watch.out.clone();
    watch.signal(Signal::INT);
    assert_eq!(watch.ends().code(), Some(130));
    out.until("nothing left behind", |bytes| {
        shown(bytes, &changes, Resizing::Continues).is_empty()
    });
    ids.iter().for_each(|_| go.open());
}

#[test]
fn who_waits_for_a_daemon_that_does_not_answer_is_told_so_once() {
    let host = Host::start();
    let words = "stoke: waiting for the daemon…\n";
    let pid = host.get("/v1/version")["pid"].as_u64().unwrap();
    let daemon = Process::of(pid);
    signal(&daemon.0, Signal::STOP).unwrap();
    let list = Heard::of_a_guest(&host, &["ls"]);
    let program = Heard::of_a_guest(&host, &["--json", "ls"]);
    list.err.hears(words);
    program.err.hears("{\"connection\":\"waiting\"}\n");
    signal(&daemon.0, Signal::CONT).unwrap();
    let said = list.err.clone();
    assert!(list.ends().success() && program.ends().success());
    assert_eq!(String::from_utf8_lossy(&said.all()), words);
}

#[test]
fn a_job_that_does_not_exist_is_not_idle() {
    let host = Host::start();
    for channel in ["job/999999/*", "job/999999/state", "999999"] {
        let watch = host.stoke(&["watch", channel, "--until-idle"]);
        assert_eq!(watch.status.code(), Some(4), "{watch:?}");
    }
    let id = host.sh("true");
    host.ended(id);
    host.stoke_ok(&["watch", &format!("job/{id}/*"), "--until-idle"]);
    host.stoke_ok(&["watch", "job/*/state", "--until-idle"]);
}
