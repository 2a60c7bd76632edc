//! GPUs of other makers and recordings, in the process that looks.

use crate::eyes::{Daemon, WITHIN_MS};
use crate::fake_nvml::{FakeDriver, gpu};
use crate::trees::plant;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::path::{Path, PathBuf};
use stoked::model::gpu::GpuCondition;
use stoked::model::metric::Metric;
use stoked::sampling::gpu::Kind;
use stoked::sampling::gpu::eyes::Places;
use stoked::sampling::gpu::pids::PidSpace;
use stoked::sampling::gpu::probe;

fn places(root: &Path, nvml_library: Option<PathBuf>) -> Places {
    Places {
        nvml_library,
        sys: root.join("sys"),
        proc: root.join("proc"),
        kernel_log: root.join("none"),
        pids: PidSpace::Outermost,
    }
}

/// A daemon that looks at a recorded tree.
fn looking_at(kind: &str, root: &Path) -> Daemon {
    let (sys, proc) = (root.join("sys"), root.join("proc"));
    let variables = [("STOKED_GPU_SYS", &*sys), ("STOKED_GPU_PROC", &*proc)];
    Daemon::of(kind, &variables)
}

#[test]
fn other_makers_gpus_answer_through_the_same_door() {
    for (kind, tree, count) in [("amd", "amd.tree", 2), ("intel", "intel.tree", 2)] {
        let root = tempfile::tempdir().unwrap();
        plant(root.path(), tree);
        let mut daemon = looking_at(kind, root.path());
        let answer = daemon.sample();
        assert_eq!(answer.gpus.len(), count, "{kind}");
        assert!(
            answer.gpus[0]
                .readings
                .get(Metric::ClockMegahertz)
                .is_some()
        );
        assert!(!answer.gpus[0].processes.is_empty());
    }
}

/// Files of a driver may block as its library does.
#[test]
fn a_file_that_does_not_answer_holds_up_nobody_but_its_process() {
    for (kind, tree, file) in [
        (
            "amd",
            "amd.tree",
            "devices/pci0000:00/0000:03:00.0/gpu_busy_percent",
        ),
        ("intel", "intel.tree", "class/drm/card0/gt_act_freq_mhz"),
    ] {
        let root = tempfile::tempdir().unwrap();
        plant(root.path(), tree);
        let mut daemon = looking_at(kind, root.path());
        daemon.sample();
        let pid = daemon.link.pid().unwrap();
        let path = root.path().join("sys").join(file);
        let content = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // Whoever opens it to read waits until somebody writes.
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        daemon.pass(2_000);
        assert!(daemon.link.ask(daemon.now, WITHIN_MS));
        daemon.pass(WITHIN_MS);
        let answer = daemon.link.take(daemon.now).unwrap();
        let silent = GpuCondition::Unresponsive;
        assert!(Daemon::conditions(&answer).contains(&silent), "{kind}");
        assert!(daemon.link.trouble().unwrap().contains("does not answer"));
        daemon.until_gone(pid);
        fs::remove_file(&path).unwrap();
        fs::write(&path, content).unwrap();
        daemon.pass(5_000);
        let answer = daemon.sample();
        assert!(!Daemon::conditions(&answer).contains(&silent), "{kind}");
        assert_eq!(daemon.link.trouble(), None);
    }
}

#[test]
fn a_recording_answers_line_by_line() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("recording");
    let frame = |watts: u32| {
        format!(
            "{{\"at_ms\":0,\"gpus\":[{{\"identity\":{{\"uuid\":\"GPU-a\",\"index\":0,\"name\":\"A\",\"vendor\":\"nvidia\"}},\"condition\":\"ok\",\"readings\":{{\"power.watts\":{watts}}}}}]}}\n"
        )
    };
    fs::write(&path, frame(100) + &frame(200)).unwrap();
    let mut daemon = Daemon::of(&format!("steps={}", path.display()), &[]);
    let watts = |daemon: &mut Daemon| daemon.sample().gpus[0].readings.get(Metric::PowerWatts);
    let found = [watts(&mut daemon), watts(&mut daemon), watts(&mut daemon)];
    assert_eq!(found, [Some(100.0), Some(200.0), Some(200.0)]);
}

#[test]
fn only_what_is_there_is_looked_at() {
    let root = tempfile::tempdir().unwrap();
    let kinds = |library| probe::kinds(&places(root.path(), library));
    assert_eq!(kinds(None).len(), 0, "a host without GPUs");
    fs::create_dir_all(root.path().join("sys/module/nvidia")).unwrap();
    assert_eq!(kinds(None).into_iter().collect::<Vec<_>>(), [Kind::Nvml]);
    plant(root.path(), "amd.tree");
    plant(root.path(), "intel.tree");
    assert_eq!(
        kinds(None).into_iter().collect::<Vec<_>>(),
        [Kind::Nvml, Kind::Amd, Kind::Intel]
    );
    fs::remove_dir(root.path().join("sys/module/nvidia")).unwrap();
    let fake = FakeDriver::new(&gpu(0));
    assert!(kinds(Some(fake.library())).contains(&Kind::Nvml));
}

#[test]
fn kinds_are_read_as_they_are_written() {
    for text in ["nvml", "amd", "intel", "replay=/a=b", "steps=/c"] {
        let kind: Kind = text.parse().unwrap();
        assert_eq!(kind.to_string(), text);
    }
    for text in ["", "nvidia", "replay", "nvml=1"] {
        let error = text.parse::<Kind>().unwrap_err().to_string();
        assert!(error.contains("there are nvml, amd"), "{error}");
    }
}
