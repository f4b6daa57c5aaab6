//! The checksums of a shard's column chunks, which stand in its footer: what a reader of some
//! columns can hold those against.

/// The key of the checksums in a shard's Parquet key-value metadata.
pub const CHECKSUMS_KEY: &str = "localmim.column_crc32c";

/// CRC-32C of the bytes of each column chunk, by row group and column.
///
/// As text: a word a row group, in order, with one space between; in a word eight hexadecimal
/// digits a column, in the order of the schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnChecksums(Vec<Vec<u32>>);

impl ColumnChecksums {
    /// Adds the checksums of the next row group's columns.
    pub fn push(&mut self, group: Vec<u32>) {
        self.0.push(group);
    }

    /// The checksum of a column of a row group, if there is one.
    pub fn get(&self, group: usize, column: usize) -> Option<u32> {
        self.0.get(group)?.get(column).copied()
    }

    /// The text for the footer.
    pub fn to_text(&self) -> String {
        let word = |group: &Vec<u32>| group.iter().map(|crc| format!("{crc:08x}")).collect();
        self.0.iter().map(word).collect::<Vec<String>>().join(" ")
    }

    /// Reads the text of a footer; none if it is no such text.
    pub fn parse(text: &str) -> Option<Self> {
        let crc = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 8)?;
            u32::from_str_radix(digits, 16).ok()
        };
        let group = |word: &str| word.as_bytes().chunks(8).map(crc).collect();
        text.split_ascii_whitespace().map(group).collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_survive_a_round_trip() {
        let mut checksums = ColumnChecksums::default();
        checksums.push(vec![0, 1, u32::MAX]);
        checksums.push(vec![0x0abc_def0, 7, 9]);
        assert_eq!(ColumnChecksums::parse(&checksums.to_text()), Some(checksums.clone()));
        assert_eq!(checksums.get(1, 0), Some(0x0abc_def0));
        assert_eq!((checksums.get(2, 0), checksums.get(0, 3)), (None, None));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["0", "0000000g", "00000000 1", "é0000000"] {
            assert_eq!(ColumnChecksums::parse(text), None, "{text}");
        }
    }
}
