//! What a run is asked to do, checked once; [`IngestSettings`] is the part that decides bytes.

use std::path::PathBuf;

use schemas::{IngestSettings, PictureFilter, ShardLayout};
use shards::write::{DEFAULT_ZSTD_LEVEL, ZSTD_LEVELS};
use storage::{Address, Storage, StorageOptions};

use crate::IngestError;
use crate::classes::Classes;
use crate::codebook::Codebook;
use crate::duplicates::MOST_RADIUS;
use crate::make::run_bytes;

/// Bytes of a shard before compression at which the default number of pictures a shard aims.
const SHARD_BYTES: usize = 320 << 20;

/// What the web's servers are told who asks, unless it is set.
pub const USER_AGENT: &str = concat!("localmim-ingest/", env!("CARGO_PKG_VERSION"));

/// The least [`Settings::memory`].
pub const LEAST_MEMORY: u64 = 256 << 20;

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the pictures lie: folders, archives, lists and pictures.
    pub sources: Vec<Address>,
    /// The folder for the shards; made if it is not there.
    pub out: Address,
    /// The sources are added to the finished set in `out`.
    pub append: bool,
    /// How remote sources and outputs are reached.
    pub storage: StorageOptions,
    /// How addresses of lists are fetched.
    pub web: web::Options,
    /// Worker threads; 0 takes one a core. The bytes written do not depend on it.
    pub threads: usize,
    /// About how many bytes pictures and rows in work may take, at least
    /// [`LEAST_MEMORY`]. The bytes written do not depend on it.
    pub memory: u64,
    /// Symbolic links are followed instead of passed over.
    pub follow_links: bool,
    /// The column of Parquet sources that holds the pictures; found if none is named.
    pub image_column: Option<String>,
    /// The column of Parquet sources and lists that holds the classes; found if none is named.
    pub label_column: Option<String>,
    /// The column of lists that holds the addresses; found if none is named.
    pub url_column: Option<String>,
    /// The only classes that there may be, with their indices; set by [`Self::with_classes`].
    pub classes: Option<Classes>,
    /// The codebooks whose codes are stored, by rising patch; set by [`Self::with_codebooks`].
    pub codebooks: Vec<Codebook>,
    /// What decides the bytes, besides the pictures.
    pub ingest: IngestSettings,
}

impl Settings {
    /// The settings of a run without flags: views of 224 pixels, cells of 4, 8, 16 and 32, 9 bins.
    pub fn new(root: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        let layout = ShardLayout {
            size: 224,
            cells: vec![4, 8, 16, 32],
            bins: 9,
            codebooks: vec![],
            picture_filter: PictureFilter::GreenUp,
        };
        let views = 1;
        Self {
            sources: vec![Address::from(root.into())],
            out: Address::from(out.into()),
            append: false,
            storage: StorageOptions::default(),
            web: web::Options::new(USER_AGENT),
            threads: 0,
            memory: 4 << 30,
            follow_links: false,
            image_column: None,
            label_column: None,
            url_column: None,
            classes: None,
            codebooks: vec![],
            ingest: IngestSettings {
                views,
                seed: 0,
                central: false,
                strict: false,
                min_decoded: 90,
                min_side: 16,
                max_pixels: 178_956_970,
                max_bytes: None,
                max_aspect: 0,
                one_colour: 4,
                background: [255; 3],
                scaled_decode: false,
                pictures_per_shard: default_pictures_per_shard(&layout, views),
                rows_per_group: 64,
                zstd_level: DEFAULT_ZSTD_LEVEL,
                keep_duplicates: false,
                near_duplicates: None,
                classes: None,
                layout,
            },
        }
    }

    /// These settings with a fixed mapping of classes to indices: pictures of other classes are
    /// rejected, pictures without one are kept.
    #[must_use]
    pub fn with_classes(mut self, classes: Option<Classes>) -> Self {
        self.ingest.classes = classes.as_ref().map(Classes::code);
        self.classes = classes;
        self
    }

    /// These settings with codebooks, of which the nearest code of each patch is stored.
    #[must_use]
    pub fn with_codebooks(mut self, codebooks: Vec<Codebook>) -> Self {
        let codebooks = Codebook::by_patch(codebooks);
        self.ingest.layout.codebooks =
            codebooks.iter().map(|codebook| codebook.layout().clone()).collect();
        self.codebooks = codebooks;
        self
    }

