//! A keeper with modules that are made up, and the test in the place of the shim.

use super::*;
use std::sync::mpsc::{Receiver, channel};

/// A session that tells when it is closed.
struct Made(std::sync::mpsc::Sender<()>);

impl Session for Made {
    fn env(&self) -> Vec<(Bytes, Bytes)> {
        vec![("KRB5CCNAME".into(), "FILE:/tmp/x".into())]
    }

    fn close(self) -> Result<(), String> {
        self.0.send(()).map_err(|error| error.to_string())
    }
}

fn refused() -> SpawnError {
    SpawnError {
        error: SpawnErrorKind::Pam,
        step: "pam_acct_mgmt".to_owned(),
        errno: None,
        message: "alice has expired".to_owned(),
    }
}

/// The link to a keeper, what it said first, and the news of its close.
fn keeper(does_open: bool) -> (UnixStream, Option<Answer>, Receiver<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (closes, closed) = channel();
    std::thread::spawn(move || {
        let kept = keep(&theirs, |wanted| match does_open {
            true => {
                assert_eq!(
                    (wanted.service.as_str(), wanted.user.as_str()),
                    ("s", "alice")
                );
                Ok(Made(closes))
            }
            false => Err(refused()),
        });
        kept.unwrap();
    });
    let wanted = Wanted {
        service: "s".to_owned(),
        user: "alice".to_owned(),
        groups: Vec::new(),
        open_files: None,
    };
    (&ours).write_all(&encode(&wanted).unwrap()).unwrap();
    let said = read_line(&ours).unwrap();
    let said = said.map(|line| decode(&line).unwrap());
    (ours, said, closed)
}

/// Has a program started in the place of the shim, and says what it said on the channel.
fn starts(link: &UnixStream, program: &str) -> Vec<u8> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let null = File::open("/dev/null").unwrap();
    let program = File::open(program).unwrap();
    let parts = [theirs.as_fd(), null.as_fd(), null.as_fd(), program.as_fd()];
    order(link, parts).unwrap();
    drop(theirs);
    let mut said = Vec::new();
    (&ours).read_to_end(&mut said).unwrap();
    said
}

#[test]
fn a_session_lasts_until_the_link_ends() {
    let (link, said, closed) = keeper(true);
    let env = vec![("KRB5CCNAME".into(), "FILE:/tmp/x".into())];
    assert_eq!(said, Some(Answer::Opened { env }));
    // It keeps nothing of what it hands on, or the channel would not end.
    assert_eq!(starts(&link, "/bin/true"), b"");
    assert!(closed.try_recv().is_err());
    drop(link);
    closed.recv().unwrap();
}

#[test]
fn a_session_in_which_nothing_starts_is_closed_too() {
    let (link, _, closed) = keeper(true);
    link.shutdown(std::net::Shutdown::Both).unwrap();
    closed.recv().unwrap();

    let (link, _, closed) = keeper(true);
    let said = starts(&link, "/bin/false");
    let Ok(Report::Failed(error)) = decode(said.strip_suffix(b"\n").unwrap()) else {
        panic!("{}", String::from_utf8_lossy(&said));
    };
    assert_eq!(error.step, "start a process");
    drop(link);
    closed.recv().unwrap();
}

#[test]
fn a_refusal_is_told_and_ends_it() {
    let (link, said, closed) = keeper(false);
    assert_eq!(said, Some(Answer::Failed(refused())));
    assert_eq!(read_line(&link).unwrap(), None);
    assert!(closed.recv().is_err());
}
