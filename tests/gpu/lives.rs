//! Other programs read of the fake driver what our source reads of it.

use crate::eyes::Daemon;
use crate::fake_nvml::{FakeDriver, gpu};
use std::process::Command;
use stoked::model::metric::Metric;

/// Prints what the Python package reads, in the order of the test.
const SCRIPT: &str = "
import pynvml as n
n.nvmlInit()
for i in range(n.nvmlDeviceGetCount()):
    h = n.nvmlDeviceGetHandleByIndex(i)
    m = n.nvmlDeviceGetMemoryInfo(h, n.nvmlMemory_v2)
    u = n.nvmlDeviceGetUtilizationRates(h)
    print(n.nvmlDeviceGetUUID(h), n.nvmlDeviceGetName(h), sep='|')
    print(m.used, m.total, m.reserved, u.gpu, u.memory, n.nvmlDeviceGetPowerUsage(h) / 1000, n.nvmlDeviceGetTotalEnergyConsumption(h) / 1000)
    print(n.nvmlDeviceGetTemperature(h, 0), n.nvmlDeviceGetClockInfo(h, 1), n.nvmlDeviceGetClockInfo(h, 2), n.nvmlDeviceGetFanSpeed(h), n.nvmlDeviceGetPciInfo(h).busId)
    shares = {s.pid: s.smUtil for s in n.nvmlDeviceGetProcessUtilization(h, 0)}
    for p in n.nvmlDeviceGetComputeRunningProcesses(h):
        print(p.pid, p.usedGpuMemory, shares.get(p.pid))
n.nvmlShutdown()
";

#[test]
fn the_python_package_reads_the_same() {
    let found = Command::new("python3")
        .args(["-c", "import pynvml"])
        .output();
    if !found.is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 has no nvidia-ml-py on this machine");
        return;
    }
    let uses = "gpu 0 fan 30\ngpu 0 fans 1\ngpu 0 power 0:100,10:300\nclock 10\nprocess 0 100 compute 8G 70 0 0 0\nprocess 0 200 compute - 0 0 0 0\n";
    let fake = FakeDriver::new(&(gpu(0) + uses));
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .env("LD_LIBRARY_PATH", fake.dir())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer = Daemon::of("nvml", &[("STOKED_NVML_LIBRARY", &fake.library())]).sample();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        as_printed(&answer.gpus[0])
    );
}

/// As the script prints it.
fn as_printed(gpu: &stoked::model::gpu::GpuSample) -> String {
    let value = |metric| gpu.readings.get(metric).unwrap();
    let whole = |metric| value(metric).to_string();
    let real = |metric| format!("{:?}", value(metric));
    let bus_id = gpu.identity.pci_bus_id.as_ref().unwrap();
    let mut lines = vec![
        format!("{}|{}", gpu.identity.uuid, gpu.identity.name),
        [
            whole(Metric::MemoryUsedBytes),
            whole(Metric::MemoryTotalBytes),
            whole(Metric::MemoryReservedBytes),
            whole(Metric::UtilizationPercent),
            whole(Metric::MemoryUtilizationPercent),
            real(Metric::PowerWatts),
            real(Metric::EnergyJoules),
        ]
        .join(" "),
        [
            whole(Metric::TemperatureCelsius),
            whole(Metric::ClockMegahertz),
            whole(Metric::MemoryClockMegahertz),
            whole(Metric::FanPercent),
            format!("0000{bus_id}").to_uppercase(),
        ]
        .join(" "),
    ];
    for process in &gpu.processes {
        let memory = process
            .memory_bytes
            .map_or("None".to_owned(), |it| it.to_string());
        let share = process
            .utilization_percent
            .map_or("None".to_owned(), |it| it.to_string());
        lines.push(format!("{} {memory} {share}", process.pid));
    }
    lines.join("\n") + "\n"
}
