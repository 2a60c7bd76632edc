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
        "tqdm",
        include_str!("../../../packaging/adapters.d/tqdm.toml"),
    ),
    (
        "transformers",
        include_str!("../../../packaging/adapters.d/transformers.toml"),
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
