//! What of an archive is no picture, by kind.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The media types that have a kind of their own. All others are kinds by their first word, so that
/// strangers can't make up as many as they like.
const TYPES: [&str; 22] = [
    "application/javascript",
    "application/json",
    "application/octet-stream",
    "application/pdf",
    "application/x-javascript",
    "application/xhtml+xml",
    "application/xml",
    "application/zip",
    "audio/mpeg",
    "font/woff2",
    "text/calendar",
    "text/css",
    "text/csv",
    "text/dns",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/vtt",
    "text/xml",
    "video/mp2t",
    "video/mp4",
    "video/webm",
];

/// How many responses of a crawl are no pictures, by what they say they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Passed(BTreeMap<String, u64>);

impl Passed {
    /// Counts one of a media type, which is in lower case and without parameters.
    pub(super) fn add_type(&mut self, media_type: Option<&str>) {
        let Some(media_type) = media_type.filter(|text| !text.is_empty()) else {
            return self.add("without a type");
        };
        let known = TYPES.iter().find(|&&known| known == media_type);
        self.add(known.copied().unwrap_or_else(|| match media_type.split('/').next() {
            Some("application") => "other application",
            Some("audio") => "other audio",
            Some("font") => "other font",
            Some("multipart") => "multipart",
            Some("text") => "other text",
            Some("video") => "other video",
            _ => "of an unknown type",
        }));
    }

    /// Counts one of a status that is no success.
    pub(super) fn add_status(&mut self, status: u16) {
        match status {
            100..600 => self.add(&format!("with status {status}")),
            _ => self.add("with a status that HTTP has not"),
        }
    }

    /// Counts one of a kind.
    pub(super) fn add(&mut self, kind: &str) {
        match self.0.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                self.0.insert(kind.to_owned(), 1);
            }
        }
    }

    /// Adds what another counted.
    pub fn merge(&mut self, other: Self) {
        for (kind, count) in other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// Whether nothing was passed over.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The kinds and how many of each, those with most first.
    pub fn kinds(&self) -> Vec<(&str, u64)> {
        let mut kinds: Vec<_> = self.0.iter().map(|(kind, &count)| (&**kind, count)).collect();
        kinds.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        kinds
    }
}

impl fmt::Display for Passed {
    /// The kinds and how many of each, as in `2 text/html, 1 revisits`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.kinds().into_iter().map(|(kind, count)| format!("{count} {kind}"));
        f.write_str(&kinds.collect::<Vec<_>>().join(", "))
    }
}

impl From<BTreeMap<String, u64>> for Passed {
    fn from(kinds: BTreeMap<String, u64>) -> Self {
        Self(kinds)
    }
}

impl From<Passed> for BTreeMap<String, u64> {
    fn from(passed: Passed) -> Self {
        passed.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_types_are_of_few_kinds() {
        let mut passed = Passed::default();
        for number in 0..100 {
            passed.add_type(Some(&format!("application/x-{number}")));
            passed.add_type(Some(&format!("{number}/html")));
        }
        passed.add_type(None);
        passed.add_status(404);
        let kinds = passed.kinds();
        assert_eq!(kinds[..2], [("of an unknown type", 100), ("other application", 100)]);
        assert_eq!((kinds.len(), passed.total()), (4, 202));
    }
}
