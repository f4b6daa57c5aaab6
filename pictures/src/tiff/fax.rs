//! CCITT's codes for black and white (ITU-T T.4 and T.6) → bits, 1 for black.
//!
//! A row is kept as the places where its colour changes, of which the first is to black.

use fax::BitReader;
use fax::maps::{Mode, black, mode, white};
use schemas::Fault;

use super::codec::Compression;

/// Of so many rows of T.4 one may be damaged, as lines are that came over a telephone.
const ROWS_A_FAULT: usize = 10;

/// Fills rows of `width` pixels, each from a byte on. `options` is T4Options.
pub(super) fn unpack(
    compression: Compression,
    options: u64,
    from: &[u8],
    width: usize,
    to: &mut [u8],
) -> Result<(), Fault> {
    let rows = to.chunks_exact_mut(width.div_ceil(8));
    let (count, mut damaged) = (rows.len(), 0);
    let two_dimensions = options & 1 == 1;
    let mut bits = Bits { bytes: from, at: 0 };
    let (mut above, mut row) = (Vec::new(), Vec::new());
    for (index, to) in rows.enumerate() {
        let broken = |what: &str| {
            Fault::corrupt(format!("row {index} of {count} in a fax strip of the TIFF {what}"))
        };
        row.clear();
        let whole = match compression {
            Compression::Fax4 => match plane_row(&mut bits, &above, &mut row, width) {
                Row::Whole => true,
                Row::Damaged => return Err(broken("is damaged")),
                // What is left is white; some writers leave it out.
                Row::End => break,
            },
            Compression::FaxRows { words } => {
                let whole = line_row(&mut bits, &mut row, width);
                let unit = if words { 16 } else { 8 };
                bits.at = bits.at.next_multiple_of(unit);
                whole
            }
            _ => {
                let ends = bits.skip_ends(two_dimensions);
                // Six of them end a page; what is left is white.
                if ends >= 6 || ends > 1 && bits.left() == 0 {
                    break;
                }
                let whole = if two_dimensions && bits.take() == 0 {
                    matches!(plane_row(&mut bits, &above, &mut row, width), Row::Whole)
                } else {
                    line_row(&mut bits, &mut row, width)
                };
                if !whole {
                    bits.find_end();
                }
                whole
            }
        };
        if !whole {
            if bits.left() == 0 && row.is_empty() {
                return Err(broken("is not there"));
            }
            damaged += 1;
            if damaged * ROWS_A_FAULT > count {
                return Err(broken("is damaged, as others are"));
            }
        }
        paint(&row, width, to);
        std::mem::swap(&mut above, &mut row);
    }
    Ok(())
}

/// Bits from the highest of each byte on; past the end they are zero.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn left(&self) -> usize {
        (8 * self.bytes.len()).saturating_sub(self.at)
    }

    fn window(&self) -> u32 {
        let byte = |index| u32::from(*self.bytes.get(self.at / 8 + index).unwrap_or(&0));
        (byte(0) << 16 | byte(1) << 8 | byte(2)) << 8 << (self.at % 8)
    }

    fn take(&mut self) -> u32 {
        let bit = self.window() >> 31;
        self.at += 1;
        bit
    }

    /// Skips ends of lines, with what fills them up; how many there were.
    fn skip_ends(&mut self, two_dimensions: bool) -> usize {
        let mut count = 0;
        while self.left() > 0 && self.window() >> 21 == 0 {
            while self.left() > 0 && self.take() == 0 {}
            count += 1;
            // At the end of a page each has its mark of what follows.
            if two_dimensions && self.window() >> 20 == 0b1000_0000_0000 {
                self.at += 1;
            }
        }
        count
    }

    /// Goes on to where an end of line begins, or to the end.
    fn find_end(&mut self) {
        while self.left() > 0 && self.window() >> 21 != 0 {
            self.at += 1;
        }
    }
}

