//! Samples that are read through: what is damaged is named with what to do, and nothing else is.

use super::*;
use rusqlite::Connection;
use std::fs;

/// Three days of one value a minute: two of them are over, and rolled up.
fn filled(dir: &Path) -> Samples {
    let samples = Samples::open(dir).unwrap();
    for minute in 0..2 * 1_440 + 100 {
        samples.append(&pass(BEGIN_MS + minute * 60_000, 1.0, &[1]));
        if minute % 60 == 0 {
            samples.settle().unwrap();
        }
    }
    samples.settle().unwrap();
    samples
}

fn faults(samples: &Samples) -> Vec<String> {
    let verified = samples.verify(&|| false).unwrap();
    assert_eq!(verified.volumes, 5);
    verified.faults
}

fn place(samples: &Samples, tier: Tier) -> Place {
    samples.owner.shared.shelf.place(tier, BEGIN_MS)
}

fn act(samples: &Samples, tier: Tier, sql: &str) {
    let volume = Connection::open(place(samples, tier).path).unwrap();
    volume.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
    volume.execute_batch(sql).unwrap();
}

#[test]
fn all_is_well_until_something_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let samples = filled(dir.path());
    assert_eq!(faults(&samples), [] as [&str; 0]);
    assert_eq!(
        samples.verify(&|| true).unwrap_err(),
        StoreError::Stopped,
        "whoever goes down does not wait"
    );
    let cases = [
        (
            Tier::Raw,
            "UPDATE rows SET blob = x'01ffff' WHERE id IN (SELECT id FROM rows LIMIT 2)",
            "2 cannot be unpacked",
        ),
        (
            Tier::Minute,
            "DELETE FROM series WHERE entity = (SELECT id FROM entities WHERE job IS NULL)",
            "are of what its catalogue does not know",
        ),
        (
            Tier::Hour,
            "DELETE FROM entities WHERE job IS NOT NULL",
            "its catalogue is not whole",
        ),
    ];
    for (done, (tier, sql, wanted)) in cases.into_iter().enumerate() {
        act(&samples, tier, sql);
        let faults = faults(&samples);
        assert_eq!(faults.len(), done + 1, "{faults:?}");
        let path = place(&samples, tier).path.display().to_string();
        let fault = faults.iter().find(|it| it.starts_with(&path)).unwrap();
        assert!(fault.contains(wanted), "{fault}");
        assert!(fault.contains("from a backup"), "{fault}");
    }
    act(
        &samples,
        Tier::Minute,
        "UPDATE rows SET id = 2000 << 40 WHERE id = (SELECT max(id) FROM rows)",
    );
    let misplaced = "rows 1 are of another time";
    assert!(faults(&samples).iter().any(|it| it.contains(misplaced)));
}

#[test]
fn what_cannot_be_opened_says_what_is_read_instead() {
    let dir = tempfile::tempdir().unwrap();
    let samples = filled(dir.path());
    for (tier, instead) in [
        (Tier::Raw, "the minutes of that time"),
        (Tier::Minute, "the hours of that time"),
        (Tier::Hour, "nothing else is left"),
    ] {
        let path = place(&samples, tier).path;
        let whole = fs::read(&path).unwrap();
        fs::write(&path, vec![7; 40_000]).unwrap();
        let told = faults(&samples);
        let [fault] = &told[..] else {
            panic!("{told:?}")
        };
        let named = format!("{}: it cannot be read (", path.display());
        assert!(fault.starts_with(&named), "{fault}");
        assert!(
            fault.contains("move it away") && fault.contains(instead),
            "{fault}"
        );
        fs::write(&path, whole).unwrap();
    }
    // A page in the middle that says nothing any more.
    let path = place(&samples, Tier::Raw).path;
    let mut bytes = fs::read(&path).unwrap();
    bytes[3 * 8_192..4 * 8_192].fill(0);
    fs::write(&path, bytes).unwrap();
    assert_eq!(faults(&samples).len(), 1);
    super::aside::set_aside(&path, "as the writer does");
    let verified = samples.verify(&|| false).unwrap();
    assert_eq!(verified.volumes, 4);
    let [fault] = &verified.faults[..] else {
        panic!("{verified:?}")
    };
    assert!(
        fault.contains(".damaged-") && fault.contains("remove it"),
        "{fault}"
    );
}
