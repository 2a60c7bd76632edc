//! Whose a process is, and was.

use super::*;

#[test]
fn ancestors_decide_whatever_the_order_of_ids() {
    let tree = Tree::new();
    let below = |pid, parent| Fake {
        pid,
        parent,
        ..FAKE
    };
    // The ids began anew between the shim and what it started, and two feign to be each other's parents.
    for fake in [
        below(5, 90),
        below(6, 5),
        below(80, 1),
        below(90, 80),
        below(7, 8),
        below(8, 7),
        below(9, 9),
    ] {
        tree.put(&fake);
    }
    let mut table = tree.table();
    let watch = Watch {
        attempt: ATTEMPT,
        shim: shim(80, 1_000),
        ..Watch::default()
    };
    table.watch(&watch);
    table.refresh(at(1_000));
    let ours = Some(ATTEMPT);
    let wanted = [
        (5, ours),
        (6, ours),
        (7, None),
        (8, None),
        (9, None),
        (80, ours),
        (90, ours),
    ];
    assert_eq!(owners(&table), wanted);
    let members: Vec<u32> = table.of(ATTEMPT).map(|it| it.pid).collect();
    assert_eq!(members, [5, 6, 90]);
    // A process in between ends; whoever it leaves behind is known, and so is what is born after.
    tree.remove(90);
    tree.put(&below(95, 6));
    table.refresh(at(2_000));
    let members: Vec<u32> = table.of(ATTEMPT).map(|it| it.pid).collect();
    assert_eq!(members, [5, 6, 95]);
    // The shim's id is somebody else's.
    tree.remove(80);
    tree.put(&Fake {
        start: 9_999,
        cpu_ns: 1,
        ..below(80, 1)
    });
    table.refresh(at(3_000));
    assert!(table.shim_of(ATTEMPT).is_none());
}

#[test]
fn a_cgroup_or_a_token_tells_as_well() {
    let tree = Tree::new();
    let in_cgroup = Fake {
        pid: 20,
        cgroup: "/user.slice/app/stoked-x/7.1/inner",
        ..FAKE
    };
    let daemonised = Fake {
        pid: 21,
        environ: "A=b\0STOKED_ATTEMPT_TOKEN=secret\0",
        ..FAKE
    };
    let stranger = Fake {
        pid: 22,
        parent: 2,
        environ: "STOKED_ATTEMPT_TOKEN=secret\0",
        ..FAKE
    };
    let older = Fake {
        start: 10,
        pid: 23,
        ..in_cgroup
    };
    let (others, roots) = (
        Fake {
            pid: 24,
            ..stranger
        },
        Fake {
            pid: 25,
            ..stranger
        },
    );
    for fake in [&in_cgroup, &daemonised, &stranger, &older, &others, &roots] {
        tree.put(fake);
    }
    let mut table = tree.table();
    table.watch(&Watch {
        attempt: ATTEMPT,
        shim: shim(10, 900),
        cgroup: Some("/sys/fs/cgroup/stoked-x/7.1".into()),
        ..Watch::default()
    });
    table.watch(&Watch {
        attempt: OTHER,
        main: shim(11, 950),
        token: Some(Token {
            secret: "secret".to_owned(),
            uid: 1000,
        }),
        ..Watch::default()
    });
    table.refresh(at(1_000));
    let wanted = [
        (20, Some(ATTEMPT)),
        (21, Some(OTHER)),
        (22, None),
        (23, None),
        (24, None),
        (25, None),
    ];
    assert_eq!(owners(&table), wanted);
    // One that uses a GPU is looked at more closely, as a container's first process is nobody's orphan.
    assert_eq!(table.holder(22), Holder::Job(OTHER));
    let of_other: Vec<u32> = table.of(OTHER).map(|it| it.pid).collect();
    assert_eq!(of_other, [21, 22]);
    // Of another user it says nothing; a container runs as root.
    let run_as = |pid: u32, uid: &str| {
        let file = tree.root.path().join(format!("{pid}/status"));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(
            file,
            text.replace("Uid:\t1000\t", &format!("Uid:\t{uid}\t")),
        )
        .unwrap();
    };
    run_as(24, "1001");
    run_as(25, "0");
    assert!(matches!(table.holder(24), Holder::Foreign { .. }));
    assert_eq!(table.holder(25), Holder::Job(OTHER));
}

#[test]
fn whose_a_process_was_is_known_for_a_while() {
    let tree = Tree::new();
    for pid in [80, 81, 82] {
        let parent = if pid == 80 { 1 } else { 80 };
        tree.put(&Fake {
            pid,
            parent,
            ..FAKE
        });
    }
    let mut table = tree.table();
    table.watch(&Watch {
        attempt: ATTEMPT,
        shim: shim(80, 1_000),
        ..Watch::default()
    });
    table.refresh(at(1_000));
    let ours = Holder::Job(ATTEMPT);
    tree.remove(81);
    table.refresh(at(2_000));
    assert_eq!(table.holder(81), Holder::Unknown);
    assert_eq!(table.holder_lately(81, at(31_999)), ours);
    assert_eq!(table.holder_lately(81, at(32_000)), Holder::Unknown);
    // Its job ends before it does.
    table.forget(ATTEMPT, at(3_000));
    assert!(matches!(table.holder(82), Holder::Foreign { .. }));
    assert_eq!(table.holder_lately(82, at(3_000)), ours);
    // Another one with its number is somebody else.
    tree.put(&Fake {
        pid: 81,
        cpu_ns: 1,
        start: 9_000,
        ..FAKE
    });
    table.refresh(at(4_000));
    assert!(matches!(
        table.holder_lately(81, at(4_000)),
        Holder::Foreign { .. }
    ));
}

#[test]
fn a_shim_that_is_not_named_is_found_above_the_main_process() {
    let tree = Tree::new();
    let shim = Fake {
        pid: 30,
        name: "stoked-shim",
        ..FAKE
    };
    let main = Fake {
        pid: 31,
        parent: 30,
        ..FAKE
    };
    let orphan = Fake {
        pid: 41,
        parent: 1,
        ..FAKE
    };
    for fake in [&shim, &main, &orphan] {
        tree.put(fake);
    }
    let mut table = tree.table();
    let watch = |attempt, pid| Watch {
        attempt,
        main: super::shim(pid, 1_000),
        ..Watch::default()
    };
    table.watch(&watch(ATTEMPT, 31));
    table.watch(&watch(OTHER, 41));
    table.refresh(at(1_000));
    assert_eq!(table.shim_of(ATTEMPT).unwrap().pid, 30);
    assert_eq!(table.of(ATTEMPT).count(), 1);
    assert!(table.shim_of(OTHER).is_none());
}
