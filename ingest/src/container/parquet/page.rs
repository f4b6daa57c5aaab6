//! The header of a Parquet page, as far as its claims must be checked before the library takes
//! memory for them.
//!
//! It is Thrift's compact form of `PageHeader` in parquet.thrift.

/// What a page's header claims.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    /// Bytes that the header takes.
    pub(super) header: usize,
    pub(super) kind: i64,
    pub(super) inflated: i64,
    pub(super) stored: i64,
    /// Values with nulls, or of a dictionary.
    pub(super) values: i64,
    /// Rows, which pages of the second form tell.
    pub(super) rows: Option<i64>,
    pub(super) encoding: i64,
    /// Bytes of levels before what is compressed.
    pub(super) levels: i64,
    /// Whether the values are compressed, if the column is.
    pub(super) compressed: bool,
}

/// A page of values, of the first form.
pub(super) const DATA: i64 = 0;
/// A page of a dictionary's values.
pub(super) const DICTIONARY: i64 = 2;
/// A page of values, of the second form.
pub(super) const DATA_V2: i64 = 3;

impl Page {
    /// The header at the start of `bytes`; none if they are no such header or end within it.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut page = Self { compressed: true, ..Self::default() };
        let mut input = Input { bytes, at: 0 };
        let mut field = 0;
        while let Some(kind) = input.field(&mut field)? {
            match (field, kind) {
                (1, INT) => page.kind = input.int()?,
                (2, INT) => page.inflated = input.int()?,
                (3, INT) => page.stored = input.int()?,
                (5 | 7 | 8, STRUCT) => page.part(&mut input, field)?,
                // The library takes a field for what it should be, whatever its type is said to
                // be, and so would see another claim.
                (1..=3 | 5 | 7 | 8, _) => return None,
                _ => input.skip(kind, 0)?,
            }
        }
        page.header = input.at;
        Some(page)
    }

    /// The part of the header for one kind of page.
    fn part(&mut self, input: &mut Input<'_>, which: i64) -> Option<()> {
        let second_form = which == 8;
        let mut field = 0;
        while let Some(kind) = input.field(&mut field)? {
            match (field, kind) {
                (1, INT) => self.values = input.int()?,
                (2, INT) if second_form => input.skip(INT, 0)?,
                (2, INT) => self.encoding = input.int()?,
                (3, INT) if second_form => self.rows = Some(input.int()?),
                (4, INT) if second_form => self.encoding = input.int()?,
                (5 | 6, INT) if second_form => {
                    self.levels = self.levels.checked_add(input.int()?)?;
                }
                (7, TRUE | FALSE) if second_form => self.compressed = kind == TRUE,
                (1 | 2, _) => return None,
                (3..=7, _) if second_form => return None,
                _ => input.skip(kind, 0)?,
            }
        }
        Some(())
    }
}

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const INT: u8 = 5;
const STRUCT: u8 = 12;
/// Structures within structures; page headers have three.
const DEPTH: u32 = 8;

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn int(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The type of the next field, whose number goes to `field`; inside, none at the end.
    fn field(&mut self, field: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        let step = i64::from(byte >> 4);
        *field = if step == 0 { self.int()? } else { field.checked_add(step)? };
        Some(Some(byte & 0x0f))
    }

    fn pass(&mut self, bytes: u64) -> Option<()> {
        let end = self.at.checked_add(usize::try_from(bytes).ok()?)?;
        self.at = (end <= self.bytes.len()).then_some(end)?;
        Some(())
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            TRUE | FALSE => Some(()),
            3 => self.pass(1),
            4..=6 => self.varint().map(|_| ()),
            7 => self.pass(8),
            8 => {
                let length = self.varint()?;
                self.pass(length)
            }
            9 | 10 if depth < DEPTH => {
                let head = self.byte()?;
                let (short, kind) = (u64::from(head >> 4), head & 0x0f);
                let length = if short == 15 { self.varint()? } else { short };
                for _ in 0..length {
                    // A truth value within a list takes a byte.
                    if matches!(kind, TRUE | FALSE) {
                        self.pass(1)?;
                    } else {
                        self.skip(kind, depth + 1)?;
                    }
                }
                Some(())
            }
            STRUCT if depth < DEPTH => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth + 1)?;
                }
                Some(())
            }
            _ => None,
        }
    }
}
