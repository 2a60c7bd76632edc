//! What goes over PCI Express and over links to other GPUs: rates of what was counted, or measured by the driver.

use crate::fake_nvml::FakeDriver;
use crate::nvml::{Looking, values};
use stoked::model::metric::Metric;

#[test]
fn rates_come_from_counters() {
    let control = "gpu 0 uuid a\ngpu 0 pcie.rx 1000000\ngpu 0 pcie.tx 2048000\n";
    let fake = FakeDriver::new(&format!("{control}clock 0\n"));
    let mut looking = Looking::at(&fake);
    let rates = [
        Metric::PcieReceiveBytesPerSecond,
        Metric::PcieTransmitBytesPerSecond,
    ];
    assert_eq!(
        values(&looking.one(), &rates),
        [None, None],
        "there is no rate yet"
    );
    fake.say(&format!("{control}clock 10\n"));
    let found = values(&looking.one(), &rates);
    // The fake's clock stands still, the real one does not: what was counted is divided by a little time.
    assert!(
        found.iter().all(|rate| rate.is_some_and(|rate| rate > 1.0)),
        "{found:?}"
    );
    fake.say(&format!("{control}clock 5\n"));
    assert_eq!(
        values(&looking.one(), &rates),
        [None, None],
        "they began anew"
    );
    let calls = fake.calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("nvmlDeviceGetPcieThroughput"))
    );
}

/// Bytes per second over each of three links, of which a curve rises.
const LINKS: &str = "gpu 0 nvlink.tx.0 1048576\ngpu 0 nvlink.tx.1 0:0,10:4194304\ngpu 0 nvlink.tx.5 524288\ngpu 0 nvlink.rx.5 3145728\n";

const LINK_RATES: [Metric; 2] = [
    Metric::NvlinkReceiveBytesPerSecond,
    Metric::NvlinkTransmitBytesPerSecond,
];

#[test]
fn traffic_over_links_is_that_of_all_links() {
    let control = format!("gpu 0 uuid a\ngpu 0 gpm.sm 50\n{LINKS}");
    let fake = FakeDriver::new(&format!("{control}clock 0\n"));
    let mut looking = Looking::at(&fake);
    assert_eq!(
        values(&looking.one(), &LINK_RATES),
        [None, None],
        "there is no rate yet"
    );
    fake.say(&format!("{control}clock 10\n"));
    let mean = 1_048_576.0 + 4_194_304.0 / 2.0 + 524_288.0;
    let expected = [Some(3_145_728.0), Some(mean)];
    assert_eq!(values(&looking.one(), &LINK_RATES), expected);
}

#[test]
fn the_traffic_of_one_link_is_not_told_as_that_of_all() {
    let control = format!("gpu 0 uuid a\n{LINKS}");
    let fake = FakeDriver::new(&format!("{control}clock 0\n"));
    let mut looking = Looking::at(&fake);
    looking.one();
    fake.say(&format!("{control}clock 10\n"));
    assert_eq!(values(&looking.one(), &LINK_RATES), [None, None]);
}

#[test]
fn traffic_is_measured_where_it_is_not_counted() {
    let fake = FakeDriver::new(
        "gpu 0 uuid a\ngpu 0 pcie.rx 4096000\ngpu 0 pcie.tx 1024000\nfail nvmlDeviceGetFieldValues 3\n",
    );
    let mut looking = Looking::at(&fake);
    let rates = [
        Metric::PcieReceiveBytesPerSecond,
        Metric::PcieTransmitBytesPerSecond,
    ];
    let expected = [Some(4_096_000.0), Some(1_024_000.0)];
    assert_eq!(values(&looking.one(), &rates), expected);
    fake.forget_calls();
    assert_eq!(values(&looking.one(), &rates), expected);
    let calls = fake.calls();
    assert!(
        !calls
            .iter()
            .any(|call| call.starts_with("nvmlDeviceGetPcieThroughput")),
        "it takes the driver 40 ms"
    );
}
