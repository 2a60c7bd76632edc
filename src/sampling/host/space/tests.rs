//! Which file systems are asked, and what becomes of one that does not answer.

use super::*;
use std::sync::{Mutex, MutexGuard};

fn at(boot_ms: u64) -> Stamp {
    Stamp {
        wall_ms: 0,
        boot_ms,
    }
}

/// Who holds it is a server that is gone.
static SERVER: Mutex<()> = Mutex::new(());

/// A file system whose space is as large as its path is long; one on the network waits for its server.
fn pretend(mount: &Path) -> Option<Readings> {
    let mount = mount.to_str()?;
    if mount.contains("network") {
        drop(SERVER.lock().unwrap());
    }
    let bytes = mount.len() as f64;
    (mount != "/gone").then(|| Readings::from_iter([(Metric::SpaceTotalBytes, bytes)]))
}

fn told(space: &mut Space, at: Stamp) -> Vec<String> {
    let mut to = Parts::default();
    space.read(at, &mut to);
    to.parts.iter().map(|(it, _)| it.to_string()).collect()
}

fn hold() -> MutexGuard<'static, ()> {
    SERVER.lock().unwrap()
}

/// Takes what the asker says until it asks this one.
fn until_asking(space: &mut Space, mount: &str, at: Stamp) {
    loop {
        let said = space.asker.as_ref().unwrap().wait();
        let is_reached = matches!(&said, Told::Asking(it) if &**it == mount);
        space.take(said, at);
        if is_reached {
            return;
        }
    }
}

#[test]
fn one_that_hangs_is_left_behind_and_found_again() {
    let settings = Settings {
        mounts: ["/a", "/network", "/z", "/gone"].map(str::to_owned).into(),
        space_every_ms: 10_000,
        answer_within_ms: 2_000,
        ..Settings::default()
    };
    let mut space = Space {
        space_of: pretend,
        ..Space::new(&Roots::default(), &settings)
    };
    let server = hold();
    assert!(told(&mut space, at(1_000)).is_empty());
    until_asking(&mut space, "/network", at(1_000));
    assert_eq!(told(&mut space, at(2_000)), ["host/mount/%2Fa"]);
    // Its time is up, and the others are asked by another thread.
    told(&mut space, at(3_000));
    assert_eq!(space.stuck.len(), 1);
    space.settle(at(3_500));
    let both = ["host/mount/%2Fa", "host/mount/%2Fz"];
    assert_eq!(told(&mut space, at(4_000)), both);
    // The server is back: so is the thread, and the next round asks for all.
    drop(server);
    while !space.stuck.is_empty() {
        told(&mut space, at(5_000));
        std::thread::yield_now();
    }
    told(&mut space, at(13_500));
    space.settle(at(13_500));
    assert_eq!(told(&mut space, at(14_000)).len(), 3);
}

#[test]
fn local_file_systems_are_told_once() {
    let text = "22 27 0:20 / /sys rw - sysfs sysfs rw\n\
        27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw\n\
        28 27 259:1 / /boot/efi rw - vfat /dev/nvme0n1p1 rw\n\
        29 27 8:1 /sub /srv/data\\040sets rw master:2 propagate_from:3 - xfs /dev/sda1 rw\n\
        30 27 259:2 /var/lib /mnt/bound rw - ext4 /dev/nvme0n1p2 rw\n\
        31 27 7:3 / /snap/core/1 ro - squashfs /dev/loop3 ro\n\
        32 27 0:44 / /home rw - nfs4 server:/home rw\n\
        33 27 0:50 /@ /pool rw - btrfs /dev/sdb rw\n\
        34 27 0:51 /@home /pool/home rw - btrfs /dev/sdb rw\n\
        35 27 0:60 / /tank rw - zfs tank rw\n\
        36 27 0:61 / /tank/a rw - zfs tank/a rw\n\
        37 27 0:70 / /run/docker rw - overlay overlay rw\n\
        nonsense\n\n";
    let wanted = [
        "/",
        "/boot/efi",
        "/srv/data sets",
        "/pool",
        "/tank",
        "/tank/a",
    ];
    assert_eq!(local_mounts(text.as_bytes()), wanted);
    let container = b"1 0 0:70 / / rw - overlay overlay rw\n";
    assert_eq!(local_mounts(container), ["/"]);
}

#[test]
fn octal_digits_are_read_back() {
    assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
    assert_eq!(unescape("/a\\9\\04"), "/a\\9\\04");
    assert_eq!(unescape("\\777"), "\\777");
}

#[test]
fn the_own_root_has_space() {
    let space = space_of(Path::new("/")).unwrap();
    let get = |metric| space.get(metric).unwrap();
    assert!(get(Metric::SpaceUsedBytes) <= get(Metric::SpaceTotalBytes));
    assert!((0.0..=100.0).contains(&get(Metric::SpacePercent)));
    assert_eq!(space_of(Path::new("/no/such/place")), None);
}
