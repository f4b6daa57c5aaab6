//! What a part of a set will be.

use schemas::{IngestSettings, Manifest, Part};
use serde::{Deserialize, Serialize};

use super::differences::{difference, settings_differences};

/// What a run that makes shards is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To make a set.
    Ingest,
    /// To add a part to a set.
    Append,
}

/// What decides the bytes of a part of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub created_by: String,
    /// Which version of the manifest the part will make.
    pub version: u32,
    pub settings: IngestSettings,
    pub sources: Vec<String>,
    pub follow_links: bool,
    #[serde(flatten)]
    pub columns: Columns,
    /// The listing's hash in hexadecimal.
    pub listing: String,
    /// Loose pictures and archives in the listing.
    pub units: u64,
    /// How many shards it has, where that is known before the first is made: they are then made in
    /// any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<u64>,
}

/// The columns of Parquet sources and lists that were named; others are found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Columns {
    pub image_column: Option<String>,
    pub label_column: Option<String>,
    #[serde(default)]
    pub url_column: Option<String>,
}

impl Plan {
    /// A sentence for each thing in which this plan differs from that of an earlier run.
    pub fn differences(&self, earlier: &Self) -> Vec<String> {
        let mut differences = settings_differences(&earlier.settings, &self.settings);
        for ((flag, then), (_, now)) in
            earlier.columns.named().into_iter().zip(self.columns.named())
        {
            if then != now {
                let text = |value: &Option<String>| value.clone().unwrap_or("not given".into());
                differences.push(difference(flag, &text(then), &text(now)));
            }
        }
        if earlier.created_by != self.created_by {
            let (then, now) = (&earlier.created_by, &self.created_by);
            differences.push(format!("it was made by {then}, this is {now}"));
        }
        if self.lists_others(earlier) {
            differences.push(format!(
                "the listed files are others: {} in the earlier run, {} now (compared by name and size)",
                earlier.units, self.units
            ));
        }
        differences
    }

    /// Whether it lists other files than an earlier run did. The listing's order depends on the seed,
    /// so that it says something only with the same.
    pub fn lists_others(&self, earlier: &Self) -> bool {
        earlier.settings.seed == self.settings.seed && earlier.listing != self.listing
    }

    /// A sentence for each setting in which it differs from a finished set.
    pub fn differences_from_set(&self, manifest: &Manifest) -> Vec<String> {
        settings_differences(&manifest.settings, &self.settings)
    }

    /// The place of the part of a finished set that is what this plan would make.
    pub fn made(&self, manifest: &Manifest) -> Option<usize> {
        let is_this =
            |part: &Part| part.listing == self.listing && Columns::of(part) == self.columns;
        let part = manifest.parts.iter().position(is_this);
        part.filter(|_| manifest.settings == self.settings)
    }
}

impl Columns {
    /// Those that were named when a part was made.
    pub fn of(part: &Part) -> Self {
        let Part { image_column, label_column, url_column, .. } = part.clone();
        Self { image_column, label_column, url_column }
    }

    /// Each with its flag.
    fn named(&self) -> [(&'static str, &Option<String>); 3] {
        [
            ("--image-column", &self.image_column),
            ("--label-column", &self.label_column),
            ("--url-column", &self.url_column),
        ]
    }
}
