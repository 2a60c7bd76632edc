//! What drivers wrote into `fdinfo`, read; and made-up clients, over made-up time.

use super::*;
use crate::sampling::gpu::cards::tests::Tree;
use proptest::prelude::*;
use std::time::{Duration, Instant};

const PLACE: &str = "0000:03:00.0";

fn line(pid: u32, descriptor: u32, info: &str) -> String {
    format!(
        "proc/{pid}/fd/{descriptor} -> /dev/dri/renderD128\nproc/{pid}/fdinfo/{descriptor} = drm-driver: test\\ndrm-pdev: {PLACE}\\n{info}\n"
    )
}

#[test]
fn each_drivers_words_are_understood() {
    let info = parse("pos:\t0\ndrm-driver:\txe\ndrm-pdev:\t0000:03:00.0\ndrm-client-id:\t5\ndrm-resident-vram0:\t512 MiB\ndrm-total-vram0:\t600 MiB\ndrm-cycles-ccs:\t10\ndrm-total-cycles-ccs:\t100\ndrm-engine-capacity-ccs:\t4\n").unwrap();
    assert_eq!((info.driver.as_str(), info.client), ("xe", Some(5)));
    assert_eq!(info.device_bytes(), Some(512 << 20));
    let engine = info.engines["ccs"];
    assert_eq!((engine.cycles, engine.capacity), ((Some(10), Some(100)), 4));
    assert_eq!(parse("pos:\t0\nflags:\t02\n"), None);
    let plain =
        parse("drm-driver: amdgpu\ndrm-memory-vram: 2 KiB\ndrm-memory-gtt: 9 KiB\n").unwrap();
    assert_eq!(plain.device_bytes(), Some(2048));
    let shared = parse("drm-driver: i915\ndrm-total-system0: 4 KiB\n").unwrap();
    assert_eq!(shared.device_bytes(), None, "that is the host's memory");
}

#[test]
fn a_client_is_counted_once_however_many_descriptors_it_has() {
    let one = "drm-client-id: 1\\ndrm-memory-vram: 4 KiB\\ndrm-engine-gfx: 100 ns";
    let other = "drm-client-id: 2\\ndrm-memory-vram: 1 KiB";
    let tree = Tree::new(
        &(line(10, 5, one) + &line(10, 6, one) + &line(11, 5, one) + &line(10, 7, other)),
    );
    let mut scan = Scan::new(tree.path("proc"), true);
    let found = scan.look(Instant::now());
    let clients = &found[PLACE];
    assert_eq!(clients.len(), 1, "the child inherited it: {clients:?}");
    assert_eq!(
        (clients[0].pid, clients[0].memory_bytes),
        (10, Some(5 * 1024))
    );
    assert_eq!(
        clients[0].engines, None,
        "there is no share at the first look"
    );
}

#[test]
fn shares_are_of_the_time_between_two_looks() {
    let info = |gfx: u64, video: u64, cycles: u64| {
        line(
            10,
            5,
            &format!(
                "drm-client-id: 1\\ndrm-engine-gfx: {gfx} ns\\ndrm-engine-video: {video} ns\\ndrm-engine-capacity-video: 2\\ndrm-cycles-ccs: {cycles}\\ndrm-total-cycles-ccs: {}",
                cycles * 4
            ),
        )
    };
    let tree = Tree::new(&info(1_000, 0, 10));
    let mut scan = Scan::new(tree.path("proc"), true);
    let start = Instant::now();
    scan.look(start);
    tree.write(&info(250_001_000, 1_000_000_000, 20));
    let found = scan.look(start + Duration::from_secs(1));
    let engines = found[PLACE][0].engines.as_ref().unwrap();
    let expected = [("ccs", 25.0), ("gfx", 25.0), ("video", 50.0)];
    let found: Vec<_> = engines
        .iter()
        .map(|(name, share)| (name.as_str(), *share))
        .collect();
    assert_eq!(found, expected);
    // It was closed and opened again: what is less than before says nothing.
    tree.write(&info(0, 0, 0));
    let found = scan.look(start + Duration::from_secs(2));
    assert_eq!(found[PLACE][0].engines, None);
}

#[test]
fn processes_that_came_later_are_found_in_time_and_those_that_left_are_forgotten() {
    let info = "drm-client-id: 1\\ndrm-engine-gfx: 0 ns";
    let tree = Tree::new(&line(10, 5, info));
    let mut scan = Scan::new(tree.path("proc"), true);
    let start = Instant::now();
    let pids = |found: BTreeMap<String, Vec<Client>>| {
        found
            .into_values()
            .flatten()
            .map(|it| it.pid)
            .collect::<Vec<_>>()
    };
    assert_eq!(pids(scan.look(start)), [10]);
    tree.write(&line(11, 5, &info.replace("id: 1", "id: 2")));
    tree.remove("proc/10");
    assert_eq!(
        pids(scan.look(start + Duration::from_secs(1))),
        [] as [u32; 0]
    );
    assert_eq!(pids(scan.look(start + Duration::from_secs(5))), [11]);
}

proptest! {
    #[test]
    fn no_text_does_harm(text in "(drm-(driver|engine-|cycles-|total-|memory-|client-id|pdev)[a-z0-9:-]{0,6}[: \\t]{0,2}[0-9a-zK ]{0,24}\\n?){0,8}", tail in "\\PC{0,40}") {
        if let Some(info) = parse(&(text + &tail)) {
            prop_assert!(!info.driver.is_empty());
            let _bytes = info.device_bytes();
        }
    }
}
