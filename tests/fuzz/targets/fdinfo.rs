//! The fuzz target `fdinfo`; what it checks is in `checks::fdinfo`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::fdinfo::check(data));
