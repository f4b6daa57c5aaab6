//! A shard as a file of which little is wanted: columns of few bytes a row, or a single row.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::Result as ParquetResult;
use parquet::file::reader::{ChunkReader, Length};
use schemas::ShardLayout;
use storage::{Address, Storage};

use crate::ShardsError;

/// Bytes that are fetched at once where less is asked for. Columns of few bytes a row lie beside
/// each other, so that what is asked for next is often there already.
const WINDOW: u64 = 256 << 10;

/// A shard at an address, as the Parquet library reads it.
#[derive(Debug, Clone)]
pub struct ShardFile {
    storage: Storage,
    at: Address,
    bytes: u64,
    /// What was fetched last, and where it begins.
    window: Arc<Mutex<(u64, Bytes)>>,
}

impl ShardFile {
    /// The shard in `out` that a manifest names so, and of which it tells so many bytes.
    pub fn new(storage: &Storage, out: &Address, file: &str, bytes: u64) -> Self {
        let window = Arc::new(Mutex::new((0, Bytes::new())));
        Self { storage: storage.clone(), at: out.join(file), bytes, window }
    }

    /// Where it lies.
    pub fn at(&self) -> &Address {
        &self.at
    }

    /// A reader of its rows, whose columns are checked against its layout.
    fn open(&self) -> Result<(ParquetRecordBatchReaderBuilder<Self>, ShardLayout), ShardsError> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(self.clone())
            .map_err(ShardsError::unreadable(&self.at))?;
        let layout = ShardLayout::of_schema(builder.schema())
            .map_err(|source| ShardsError::Columns { at: self.at.clone().into(), source })?;
        Ok((builder, layout))
    }

    /// All rows, of some columns.
    ///
    /// # Errors
    /// [`ShardsError`] if the shard can't be read.
    pub fn columns(&self, names: &[&str]) -> Result<Vec<RecordBatch>, ShardsError> {
        let (builder, _) = self.open()?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), names.iter().copied());
        let reader =
            builder.with_projection(mask).build().map_err(ShardsError::unreadable(&self.at))?;
        reader.collect::<Result<_, _>>().map_err(ShardsError::unreadable(&self.at))
    }

    /// One row, of all columns, and the layout of the shard.
    ///
    /// # Errors
    /// [`ShardsError`] if the shard can't be read, or has no such row.
    pub fn row(&self, row: usize) -> Result<(RecordBatch, ShardLayout), ShardsError> {
        let (builder, layout) = self.open()?;
        let reader = builder.with_offset(row).with_limit(1).build();
        match reader.map_err(ShardsError::unreadable(&self.at))?.next() {
            Some(batch) => Ok((batch.map_err(ShardsError::unreadable(&self.at))?, layout)),
            None => {
                let reason = format!("there is no row {row}, though the manifest has it");
                Err(ShardsError::shard(&self.at, reason))
            }
        }
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
    type T = Rest;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(Rest { file: self.clone(), at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        self.range(start, length as u64)
    }
}

/// A shard's bytes from somewhere on.
#[derive(Debug)]
pub struct Rest {
    file: ShardFile,
    at: u64,
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (buffer.len() as u64).min(self.file.bytes.saturating_sub(self.at));
        let bytes = self.file.range(self.at, length).map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += length;
        Ok(bytes.len())
    }
}
