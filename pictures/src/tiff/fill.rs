//! A decompressor → as many bytes as a chunk has.

use std::io::Read;

use schemas::Fault;

/// Reads until there is no more room or nothing more comes. What came before an error counts.
pub(super) fn fill(mut from: impl Read, to: &mut [u8]) -> Result<usize, Fault> {
    let mut filled = 0;
    while filled < to.len() {
        match from.read(&mut to[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) => {
                return Err(Fault::corrupt(format!("a strip or tile of the TIFF: {error}")));
            }
        }
    }
    Ok(filled)
}
