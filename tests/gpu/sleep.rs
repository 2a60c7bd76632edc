//! A GPU that sleeps is left to, and one that nobody uses is let fall asleep.

use crate::fake_nvml::{FakeDriver, gpu, uuid};
use crate::nvml::Looking;
use stoked::model::gpu::GpuCondition;
use stoked::sampling::gpu::GpuSource;

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
