//! The fuzz target `log_order`; what it checks is in `checks::log_order`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::log_order::check(data));
