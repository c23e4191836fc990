#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scope_agent::fuzzing::run("file_sandbox", data));