impl BitReader for Bits<'_> {
    type Error = ();

    fn peek(&self, bits: u8) -> Option<u16> {
        (1..=16).contains(&bits).then(|| (self.window() >> (32 - u32::from(bits))) as u16)
    }

    fn consume(&mut self, bits: u8) -> Result<(), ()> {
        if self.left() == 0 {
            return Err(());
        }
        self.at += usize::from(bits);
        Ok(())
    }

    fn bits_to_byte_boundary(&self) -> u8 {
        ((8 - self.at % 8) % 8) as u8
    }
}

/// The length of a run: codes for multiples of 64, then one for the rest.
fn run(bits: &mut Bits<'_>, is_black: bool) -> Option<usize> {
    let mut sum = 0;
    loop {
        let code = if is_black { black::decode(bits) } else { white::decode(bits) };
        let code = usize::from(code?);
        sum += code;
        if code < 64 {
            return Some(sum);
        }
    }
}

/// A row in runs of white and black by turns. Whether it is whole.
fn line_row(bits: &mut Bits<'_>, row: &mut Vec<usize>, width: usize) -> bool {
    let mut at = 0;
    let mut is_black = false;
    while at < width {
        let Some(length) = run(bits, is_black) else { return false };
        at += length;
        if at > width {
            return false;
        }
        change(row, at);
        is_black = !is_black;
    }
    true
}

/// Notes a change of colour; two at one place are none.
fn change(row: &mut Vec<usize>, place: usize) {
    if row.last() == Some(&place) {
        row.pop();
    } else {
        row.push(place);
    }
}

enum Row {
    Whole,
    Damaged,
    End,
}

/// A row told by how it differs from the one above.
fn plane_row(bits: &mut Bits<'_>, above: &[usize], row: &mut Vec<usize>, width: usize) -> Row {
    let mut at = 0;
    let mut seen = 0;
    while at < width {
        // The first change above that lies to the right and is to the colour that this row has not.
        let is_black = row.len() % 2 == 1;
        seen = seen.min(above.len());
        while seen > 0 && above[seen - 1] > at {
            seen -= 1;
        }
        // At the start of a row, a change on its first pixel lies to the right, too.
        let start = at == 0 && row.is_empty();
        let passed = |&place: &usize| place <= at && !(start && place == 0);
        while above.get(seen).is_some_and(passed) {
            seen += 1;
        }
        if seen % 2 != usize::from(is_black) {
            seen += 1;
        }
        let known = |index: usize| above.get(index).copied().unwrap_or(width).min(width);
        match mode::decode(bits) {
            Some(Mode::Pass) => {
                // The colour goes on below the next change but one.
                at = known(seen + 1);
            }
            Some(Mode::Horizontal) => {
                let (Some(first), Some(second)) = (run(bits, is_black), run(bits, !is_black))
                else {
                    return Row::Damaged;
                };
                if at + first + second > width {
                    return Row::Damaged;
                }
                change(row, at + first);
                at += first + second;
                change(row, at);
            }
            Some(Mode::Vertical(off)) => {
                let Some(place) = known(seen).checked_add_signed(isize::from(off)) else {
                    return Row::Damaged;
                };
                if place > width || place < at {
                    return Row::Damaged;
                }
                at = place;
                change(row, at);
            }
            Some(Mode::EOF) if at == 0 && row.is_empty() => return Row::End,
            Some(Mode::EOF | Mode::Extension) | None => return Row::Damaged,
        }
    }
    Row::Whole
}

/// Sets the bits of black runs.
fn paint(row: &[usize], width: usize, to: &mut [u8]) {
    for run in row.chunks(2) {
        let (start, end) = (run[0], run.get(1).copied().unwrap_or(width).min(width));
        let mut at = start;
        while at < end {
            if at % 8 == 0 && end - at >= 8 {
                to[at / 8] = 0xff;
                at += 8;
            } else {
                to[at / 8] |= 0x80 >> (at % 8);
                at += 1;
            }
        }
    }
}
