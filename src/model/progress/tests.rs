//! The rules of merging, as tables.
use super::*;
