//! GPUs as they are shown.

use super::*;

const GIB: u64 = 1 << 30;

fn look(width: u16) -> Look {
    Look {
        colour: false,
        width,
        now: "2026-11-22T12:00:02Z".parse().unwrap(),
        zone: jiff::tz::TimeZone::UTC,
    }
}

fn gpu(index: u32, condition: &str, more: &str) -> GpuView {
    let text = format!(
        r#"{{"time":"2026-11-22T12:00:00Z","index":{index},"uuid":"GPU-{index}a5","name":"NVIDIA H100 80GB HBM3",
        "vendor":"nvidia","driver":"580.82","condition":"{condition}","condition_since":"2026-11-22T11:59:00Z"{more}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn some_gpus() -> [GpuView; 4] {
    let busy = format!(
        r#","utilization_percent":85.04,"memory_used_bytes":{},"memory_total_bytes":{},"power_watts":412.6,
        "power_limit_watts":700,"temperature_celsius":61,"energy_joules":72000,"ecc_corrected_count":3,"xids_count":0,
        "pci_bus_id":"0000:61:00.0","pcie_generation":5,"pcie_width":16,"throttled_power":1,"processes":[
        {{"pid":7,"kind":"compute","job":42,"attempt":1,"memory_bytes":{},"utilization_percent":80}},
        {{"pid":8,"kind":"compute","job":42,"attempt":1}},
        {{"pid":9,"kind":"compute","uid":1001,"user":"bob\u001b","name":"python3"}},
        {{"pid":10,"kind":"graphics","unknown":true}}]"#,
        61 * GIB,
        80 * GIB,
        60 * GIB
    );
    let idle = format!(
        r#","utilization_percent":0,"memory_used_bytes":0,"memory_total_bytes":{},"power_watts":70,"temperature_celsius":34"#,
        80 * GIB
    );
    [
        gpu(0, "ok", &busy),
        gpu(1, "ok", &idle),
        gpu(2, "asleep", ""),
        gpu(3, "unresponsive", ""),
    ]
}

fn names() -> Names {
    [(42, "train-llama".to_owned())].into()
}

#[test]
fn each_gpu_is_a_line() {
    let shown = |width| list(&some_gpus(), &names(), &look(width));
    insta::assert_snapshot!(shown(120), @r"
    GPU  NAME            BUSY           MEMORY                POWER      HEAT  WHO
    0    H100 80GB HBM3  ██████▊░  85%  61.0 GiB of 80.0 GiB  413/700 W  61°C  42 train-llama, bob\e: python3, pid 10, un…
    1    H100 80GB HBM3  ░░░░░░░░   0%  0 B of 80.0 GiB       70 W       34°C
    2    H100 80GB HBM3                                                        asleep
    3    H100 80GB HBM3                                                        does not answer
    ");
    insta::assert_snapshot!(shown(80), @r"
    GPU  BUSY           MEMORY                POWER      HEAT  WHO
    0    ██████▊░  85%  61.0 GiB of 80.0 GiB  413/700 W  61°C  42 train-llama, bo…
    1    ░░░░░░░░   0%  0 B of 80.0 GiB       70 W       34°C
    2                                                          asleep
    3                                                          does not answer
    ");
    insta::assert_snapshot!(shown(60), @r"
    GPU  BUSY           MEMORY                WHO
    0    ██████▊░  85%  61.0 GiB of 80.0 GiB  42 train-llama,…
    1    ░░░░░░░░   0%  0 B of 80.0 GiB
    2                                         asleep
    3                                         does not answer
    ");
    for width in 40..130 {
        let text = shown(width);
        assert_eq!(text.lines().count(), 5, "{width}:\n{text}");
        let is_wide = |line: &&str| columns(line) > usize::from(width);
        assert_eq!(text.lines().find(is_wide), None, "{width}");
    }
    assert_eq!(list(&[], &names(), &look(80)), "No GPU is known here.\n");
}

#[test]
fn parts_stand_below_their_gpu_and_use_is_shown_last() {
    let [busy, idle, ..] = some_gpus();
    let part = gpu(
        2,
        "ok",
        r#","part_of":"GPU-0a5","memory_used_bytes":1073741824"#,
    );
    let gpus = [busy, idle, part];
    insta::assert_snapshot!(list(&gpus, &names(), &look(45)), @r"
    GPU  BUSY  WHO
    0    85%   42 train-llama, bob\e: python3,…
    └ 2
    1    0%
    ");
}

#[test]
fn a_page_has_all_that_is_known() {
    let [busy, _, asleep, _] = some_gpus();
    insta::assert_snapshot!(page(&busy, &names(), &look(80)), @r"
    GPU 0  NVIDIA H100 80GB HBM3
    ● works

    Busy        █████████████▌░░  85%
    Memory      61.0 GiB of 80.0 GiB
    Power       413/700 W  20 Wh since its driver was loaded
                slowed down by its limit
    Heat        61°C
    Bus         0000:61:00.0  PCIe 5  16 lanes
    Errors      3 of memory corrected
    UUID        GPU-0a5
    Driver      nvidia 580.82
    Measured    2s ago

    PID  KIND      BUSY  MEMORY    WHO
    7    compute   80%   60.0 GiB  42 train-llama
    8    compute                   42 train-llama
    9    compute                   bob\e: python3
    10   graphics                  pid 10, unknown
    ");
    insta::assert_snapshot!(page(&asleep, &names(), &look(80)), @r"
    GPU 2  NVIDIA H100 80GB HBM3
    asleep  1m ago

    UUID        GPU-2a5
    Driver      nvidia 580.82
    Measured    2s ago
    ");
}
