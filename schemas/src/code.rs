//! How a HOG value is stored: its range 0..=1 in 256 even steps of 1/255.

/// The byte that stands for `value`, rounded to the nearest of 256 steps.
///
/// Values outside 0..=1 take the nearest end; NaN becomes 0.
#[inline]
#[allow(clippy::manual_clamp, reason = "`clamp` keeps NaN")]
pub fn encode(value: f32) -> u8 {
    // The same as `as u8`, in operations that a compiler turns into vector instructions: `max` takes
    // NaN to 0, and beside 2²³ a whole number stands in the lowest bits.
    let step = (value * 255.0 + 0.5).max(0.0).min(255.0).floor();
    (step + 8_388_608.0).to_bits() as u8
}

/// The value for which `code` stands: `code / 255`.
#[inline]
pub fn decode(code: u8) -> f32 {
    DECODED[code as usize]
}

/// [`decode`] of every byte, for inner loops.
pub static DECODED: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = code as f32 / 255.0;
        code += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_a_round_trip() {
        for code in 0..=u8::MAX {
            assert_eq!(encode(decode(code)), code);
        }
    }

    #[test]
    fn the_error_is_at_most_half_a_step() {
        for i in 0..=100_000 {
            let value = i as f32 / 100_000.0;
            assert!((decode(encode(value)) - value).abs() <= 0.5 / 255.0 + 1e-7, "{value}");
        }
    }

    #[test]
    fn what_lies_outside_takes_the_nearest_end() {
        assert_eq!([encode(-0.2), encode(1.3), encode(f32::NAN)], [0, 255, 0]);
    }
}
