//! Shards that are there already, read in part: hashes and names of their pictures.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{UInt32Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::Result as ParquetResult;
use parquet::file::reader::{ChunkReader, Length};
use schemas::{ShardEntry, ShardLayout, layout};
use storage::{Address, Storage};

use crate::IngestError;

/// Bytes that are fetched at once where less is asked for. Columns of few bytes a row lie beside
/// each other, so that what is asked for next is often there already.
const WINDOW: u64 = 256 << 10;

/// A shard at an address, as the Parquet library reads it.
#[derive(Debug, Clone)]
pub(crate) struct ShardFile {
    storage: Storage,
    at: Address,
    bytes: u64,
    /// What was fetched last, and where it begins.
    window: Arc<Mutex<(u64, Bytes)>>,
}

impl ShardFile {
    /// The shard that a manifest names.
    pub fn new(storage: &Storage, out: &Address, entry: &ShardEntry) -> Self {
        let window = Arc::new(Mutex::new((0, Bytes::new())));
        Self { storage: storage.clone(), at: out.join(&entry.file), bytes: entry.bytes, window }
    }

    pub fn at(&self) -> &Address {
        &self.at
    }

    /// A reader of its rows, whose columns are checked against its layout.
    pub fn open(
        &self,
    ) -> Result<(ParquetRecordBatchReaderBuilder<Self>, ShardLayout), IngestError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(self.clone())
            .map_err(IngestError::unreadable(&self.at))?;
        let layout = ShardLayout::of_schema(builder.schema())
            .map_err(|source| IngestError::Columns { at: self.at.clone().into(), source })?;
        Ok((builder, layout))
    }

    /// All rows, of some columns.
    fn columns(&self, names: &[&str]) -> Result<Vec<RecordBatch>, IngestError> {
        let (builder, _) = self.open()?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
        let reader =
            builder.with_projection(mask).build().map_err(IngestError::unreadable(&self.at))?;
        reader.collect::<Result<_, _>>().map_err(IngestError::unreadable(&self.at))
    }

    fn range(&self, start: u64, length: u64) -> ParquetResult<Bytes> {
        let end = start.saturating_add(length);
        if end > self.bytes {
            let problem = format!("bytes {start}..{end} of a file of {}", self.bytes);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, problem).into());
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (from, ref held) = *window;
        if start < from || end > from + held.len() as u64 {
            let until = end.max((start + WINDOW).min(self.bytes));
            let fetched =
                self.storage.read_range(&self.at, start..until).map_err(io::Error::from)?;
            *window = (start, fetched);
        }
        let (from, ref held) = *window;
        let begin = (start - from) as usize;
        Ok(held.slice(begin..begin + length as usize))
    }
}

impl Length for ShardFile {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for ShardFile {
    type T = From;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(From { file: self.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.range(start, length as u64)
    }
}

/// A shard's bytes from somewhere on.
#[derive(Debug)]
pub(crate) struct From {
    file: ShardFile,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (buffer.len() as u64).min(self.file.bytes.saturating_sub(self.at));
        let bytes = self.file.range(self.at, length).map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += length;
        Ok(bytes.len())
    }
}

/// What tells a picture that became rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// The picture's number in the set.
    pub number: u64,
    pub content: [u8; 32],
    pub perceptual: Option<u64>,
}

/// The pictures of a shard that cuts so many views, in order.
pub(crate) fn fingerprints(file: &ShardFile, views: u32) -> Result<Vec<Fingerprint>, IngestError> {
    let batches = file.columns(&[layout::ID, layout::CONTENT_HASH, layout::PERCEPTUAL_HASH])?;
    let mut fingerprints = Vec::new();
    for batch in &batches {
        let ids = batch.column(0).as_primitive::<UInt64Type>();
        let contents = batch.column(1).as_fixed_size_binary();
        let hashes = batch.column(2).as_primitive::<UInt64Type>();
        for row in 0..batch.num_rows() {
            let (number, view) =
                (ids.value(row) / u64::from(views), ids.value(row) % u64::from(views));
            if view == 0 {
                let mut content = [0; 32];
                content.copy_from_slice(contents.value(row));
                let perceptual = hashes.is_valid(row).then(|| hashes.value(row));
                fingerprints.push(Fingerprint { number, content, perceptual });
            }
        }
    }
    Ok(fingerprints)
}

/// How many pictures of a shard that cuts so many views each class has.
pub(crate) fn classes(file: &ShardFile, views: u32) -> Result<BTreeMap<String, u64>, IngestError> {
    let batches = file.columns(&[layout::ID, layout::LABEL])?;
    let mut classes = BTreeMap::new();
    for batch in &batches {
        let ids = batch.column(0).as_primitive::<UInt64Type>();
        let labels = batch.column(1).as_string::<i32>();
        for row in 0..batch.num_rows() {
            if ids.value(row) % u64::from(views) == 0 && labels.is_valid(row) {
                *classes.entry(labels.value(row).to_owned()).or_default() += 1;
            }
        }
    }
    Ok(classes)
}

/// Number and source of each picture of a shard that cuts so many views, in order.
pub(crate) fn names(file: &ShardFile, views: u32) -> Result<Vec<(u64, String)>, IngestError> {
    let batches = file.columns(&[layout::ID, layout::SOURCE])?;
    let mut names = Vec::new();
    for batch in &batches {
        let ids = batch.column(0).as_primitive::<UInt64Type>();
        let sources = batch.column(1).as_string::<i32>();
        for row in 0..batch.num_rows() {
            let (number, view) =
                (ids.value(row) / u64::from(views), ids.value(row) % u64::from(views));
            if view == 0 {
                names.push((number, sources.value(row).to_owned()));
            }
        }
    }
    Ok(names)
}

/// A picture of a shard, without its views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its first row, counted over the set.
    pub row: u64,
    pub source: String,
    pub label: Option<String>,
    /// Width and height of the upright picture in pixels.
    pub size: (u32, u32),
    pub content: [u8; 32],
    pub perceptual: Option<u64>,
}

/// The pictures of a shard whose rows begin at `first` of the set, in order.
pub(crate) fn listed(file: &ShardFile, first: u64) -> Result<Vec<Listed>, IngestError> {
    let batches = file.columns(&[
        layout::SOURCE,
        layout::CONTENT_HASH,
        layout::PERCEPTUAL_HASH,
        layout::LABEL,
        layout::VIEW,
        layout::SOURCE_WIDTH,
        layout::SOURCE_HEIGHT,
    ])?;
    let mut pictures = Vec::new();
    let mut at = first;
    for batch in &batches {
        let sources = batch.column(0).as_string::<i32>();
        let contents = batch.column(1).as_fixed_size_binary();
        let hashes = batch.column(2).as_primitive::<UInt64Type>();
        let labels = batch.column(3).as_string::<i32>();
        let [views, widths, heights] =
            [4, 5, 6].map(|column| batch.column(column).as_primitive::<UInt32Type>());
        for row in (0..batch.num_rows()).filter(|&row| views.value(row) == 0) {
            let mut content = [0; 32];
            content.copy_from_slice(contents.value(row));
            pictures.push(Listed {
                row: at + row as u64,
                source: sources.value(row).to_owned(),
                label: labels.is_valid(row).then(|| labels.value(row).to_owned()),
                size: (widths.value(row), heights.value(row)),
                content,
                perceptual: hashes.is_valid(row).then(|| hashes.value(row)),
            });
        }
        at += batch.num_rows() as u64;
    }
    Ok(pictures)
}
