//! The fuzz target `sd_notify`; what it checks is in `checks::sd_notify`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::sd_notify::check(data));
