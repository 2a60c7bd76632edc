//! The fuzz target `catalogue`; what it checks is in `checks::catalogue`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::catalogue::check(data));
