#![no_main]

use archives::Kind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::archive(Kind::Zip, data));
