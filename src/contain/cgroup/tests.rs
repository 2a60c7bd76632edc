//! Cgroups: finding the mount, and living, freezing and dying in one.

use super::*;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

#[test]
fn hybrid_hosts_are_found() {
    let own = own_dir(HYBRID, "4:memory:/x\n0::/user.slice/a b\n").unwrap();
    assert_eq!(own, Path::new("/sys/fs/cgroup/unified/user.slice/a b"));
}

#[test]
fn a_mount_of_a_part_of_the_tree_is_followed() {
    let mounts = "41 31 0:38 /box /sys/fs/cgroup rw - cgroup2 cgroup rw,nsdelegate\n";
    let own = own_dir(mounts, "0::/box/inner\n").unwrap();
    assert_eq!(own, Path::new("/sys/fs/cgroup/inner"));
}

#[test]
fn escaped_mount_points_are_read() {
    let mounts = "41 31 0:38 / /my\\040cg rw - cgroup2 cgroup rw\n";
    assert_eq!(own_dir(mounts, "0::/\n").unwrap(), Path::new("/my cg"));
}

#[test]
fn what_is_missing_is_named() {
    let error = own_dir("", "0::/\n").unwrap_err();
    assert!(error.to_string().contains("cgroup2"), "{error}");
    let error = own_dir(HYBRID, "1:cpu:/\n").unwrap_err();
    assert!(error.to_string().contains("cgroup v2"), "{error}");
    let error = own_dir(HYBRID, "0::/../other\n").unwrap_err();
    assert!(error.to_string().contains("outside"), "{error}");
}

/// A cgroup with a sleeping process in it, where this host lets us have one.
fn inhabited(name: &str) -> Option<(Cgroup, Child)> {
    let base = match Base::probe(&format!("test-{name}-{}", std::process::id())) {
        Ok(base) => base,
        Err(why) => {
            println!("skipped: {why}");
            return None;
        }
    };
    let cgroup = base.attempt(name);
    cgroup.create().unwrap();
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "echo 0 > '{}/cgroup.procs' && exec sleep 1000",
            cgroup.dir().display()
        ))
        .process_group(0)
        .spawn()
        .unwrap();
    if !cgroup
        .await_event("populated", true, Duration::from_secs(10))
        .unwrap()
    {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the child did not enter its cgroup");
    }
    Some((cgroup, child))
}

/// Remove the cgroup, and the common parent if this was the last in it.
fn clear(cgroup: &Cgroup) {
    cgroup.remove(Duration::from_secs(10)).unwrap();
    drop(fs::remove_dir(cgroup.dir().parent().unwrap()));
}

#[test]
fn kill_and_remove_leave_nothing() {
    let Some((cgroup, mut child)) = inhabited("kill") else {
        return;
    };
    assert_eq!(cgroup.pids().unwrap().len(), 1);
    assert!(cgroup.populated().unwrap());
    let inner = cgroup.dir().join("inner");
    fs::create_dir(&inner).unwrap();
    assert_eq!(cgroup.sweep().unwrap(), 1);
    child.wait().unwrap();
    clear(&cgroup);
    assert!(!cgroup.dir().exists());
    assert!(!cgroup.populated().unwrap());
    assert!(cgroup.pids().unwrap().is_empty());
    assert_eq!(cgroup.sweep().unwrap(), 0);
    cgroup.remove(Duration::from_secs(1)).unwrap();
}

#[test]
fn freeze_waits_until_all_stand_still() {
    let Some((cgroup, mut child)) = inhabited("freeze") else {
        return;
    };
    cgroup.freeze(Duration::from_secs(10)).unwrap();
    assert_eq!(cgroup.event("frozen").unwrap(), Some(true));
    cgroup.thaw().unwrap();
    assert!(
        cgroup
            .await_event("frozen", false, Duration::from_secs(10))
            .unwrap()
    );
    assert_eq!(cgroup.sweep_frozen().unwrap(), 1);
    child.wait().unwrap();
    clear(&cgroup);
}
