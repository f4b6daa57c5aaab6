#![no_main]

use ingest::container::Kind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let kind = if data.starts_with(&[0x1f, 0x8b]) { Kind::WarcGz } else { Kind::Warc };
    fuzz::archive(kind, data);
});
