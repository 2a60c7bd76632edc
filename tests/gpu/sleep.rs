//! A GPU that sleeps is left to, and one that nobody uses is let fall asleep.

use crate::fake_nvml::{FakeDriver, gpu, uuid};
use crate::nvml::Looking;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stoked::model::gpu::GpuCondition;
use stoked::model::time::Stamp;
use stoked::sampling::files::Roots;
use stoked::sampling::gpu::GpuSource;
use stoked::sampling::gpu::links::{GpuLinks, Settings};
use stoked::sampling::gpu::pids::PidSpace;
use stoked::sampling::senses::HostSenses;
use stoked::sampling::{Clocks, Senses};

#[test]
fn a_sleeping_gpu_is_not_touched() {
    let fake = FakeDriver::new(&(gpu(0) + &gpu(1)));
    let mut looking = Looking::at(&fake);
    looking.list("0000:60:00.0", "active", "on");
    looking.list("0000:61:00.0", "suspended", "auto");
    let all = looking.all();
    let conditions: Vec<_> = all.iter().map(|it| it.condition).collect();
    assert_eq!(conditions, [GpuCondition::Ok, GpuCondition::Asleep]);
    let calls = fake.calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.contains(" 1") || call.contains("0000:61")),
        "{calls:?}"
    );
    looking.list("0000:61:00.0", "active", "auto");
    let all = looking.all();
    assert_eq!(
        (all[1].condition, all[1].identity.uuid.to_string()),
        (GpuCondition::Ok, uuid(1))
    );
    looking.list("0000:61:00.0", "suspended", "auto");
    let all = looking.all();
    assert_eq!(
        (all[1].condition, all[1].identity.uuid.to_string()),
        (GpuCondition::Asleep, uuid(1))
    );
}

#[test]
fn the_driver_is_not_opened_while_all_gpus_sleep() {
    let fake = FakeDriver::new(&gpu(0));
    let mut looking = Looking::at(&fake);
    looking.list("0000:60:00.0", "suspended", "auto");
    assert_eq!(looking.one().condition, GpuCondition::Asleep);
    assert_eq!(fake.calls(), Vec::<String>::new());
    looking.list("0000:60:00.0", "active", "auto");
    assert_eq!(looking.one().condition, GpuCondition::Ok);
}

#[test]
fn an_unused_gpu_is_let_fall_asleep() {
    let fake = FakeDriver::new(&(gpu(0).replace("utilization 85", "utilization 0")));
    let mut looking = Looking::at(&fake);
    looking.list("0000:60:00.0", "active", "auto");
    let rests: Vec<bool> = (0..5)
        .map(|_| looking.source.sample().unwrap().rest)
        .collect();
    assert_eq!(rests, [false, false, false, false, true]);
    // The process ended then; the next one gives it time.
    let mut next = Looking::after(&fake, true);
    fake.forget_calls();
    assert_eq!(next.one().condition, GpuCondition::Asleep);
    assert_eq!(fake.calls(), Vec::<String>::new());
    // One that may not sleep, or is used, keeps it open.
    looking.list("0000:60:00.0", "active", "on");
    assert!((0..9).all(|_| !looking.source.sample().unwrap().rest));
}

static NOW_MS: AtomicU64 = AtomicU64::new(1_000);
static SLEPT_MS: AtomicU64 = AtomicU64::new(0);

fn now() -> Stamp {
    Stamp {
        wall_ms: 0,
        boot_ms: NOW_MS.load(Ordering::SeqCst),
    }
}

/// What the host's NVIDIA GPU answers.
fn answered(senses: &mut HostSenses) -> Option<GpuCondition> {
    let answers = senses.gpu_answers().into_iter();
    let mut gpus = answers.flat_map(|it| it.gpus);
    gpus.find(|gpu| gpu.identity.uuid.to_string() == uuid(0))
        .map(|gpu| gpu.condition)
}

fn until_answered(senses: &mut HostSenses) -> GpuCondition {
    loop {
        if let Some(condition) = answered(senses) {
            return condition;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_gpu_that_was_asked_before_the_host_slept_is_not_late() {
    let fake = FakeDriver::new(&gpu(0));
    let settings = Settings {
        program: env!("CARGO_BIN_EXE_stoked").into(),
        nvml_library: Some(fake.library()),
        recording: None,
        pids: PidSpace::Outermost,
    };
    let clocks = Clocks {
        now,
        slept_ms: || SLEPT_MS.load(Ordering::SeqCst),
    };
    let links = GpuLinks::new(settings, Arc::new(|| {}));
    let mut senses = HostSenses::new(&Roots::default(), links, clocks);
    senses.ask_gpus(now());
    assert_eq!(until_answered(&mut senses), GpuCondition::Ok);
    fake.say(&(gpu(0) + "hang nvmlDeviceGetPowerUsage\n"));
    fake.forget_calls();
    senses.ask_gpus(now());
    while !fake.calls().iter().any(|it| it.contains("GetPowerUsage")) {
        std::thread::yield_now();
    }
    // A night, of which the driver knows nothing.
    NOW_MS.fetch_add(28_800_000, Ordering::SeqCst);
    SLEPT_MS.fetch_add(28_800_000, Ordering::SeqCst);
    assert_eq!(answered(&mut senses), None);
    fake.say(&gpu(0));
    assert_eq!(until_answered(&mut senses), GpuCondition::Ok);
    // Awake, it has its five seconds.
    fake.say(&(gpu(0) + "hang nvmlDeviceGetPowerUsage\n"));
    senses.ask_gpus(now());
    NOW_MS.fetch_add(5_000, Ordering::SeqCst);
    assert_eq!(until_answered(&mut senses), GpuCondition::Unresponsive);
}
