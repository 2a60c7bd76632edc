//! The rules of merging, as tables.
