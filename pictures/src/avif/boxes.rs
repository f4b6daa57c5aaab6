//! Boxes of the ISO base media file format (ISO/IEC 14496-12).

/// A box's name and content.
pub(super) type Boxed<'a> = (&'a [u8; 4], &'a [u8]);

/// The boxes that lie one after another in `bytes`; one that reaches beyond them ends the list.
pub(super) fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = Boxed<'_>> {
    std::iter::from_fn(move || {
        let size = u32::from_be_bytes(*bytes.first_chunk::<4>()?);
        let name = bytes.get(4..)?.first_chunk::<4>()?;
        let (head, size) = match size {
            0 => (8, bytes.len() as u64),
            1 => (16, u64::from_be_bytes(*bytes.get(8..)?.first_chunk::<8>()?)),
            size => (8, u64::from(size)),
        };
        let content = bytes.get(head..usize::try_from(size).ok()?)?;
        bytes = &bytes[head + content.len()..];
        Some((name, content))
    })
}

/// The content of the first box of this name.
pub(super) fn inside<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes).find(|(found, _)| *found == name).map(|(_, content)| content)
}

/// Fields that are read one after another, the most significant byte first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// A number of up to eight bytes; of none it is 0.
    pub fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.bytes(bytes)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    pub fn u8(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(self.number(2)? as u16)
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(self.number(4)? as u32)
    }

    pub fn i32(&mut self) -> Option<i32> {
        Some(self.u32()? as i32)
    }

    /// The number of an item, in two bytes or in four.
    pub fn id(&mut self, wide: bool) -> Option<u32> {
        Some(self.number(if wide { 4 } else { 2 })? as u32)
    }

    pub fn name(&mut self) -> Option<&'a [u8; 4]> {
        self.bytes(4)?.first_chunk()
    }

    /// What a full box begins with.
    pub fn version_and_flags(&mut self) -> Option<(u8, u32)> {
        Some((self.u8()?, self.number(3)? as u32))
    }
}
