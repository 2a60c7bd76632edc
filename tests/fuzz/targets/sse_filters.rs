//! The fuzz target `sse_filters`; what it checks is in `checks::sse_filters`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::sse_filters::check(data));
