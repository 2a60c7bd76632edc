//! The fuzz target `adapters`; what it checks is in `checks::adapters`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::adapters::check(data));
