#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| starsight_fuzz::jsonl(bytes));
