//! The fuzz target `sse_client`; what it checks is in `checks::sse_client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::sse_client::check(data));
