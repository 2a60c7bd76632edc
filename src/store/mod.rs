//! SQLite: one writer thread with group commit, read-only readers, migrations.
