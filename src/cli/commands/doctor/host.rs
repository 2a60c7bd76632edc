//! What this host has to offer a daemon and its jobs, what it has not, and how that can be had. Looks at files alone.

use serde::Serialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// One thing that a host may have.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Feature {
    /// What it is called.
    pub name: &'static str,
    /// Whether it is there.
    pub is_there: bool,
    /// What was found.
    pub finding: String,
    /// How it can be had, where it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<&'static str>,
}

/// Whom and what is asked about.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    /// The root directory.
    pub root: &'a Path,
    /// The login name of who asks.
    pub user: &'a str,
    /// Whether the daemon is one's own.
    pub is_own_daemon: bool,
    /// The service of PAM that the daemon of the host is to use; empty where none.
    pub pam: &'a str,
}

/// What limits of jobs take, with what they limit.
const CONTROLLERS: [(&str, &str); 5] = [
    ("memory", "memory"),
    ("cpu", "CPU weights"),
    ("cpuset", "CPUs"),
    ("pids", "processes"),
    ("io", "disk weights"),
];

impl Asker<'_> {
    /// All that is looked at, in the order in which it is shown.
    pub(super) fn features(&self) -> Vec<Feature> {
        let mut features = vec![self.systemd(), self.limits()];
        features.push(match self.is_own_daemon {
            true => self.linger(),
            false => self.sessions(),
        });
        features.extend([self.gpus(), self.journal(), self.polkit(), self.kernel()]);
        features
    }

    fn there(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    fn systemd(&self) -> Feature {
        let is_there = self.there("run/systemd/system");
        feature(
            "units",
            is_there,
            match is_there {
                true => "systemd starts each attempt in a unit of its own",
                false => "the init of this host is not systemd",
            },
            "boot with systemd; without it jobs are held together by cgroups or by their process tree",
        )
    }

    fn limits(&self) -> Feature {
        let mounts = self.read("proc/self/mounts");
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let (place, kind) = (words.next()?, words.next()?);
            (kind == "cgroup2").then_some(place)
        });
        let Some(mount) = mount else {
            let how = "mount cgroup v2: boot with systemd.unified_cgroup_hierarchy=1";
            return feature("limits", false, "no cgroup v2 is mounted", how);
        };
        let file = format!("{}/cgroup.controllers", mount.trim_start_matches('/'));
        let given = self.read(&file);
        let given: Vec<&str> = given.split_whitespace().collect();
        let missing = CONTROLLERS.iter().filter(|(name, _)| !given.contains(name));
        let missing: Vec<&str> = missing.map(|(_, what)| *what).collect();
        match missing.is_empty() {
            true => feature("limits", true, "all of them hold", ""),
            false => feature(
                "limits",
                false,
                &format!("nothing limits {}", missing.join(", ")),
                "cgroup v1 has these controllers: boot with systemd.unified_cgroup_hierarchy=1",
            ),
        }
    }

    fn linger(&self) -> Feature {
        let is_there = self.there(&format!("var/lib/systemd/linger/{}", self.user));
        feature(
            "linger",
            is_there || !self.there("run/systemd/system"),
            match is_there {
                true => "your daemon and its jobs go on when you log out",
                false => "a service manager of yours ends when you log out, and your jobs with it",
            },
            "loginctl enable-linger",
        )
    }

    fn sessions(&self) -> Feature {
        let is_there = !self.pam.is_empty() && self.there(&format!("etc/pam.d/{}", self.pam));
        let (finding, how) = match (self.pam, is_there) {
            ("", _) => (
                "jobs start without it: limits.conf and expired accounts do not count".to_owned(),
                "set jobs.pam = \"stoked\", if they shall count",
            ),
            (service, true) => (
                format!("jobs start in a session of its own each (service {service})"),
                "",
            ),
            (service, false) => (
                format!(
                    "there is no /etc/pam.d/{service}, and jobs start where PAM has it elsewhere"
                ),
                "install the file, or set jobs.pam to another service",
            ),
        };
        feature("PAM", is_there, &finding, how)
    }

    fn gpus(&self) -> Feature {
        let devices = self.gpu_devices();
        let closed: Vec<String> = devices
            .iter()
            .filter(|path| File::options().read(true).write(true).open(path).is_err())
            .map(|path| path.display().to_string())
            .collect();
        match (devices.is_empty(), closed.is_empty()) {
            (true, _) => feature("GPU access", true, "there is no GPU to open", ""),
            (false, true) => {
                let finding = format!("you may open all of {} devices", devices.len());
                feature("GPU access", true, &finding, "")
            }
            (false, false) => feature(
                "GPU access",
                false,
                &format!("you may not open {}", closed.join(", ")),
                "ask for membership of the group of these files (video, render), and log in again",
            ),
        }
    }

    fn gpu_devices(&self) -> Vec<PathBuf> {
        let names = |dir: &str, is_gpu: fn(&str) -> bool| {
            let entries = fs::read_dir(self.root.join(dir)).into_iter().flatten();
            let paths = entries.flatten().map(|entry| entry.path());
            let paths = paths.filter(move |path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(is_gpu)
            });
            paths.collect::<Vec<_>>()
        };
        let mut found = names("dev", |name| {
            let number = name.strip_prefix("nvidia").unwrap_or("-");
            name == "kfd" || number.parse::<u32>().is_ok()
        });
        found.extend(names("dev/dri", |name| name.starts_with("renderD")));
        found.sort();
        found
    }

    fn journal(&self) -> Feature {
        let is_there = self.there("run/systemd/journal/socket");
        feature(
            "journal",
            is_there,
            match is_there {
                true => "journalctl STOKED_JOB=N tells of job N of the host's daemon",
                false => "there is no journal; the daemon writes to its standard error",
            },
            "run systemd-journald",
        )
    }

    fn polkit(&self) -> Feature {
        let runs =
            self.there("usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service");
        let knows = self.there("usr/share/polkit-1/actions/io.stoked.Stoked1.policy");
        let (finding, how) = match (runs, knows) {
            (true, true) => (
                "it may let you do over D-Bus what takes an administrator",
                "",
            ),
            (true, false) => (
                "it does not know what there is to allow",
                "install the package, or io.stoked.Stoked1.policy in /usr/share/polkit-1/actions",
            ),
            (false, _) => (
                "it is not installed: root and the group that administers are asked for more",
                "install polkitd, if others shall be allowed more without sudo",
            ),
        };
        feature("polkit", runs && knows, finding, how)
    }

    fn kernel(&self) -> Feature {
        let release = self.read("proc/sys/kernel/osrelease");
        let release = release.trim();
        let version = version(release);
        // What each came with, and what is less good without it.
        let wanted = [
            ((5, 14), "ending all of a job at once (cgroup.kill)"),
            ((5, 19), "the most memory a job held (memory.peak)"),
        ];
        let missing = wanted.iter().filter(|(since, _)| version < *since);
        let mut missing: Vec<&str> = missing.map(|(_, what)| *what).collect();
        if !self.there("proc/pressure") {
            missing.push("pressure (PSI)");
        }
        match missing.is_empty() {
            true => feature(
                "kernel",
                true,
                &format!("{release} has all that is used"),
                "",
            ),
            false => feature(
                "kernel",
                false,
                &format!("{release} lacks {}", missing.join(", ")),
                "a kernel from 5.19 on, with psi=1; all else works without",
            ),
        }
    }
}

