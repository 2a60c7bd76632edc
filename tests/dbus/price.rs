//! What exporting many objects costs: the reason why not every job has one.

use crate::bus::PrivateBus;
use std::time::Instant;

/// An object with as many properties as a job has.
struct Dear(u32);

#[zbus::interface(name = "org.example.Dear", introspection_docs = false)]
impl Dear {
    #[zbus(property)]
    fn id(&self) -> u32 {
        self.0
    }
    #[zbus(property)]
    fn owner(&self) -> u32 {
        self.0
    }
    #[zbus(property)]
    fn state(&self) -> &str {
        "running"
    }
    #[zbus(property)]
    fn reason(&self) -> &str {
        ""
    }
    #[zbus(property)]
    fn progress(&self) -> f64 {
        0.5
    }
    #[zbus(property)]
    fn valid(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn end(&self) -> u64 {
        0
    }
    #[zbus(property)]
    fn code(&self) -> i32 {
        -1
    }
}

/// Memory of this process, KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, and tests nothing"]
async fn ten_thousand_objects() {
    let Some(bus) = PrivateBus::start() else {
        return;
    };
    let server = bus.client().await;
    let objects = server.object_server();
    objects
        .at("/org/example", zbus::fdo::ObjectManager)
        .await
        .unwrap();
    let (before, began) = (resident(), Instant::now());
    for id in 0..10_000 {
        let path = format!("/org/example/job/{id}");
        objects.at(path, Dear(id)).await.unwrap();
    }
    let (after, took) = (resident(), began.elapsed());
    eprintln!(
        "10000 objects: {} ms, {} bytes each",
        took.as_millis(),
        (after - before) * 1024 / 10_000
    );
}
