//! Opens a shard set: its manifest, its rejects, and any of its rows.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{UInt32Type, UInt64Type};
use parquet::errors::ParquetError;
use schemas::{CodebookLayout, Crop, FileEntry, Manifest, Reject, ShardEntry, ShardLayout, layout};
use shards::set::manifest;
use storage::{Address, Storage};

use crate::IngestError;
use crate::stored::ShardFile;

/// A finished shard set.
#[derive(Debug, Clone)]
pub struct ShardSet {
    storage: Storage,
    at: Address,
    manifest: Manifest,
}

/// One row, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The row's number.
    pub id: u64,
    /// Where the picture lies in the sources.
    pub source: String,
    /// BLAKE3 of the picture file.
    pub content_hash: Vec<u8>,
    /// The picture's perceptual hash, if it has one.
    pub perceptual_hash: Option<u64>,
    /// The class, where the folder gives one.
    pub label: Option<String>,
    /// Which view of its picture.
    pub view: u32,
    /// Width and height of the upright picture in pixels.
    pub source_size: (u32, u32),
    /// The view's crop of it.
    pub crop: Crop,
    /// The view: size·size·3 bytes, ordered (row, column, channel).
    pub picture: Vec<u8>,
    /// The targets, one entry a cell size.
    pub cells: Vec<StoredCells>,
    /// The codes, one entry a codebook.
    pub codes: Vec<StoredCodes>,
}

/// What a row holds for one codebook.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCodes {
    /// The patch's side in pixels.
    pub cell: u32,
    /// Each patch's nearest code, `[grid²]`.
    pub codes: Vec<u16>,
    /// Those of the mirrored view, `[grid²]`, patches in its own rows.
    pub mirrored: Vec<u16>,
}

/// What a row holds for one cell size.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCells {
    /// The cell's side in pixels.
    pub cell: u32,
    /// HOG codes, `[grid², 3·bins]`; [`schemas::code::decode`] gives the values.
    pub hog: Vec<u8>,
    /// Codes of the shares on tie edges, `[grid², 3·edges]`.
    pub ties: Vec<u8>,
    /// Patch means of the normalised picture, `[grid²]`.
    pub mean: Vec<f32>,
    /// Patch inverse deviations, `[grid²]`.
    pub inv_std: Vec<f32>,
}

impl ShardSet {
    /// Opens the set in the local folder `folder`.
    ///
    /// # Errors
    /// [`IngestError::NoSet`] if there is none or it is unfinished, [`IngestError::Damaged`] if
    /// its manifest can't be used.
    pub fn open(folder: &Path) -> Result<Self, IngestError> {
        Self::open_at(&Storage::local(), &Address::from(folder))
    }

    /// Opens the set at an address.
    ///
    /// # Errors
    /// As [`Self::open`], and [`IngestError::Storage`] if the address can't be reached.
    pub fn open_at(storage: &Storage, at: &Address) -> Result<Self, IngestError> {
        let Some(manifest) = manifest::find(storage, at)? else {
            return Err(manifest::missing(storage, at).into());
        };
        Ok(Self::new(storage, at, manifest))
    }

    /// The set at an address of which the manifest, the newest or an earlier one, is known.
    pub fn new(storage: &Storage, at: &Address, manifest: Manifest) -> Self {
        Self { storage: storage.clone(), at: at.clone(), manifest }
    }

    /// What reaches it.
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Where it lies.
    pub(crate) fn at(&self) -> &Address {
        &self.at
    }

    /// The set's manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The rejects of the set, in listing order.
    ///
    /// # Errors
    /// [`IngestError`] if the lists can't be read.
    pub fn rejects(&self) -> Result<Vec<Reject>, IngestError> {
        let lists = self.manifest.parts.iter().map(|part| &part.rejects);
        let rejects = lists.map(|list| self.list(list)).collect::<Result<Vec<_>, _>>()?;
        Ok(rejects.into_iter().flatten().collect())
    }

    fn list(&self, list: &FileEntry) -> Result<Vec<Reject>, IngestError> {
        let at = self.at.join(&list.file);
        let bytes = match self.storage.read(&at) {
            Err(error) if error.is_missing() => {
                let problem = format!("it is gone; `ingest repair {}` makes it again", self.at);
                return Err(IngestError::Damaged { file: at.to_string(), problem });
            }
            bytes => bytes?,
        };
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines
            .enumerate()
            .map(|(index, line)| {
                serde_json::from_slice(line).map_err(|error| IngestError::Damaged {
                    file: at.to_string(),
                    problem: format!(
                        "line {}: {error}; `ingest repair {}` makes it again",
                        index + 1,
                        self.at
                    ),
                })
            })
            .collect()
    }

