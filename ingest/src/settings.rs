//! What a run is asked to do, checked once; [`IngestSettings`] is the part that decides bytes.

use std::path::PathBuf;

use schemas::{IngestSettings, ShardLayout};

use crate::IngestError;

/// Bytes of a shard before compression at which the default number of pictures a shard aims.
const SHARD_BYTES: usize = 320 << 20;

/// Everything a run needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder under which the pictures lie.
    pub root: PathBuf,
    /// The folder for the shards; made if it is not there.
    pub out: PathBuf,
    /// Worker threads; 0 takes one a core. The bytes written do not depend on it.
    pub threads: usize,
    /// Symbolic links are followed instead of passed over.
    pub follow_links: bool,
    /// What decides the bytes, besides the pictures.
    pub ingest: IngestSettings,
}

impl Settings {
    /// The settings of a run without flags: views of 224 pixels, cells of 4, 8, 16 and 32, 9 bins.
    pub fn new(root: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        let layout = ShardLayout { size: 224, cells: vec![4, 8, 16, 32], bins: 9 };
        let views = 1;
        Self {
            root: root.into(),
            out: out.into(),
            threads: 0,
            follow_links: false,
            ingest: IngestSettings {
                views,
                seed: 0,
                strict: false,
                min_decoded: 90,
                min_side: 16,
                max_pixels: 178_956_970,
                max_aspect: 0,
                one_colour: 4,
                background: [255; 3],
                scaled_decode: false,
                pictures_per_shard: default_pictures_per_shard(&layout, views),
                rows_per_group: 64,
                zstd_level: 1,
                layout,
            },
        }
    }

    /// Whether every number is in its range.
    ///
    /// # Errors
    /// [`IngestError::Setting`], which names the flag.
    pub fn check(&self) -> Result<(), IngestError> {
        let IngestSettings { layout, views, min_side, max_pixels, .. } = &self.ingest;
        let invalid = |flag, problem| Err(IngestError::Setting { flag, problem });
        if let Err(error) = ShardLayout::new(layout.size, layout.cells.clone(), layout.bins) {
            return invalid("--size, --cells, --bins", error.to_string());
        }
        if !(1..=1024).contains(views) {
            return invalid("--views", format!("must be in 1..=1024, not {views}"));
        }
        if *min_side == 0 {
            return invalid("--min-side", "must be at least 1".into());
        }
        if *max_pixels == 0 {
            return invalid("--max-pixels", "must be at least 1".into());
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
        if !(1..=22).contains(&level) {
            return invalid("--zstd-level", format!("must be in 1..=22, not {level}"));
        }
        Ok(())
    }
}

/// Pictures a shard such that it has about 320 MiB before compression: a power of two, at most
/// 8192. A layout out of its range gives 1; [`Settings::check`] names what is wrong with it.
pub fn default_pictures_per_shard(layout: &ShardLayout, views: u32) -> u32 {
    let Ok(layout) = ShardLayout::new(layout.size, layout.cells.clone(), layout.bins) else {
        return 1;
    };
    let cells: usize = layout
        .cells
        .iter()
        .map(|&cell| layout.hog_bytes(cell) + layout.tie_bytes(cell) + 2 * layout.stat_bytes(cell))
        .sum();
    let picture = (layout.picture_bytes() + cells) * views.max(1) as usize;
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
        settings.ingest.layout.cells = vec![5];
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains("--cells") && error.contains('5'), "{error}");
    }
}
