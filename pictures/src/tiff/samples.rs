//! A chunk's samples of any kind → numbers of 16 bits.

use super::ifd::Endian;
use super::page::{Number, Page};

/// How the samples of a page are stored.
#[derive(Debug)]
pub(super) struct Reader {
    bits: usize,
    number: Number,
    endian: Endian,
    range: Option<(f64, f64)>,
}

impl Reader {
    /// Of samples that are brought to 16 bits, whatever they have.
    pub fn scaled(page: &Page<'_>) -> Self {
        Self { bits: page.bits, number: page.number, endian: page.endian(), range: page.range }
    }

    /// Reads one sample of each pixel from a row that has `together` of a pixel.
    pub fn row(&self, row: &[u8], sample: usize, together: usize, to: &mut [u16]) {
        match self.bits {
            8 => {
                let values = row.iter().skip(sample).step_by(together);
                // Signed ones, too: as other readers take them, for the files that have the tag by
                // mistake.
                for (to, &value) in to.iter_mut().zip(values) {
                    *to = u16::from(value) * 257;
                }
            }
            16 | 24 | 32 | 64 => {
                let size = self.bits / 8;
                let values = row.chunks_exact(size).skip(sample).step_by(together);
                for (to, bytes) in to.iter_mut().zip(values) {
                    *to = self.level(self.endian.uint(bytes));
                }
            }
            bits => {
                let most = (1u32 << bits) - 1;
                for (index, to) in to.iter_mut().enumerate() {
                    let value = packed(row, (index * together + sample) * bits, bits);
                    *to = match self.number {
                        Number::Int => signed_level(value.into(), bits),
                        _ => ((value * 65535 + most / 2) / most) as u16,
                    };
                }
            }
        }
    }

    /// Reads numbers as they stand, of at most 16 bits.
    pub fn plain_row(&self, row: &[u8], sample: usize, together: usize, to: &mut [u16]) {
        for (index, to) in to.iter_mut().enumerate() {
            let at = index * together + sample;
            *to = match self.bits {
                16 => row.get(2 * at..2 * at + 2).map_or(0, |bytes| self.endian.uint(bytes) as u16),
                bits => packed(row, at * bits, bits) as u16,
            };
        }
    }

    /// A number of more than 8 bits, in whole bytes.
    fn level(&self, value: u64) -> u16 {
        match (self.number, self.bits) {
            (Number::Uint, 16) => value as u16,
            (Number::Int, 16) => signed_level(value, 16),
            (Number::Uint, bits) => match self.range {
                Some(range) => fraction(value as f64, range),
                None => (value >> (bits - 16)) as u16,
            },
            (Number::Int, bits) => {
                let unused = 64 - bits as u32;
                match self.range {
                    Some(range) => fraction(((value << unused) as i64 >> unused) as f64, range),
                    None => signed_level(value, bits),
                }
            }
            (Number::Float, bits) => {
                let value = match bits {
                    16 => small_float(value, 5, 10),
                    24 => small_float(value, 7, 16),
                    32 => f64::from(f32::from_bits(value as u32)),
                    _ => f64::from_bits(value),
                };
                fraction(value, self.range.unwrap_or((0.0, 1.0)))
            }
        }
    }
}

/// The bits of a number, which may begin and end within bytes; 0 past the end of the row.
fn packed(row: &[u8], at: usize, bits: usize) -> u32 {
    let byte = |index: usize| u32::from(row.get(at / 8 + index).copied().unwrap_or(0));
    let window = byte(0) << 16 | byte(1) << 8 | byte(2);
    window >> (24 - at % 8 - bits) & ((1 << bits) - 1)
}

/// A signed number: zero is black, as are those below, and the largest is white.
fn signed_level(value: u64, bits: usize) -> u16 {
    let magnitude = bits - 1;
    if value >> magnitude & 1 == 1 || magnitude == 0 {
        return 0;
    }
    let value = value & ((1 << magnitude) - 1);
    if magnitude >= 16 {
        return (value >> (magnitude - 16)) as u16;
    }
    let most = (1 << magnitude) - 1;
    ((value * 65535 + most / 2) / most) as u16
}

/// Where a number lies in a range; one that is none is the least.
fn fraction(value: f64, (least, most): (f64, f64)) -> u16 {
    ((value - least) / (most - least) * 65535.0).round().clamp(0.0, 65535.0) as u16
}

/// A floating-point number of fewer than 32 bits.
fn small_float(value: u64, exponent_bits: u32, mantissa_bits: u32) -> f64 {
    let bias = (1 << (exponent_bits - 1)) - 1;
    let most = (1 << exponent_bits) - 1;
    let exponent = (value >> mantissa_bits & most) as i32;
    let mantissa = (value & ((1 << mantissa_bits) - 1)) as f64 / f64::from(1u32 << mantissa_bits);
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(1 - bias),
        _ if exponent == most as i32 => f64::INFINITY,
        _ => (1.0 + mantissa) * 2f64.powi(exponent - bias),
    };
    if value >> (exponent_bits + mantissa_bits) & 1 == 1 { -magnitude } else { magnitude }
}
