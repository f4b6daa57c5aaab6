//! `manifest.json`: which files belong to a shard set, and how they were made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    IngestSettings, LayoutError, Reason, SCHEMA_VERSION, Shard, ShardTable, code_of_classes,
};

/// What one run of `ingest` added to a set: the first made it, each later one appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The sources as they were given, without credentials.
    pub sources: Vec<String>,
    /// Symbolic links were followed.
    pub follow_links: bool,
    /// The column of Parquet sources that holds the pictures, if one was named.
    pub image_column: Option<String>,
    /// The column of Parquet sources and lists that holds the classes, if one was named.
    pub label_column: Option<String>,
    /// The column of lists that holds the addresses, if one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_column: Option<String>,
    /// BLAKE3, in hexadecimal, of names and sizes of the listed pictures and archives, in order. Of a
    /// part that Spark or Ray brought: `engine:`, and the same of the pictures' places in that order.
    pub listing: String,
    /// The number of its first picture in the set.
    pub first: u64,
    /// Its pictures, rejected ones among them.
    pub pictures: u64,
    /// The number of its first shard.
    pub first_shard: u64,
    /// Its shards, those among them that have no row and so no file.
    pub shards: u64,
    /// Pictures that became rows.
    pub accepted: u64,
    /// Pictures among them that are cut short, and filled with grey from there.
    pub cut_short: u64,
    /// Pictures that are in its list of rejects, by reason.
    pub rejected: BTreeMap<Reason, u64>,
    /// Responses of crawls that are no pictures and were passed over, by what they say they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub passed: BTreeMap<String, u64>,
    /// The list of its rejects.
    pub rejects: FileEntry,
}

/// A file of the set that is no shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// The file's name, relative to the manifest.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub blake3: String,
}

/// `manifest.json`, written last: a folder without one is an unfinished set.
///
/// It is the newest of the numbered manifests, which stay: each names a whole set, and every later
/// one all that the earlier ones name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// The program and its version.
    pub created_by: String,
    /// Which manifest of the set this is, from 1; as many parts belong to it.
    pub version: u32,
    /// How the shards were made.
    pub settings: IngestSettings,
    /// The runs that made the set, in order.
    pub parts: Vec<Part>,
    /// Class names in the order of their index; empty where the sources give none. A later version
    /// adds to the end. Where the settings name classes, all of those, and no other.
    pub classes: Vec<String>,
    /// Pictures that became rows, of each class.
    pub class_pictures: Vec<u64>,
    /// Pictures that became rows.
    pub accepted: u64,
    /// Pictures among them that are cut short, and filled with grey from there.
    pub cut_short: u64,
    /// Pictures that are in the lists of rejects.
    pub rejected: u64,
    /// Rows of all shards.
    pub rows: u64,
    /// Bytes of all shards.
    pub bytes: u64,
    /// The shards, in order.
    pub shards: ShardTable,
}

/// A manifest that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not the JSON of a manifest.
    #[error("not a manifest of ingest: {0}")]
    Json(#[from] serde_json::Error),
    /// Another version of the schema.
    #[error(
        "schema version {0}, but this program reads version {SCHEMA_VERSION}; ingest the pictures again, or use the release that wrote them"
    )]
    Version(u32),
    /// Its layout does not fit together.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file's name leads out of the manifest's folder, or is none.
    #[error("`{0}` is no name of a file in the manifest's folder")]
    Outside(String),
    /// It has more row groups than are counted.
    #[error("{0} row groups, but a set may have no more than 4294967295; make them larger")]
    Groups(usize),
    /// Two of its numbers contradict each other.
    #[error("its numbers contradict each other: {0}")]
    Contradiction(String),
}

/// What comes after `shards`, which are a manifest's last field, and the bracket that opens them.
const CLOSING: &str = "]\n}";

