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
