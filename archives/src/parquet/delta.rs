//! Whole numbers that stand as differences (DELTA_BINARY_PACKED), as far as the claims of byte
//! arrays' lengths and prefixes must be checked before the library takes memory for them.

/// Numbers that stand at the start of some bytes, none of them negative.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lengths {
    pub(super) sum: u64,
    /// Where they end.
    pub(super) end: usize,
}

impl Lengths {
    /// Reads at most `most` numbers; none if there are more, or what is there are no such numbers.
    pub(super) fn read(bytes: &[u8], most: u64) -> Option<Self> {
        let mut at = 0;
        let block = varint(bytes, &mut at)?;
        let parts = varint(bytes, &mut at)?;
        let mut left = varint(bytes, &mut at).filter(|&count| count <= most)?;
        let mut value = signed(bytes, &mut at)? as i32;
        // The library refuses other sizes.
        if parts == 0 || block % parts != 0 || !(block / parts).is_multiple_of(32) {
            return None;
        }
        let in_part = block / parts;
        let mut sum = 0;
        let mut add = |value: i32| {
            sum += u64::try_from(value).ok()?;
            Some(())
        };
        if left > 0 {
            add(value)?;
            left -= 1;
        }
        while left > 0 {
            let least = signed(bytes, &mut at)? as i32;
            let widths_end = at.checked_add(usize::try_from(parts).ok()?)?;
            let widths = bytes.get(at..widths_end)?;
            at = widths_end;
            for &width in widths {
                if left == 0 {
                    break;
                }
                let stored = usize::try_from(u64::from(width).checked_mul(in_part)? / 8).ok()?;
                let end = at.checked_add(stored)?;
                let packed = bytes.get(at..end).filter(|_| width <= 32)?;
                for index in 0..in_part.min(left) {
                    let step = bits(packed, index * u64::from(width), width) as i32;
                    value = value.wrapping_add(least).wrapping_add(step);
                    add(value)?;
                }
                left = left.saturating_sub(in_part);
                at = end;
            }
        }
        Some(Self { sum, end: at })
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn signed(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let value = varint(bytes, at)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// The number of `width` bits, at most 32, that begins at a bit of `packed`.
fn bits(packed: &[u8], first: u64, width: u8) -> u32 {
    let at = (first / 8) as usize;
    let mut word = [0; 8];
    let held = packed.get(at..packed.len().min(at + 8)).unwrap_or_default();
    word[..held.len()].copy_from_slice(held);
    (u64::from_le_bytes(word) >> (first % 8) & ((1 << width) - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of 128 in four parts; the second part needs no bits.
    const FIVE: [u8; 18] = [
        0x80,
        0x01,
        4,
        5,
        14, // 128 a block, 4 parts, 5 numbers, the first is 7
        1,  // the least step is -1
        2,
        0,
        0,
        0, // bits of a step in each part
        0b_11_01_00_10,
        0,
        0,
        0,
        0,
        0,
        0,
        0, // 2, 0, 1, 3 more than that
    ];

    #[test]
    fn numbers_are_summed_and_their_end_is_found() {
        // 7, 8, 7, 7, 9
        let read = Lengths::read(&FIVE, 5);
        assert_eq!(read, Some(Lengths { sum: 38, end: FIVE.len() }));
        assert_eq!(Lengths::read(&FIVE, 4), None, "more than there may be");
        assert_eq!(Lengths::read(&FIVE[..17], 5), None, "cut short");
    }

    #[test]
    fn steps_without_bits_take_no_room_and_negative_numbers_are_none() {
        // A thousand times 3, in one block of as many.
        let same = [0x80, 0x08, 1, 0xe8, 0x07, 6, 0, 0];
        assert_eq!(Lengths::read(&same, 1000), Some(Lengths { sum: 3000, end: same.len() }));
        let one = [0x80, 0x01, 4, 1, 5];
        assert_eq!(Lengths::read(&one, 9), None);
        let none = [0x80, 0x01, 4, 0, 0, 99];
        assert_eq!(Lengths::read(&none, 9), Some(Lengths { sum: 0, end: 5 }));
        for absurd in [[0x80, 0x01, 0, 1, 2], [0x80, 0x01, 3, 1, 2], [0x88, 0x01, 4, 1, 2]] {
            assert_eq!(Lengths::read(&absurd, 9), None, "{absurd:?}");
        }
    }
}
