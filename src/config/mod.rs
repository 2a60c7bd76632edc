//! Configuration: what a file said (fragment), what the merged files said, what the program may rely on (`Settings`).

pub mod paths;
