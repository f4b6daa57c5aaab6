//! What a row group's bytes are held against.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The first eight bytes of the BLAKE3 of a row group's bytes; 16 hexadecimal digits in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupHash([u8; 8]);

impl From<&blake3::Hash> for GroupHash {
    fn from(hash: &blake3::Hash) -> Self {
        Self(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"))
    }
}

impl Serialize for GroupHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", u64::from_be_bytes(self.0)))
    }
}

impl<'de> Deserialize<'de> for GroupHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;

        // A set has millions of them: none becomes a string of its own.
        impl Visitor<'_> for Digits {
            type Value = GroupHash;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("16 hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, digits: &str) -> Result<GroupHash, E> {
                let add = |value: u64, digit: u8| {
                    Some(value << 4 | u64::from(char::from(digit).to_digit(16)?))
                };
                let value = match digits.len() {
                    16 => digits.bytes().try_fold(0, add),
                    _ => None,
                };
                let wrong = || E::invalid_value(de::Unexpected::Str(digits), &self);
                value.map(|value| GroupHash(value.to_be_bytes())).ok_or_else(wrong)
            }
        }

        deserializer.deserialize_str(Digits)
    }
}
