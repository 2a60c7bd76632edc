//! The checks of the fuzz targets (`tests/fuzz`) on every input that once did harm, and on the fuzzer's first inputs.

#[path = "../fuzz/src/checks/mod.rs"]
#[expect(unreachable_pub, reason = "it is the library of the fuzz targets, too")]
mod checks;

use std::path::{Path, PathBuf};

/// The inputs of a target below `tests`, each looked at with its check.
fn replay(target: &str, check: fn(&[u8])) -> usize {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut found = 0;
    for folder in ["fixtures/crashes", "fuzz/seeds"] {
        for path in files(&tests.join(folder).join(target)) {
            eprintln!("{}", path.display());
            check(&std::fs::read(&path).unwrap());
            found += 1;
        }
    }
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

macro_rules! replays {
    ($($target:ident)*) => {
        $(#[test]
        fn $target() {
            let found = replay(stringify!($target), checks::$target::check);
            assert!(found > 0, "there is no input");
        })*

        #[test]
        fn every_target_is_replayed() {
            let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/targets");
            let found = files(&targets);
            let mut found: Vec<&str> = found.iter().map(|it| it.file_stem().unwrap().to_str().unwrap()).collect();
            let mut known = vec![$(stringify!($target)),*];
            found.sort_unstable();
            known.sort_unstable();
            assert_eq!(found, known);
        }
    };
}

replays! {
    adapters catalogue cursor fdinfo gpu_talk job_spec kernel_files kernel_log log_order progress_file sd_notify shim_frames sse_client
    sse_filters
}
