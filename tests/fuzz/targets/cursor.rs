//! The fuzz target `cursor`; what it checks is in `checks::cursor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::cursor::check(data));
