//! What `ingest` leaves on disk and `trainer` reads: nothing here opens a file.
//!
//! - [`layout`]: the shard's columns and what each holds ([`ShardLayout`]);
//! - [`checksums`]: of column chunks, in a shard's footer;
//! - [`code`]: how a value in 0..=1 is stored in one byte;
//! - [`crop`]: where in its picture a view was cut;
//! - [`filter`]: how a view's pixels are stored;
//! - [`manifest`]: `manifest.json`, which alone decides what belongs to a shard set;
//! - [`settings`]: everything that decides a set's bytes, besides the pictures;
//! - [`reject`]: a line of `rejects.jsonl`.
//!
//! `SHARDS.md` in the project's root tells the same for readers of other languages.

pub mod checksums;
pub mod code;
pub mod crop;
pub mod filter;
mod hash;
pub mod layout;
pub mod manifest;
pub mod reject;
pub mod settings;
mod table;

pub use checksums::ColumnChecksums;
pub use crop::Crop;
pub use filter::PictureFilter;
pub use hash::{GroupHash, ShardHash};
pub use layout::{CodebookLayout, LayoutError, ShardLayout};
pub use manifest::{FileEntry, Manifest, ManifestError, Part};
pub use reject::{Fault, Reason, Reject};
pub use settings::{IngestSettings, code_of_classes};
pub use table::{GroupRef, Place, Shard, ShardEntry, ShardTable};

/// The version of everything this crate describes; a reader refuses any other.
pub const SCHEMA_VERSION: u32 = 1;

/// The name of the manifest inside a shard folder. It is written last.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The name of the list of pictures that a set's first run rejected: one [`Reject`] a line. The
/// manifest names those of later runs.
pub const REJECTS_FILE: &str = "rejects.jsonl";

/// The name of the list of classes beside the manifest: a JSON object of class to index.
pub const CLASSES_FILE: &str = "classes.json";
