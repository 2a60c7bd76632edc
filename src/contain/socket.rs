//! Unix sockets inside a directory that may lie deep: a socket address holds 108 bytes, so they
//! are named through an open directory in `/proc/self/fd`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Name of the control socket in an attempt directory.
pub const CONTROL: &str = "ctl";

/// Open a directory for use with the functions below.
pub fn open_dir(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(dir, flags, Mode::empty())?)
}

/// Listen on a name in a directory.
pub fn listen(dir: impl AsFd, name: &str) -> io::Result<UnixListener> {
    UnixListener::bind(through(&dir, name))
}

/// Receive datagrams on a name in a directory.
pub fn datagram(dir: impl AsFd, name: &str) -> io::Result<UnixDatagram> {
    UnixDatagram::bind(through(&dir, name))
}

/// Connect to a name in a directory.
pub fn connect(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let dir: File = open_dir(dir)?.into();
    UnixStream::connect(through(&dir, name))
}

/// Connect to the shim that owns an attempt directory.
///
/// `NotFound` and `ConnectionRefused` mean that no shim listens: it is gone, or it has made its
/// claim and is about to listen (then the process named in the claim is alive: try again). A
/// connection that ends before the shim's hello means that it has just left: look for the exit
/// record.
pub fn connect_control(dir: &Path) -> io::Result<UnixStream> {
    connect(dir, CONTROL)
}

/// The path holds as long as the caller keeps the directory open.
fn through(dir: &impl AsFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_deep_directory_is_reached() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        assert_eq!(
            connect_control(&deep).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let listener = listen(open_dir(&deep).unwrap(), CONTROL).unwrap();
        let mut near = connect_control(&deep).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}
