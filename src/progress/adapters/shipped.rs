//! The adapters that come with the program.

use super::definition::Origin;
use super::parse::{self, Entry};

/// The files of `packaging/adapters.d`, in the order in which their adapters are asked.
pub(super) const FILES: &[(&str, &str)] = &[
    (
        "marks",
        include_str!("../../../packaging/adapters.d/marks.toml"),
    ),
    (
        "terminal",
        include_str!("../../../packaging/adapters.d/terminal.toml"),
    ),
    (
        "ultralytics",
        include_str!("../../../packaging/adapters.d/ultralytics.toml"),
    ),
    (
        "lightning",
        include_str!("../../../packaging/adapters.d/lightning.toml"),
    ),
    (
        "keras",
        include_str!("../../../packaging/adapters.d/keras.toml"),
    ),
    (
        "tqdm",
        include_str!("../../../packaging/adapters.d/tqdm.toml"),
    ),
    (
        "transformers",
        include_str!("../../../packaging/adapters.d/transformers.toml"),
    ),
    (
        "scikit-learn",
        include_str!("../../../packaging/adapters.d/scikit-learn.toml"),
    ),
    (
        "joblib",
        include_str!("../../../packaging/adapters.d/joblib.toml"),
    ),
    (
        "xgboost",
        include_str!("../../../packaging/adapters.d/xgboost.toml"),
    ),
    (
        "lightgbm",
        include_str!("../../../packaging/adapters.d/lightgbm.toml"),
    ),
    (
        "catboost",
        include_str!("../../../packaging/adapters.d/catboost.toml"),
    ),
    (
        "optuna",
        include_str!("../../../packaging/adapters.d/optuna.toml"),
    ),
    (
        "mmengine",
        include_str!("../../../packaging/adapters.d/mmengine.toml"),
    ),
    (
        "pytorch",
        include_str!("../../../packaging/adapters.d/pytorch.toml"),
    ),
    (
        "rich",
        include_str!("../../../packaging/adapters.d/rich.toml"),
    ),
    (
        "apt",
        include_str!("../../../packaging/adapters.d/apt.toml"),
    ),
    (
        "archives",
        include_str!("../../../packaging/adapters.d/archives.toml"),
    ),
    (
        "builds",
        include_str!("../../../packaging/adapters.d/builds.toml"),
    ),
    (
        "containers",
        include_str!("../../../packaging/adapters.d/containers.toml"),
    ),
    (
        "curl",
        include_str!("../../../packaging/adapters.d/curl.toml"),
    ),
    ("dd", include_str!("../../../packaging/adapters.d/dd.toml")),
    (
        "ffmpeg",
        include_str!("../../../packaging/adapters.d/ffmpeg.toml"),
    ),
    (
        "git",
        include_str!("../../../packaging/adapters.d/git.toml"),
    ),
    (
        "pip",
        include_str!("../../../packaging/adapters.d/pip.toml"),
    ),
    (
        "pytest",
        include_str!("../../../packaging/adapters.d/pytest.toml"),
    ),
    (
        "rsync",
        include_str!("../../../packaging/adapters.d/rsync.toml"),
    ),
    (
        "transfers",
        include_str!("../../../packaging/adapters.d/transfers.toml"),
    ),
    (
        "wget",
        include_str!("../../../packaging/adapters.d/wget.toml"),
    ),
    (
        "builtin",
        include_str!("../../../packaging/adapters.d/builtin.toml"),
    ),
];

/// What is in them. A test says that nothing is wrong with them.
pub(super) fn entries() -> Vec<Entry> {
    let files = FILES.iter();
    files
        .flat_map(|(_, text)| parse::parse(text, &Origin::Shipped).0)
        .collect()
}
