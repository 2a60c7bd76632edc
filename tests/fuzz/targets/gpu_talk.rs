//! The fuzz target `gpu_talk`; what it checks is in `checks::gpu_talk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::gpu_talk::check(data));
