//! What a run is asked to do, checked once; [`IngestSettings`] is the part that decides bytes, and
//! [`options`] the table of all that flags can set.

mod kinds;
pub mod options;

use std::path::PathBuf;

use schemas::{IngestSettings, LayoutError, ShardLayout};
use storage::{Address, Storage, StorageOptions};
use voice::options::Given;

use crate::IngestError;
use crate::classes::Classes;
use crate::codebook::Codebook;

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
        Self::of(vec![Address::from(root.into())], Address::from(out.into()))
    }

    /// The same, for sources anywhere.
    pub fn of(sources: Vec<Address>, out: Address) -> Self {
        let mut settings = Self {
            sources,
            out,
            append: false,
            storage: StorageOptions::default(),
            web: web::Options::new(USER_AGENT),
            threads: 0,
            memory: 0,
            follow_links: false,
            image_column: None,
            label_column: None,
            url_column: None,
            classes: None,
            codebooks: vec![],
            ingest: IngestSettings::default(),
        };
        options::rows().iter().for_each(|row| row.reset(&mut settings));
        settings.with_default_shards()
    }

    /// These settings with what was given of the options.
    #[must_use]
    pub fn given(self, given: &Given<options::All>) -> Self {
        let settings = self.with_given(given);
        if given.has(options::SHARD_PICTURES) { settings } else { settings.with_default_shards() }
    }

    /// The same, with as many pictures a shard as there were unless others are given.
    pub(crate) fn with_given(self, given: &Given<options::All>) -> Self {
        let mut settings = given.over(self);
        let (codebooks, classes) = (settings.codebooks.clone(), settings.classes.clone());
        if !codebooks.is_empty() {
            settings = settings.with_codebooks(codebooks);
        }
        if classes.is_some() {
            settings = settings.with_classes(classes);
        }
        settings
    }

    fn with_default_shards(mut self) -> Self {
        let IngestSettings { layout, views, pictures_per_shard, .. } = &mut self.ingest;
        *pictures_per_shard = default_pictures_per_shard(layout, *views);
        self
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

    /// Whether every number is in its range, and all fit together.
    ///
    /// # Errors
    /// [`IngestError::Setting`], which names the flag.
    pub fn check(&self) -> Result<(), IngestError> {
        let invalid = |flag, problem| Err(IngestError::Setting { flag, problem });
        if self.out.is_web() {
            let problem = format!(
                "{} can only be read, as all http addresses; give a folder, or an s3://, gs:// or az:// address",
                self.out
            );
            return invalid("--out", problem);
        }
        for row in options::rows() {
            row.check(self).or_else(|problem| invalid(row.flag, problem))?;
        }
        self.check_layout()?;
        if self.ingest.central && self.ingest.views > 1 {
            let problem = format!(
                "a picture has one central view, not {}; leave out one of both flags",
                self.ingest.views
            );
            return invalid("--central, --views", problem);
        }
        if self.ingest.classes != self.classes.as_ref().map(Classes::code) {
            return invalid("--classes", "must be set together with what tells them".into());
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
        if self.ingest.near_duplicates.is_some() && self.ingest.keep_duplicates {
            let problem = "near duplicates can't be rejected where exact ones are kept; leave out one of both flags";
            return invalid("--near-duplicates, --keep-duplicates", problem.into());
        }
        Ok(())
    }

    fn check_layout(&self) -> Result<(), IngestError> {
        let layout = &self.ingest.layout;
        let without = ShardLayout { codebooks: vec![], ..layout.clone() };
        for (layout, flag) in
            [(&without, "--size, --cells, --bins"), (layout, "--codebook, --size")]
        {
            let wrong =
                |error: LayoutError| IngestError::Setting { flag, problem: error.to_string() };
            layout.check().map_err(wrong)?;
        }
        if !self.codebooks.iter().map(Codebook::layout).eq(&layout.codebooks) {
            let problem = "must be set together with what tells them".into();
            return Err(IngestError::Setting { flag: "--codebook", problem });
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

/// Pictures of a run: those whose rows make a row group.
pub(crate) fn run_pictures(settings: &IngestSettings) -> u32 {
    (settings.rows_per_group / settings.views).max(1)
}

/// About the bytes that a run takes while it is worked on: its views, its rows, its groups, and
/// those of blocks that wait to be written.
pub(crate) fn run_bytes(settings: &IngestSettings) -> u64 {
    let rows = u64::from(run_pictures(settings)) * u64::from(settings.views);
    5 * rows * (settings.layout.row_bytes() as u64).max(1)
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
        let error = settings.check().unwrap_err().to_string();
        assert_eq!(error, "--views: must be 1 to 1024, not 0");
        let mut settings = Settings::new("a", "b");
        (settings.ingest.central, settings.ingest.views) = (true, 2);
        assert!(settings.check().unwrap_err().to_string().starts_with("--central"));
        let mut settings = Settings::new("a", "b");
        settings.ingest.layout.cells = vec![5];
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("--cells") && error.contains('5'), "{error}");
    }
}
