//! Log files of attempts: format, writer (used by the shim), reader and change watcher (used by the daemon).
