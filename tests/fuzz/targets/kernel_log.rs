//! The fuzz target `kernel_log`; what it checks is in `checks::kernel_log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::kernel_log::check(data));
