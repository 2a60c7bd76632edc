//! The fuzz target `kernel_files`; what it checks is in `checks::kernel_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::kernel_files::check(data));
