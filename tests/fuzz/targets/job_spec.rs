//! The fuzz target `job_spec`; what it checks is in `checks::job_spec`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| stoked_fuzz::checks::job_spec::check(data));
