//! `manifest.json`: which files belong to a shard set, and how they were made.

use serde::{Deserialize, Serialize};

use crate::{LayoutError, SCHEMA_VERSION, ShardLayout};

/// Everything that decides a shard set's bytes, besides the pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestSettings {
    /// View size, cells and bins.
    pub layout: ShardLayout,
    /// Views cut from each picture.
    pub views: u32,
    /// The seed from which, with the picture's content, every crop follows.
    pub seed: u64,
    /// Every JPEG that is cut short is rejected, however little is missing.
    pub strict: bool,
    /// The least share of a JPEG that must decode, in per cent, for it to be kept.
    pub min_decoded: u8,
    /// The shortest side a picture may have, in pixels.
    pub min_side: u32,
    /// The most pixels a picture may have.
    pub max_pixels: u64,
    /// The most times that a picture's longer side may be its shorter; 0 allows any.
    pub max_aspect: u32,
    /// A picture is of one colour if, in each channel, nearly all pixels lie within so many
    /// neighbouring levels of 256; 0 keeps such pictures.
    pub one_colour: u8,
    /// The colour (RGB) over which transparent pictures are laid.
    pub background: [u8; 3],
    /// JPEGs are decoded at 1/2, 1/4 or 1/8 where their crops are that much larger than a view.
    pub scaled_decode: bool,
    /// Listed pictures a shard; a shard holds at most this many · views rows.
    pub pictures_per_shard: u32,
    /// Most rows of a Parquet row group. A group has its own run of pictures, so that it has fewer
    /// rows where some were rejected.
    pub rows_per_group: u32,
    /// The zstd level of the Parquet pages.
    pub zstd_level: i32,
}

/// One shard of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    /// The file's name, relative to the manifest.
    pub file: String,
    /// Rows in it.
    pub rows: u64,
    /// Rows of each of its row groups, in order.
    pub row_groups: Vec<u32>,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub blake3: String,
}

/// `manifest.json`, written last: a folder without one is an unfinished set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// The program and its version.
    pub created_by: String,
    /// How the shards were made.
    pub settings: IngestSettings,
    /// BLAKE3, in hexadecimal, of the listing of sources from which the shards were made.
    pub listing: String,
    /// Class names in the order of their index; empty where the folders give none.
    pub classes: Vec<String>,
    /// Pictures that became rows.
    pub accepted: u64,
    /// Pictures among them that are cut short, and filled with grey from there.
    pub cut_short: u64,
    /// Pictures that are in `rejects.jsonl`.
    pub rejected: u64,
    /// Rows of all shards.
    pub rows: u64,
    /// Bytes of all shards.
    pub bytes: u64,
    /// The shards, in order.
    pub shards: Vec<ShardEntry>,
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
    /// A shard's name leads out of the manifest's folder.
    #[error("shard `{0}` lies outside the manifest's folder")]
    Outside(String),
}

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
        // The version first: a newer manifest need not have this one's fields.
        let Version { schema_version } = serde_json::from_str(text)?;
        if schema_version != SCHEMA_VERSION {
            return Err(ManifestError::Version(schema_version));
        }
        let manifest: Self = serde_json::from_str(text)?;
        let ShardLayout { size, cells, bins } = manifest.settings.layout.clone();
        ShardLayout::new(size, cells, bins)?;
        if let Some(shard) = manifest.shards.iter().find(|shard| {
            shard.file.contains(['/', '\\']) || shard.file == ".." || shard.file.is_empty()
        }) {
            return Err(ManifestError::Outside(shard.file.clone()));
        }
        Ok(manifest)
    }

    /// The text of `manifest.json`: indented JSON that ends in a newline.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers are JSON");
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            created_by: "ingest".into(),
            settings: IngestSettings {
                layout: ShardLayout::new(32, vec![4, 8], 9).unwrap(),
                views: 1,
                seed: 0,
                strict: false,
                min_decoded: 90,
                min_side: 1,
                max_pixels: 1 << 20,
                max_aspect: 0,
                one_colour: 4,
                background: [255; 3],
                scaled_decode: true,
                pictures_per_shard: 8,
                rows_per_group: 4,
                zstd_level: 3,
            },
            listing: "00".into(),
            classes: vec!["cat".into()],
            accepted: 1,
            cut_short: 0,
            rejected: 0,
            rows: 1,
            bytes: 10,
            shards: vec![ShardEntry {
                file: "shard-00000.parquet".into(),
                rows: 1,
                row_groups: vec![1],
                bytes: 10,
                blake3: "00".into(),
            }],
        }
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
    fn a_shard_outside_the_folder_is_refused() {
        let mut manifest = manifest();
        manifest.shards[0].file = "../secrets.parquet".into();
        assert!(matches!(Manifest::parse(&manifest.to_text()), Err(ManifestError::Outside(_))));
    }
}
