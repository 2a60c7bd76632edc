//! The fuzz target `shim_frames`; what it checks is in `checks::shim_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::shim_frames::check(data));
