#![no_main]

libfuzzer_sys::fuzz_target!(init: starsight_fuzz::unwind(), |bytes: &[u8]| starsight_fuzz::tokenizer(bytes));
