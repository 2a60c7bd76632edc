//! The daemon on a real bus: a `dbus-daemon` of the test's own, the real binary, and clients of several makes.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test stops at what it did not expect, and says what it skips"
)]

mod bus;
mod calls;
#[path = "../fake-nvml/mod.rs"]
#[expect(dead_code, reason = "tests of the sources look at the calls, too")]
mod fake_nvml;
#[path = "../e2e/gate.rs"]
#[expect(dead_code, reason = "other tests do more with gates")]
mod gate;
#[path = "../e2e/harness.rs"]
#[expect(dead_code, reason = "other tests do more with a host")]
mod harness;
#[path = "../e2e/http.rs"]
#[expect(dead_code, reason = "other tests speak it badly, too")]
mod http;
#[path = "../e2e/outside.rs"]
#[expect(dead_code, reason = "other tests ask more of processes")]
mod outside;
mod panel;
mod price;
#[path = "../e2e/stream.rs"]
#[expect(dead_code, reason = "other tests do more with streams")]
mod stream;
mod telling;
mod tools;
