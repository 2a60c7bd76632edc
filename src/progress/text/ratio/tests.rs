//! What is progress in ordinary text and what is not.

use super::*;

fn read(ratio: &mut Ratio, text: &str) -> Option<Observation> {
    let end = End::Newline;
    let is_clean = true;
    ratio.read(
        "ratio",
        Line {
            text,
            end,
            is_clean,
        },
    )
}

fn alone(text: &str) -> Option<Observation> {
    read(&mut Ratio::default(), text)
}

#[test]
fn counts_with_evidence() {
    for (line, done, total) in [
        ("[12/340]", 12.0, 340.0),
        ("[12/340] CXX foo.o", 12.0, 340.0),
        ("[ 12/340] CXX foo.o", 12.0, 340.0),
        ("[12 / 340]", 12.0, 340.0),
        ("2026-11-22 10:00:00 INFO [12/340] foo", 12.0, 340.0),
        ("12/340", 12.0, 340.0),
        ("  12 / 340  ", 12.0, 340.0),
        ("12 of 340", 12.0, 340.0),
        ("12/340 files", 12.0, 340.0),
        ("12 of 340 files copied", 12.0, 340.0),
        ("step 5 of 9", 5.0, 9.0),
        ("Step 5/9: RUN make", 5.0, 9.0),
        ("step: 5/9", 5.0, 9.0),
        ("step=5/9", 5.0, 9.0),
        ("Iteration [5/9], Loss: 0.5", 5.0, 9.0),
        ("done 1,234/5,678", 1234.0, 5678.0),
        ("Processed file 5/9.", 5.0, 9.0),
        (
            "Receiving objects:  45% (450/1000), 1.2 MiB | 3 MiB/s",
            450.0,
            1000.0,
        ),
        ("45/100 ━━━━━━━━━━ 2s 10ms/step", 45.0, 100.0),
        ("45/100 [=====>......] - ETA: 2s", 45.0, 100.0),
        ("progress 45% (9/20)", 9.0, 20.0),
    ] {
        let seen = alone(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(
            (seen.step, seen.total_steps),
            (Some(done), Some(total)),
            "{line}"
        );
        assert_eq!(seen.percent, None, "{line}");
    }
}

#[test]
fn percents_with_evidence() {
    for (line, percent) in [
        ("[ 45%] Building CXX object foo.o", 45.0),
        ("progress: 45%", 45.0),
        ("Progress = 45.5%", 45.5),
        ("45% complete", 45.0),
        ("... 45% done, 3 files", 45.0),
        ("Downloading 45%", 45.0),
        ("######                45.0%", 45.0),
        ("    50K .......... .......... ..........  3%  790M 0s", 3.0),
        (
            "/dev/null  10%[=>                  ] 306.00K  1.46MB/s",
            10.0,
        ),
    ] {
        let seen = alone(line).unwrap_or_else(|| panic!("{line}"));
        assert_eq!((seen.percent, seen.step), (Some(percent), None), "{line}");
    }
}

#[test]
fn epochs_and_metrics() {
    let seen = alone("Epoch [2/3], Step [45/100], Loss: 0.25, lr=1e-4, time: 5").unwrap();
    assert_eq!((seen.epoch, seen.total_epochs), (Some(2.0), Some(3.0)));
    assert_eq!(
        (seen.step, seen.total_steps, seen.steps_in_epoch),
        (Some(45.0), Some(100.0), true)
    );
    assert_eq!(
        seen.metrics,
        [("Loss".to_owned(), 0.25), ("lr".to_owned(), 1e-4)].into()
    );
    let seen = alone("Epoch 2/3").unwrap();
    assert_eq!(
        (seen.epoch, seen.total_epochs, seen.step),
        (Some(2.0), Some(3.0), None)
    );
    let seen = alone("epoch: 2 | loss 0.1 | acc=0.9").unwrap();
    assert_eq!(
        (seen.epoch, seen.total_epochs, seen.metrics["acc"]),
        (Some(2.0), None, 0.9)
    );
}

#[test]
fn a_bar_below_an_epoch_counts_within_it() {
    let mut ratio = Ratio::default();
    read(&mut ratio, "Epoch 1/3").unwrap();
    let bar = "45/100 ━━━━━━━━━━ 2s 10ms/step - accuracy: 0.9 - loss: 0.3";
    for _ in 0..2 {
        let seen = read(&mut ratio, bar).unwrap();
        assert!(seen.steps_in_epoch);
        assert_eq!(seen.metrics["accuracy"], 0.9);
    }
    assert!(!read(&mut ratio, "step 5/300").unwrap().steps_in_epoch);
}

#[test]
fn other_text_is_not_progress() {
    for line in [
        "2026/11/22",
        "11/22/2026 10:00",
        "done item 5 at 2026/11/22",
        "open a/12/340",
        "/srv/12/340",
        "12/340/x",
        "http://host/12/340",
        "https://host/p/45%",
        "a%20b 12%20",
        "100% sure",
        "I am 100% sure about it",
        "about 1/2 of it",
        "take 1/2 cup",
        "1/2 cup of sugar",
        "a ratio of 3/4",
        "open 24/7",
        "24/7",
        "5/0",
        "0/0",
        "[0/0]",
        "[13/12]",
        "145%",
        "-5%",
        "-5/9",
        "v1.2/3",
        "1.2.3/4",
        "10.0.0.0/24",
        "x12/340",
        "12/340x",
        "n/m",
        "%",
        "/",
        "12345678901234567890/12345678901234567891",
        "one of 3",
        "5 of 9 people like it",
        "line 5 of the 9 lines",
        "width: 45%;",
        "reduced by 45% since",
        "45%",
        "100%",
        "00000000  5b 35 25 2e 2e 2e 2e 2e  2e 2e 35 25 9d c4 0a 00  |[5%.......5%....|",
        "00000010  35 25 2e 2e 2e 2e 2e 2e  2e 2e 35 25 9d c4 0a 00  |5%......[1/2]...|",
        "00000020: 3525 2e2e 2e2e 2e2e 2e2e 3525 9dc4 3435  ......[1/2] 3/45",
        "0000040 377 376   [   5   %   ] 001 002 003 004",
        "epochs: none",
        "epoch 12/0",
        "took 5 s at 16:58:30",
        "٣/٤",
        "",
    ] {
        assert_eq!(alone(line), None, "{line}");
    }
}

#[test]
fn a_doubtful_count_is_believed_when_it_rises() {
    let mut ratio = Ratio::default();
    assert_eq!(read(&mut ratio, "copied a.bin 3/10"), None);
    assert_eq!(read(&mut ratio, "copied b.bin 3/10"), None);
    assert_eq!(
        read(&mut ratio, "copied c.bin 4/10").unwrap().step,
        Some(4.0)
    );
    assert_eq!(read(&mut ratio, "copied c.bin 5/11"), None);
    assert_eq!(read(&mut ratio, "45.2 %"), None);
    assert_eq!(read(&mut ratio, "46 %").unwrap().percent, Some(46.0));
    assert_eq!(read(&mut ratio, "disk use 45%"), None);
    assert_eq!(read(&mut ratio, "cpu use 46%"), None);
    assert_eq!(read(&mut ratio, "cpu use 47%").unwrap().percent, Some(47.0));
}

#[test]
fn long_and_open_lines_are_left_alone() {
    assert_eq!(alone(&format!("[1/2] {}", "x".repeat(MAX_BYTES))), None);
    let open = Line {
        text: "45%",
        end: End::Open,
        is_clean: true,
    };
    assert_eq!(Ratio::default().read("ratio", open), None);
}
