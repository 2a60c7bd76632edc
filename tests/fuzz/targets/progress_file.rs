//! The fuzz target `progress_file`; what it checks is in `checks::progress_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::progress_file::check(data));
