//! Output: exact bytes, no blocking, terminals, notifications.

use std::fs;
use std::io::Read;

use stoked::wire::shim::{FromShim, SignalTarget, ToShim, TtySize};

use crate::daemon::Attempt;

/// Ten megabytes whose every line is different, without a program that might not be there.
const TEN_MEGABYTES: &str = "seq 1000000 2250000 | head -c 10000000";

#[test]
fn both_outputs_are_kept_exactly() {
    let attempt = Attempt::shell(&format!("{TEN_MEGABYTES} & {TEN_MEGABYTES} >&2; wait"));
    let record = attempt.run();
    assert_eq!(record.dropped_output_bytes, 0);
    let mut wanted = String::new();
    let mut number = 1_000_000;
    while wanted.len() < 10_000_000 {
        wanted.push_str(&format!("{number}\n"));
        number += 1;
    }
    wanted.truncate(10_000_000);
    assert!(attempt.output("stdout") == wanted.as_bytes());
    assert!(attempt.output("stderr") == wanted.as_bytes());
}

#[test]
fn a_daemon_that_reads_nothing_blocks_nobody() {
    let mut attempt = Attempt::shell(&format!(
        "{TEN_MEGABYTES}; i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"
    ));
    attempt.record.notify = true;
    let (mut shim, daemon, _) = attempt.start();
    // The daemon goes on being connected, and deaf, while it asks for more than fits.
    let mut deaf = daemon;
    for _ in 0..20_000 {
        let frame = ToShim::Signal {
            signal: 99,
            to: SignalTarget::All,
        };
        let line = stoked::wire::shim::encode(&frame).unwrap();
        if std::io::Write::write_all(&mut deaf.stream, &line).is_err() {
            break;
        }
    }
    // The shim has dropped it or will; the job ends and the record appears all the same.
    drop(deaf);
    shim.ends();
    assert_eq!(attempt.exit_file().unwrap().code, Some(0));
    assert!(attempt.output("stdout").len() > 10_000_000);
}

#[test]
fn a_flood_does_not_starve_the_control_frames() {
    let mut attempt = Attempt::shell("yes & yes >&2");
    attempt.record.log_limit_bytes = 1 << 20;
    let (mut shim, mut daemon, _) = attempt.start();
    daemon.send(&ToShim::Kill);
    let record = daemon.exited();
    assert_eq!(record.signal, Some(9));
    daemon.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn a_terminal_is_a_terminal() {
    let mut attempt = Attempt::shell(
        "test -t 0 && test -t 1 && test -t 2 && echo yes; stty size; \
         trap 'stty size; exit 5' WINCH; echo ready > /dev/tty; read line; echo \"got $line\"; \
         while :; do sleep 0.01; done",
    );
    attempt.record.tty = Some(TtySize { cols: 90, rows: 30 });
    let (mut shim, mut daemon, _) = attempt.start();
    daemon.send(&ToShim::PtyInput {
        text: "hello\n".to_owned(),
    });
    let wait = |needle: &str| {
        while !attempt.text().contains(needle) {
            std::thread::yield_now();
        }
    };
    wait("got hello");
    daemon.send(&ToShim::Resize(TtySize {
        cols: 100,
        rows: 40,
    }));
    assert_eq!(daemon.exited().code, Some(5));
    let text = attempt.text();
    // The terminal's echo of what is typed falls anywhere before it is read.
    assert!(text.contains("yes\r\n"), "{text:?}");
    assert!(text.contains("30 90\r\n"), "{text:?}");
    assert!(text.ends_with("40 100\r\n"), "{text:?}");
    daemon.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn what_needs_a_terminal_is_refused_without_one() {
    let attempt = Attempt::new(&["sleep", "1000"]);
    let (_shim, mut daemon, _) = attempt.start();
    daemon.send(&ToShim::PtyInput {
        text: "x".to_owned(),
    });
    let message = daemon.until(|frame| match frame {
        FromShim::Refused { request, message } if request == "pty_input" => Some(message.clone()),
        _ => None,
    });
    assert!(message.contains("--tty"), "{message}");
    daemon.send(&ToShim::Kill);
    daemon.exited();
    daemon.send(&ToShim::AckExit);
}

const SEND: &str = "import os,socket,sys\n\
    s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)\n\
    a=os.environ['NOTIFY_SOCKET']\n\
    a='\\0'+a[1:] if a[0]=='@' else a\n";

#[test]
fn notifications_reach_the_daemon_at_once_or_later() {
    let script = format!(
        "{SEND}s.sendto(b'READY=1',a)\nopen(sys.argv[1]).read()\n\
         for i in range(3): s.sendto(b'STATUS=%d'%i,a)\nopen(sys.argv[2],'w').close()\n\
         open(sys.argv[3]).read()\n"
    );
    let mut attempt = Attempt::new(&["python3", "-c", &script]);
    let fifos = ["away", "sent", "end"].map(|name| attempt.fifo(name));
    for fifo in &fifos {
        attempt.record.command.push(fifo.as_os_str().into());
    }
    attempt.record.notify = true;
    let (mut shim, mut daemon, started) = attempt.start();
    daemon.sees(&FromShim::Notify {
        text: "READY=1".to_owned(),
        pid: started.main.pid,
    });
    // A connection of its own sees the end of the link, so that "away" is certain.
    let mut witness = attempt.adopt();
    witness.until(|frame| matches!(frame, FromShim::Started(_)).then_some(()));
    daemon.stream.shutdown(std::net::Shutdown::Both).unwrap();
    witness.stream.shutdown(std::net::Shutdown::Both).unwrap();
    fs::write(&fifos[0], "").unwrap();
    let mut nothing = String::new();
    fs::File::open(&fifos[1])
        .unwrap()
        .read_to_string(&mut nothing)
        .unwrap();
    let mut daemon = attempt.adopt();
    daemon.sees(&FromShim::Notify {
        text: "STATUS=2".to_owned(),
        pid: started.main.pid,
    });
    fs::write(&fifos[2], "").unwrap();
    assert_eq!(daemon.exited().code, Some(0));
    daemon.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn a_flood_of_notifications_does_not_starve_the_control_frames() {
    let script =
        format!("{SEND}for i in range(3): os.fork()\nwhile True: s.sendto(b'STATUS=more',a)\n");
    let mut attempt = Attempt::new(&["python3", "-c", &script]);
    attempt.record.notify = true;
    let (mut shim, mut daemon, _) = attempt.start();
    daemon.until(|frame| matches!(frame, FromShim::Notify { .. }).then_some(()));
    daemon.send(&ToShim::Kill);
    assert_eq!(daemon.exited().signal, Some(9));
    daemon.send(&ToShim::AckExit);
    shim.ends();
}

#[test]
fn another_user_has_a_notify_socket_it_can_reach() {
    if !rustix::process::getuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let script = format!("{SEND}s.sendto(b'READY=1',a)\n");
    let mut attempt = Attempt::new(&["python3", "-c", &script]);
    attempt.record.notify = true;
    attempt.record.user = Some(stoked::wire::shim::UserSpec {
        uid: 65534,
        gid: 65534,
        name: "nobody".to_owned(),
        groups: Vec::new(),
    });
    let (mut shim, mut daemon, _) = attempt.start();
    let record = daemon.exited();
    assert_eq!(record.code, Some(0));
    let told = daemon
        .seen
        .iter()
        .any(|frame| matches!(frame, FromShim::Notify { text, .. } if text == "READY=1"));
    assert!(told, "{:?}", daemon.seen);
    daemon.send(&ToShim::AckExit);
    shim.ends();
}
