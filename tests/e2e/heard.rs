//! A client that is listened to while it runs, in pipes or at a terminal.

use crate::harness::Host;
use crate::http::PATIENCE;
use crate::outside::Process;
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// What one stream said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ear {
    heard: Arc<(Mutex<Vec<u8>>, Condvar)>,
}

impl Ear {
    /// Listens to `stream` until it ends.
    fn listen(stream: impl Read + Send + 'static) -> Self {
        let ear = Self::default();
        let own = ear.clone();
        std::thread::spawn(move || own.take_down(stream));
        ear
    }

    fn take_down(&self, mut stream: impl Read) {
        let mut buffer = [0; 16 << 10];
        // A terminal whose other side is gone gives an error at its end.
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            let (heard, news) = &*self.heard;
            heard.lock().unwrap().extend_from_slice(&buffer[..count]);
            news.notify_all();
        }
    }

    /// Waits until what was heard so far is as wanted; all of it.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let patience_ends = Instant::now() + PATIENCE;
        let (heard, news) = &*self.heard;
        let mut bytes = heard.lock().unwrap();
        while !wanted(&bytes) {
            let left = patience_ends.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "not heard: {what}; but {}",
                String::from_utf8_lossy(&bytes)
            );
            bytes = news.wait_timeout(bytes, left).unwrap().0;
        }
        bytes.clone()
    }

    /// Waits until these words were heard; everything so far.
    pub(crate) fn hears(&self, words: &str) -> String {
        let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(words);
        String::from_utf8_lossy(&self.until(words, has)).into_owned()
    }

    /// Waits until these words were heard once more after what was heard already.
    pub(crate) fn hears_after(&self, before: usize, words: &str) -> String {
        let has = |bytes: &[u8]| String::from_utf8_lossy(&bytes[before..]).contains(words);
        String::from_utf8_lossy(&self.until(words, has)).into_owned()
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> Vec<u8> {
        self.heard.0.lock().unwrap().clone()
    }
}

/// A client that runs.
#[derive(Debug)]
pub(crate) struct Heard {
    child: Child,
    pub(crate) out: Ear,
    pub(crate) err: Ear,
    /// Where it is at a terminal.
    keyboard: Option<File>,
}

impl Heard {
    /// The client of somebody who does not start the daemon: it can only wait until one is there.
    pub(crate) fn of_a_guest(host: &Host, args: &[&str]) -> Self {
        let mut command = host.guest(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = Ear::listen(child.stdout.take().unwrap());
        let err = Ear::listen(child.stderr.take().unwrap());
        Self {
            child,
            out,
            err,
            keyboard: None,
        }
    }

    /// The same at a terminal of 100 columns; what it says comes in `out`.
    pub(crate) fn at_a_terminal(host: &Host, args: &[&str]) -> Self {
        let (screen, keyboard) = terminal();
        let mut command = host.guest(args);
        command.env("TERM", "xterm");
        command.stdin(keyboard.try_clone().unwrap());
        command.stdout(keyboard.try_clone().unwrap());
        command.stderr(keyboard.try_clone().unwrap());
        let child = command.spawn().unwrap();
        let out = Ear::listen(screen);
        Self {
            child,
            err: out.clone(),
            out,
            keyboard: Some(keyboard),
        }
    }

    /// Its terminal is so many columns wide now, and says so.
    pub(crate) fn resize(&self, columns: u16) {
        let keyboard = self.keyboard.as_ref().unwrap();
        tcsetwinsize(keyboard, size(columns)).unwrap();
        self.signal(Signal::WINCH);
    }

    pub(crate) fn process(&self) -> Process {
        Process::of(self.child.id().into())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        stoked::contain::identity::signal(&self.process().0, signal).unwrap();
    }

    /// Waits for its end, and for the end of what it said.
    pub(crate) fn ends(mut self) -> ExitStatus {
        let ended = self.process().ends_within(PATIENCE);
        if !ended {
            self.child.kill().unwrap();
        }
        let status = self.child.wait().unwrap();
        assert!(ended, "the client does not end; it said {self:?}");
        status
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        // It has ended already where the test got that far.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Both sides of a new terminal.
fn terminal() -> (File, File) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    let keyboard = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    tcsetwinsize(&keyboard, size(100)).unwrap();
    (File::from(screen), keyboard)
}

fn size(columns: u16) -> Winsize {
    Winsize {
        ws_row: 40,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