    /// Whether every number is in its range.
    ///
    /// # Errors
    /// [`IngestError::Setting`], which names the flag.
    pub fn check(&self) -> Result<(), IngestError> {
        let IngestSettings { layout, views, min_side, max_pixels, .. } = &self.ingest;
        let invalid = |flag, problem| Err(IngestError::Setting { flag, problem });
        if self.out.is_web() {
            let problem = format!(
                "{} can only be read, as all http addresses; give a folder, or an s3://, gs:// or az:// address",
                self.out
            );
            return invalid("--out", problem);
        }
        let without = ShardLayout { codebooks: vec![], ..layout.clone() };
        for (layout, flags) in
            [(&without, "--size, --cells, --bins"), (layout, "--codebook, --size")]
        {
            if let Err(error) = layout.check() {
                return invalid(flags, error.to_string());
            }
        }
        if !self.codebooks.iter().map(Codebook::layout).eq(&layout.codebooks) {
            return invalid("--codebook", "must be set together with what tells them".into());
        }
        if self.threads > 1024 {
            return invalid("--threads", format!("must be at most 1024, not {}", self.threads));
        }
        if !(1..=1024).contains(views) {
            return invalid("--views", format!("must be in 1..=1024, not {views}"));
        }
        if self.ingest.central && *views > 1 {
            let problem =
                format!("a picture has one central view, not {views}; leave out one of both flags");
            return invalid("--central, --views", problem);
        }
        if *min_side == 0 {
            return invalid("--min-side", "must be at least 1".into());
        }
        if *max_pixels == 0 {
            return invalid("--max-pixels", "must be at least 1".into());
        }
        if self.ingest.classes != self.classes.as_ref().map(Classes::code) {
            return invalid("--classes", "must be set together with what tells them".into());
        }
        if self.ingest.max_bytes == Some(0) {
            return invalid("--max-bytes", "must be at least 1".into());
        }
        let share = self.ingest.min_decoded;
        if share > 100 {
            return invalid("--min-decoded", format!("must be in 0..=100 per cent, not {share}"));
        }
        let pictures = self.ingest.pictures_per_shard;
        if !(1..=1 << 20).contains(&pictures) {
            return invalid("--shard-pictures", format!("must be in 1..=1048576, not {pictures}"));
        }
        let rows = self.ingest.rows_per_group;
        if !(1..=1 << 16).contains(&rows) {
            return invalid("--rows-per-group", format!("must be in 1..=65536, not {rows}"));
        }
        let level = self.ingest.zstd_level;
        if level == 0 || !ZSTD_LEVELS.contains(&level) {
            let (least, most) = (ZSTD_LEVELS.start(), ZSTD_LEVELS.end());
            let problem = format!("must be in {least}..=-1 or in 1..={most}, not {level}");
            return invalid("--zstd-level", problem);
        }
        // At least one run of rows must fit into their share.
        let least = LEAST_MEMORY.max(run_bytes(&self.ingest).saturating_mul(8).div_ceil(3));
        if self.memory < least {
            let problem = format!(
                "must be at least {} MiB for row groups of this size",
                least.div_ceil(1 << 20)
            );
            return invalid("--memory-limit", problem);
        }
        if !web::Options::can_tell(&self.web.user_agent) {
            let problem = "must be a name that can be told to servers: a line of printable text";
            return invalid("--user-agent", problem.into());
        }
        if self.web.at_once == 0 || self.web.per_host == 0 {
            return invalid("--downloads, --downloads-per-host", "must be at least 1".into());
        }
        if let Some(radius) = self.ingest.near_duplicates {
            if radius > MOST_RADIUS {
                let problem = format!("must be in 0..={MOST_RADIUS} bits, not {radius}");
                return invalid("--near-duplicates", problem);
            }
            if self.ingest.keep_duplicates {
                let problem = "near duplicates can't be rejected where exact ones are kept; leave out one of both flags";
                return invalid("--near-duplicates, --keep-duplicates", problem.into());
            }
        }
        Ok(())
    }

    /// What reaches sources and output.
    pub(crate) fn storage(&self) -> Result<Storage, IngestError> {
        Ok(Storage::new(self.storage.clone())?)
    }
}

/// Pictures a shard such that it has about 320 MiB before compression: a power of two, at most
/// 8192. A layout out of its range gives 1; [`Settings::check`] names what is wrong with it.
pub fn default_pictures_per_shard(layout: &ShardLayout, views: u32) -> u32 {
    if layout.check().is_err() {
        return 1;
    }
    let picture = layout.row_bytes() * views.max(1) as usize;
    let pictures = (SHARD_BYTES / picture).clamp(1, 8192);
    1 << pictures.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range() {
        Settings::new("a", "b").check().unwrap();
    }

    #[test]
    fn an_output_that_can_only_be_read_is_refused_at_once() {
        let mut settings = Settings::new("a", "b");
        settings.out = Address::parse("https://host/shards").unwrap();
        let error = settings.check().unwrap_err().to_string();
        assert!(error.starts_with("--out") && error.contains("https://host/shards"), "{error}");
    }

    #[test]
    fn a_shard_has_fewer_pictures_the_more_views_it_cuts() {
        let layout = Settings::new("a", "b").ingest.layout;
        assert_eq!(default_pictures_per_shard(&layout, 1), 1024);
        assert_eq!(default_pictures_per_shard(&layout, 4), 256);
    }

    #[test]
    fn what_is_out_of_range_is_named_by_its_flag() {
        let mut settings = Settings::new("a", "b");
        settings.ingest.views = 0;
        assert!(settings.check().unwrap_err().to_string().starts_with("--views"));
        let mut settings = Settings::new("a", "b");
        (settings.ingest.central, settings.ingest.views) = (true, 2);
        assert!(settings.check().unwrap_err().to_string().starts_with("--central"));
        let mut settings = Settings::new("a", "b");
        settings.ingest.layout.cells = vec![5];
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("--cells") && error.contains('5'), "{error}");
    }
}
