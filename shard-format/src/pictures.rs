//! The pictures of a shard, told by their columns of few bytes a row. A picture is told once, by the
//! first of its views.

use std::collections::BTreeMap;

use schemas::layout;

use crate::ShardsError;
use crate::columns::{ColumnError, Columns};
use crate::source::ShardFile;

/// What tells a picture that became rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The picture's number in the set.
    pub number: u64,
    /// BLAKE3 of its file.
    pub content: [u8; 32],
    /// Its perceptual hash, if it has one.
    pub perceptual: Option<u64>,
}

/// A picture of a shard, without its views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its first row, counted over the set.
    pub row: u64,
    /// Where it lies in the sources.
    pub source: String,
    /// Its class, if it has one.
    pub label: Option<String>,
    /// Width and height of the upright picture in pixels.
    pub size: (u32, u32),
    /// BLAKE3 of its file.
    pub content: [u8; 32],
    /// Its perceptual hash, if it has one.
    pub perceptual: Option<u64>,
}

impl ShardFile {
    /// The pictures of a shard that cuts so many views, in order.
    ///
    /// # Errors
    /// As all of them: [`ShardsError`] if the shard can't be read.
    pub fn fingerprints(&self, views: u32) -> Result<Vec<Fingerprint>, ShardsError> {
        let mut fingerprints = Vec::new();
        let names = [layout::ID, layout::CONTENT_HASH, layout::PERCEPTUAL_HASH];
        self.first_views(&names, views, |columns, _, rows| {
            let (id, content) = (columns.id()?, columns.content_hash()?);
            let perceptual = columns.perceptual_hash()?;
            fingerprints.extend(rows.iter().map(|&row| Fingerprint {
                number: id(row) / u64::from(views),
                content: content(row),
                perceptual: perceptual(row),
            }));
            Ok(())
        })?;
        Ok(fingerprints)
    }

    /// How many pictures of a shard that cuts so many views each class has.
    ///
    /// # Errors
    /// [`ShardsError`].
    pub fn classes(&self, views: u32) -> Result<BTreeMap<String, u64>, ShardsError> {
        let mut classes = BTreeMap::new();
        self.first_views(&[layout::ID, layout::LABEL], views, |columns, _, rows| {
            let label = columns.label()?;
            for class in rows.iter().filter_map(|&row| label(row)) {
                *classes.entry(class.to_owned()).or_default() += 1;
            }
            Ok(())
        })?;
        Ok(classes)
    }

    /// Number and source of each picture of a shard that cuts so many views, in order.
    ///
    /// # Errors
    /// [`ShardsError`].
    pub fn names(&self, views: u32) -> Result<Vec<(u64, String)>, ShardsError> {
        let mut names = Vec::new();
        self.first_views(&[layout::ID, layout::SOURCE], views, |columns, _, rows| {
            let (id, source) = (columns.id()?, columns.source()?);
            let of = |&row: &usize| (id(row) / u64::from(views), source(row).to_owned());
            names.extend(rows.iter().map(of));
            Ok(())
        })?;
        Ok(names)
    }

    /// The pictures of a shard that cuts so many views and whose rows begin at `first` of the set,
    /// in order.
    ///
    /// # Errors
    /// [`ShardsError`].
    pub fn listed(&self, views: u32, first: u64) -> Result<Vec<Listed>, ShardsError> {
        let names = [
            layout::ID,
            layout::SOURCE,
            layout::CONTENT_HASH,
            layout::PERCEPTUAL_HASH,
            layout::LABEL,
            layout::SOURCE_WIDTH,
            layout::SOURCE_HEIGHT,
        ];
        let mut pictures = Vec::new();
        self.first_views(&names, views, |columns, before, rows| {
            let (source, label, size) =
                (columns.source()?, columns.label()?, columns.source_size()?);
            let (content, perceptual) = (columns.content_hash()?, columns.perceptual_hash()?);
            pictures.extend(rows.iter().map(|&row| Listed {
                row: first + before + row as u64,
                source: source(row).to_owned(),
                label: label(row).map(str::to_owned),
                size: size(row),
                content: content(row),
                perceptual: perceptual(row),
            }));
            Ok(())
        })?;
        Ok(pictures)
    }

    /// Reads columns, the numbers of rows among them, and gives `each` the columns of some rows, how
    /// many rows of the shard lie before these, and the places of first views among them.
    fn first_views(
        &self,
        names: &[&str],
        views: u32,
        mut each: impl FnMut(Columns<'_>, u64, &[usize]) -> Result<(), ColumnError>,
    ) -> Result<(), ShardsError> {
        let views = u64::from(views.max(1));
        let mut before = 0;
        for batch in &self.columns(names)? {
            let columns = Columns::of(batch);
            let told = columns.id().and_then(|id| {
                let is_first = |row: &usize| id(*row).is_multiple_of(views);
                let rows: Vec<_> = (0..batch.num_rows()).filter(is_first).collect();
                each(columns, before, &rows)
            });
            told.map_err(|error| ShardsError::shard(self.at(), error))?;
            before += batch.num_rows() as u64;
        }
        Ok(())
    }
}
