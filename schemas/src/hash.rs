//! What files and row groups are held against: the beginning of the BLAKE3 of their bytes.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The first `BYTES` bytes of a BLAKE3; twice as many hexadecimal digits as text and in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Blake3<const BYTES: usize>([u8; BYTES]);

/// Of the bytes of a row group.
pub type GroupHash = Blake3<8>;

/// Of the bytes of a shard.
pub type ShardHash = Blake3<32>;

impl<const BYTES: usize> From<&blake3::Hash> for Blake3<BYTES> {
    fn from(hash: &blake3::Hash) -> Self {
        Self(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }
}

impl<const BYTES: usize> Blake3<BYTES> {
    /// The one of these hexadecimal digits, if they are that.
    pub(crate) fn of_digits(digits: &[u8]) -> Option<Self> {
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != BYTES || !rest.is_empty() {
            return None;
        }
        let (mut hash, mut all) = ([0; BYTES], 0);
        for (byte, pair) in hash.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| DIGITS[usize::from(digit)]);
            all |= high | low;
            *byte = high << 4 | low;
        }
        (all < 16).then_some(Self(hash))
    }
}

impl<const BYTES: usize> fmt::Display for Blake3<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 2 * blake3::OUT_LEN];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 15].map(|value| b"0123456789abcdef"[usize::from(value)]);
        }
        f.write_str(str::from_utf8(&text[..2 * BYTES]).expect("digits are ASCII"))
    }
}

impl<const BYTES: usize> fmt::Debug for Blake3<BYTES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const BYTES: usize> Serialize for Blake3<BYTES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const BYTES: usize> Deserialize<'de> for Blake3<BYTES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<const BYTES: usize>;

        // A set has millions of them: none becomes a string of its own.
        impl<const BYTES: usize> Visitor<'_> for Digits<BYTES> {
            type Value = Blake3<BYTES>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} hexadecimal digits", 2 * BYTES)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Blake3<BYTES>, E> {
                let wrong = || E::invalid_value(de::Unexpected::Str(text), &self);
                Blake3::of_digits(text.as_bytes()).ok_or_else(wrong)
            }
        }

        deserializer.deserialize_str(Digits)
    }
}

/// The value of each byte as a hexadecimal digit; [`u8::MAX`] of those that are none.
const DIGITS: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value as usize] as usize] = value;
        values[b"0123456789ABCDEF"[value as usize] as usize] = value;
        value += 1;
    }
    values
};