    /// Row `index` of the set, counted over its shards in order.
    ///
    /// # Errors
    /// [`IngestError`] if there is no such row, or its shard can't be read.
    pub fn row(&self, index: u64) -> Result<StoredRow, IngestError> {
        let mut left = index;
        for shard in &self.manifest.shards {
            if left < shard.rows {
                return self.read(shard, left as usize);
            }
            left -= shard.rows;
        }
        let problem = format!("has {} rows, so there is no row {index}", self.manifest.rows);
        Err(IngestError::NoSet { at: self.at.clone().into(), problem })
    }

    fn read(&self, shard: &ShardEntry, row: usize) -> Result<StoredRow, IngestError> {
        let file = ShardFile::new(&self.storage, &self.at, shard);
        let (builder, layout) = file.open()?;
        let at = file.at();
        let mut reader = builder
            .with_offset(row)
            .with_limit(1)
            .build()
            .map_err(IngestError::unreadable::<ParquetError>(at))?;
        match reader.next() {
            Some(batch) => stored(&batch.map_err(IngestError::unreadable(at))?, &layout, at),
            None => Err(IngestError::Damaged {
                file: at.to_string(),
                problem: format!("there is no row {row}, though the manifest has it"),
            }),
        }
    }
}

/// The first row of a batch that has the layout's columns.
fn stored(
    batch: &RecordBatch,
    layout: &ShardLayout,
    at: &Address,
) -> Result<StoredRow, IngestError> {
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| IngestError::Damaged {
            file: at.to_string(),
            problem: format!("column `{name}` is missing"),
        })
    };
    let number = |name: &str| -> Result<u32, IngestError> {
        Ok(column(name)?.as_primitive::<UInt32Type>().value(0))
    };
    let bytes = |name: &str| -> Result<Vec<u8>, IngestError> {
        Ok(column(name)?.as_fixed_size_binary().value(0).to_vec())
    };
    let floats = |name: &str| -> Result<Vec<f32>, IngestError> {
        let bytes = bytes(name)?;
        let (values, _) = bytes.as_chunks();
        Ok(values.iter().map(|&value| f32::from_le_bytes(value)).collect())
    };
    let words = |name: &str| -> Result<Vec<u16>, IngestError> {
        let bytes = bytes(name)?;
        let (values, _) = bytes.as_chunks();
        Ok(values.iter().map(|&value| u16::from_le_bytes(value)).collect())
    };
    let label = column(layout::LABEL)?.as_string::<i32>();
    let perceptual = column(layout::PERCEPTUAL_HASH)?.as_primitive::<UInt64Type>();
    let cells = layout
        .cells
        .iter()
        .map(|&cell| {
            Ok(StoredCells {
                cell,
                hog: bytes(&layout::hog(cell))?,
                ties: bytes(&layout::hog_ties(cell))?,
                mean: floats(&layout::mean(cell))?,
                inv_std: floats(&layout::inv_std(cell))?,
            })
        })
        .collect::<Result<_, IngestError>>()?;
    let codes = layout
        .codebooks
        .iter()
        .map(|&CodebookLayout { cell, .. }| {
            Ok(StoredCodes {
                cell,
                codes: words(&layout::code(cell))?,
                mirrored: words(&layout::code_mirrored(cell))?,
            })
        })
        .collect::<Result<_, IngestError>>()?;
    Ok(StoredRow {
        id: column(layout::ID)?.as_primitive::<UInt64Type>().value(0),
        source: column(layout::SOURCE)?.as_string::<i32>().value(0).to_owned(),
        content_hash: bytes(layout::CONTENT_HASH)?,
        perceptual_hash: perceptual.is_valid(0).then(|| perceptual.value(0)),
        label: label.is_valid(0).then(|| label.value(0).to_owned()),
        view: number(layout::VIEW)?,
        source_size: (number(layout::SOURCE_WIDTH)?, number(layout::SOURCE_HEIGHT)?),
        crop: Crop {
            x: number(layout::CROP_X)?,
            y: number(layout::CROP_Y)?,
            width: number(layout::CROP_WIDTH)?,
            height: number(layout::CROP_HEIGHT)?,
        },
        picture: layout.view(&bytes(layout.picture_column())?).into_owned(),
        cells,
        codes,
    })
}
