//! Where the taps sit.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use voice::options::Kind;

/// Where the taps sit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Taps {
    /// After these layers.
    After(Vec<usize>),
    /// In a word.
    Named(NamedTaps),
}

/// Places for taps that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamedTaps {
    /// Those of LocalMIM's paper.
    Default,
    /// After the last layer alone.
    Top,
}

impl FromStr for Taps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Named(NamedTaps::Default)),
            "top" => Ok(Self::Named(NamedTaps::Top)),
            list => {
                let layers: Result<_, _> = list.split(',').map(str::parse).collect();
                layers
                    .map(Self::After)
                    .map_err(|_| "expected top, default, or layers as in 2,4,10,12".into())
            }
        }
    }
}

impl Taps {
    /// How a flag has them.
    pub(super) fn kind() -> Kind<Self> {
        let write = |taps: &Self| match taps {
            Self::Named(NamedTaps::Default) => "default".to_owned(),
            Self::Named(NamedTaps::Top) => "top".to_owned(),
            Self::After(layers) => {
                let layers: Vec<_> = layers.iter().map(ToString::to_string).collect();
                layers.join(",")
            }
        };
        Kind::new("TAPS", str::parse, write)
    }
}
