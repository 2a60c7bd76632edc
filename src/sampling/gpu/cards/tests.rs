//! Trees of files as the kernel has them, written down in one file.

use super::*;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// A tree in a directory of its own.
pub(in super::super) struct Tree(TempDir);

impl Tree {
    /// Lines of `path = content` (with `\n` and `\t`) and `path -> target`; `#` begins a comment.
    pub(in super::super) fn new(lines: &str) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for top in ["sys", "proc"] {
            fs::create_dir_all(tree.path(top)).unwrap();
        }
        tree.write(lines);
        tree
    }

    /// Adds to it, or writes anew.
    pub(in super::super) fn write(&self, lines: &str) {
        let lines = lines
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        for line in lines {
            let (path, content, is_link) = match line.split_once(" -> ") {
                Some((path, target)) => (path, target, true),
                None => line
                    .split_once(" = ")
                    .map(|(path, text)| (path, text, false))
                    .unwrap(),
            };
            let path = self.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if is_link {
                let _replaced = fs::remove_file(&path);
                symlink(content, &path).unwrap();
            } else {
                let text = content.replace("\\n", "\n").replace("\\t", "\t");
                fs::write(&path, text + "\n").unwrap();
            }
        }
    }

    /// Removes a part of it.
    pub(in super::super) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }

    pub(in super::super) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }
}

#[test]
fn cards_of_one_maker_are_found_by_their_place() {
    let tree = Tree::new(include_str!("../../../../tests/fixtures/gpu/amd.tree"));
    let found = cards(&tree.path("sys"), 0x1002);
    let places: Vec<_> = found
        .iter()
        .map(|it| (it.number, it.bus_id.as_str()))
        .collect();
    assert_eq!(places, [(1, "0000:03:00.0"), (2, "0000:0a:00.0")]);
    assert_eq!([found[0].is_asleep(), found[1].is_asleep()], [false, true]);
    assert!(cards(&tree.path("sys"), 0x8086).is_empty());
    assert!(cards(&tree.path("nowhere"), 0x1002).is_empty());
}
