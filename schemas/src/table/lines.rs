//! Shards as a manifest is written, a line each, read in one sweep: of all that JSON allows no more
//! than that.

use std::sync::Arc;

use super::{Columns, Place, ShardTable};
use crate::hash::Blake3;

impl ShardTable {
    /// The shards that some lines of a manifest tell, as [`to_text`](crate::Manifest::to_text) writes
    /// them, without what comes behind the last; none if a line is not written so. It may be JSON of a
    /// shard all the same.
    pub fn of_lines(lines: &[u8]) -> Option<Self> {
        let (mut columns, mut rest) = (Columns::default(), Rest(lines));
        loop {
            rest.shard(&mut columns)?;
            if rest.0.is_empty() {
                return Some(Self(Arc::new(columns)));
            }
            rest.pass(",\n")?;
        }
    }
}

/// What is not read yet. Each reads what stands at its beginning, or nothing if that is something else.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn shard(&mut self, columns: &mut Columns) -> Option<()> {
        self.pass("    {\"file\":\"")?;
        columns.names.push_str(self.text()?);
        self.pass("\",\"rows\":")?;
        columns.rows.push(self.number()?);
        self.pass(",\"row_groups\":")?;
        let rows = &mut columns.row_groups.numbers;
        self.list(
            |rest| u32::try_from(rest.number()?).ok(),
            |of_group| rows.push(of_group.into()),
        )?;
        self.pass(",\"row_group_ends\":")?;
        let mut before = 0;
        self.list(Self::number, |end| columns.push_end(end, &mut before))?;
        self.pass(",\"row_group_hashes\":")?;
        self.list(Self::hash, |hash| columns.hashes.push(hash))?;
        self.pass(",\"bytes\":")?;
        columns.bytes.push(self.number()?);
        self.pass(",\"blake3\":")?;
        columns.blake3.push(self.hash()?);
        self.pass(",\"first\":")?;
        columns.first.push(self.number()?);
        self.pass(",\"pictures\":")?;
        columns.pictures.push(self.number()?);
        self.pass(",\"start\":{\"unit\":")?;
        let unit = self.number()?;
        self.pass(",\"members\":")?;
        let members = self.number()?;
        self.pass(",\"offset\":")?;
        let offset = self.number()?;
        self.pass(",\"skip\":")?;
        columns.push_start(Place { unit, members, offset, skip: self.number()? });
        self.pass("}}")?;
        columns.end();
        Some(())
    }

    fn pass(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text.as_bytes())?;
        Some(())
    }

    /// A text up to its closing quotation mark; none that escapes anything.
    fn text(&mut self) -> Option<&'a str> {
        let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..b' ');
        let end = self.0.iter().position(|byte| !plain(byte))?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest;
        str::from_utf8(text).ok()
    }

    fn number(&mut self) -> Option<u64> {
        let (mut number, mut digits) = (0_u64, 0);
        while let Some(digit) = self.0.get(digits).map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
        {
            number = number.checked_mul(10)?.checked_add(digit.into())?;
            digits += 1;
        }
        let (text, rest) = self.0.split_at(digits);
        self.0 = rest;
        (!text.is_empty() && (text[0] != b'0' || digits == 1)).then_some(number)
    }

    fn hash<const BYTES: usize>(&mut self) -> Option<Blake3<BYTES>> {
        self.pass("\"")?;
        let (digits, rest) = self.0.split_at_checked(2 * BYTES)?;
        self.0 = rest;
        self.pass("\"")?;
        Blake3::of_digits(digits)
    }

    /// A list of what `read` reads, of which each is given away.
    fn list<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Option<T>,
        mut give: impl FnMut(T),
    ) -> Option<()> {
        self.pass("[")?;
        if self.pass("]").is_some() {
            return Some(());
        }
        loop {
            give(read(self)?);
            match self.0.split_first()? {
                (b',', rest) => self.0 = rest,
                (b']', rest) => {
                    self.0 = rest;
                    return Some(());
                }
                _ => return None,
            }
        }
    }
}
