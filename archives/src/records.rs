//! Whether bytes begin like TensorFlow's records.

/// Whether `head` begins like a file of TensorFlow's records: a length, and the checksum of that.
pub(super) fn is_records(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk::<8>() else { return false };
    let masked = crc32c::crc32c(length).rotate_right(15).wrapping_add(0xa282_ead8);
    rest.first_chunk().is_some_and(|sum| u32::from_le_bytes(*sum) == masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_by_the_checksum_of_their_length() {
        // The beginning of one that the Python package `tfrecord` wrote.
        let record = b"\x0e\0\0\0\0\0\0\0\xc5\xe5\x69\x3f\x0a\x0c\x0a\x0a";
        assert!(is_records(record));
        assert!(!is_records(&record[1..]));
        assert!(!is_records(&record[..11]));
        assert!(!is_records(&[0; 16]));
    }
}