impl Manifest {
    /// Reads and checks the text of a `manifest.json`.
    ///
    /// # Errors
    /// [`ManifestError`] if it is no manifest, of another version, or its numbers do not fit.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let manifest = serde_json::from_str::<Self>(text).map_err(|error| {
            // Another version need not have this one's fields.
            match serde_json::from_str(text) {
                Ok(Version { schema_version }) if schema_version != SCHEMA_VERSION => {
                    ManifestError::Version(schema_version)
                }
                _ => error.into(),
            }
        })?;
        manifest.checked()
    }

    /// The manifest of which the text up to its first shard is `head` and the rest is read already,
    /// checked as by [`parse`](Self::parse).
    ///
    /// # Errors
    /// As there; of a head that is none the error's place is of no use.
    pub fn of_head(mut head: String, shards: ShardTable) -> Result<Self, ManifestError> {
        head.push_str(CLOSING);
        Self { shards, ..serde_json::from_str(&head)? }.checked()
    }

    fn checked(self) -> Result<Self, ManifestError> {
        if self.schema_version != SCHEMA_VERSION {
            return Err(ManifestError::Version(self.schema_version));
        }
        self.settings.layout.check()?;
        let files = self.shards.iter().map(|shard| shard.file);
        let lists = self.parts.iter().map(|part| &*part.rejects.file);
        if let Some(file) = files.chain(lists).find(|file| {
            let elsewhere = file.contains(['/', '\\']) || *file == ".." || file.is_empty();
            elsewhere || file.contains(char::is_control)
        }) {
            return Err(ManifestError::Outside(file.to_owned()));
        }
        let groups = self.shards.group_count();
        if u32::try_from(groups).is_err() {
            return Err(ManifestError::Groups(groups));
        }
        self.check()?;
        Ok(self)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let contradiction = |text: String| Err(ManifestError::Contradiction(text));
        for shard in &self.shards {
            let groups = shard.row_groups().len();
            if shard.row_group_ends().len() != groups || shard.row_group_hashes().len() != groups {
                return contradiction(format!("row groups of {}", shard.file));
            }
            let last = shard.row_group_ends().last();
            if last.is_some_and(|end| end > shard.bytes) || !shard.row_group_ends().is_sorted() {
                return contradiction(format!("bytes of {}", shard.file));
            }
            if self.part_of(&shard).is_none() {
                return contradiction(format!("{} belongs to no part", shard.file));
            }
        }
        if self.parts.len() != self.version as usize {
            return contradiction(format!("version {}, {} parts", self.version, self.parts.len()));
        }
        if self.classes.len() != self.class_pictures.len() {
            return contradiction("classes and their pictures".into());
        }
        let given = self.settings.classes.as_ref();
        if given.is_some_and(|code| *code != code_of_classes(&self.classes)) {
            return contradiction("classes and the settings".into());
        }
        self.check_sums()
    }

    /// This manifest with its totals summed up over its parts and shards.
    #[must_use]
    pub fn with_totals(self) -> Self {
        Self {
            accepted: self.parts.iter().map(|part| part.accepted).sum(),
            cut_short: self.parts.iter().map(|part| part.cut_short).sum(),
            rejected: self.parts.iter().flat_map(|part| part.rejected.values()).sum(),
            rows: self.shards.iter().map(|shard| shard.rows).sum(),
            bytes: self.shards.iter().map(|shard| shard.bytes).sum(),
            ..self
        }
    }

    /// Whether every total is the sum of what it is made of. Sums can't overflow in 128 bits.
    fn check_sums(&self) -> Result<(), ManifestError> {
        let contradiction = |text: String| Err(ManifestError::Contradiction(text));
        fn sum(numbers: impl Iterator<Item = u64>) -> u128 {
            numbers.map(u128::from).sum()
        }
        for shard in &self.shards {
            let rows: u64 = shard.row_groups().map(u64::from).sum();
            if rows != shard.rows {
                return contradiction(format!("rows of {}", shard.file));
            }
        }
        let (mut first, mut first_shard) = (0, 0);
        for (version, part) in (1..).zip(&self.parts) {
            let rejected = sum(part.rejected.values().copied());
            if part.first != first || part.first_shard != first_shard {
                return contradiction(format!("where part {version} begins"));
            }
            if u128::from(part.pictures) != u128::from(part.accepted) + rejected
                || part.cut_short > part.accepted
            {
                return contradiction(format!("pictures of part {version}"));
            }
            first = first.saturating_add(part.pictures);
            first_shard = first_shard.saturating_add(part.shards);
        }
        let rows = u128::from(self.accepted) * u128::from(self.settings.views);
        if u128::from(self.rows) != rows {
            return contradiction("rows, pictures and views".into());
        }
        if sum(self.class_pictures.iter().copied()) > u128::from(self.accepted) {
            return contradiction("pictures of the classes".into());
        }
        let totals = [
            ("rows", self.rows, sum(self.shards.iter().map(|shard| shard.rows))),
            ("bytes", self.bytes, sum(self.shards.iter().map(|shard| shard.bytes))),
            ("accepted", self.accepted, sum(self.parts.iter().map(|part| part.accepted))),
            ("cut_short", self.cut_short, sum(self.parts.iter().map(|part| part.cut_short))),
            (
                "rejected",
                self.rejected,
                sum(self.parts.iter().flat_map(|part| part.rejected.values().copied())),
            ),
        ];
        for (name, total, sum) in totals {
            if u128::from(total) != sum {
                return contradiction(format!("{name} is {total}, but its parts come to {sum}"));
            }
        }
        Ok(())
    }

    /// Whether this manifest is what appending to the set of `earlier` can have made.
    pub fn grew_from(&self, earlier: &Self) -> bool {
        self.settings == earlier.settings
            && self.version >= earlier.version
            && self.parts.starts_with(&earlier.parts)
            && self.classes.starts_with(&earlier.classes)
            && self.shards_of(earlier.version).eq(&earlier.shards)
    }

    /// The shards that the first `version` parts made.
    pub fn shards_of(&self, version: u32) -> impl Iterator<Item = Shard<'_>> {
        let last = self.parts[..self.parts.len().min(version as usize)].last();
        let end = last.map_or(0, |part| part.first + part.pictures);
        self.shards.iter().filter(move |shard| shard.first < end)
    }

    /// The part that made a shard of this manifest.
    pub fn part_of(&self, shard: &Shard<'_>) -> Option<&Part> {
        self.parts
            .iter()
            .find(|part| (part.first..part.first + part.pictures).contains(&shard.first))
    }

    /// The name of version `version` of a set's manifest: the same bytes as
    /// [`MANIFEST_FILE`](crate::MANIFEST_FILE) had when it was the newest.
    pub fn file_of_version(version: u32) -> String {
        format!("manifest-{version:05}.json")
    }

    /// The text of `classes.json`: an object of class to index, in the order of the indices.
    pub fn classes_text(&self) -> String {
        let mut text = String::from("{");
        for (index, class) in self.classes.iter().enumerate() {
            let class = serde_json::to_string(class).expect("a string is JSON");
            text.push_str(if index == 0 { "\n  " } else { ",\n  " });
            text.push_str(&format!("{class}: {index}"));
        }
        text.push_str(if self.classes.is_empty() { "}\n" } else { "\n}\n" });
        text
    }

    /// The text of `manifest.json`: indented JSON, a shard a line, that ends in a newline.
    pub fn to_text(&self) -> String {
        let json = "strings and numbers are JSON";
        let without_shards = Self { shards: ShardTable::default(), ..self.clone() };
        let mut text = serde_json::to_string_pretty(&without_shards).expect(json);
        // `shards` is the last field, so that what closes an empty list is the end.
        text.truncate(text.len() - CLOSING.len());
        for (index, shard) in self.shards.iter().enumerate() {
            text.push_str(if index == 0 { "\n    " } else { ",\n    " });
            text.push_str(&serde_json::to_string(&shard.entry()).expect(json));
        }
        text.push_str(if self.shards.is_empty() { "]\n}\n" } else { "\n  ]\n}\n" });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, ShardEntry, ShardLayout};

    fn manifest() -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            created_by: "ingest".into(),
            settings: IngestSettings {
                layout: ShardLayout::new(32, vec![4, 8], 9).unwrap(),
                views: 1,
                seed: 0,
                central: false,
                strict: false,
                min_decoded: 90,
                min_side: 1,
                max_pixels: 1 << 20,
                max_bytes: None,
                max_aspect: 0,
                one_colour: 4,
                background: [255; 3],
                scaled_decode: true,
                pictures_per_shard: 8,
                rows_per_group: 4,
                zstd_level: 3,
                keep_duplicates: false,
                near_duplicates: None,
                classes: None,
            },
            version: 1,
            parts: vec![Part {
                sources: vec!["photos".into()],
                follow_links: false,
                image_column: None,
                label_column: None,
                url_column: None,
                listing: "00".into(),
                first: 0,
                pictures: 3,
                first_shard: 0,
                shards: 1,
                accepted: 1,
                cut_short: 0,
                rejected: BTreeMap::from([(Reason::Empty, 2)]),
                passed: BTreeMap::new(),
                rejects: FileEntry { file: "rejects.jsonl".into(), bytes: 0, blake3: "00".into() },
            }],
            classes: vec!["cat".into()],
            class_pictures: vec![1],
            accepted: 1,
            cut_short: 0,
            rejected: 2,
            rows: 1,
            bytes: 10,
            shards: [shard()].into_iter().collect(),
        }
    }

    fn shard() -> ShardEntry {
        ShardEntry {
            file: "shard-00000.parquet".into(),
            rows: 1,
            row_groups: vec![1],
            row_group_ends: vec![8],
            row_group_hashes: vec![(&blake3::hash(b"a row group")).into()],
            bytes: 10,
            blake3: (&blake3::hash(b"a shard")).into(),
            first: 0,
            pictures: 3,
            start: Place::default(),
        }
    }

    /// The manifest with its shard changed.
    fn with(spoil: impl FnOnce(&mut ShardEntry)) -> Manifest {
        let mut shard = shard();
        spoil(&mut shard);
        Manifest { shards: [shard].into_iter().collect(), ..manifest() }
    }

    #[test]
    fn a_manifest_survives_a_round_trip() {
        assert_eq!(Manifest::parse(&manifest().to_text()).unwrap(), manifest());
    }

    #[test]
    fn another_version_is_refused_even_if_fields_are_missing() {
        let error = Manifest::parse(r#"{"schema_version": 9}"#).unwrap_err();
        assert!(matches!(error, ManifestError::Version(9)), "{error}");
    }

    #[test]
    fn a_row_groups_hash_is_the_beginning_of_its_blake3() {
        let hash = blake3::hash(b"a row group");
        let text = manifest().to_text();
        assert!(text.contains(&format!("\"{}\"", &hash.to_hex()[..16])), "{text}");
        for wrong in ["", "0123", "+123456789abcdef", "0123456789abcdeg", "0123456789abcdef0"] {
            let spoilt = text.replace(&hash.to_hex()[..16], wrong);
            let parsed = Manifest::parse(&spoilt);
            assert!(matches!(parsed, Err(ManifestError::Json(_))), "{wrong}");
        }
    }

    #[test]
    fn a_shard_outside_the_folder_is_refused() {
        for file in ["../secrets.parquet", "", "..", "shard\x1b[2J.parquet"] {
            let parsed = Manifest::parse(&with(|shard| shard.file = file.into()).to_text());
            assert!(matches!(parsed, Err(ManifestError::Outside(_))), "{file}");
        }
    }

    #[test]
    fn a_shard_takes_one_line_of_the_text() {
        let mut manifest = manifest();
        manifest.shards.extend([shard()]);
        let text = manifest.to_text();
        assert_eq!(text.lines().filter(|line| line.contains("shard-00000.parquet")).count(), 2);
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        manifest.shards = ShardTable::default();
        assert_eq!(serde_json::from_str::<Manifest>(&manifest.to_text()).unwrap(), manifest);
    }

    #[test]
    fn numbers_that_contradict_each_other_are_refused() {
        let spoil: [fn(&mut Manifest); 15] = [
            |manifest| manifest.settings.classes = Some(code_of_classes(&[])),
            |manifest| manifest.rows = 2,
            |manifest| manifest.bytes = 11,
            |manifest| manifest.accepted = 2,
            |manifest| manifest.cut_short = 1,
            |manifest| manifest.rejected = u64::MAX,
            |manifest| *manifest = with(|shard| shard.rows = 2),
            |manifest| manifest.parts[0].pictures = 4,
            |manifest| manifest.parts[0].first_shard = 1,
            |manifest| manifest.class_pictures[0] = 2,
            |manifest| manifest.version = 2,
            |manifest| manifest.class_pictures.clear(),
            |manifest| *manifest = with(|shard| shard.row_group_ends.clear()),
            |manifest| *manifest = with(|shard| shard.row_group_ends[0] = 11),
            |manifest| *manifest = with(|shard| shard.first = 3),
        ];
        for spoil in spoil {
            let mut manifest = manifest();
            spoil(&mut manifest);
            let error = Manifest::parse(&manifest.to_text()).unwrap_err();
            assert!(matches!(error, ManifestError::Contradiction(_)), "{error}");
        }
    }
}