/// Major and minor number of a kernel.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || {
        numbers
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    (next(), next())
}

fn feature(name: &'static str, is_there: bool, finding: &str, how: &'static str) -> Feature {
    Feature {
        name,
        is_there,
        finding: finding.to_owned(),
        how: (!is_there).then_some(how),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host made of these files.
    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    fn look(root: &Path) -> Vec<(&'static str, bool, String)> {
        let asker = Asker {
            root,
            user: "alice",
            is_own_daemon: true,
            pam: "",
        };
        let features = asker.features().into_iter();
        features
            .map(|it| (it.name, it.is_there, it.finding))
            .collect()
    }

    #[test]
    fn a_host_that_has_everything_is_told_so() {
        let root = host(&[
            ("run/systemd/system/x", ""),
            ("run/systemd/journal/socket", ""),
            ("var/lib/systemd/linger/alice", ""),
            ("proc/self/mounts", "cgroup2 /cg cgroup2 rw 0 0\n"),
            ("cg/cgroup.controllers", "cpuset cpu io memory pids\n"),
            ("proc/sys/kernel/osrelease", "6.12.3-amd64\n"),
            ("proc/pressure/cpu", ""),
            ("dev/nvidia0", ""),
            ("dev/nvidiactl", ""),
            ("dev/dri/renderD128", ""),
            (
                "usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service",
                "",
            ),
            ("usr/share/polkit-1/actions/io.stoked.Stoked1.policy", ""),
        ]);
        let found = look(root.path());
        assert!(found.iter().all(|(_, is_there, _)| *is_there), "{found:#?}");
        let gpus = found
            .iter()
            .find(|(name, ..)| *name == "GPU access")
            .unwrap();
        assert_eq!(gpus.2, "you may open all of 2 devices");
    }

    #[test]
    fn what_is_missing_is_said_with_the_way_out() {
        let root = host(&[
            ("run/systemd/system/x", ""),
            ("proc/self/mounts", "cgroup2 /cg cgroup2 rw 0 0\n"),
            ("cg/cgroup.controllers", "cpuset cpu\n"),
            ("proc/sys/kernel/osrelease", "5.10.0-9\n"),
        ]);
        let asker = Asker {
            root: root.path(),
            user: "alice",
            is_own_daemon: true,
            pam: "",
        };
        let features = asker.features();
        let of = |name: &str| features.iter().find(|it| it.name == name).unwrap();
        assert_eq!(
            of("limits").finding,
            "nothing limits memory, processes, disk weights"
        );
        assert_eq!(of("linger").how, Some("loginctl enable-linger"));
        assert!(of("kernel").finding.contains("cgroup.kill"));
        assert!(!of("polkit").is_there && of("GPU access").is_there);
        let missing = features.iter().filter(|it| !it.is_there);
        assert!(missing.clone().count() >= 5);
        assert!(
            missing
                .clone()
                .all(|it| it.how.is_some_and(|how| !how.is_empty()))
        );
    }

    #[test]
    fn sessions_are_of_the_daemon_of_the_host() {
        let root = host(&[("etc/pam.d/stoked", "")]);
        let of = |pam, is_own_daemon| {
            let asker = Asker {
                root: root.path(),
                user: "alice",
                is_own_daemon,
                pam,
            };
            let mut features = asker.features().into_iter();
            let found = features.find(|it| it.name == "PAM");
            found.map(|it| (it.is_there, it.how.is_some()))
        };
        assert_eq!(of("stoked", true), None);
        assert_eq!(of("stoked", false), Some((true, false)));
        assert_eq!(of("", false), Some((false, true)));
        assert_eq!(of("elsewhere", false), Some((false, true)));
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("6.1.0-57-cloud-amd64"), (6, 1));
        assert!(version("5.9") < (5, 14) && version("") == (0, 0));
    }
}
