//! Rows → row groups → one Parquet file, hashed and written by a thread of its own. The bytes follow
//! from the rows and the settings alone.

mod hashed;
mod row;
mod wide;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
    UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use rayon::prelude::*;
use schemas::checksums::CHECKSUMS_KEY;
use schemas::{ColumnChecksums, GroupHash, IngestSettings, Place, ShardEntry, ShardLayout, layout};
use storage::{Address, Storage};

pub use row::Row;
pub use wide::{DEFAULT_ZSTD_LEVEL, ZSTD_LEVELS};

use crate::ShardsError;
use crate::set::names::shard_file;
use hashed::Hashed;
use wide::{Packer, WideColumn};

/// A row group that is encoded and compressed, but not yet in a file.
pub struct Group {
    rows: u64,
    narrow: Vec<ArrowColumnChunk>,
    wide: Vec<WideColumn>,
}

/// Encodes row groups, for any shard and on many threads at once.
pub struct Encoder {
    out: Address,
    schema: SchemaRef,
    options: ArrowWriterOptions,
    /// Of the columns before the first wide one.
    narrow: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
    wide: Vec<ColumnDescPtr>,
    level: i32,
    packers: Mutex<Vec<Packer>>,
}

impl Encoder {
    /// An encoder of shards in `out`, which name `created_by` as the program that made them.
    ///
    /// # Errors
    /// [`ShardsError::Write`] if the settings ask for what no shard can have.
    pub fn new(
        out: &Address,
        settings: &IngestSettings,
        created_by: &str,
    ) -> Result<Self, ShardsError> {
        Self::try_new(out, settings, created_by).map_err(ShardsError::write(out))
    }

    fn try_new(out: &Address, settings: &IngestSettings, created_by: &str) -> ParquetResult<Self> {
        let schema: SchemaRef = Arc::new(settings.layout.arrow_schema());
        // The narrow columns, of a few bytes a row, have no level below 1.
        let narrow_level = ZstdLevel::try_new(settings.zstd_level.max(1))?;
        let options =
            ArrowWriterOptions::new().with_properties(properties(narrow_level, created_by));
        let writer = |schema: &SchemaRef| {
            ArrowWriter::try_new_with_options(io::sink(), schema.clone(), options.clone())?
                .into_serialized_writer()
        };
        let first_wide = schema.index_of(settings.layout.picture_column())?;
        let narrow = Arc::new(schema.project(&(0..first_wide).collect::<Vec<_>>())?);
        let (_, factory) = writer(&narrow)?;
        let (whole, _) = writer(&schema)?;
        let wide = whole.schema_descr().columns()[first_wide..].to_vec();
        let (out, packers, level) = (out.clone(), Mutex::default(), settings.zstd_level);
        Ok(Self { out, schema, options, narrow, factory, wide, level, packers })
    }

    /// Encodes and compresses rows, whose wide columns are as the layout says, into a group.
    ///
    /// # Errors
    /// [`ShardsError::Write`] if the Parquet library refuses.
    pub fn encode(&self, rows: &[Row]) -> Result<Group, ShardsError> {
        let (narrow, wide) = rayon::join(|| self.encode_narrow(rows), || self.encode_wide(rows));
        let error = ShardsError::write(&self.out);
        let (narrow, wide) = narrow.and_then(|narrow| Ok((narrow, wide?))).map_err(error)?;
        Ok(Group { rows: rows.len() as u64, narrow, wide })
    }

    fn encode_narrow(&self, rows: &[Row]) -> ParquetResult<Vec<ArrowColumnChunk>> {
        // The index matters to encrypted files only.
        let writers = self.factory.create_column_writers(0)?;
        let columns = narrow_columns(rows);
        writers
            .into_iter()
            .zip(columns)
            .zip(self.narrow.fields())
            .map(|((mut writer, column), field)| {
                for leaf in compute_leaves(field, &column)? {
                    writer.write(&leaf)?;
                }
                writer.close()
            })
            .collect()
    }

    fn encode_wide(&self, rows: &[Row]) -> ParquetResult<Vec<WideColumn>> {
        let packers = || self.packers.lock().unwrap_or_else(PoisonError::into_inner);
        self.wide
            .par_iter()
            .enumerate()
            .map(|(at, column)| {
                let idle = packers().pop();
                let mut packer = match idle {
                    Some(packer) => packer,
                    None => Packer::new(self.level)?,
                };
                let packed = packer.pack(column, rows.iter().map(|row| row.wide[at].as_slice()));
                packers().push(packer);
                packed
            })
            .collect()
    }

    /// Begins the file of shard `number`, which is not seen before it is published.
    ///
    /// # Errors
    /// [`ShardsError`] if the output can't be written.
    pub fn create(&self, storage: &Storage, number: u64) -> Result<ShardWriter, ShardsError> {
        let at = self.out.join(&shard_file(number));
        let writer = storage.writer(&at)?;
        let (file, _) = Hashed::new(writer)
            .map_err(Into::into)
            .and_then(|hashed| {
                let (schema, options) = (self.schema.clone(), self.options.clone());
                ArrowWriter::try_new_with_options(hashed, schema, options)
            })
            .and_then(ArrowWriter::into_serialized_writer)
            .map_err(ShardsError::write(&at))?;
        Ok(ShardWriter {
            at,
            file,
            rows: 0,
            groups: vec![],
            ends: vec![],
            hashes: vec![],
            checksums: ColumnChecksums::default(),
        })
    }
}

/// A shard in the making.
pub struct ShardWriter {
    at: Address,
    file: SerializedFileWriter<Hashed>,
    rows: u64,
    groups: Vec<u32>,
    ends: Vec<u64>,
    hashes: Vec<GroupHash>,
    checksums: ColumnChecksums,
}

impl ShardWriter {
    /// Appends a group to the file.
    ///
    /// # Errors
    /// [`ShardsError::Write`] of this group or an earlier one, which may be on its way still.
    pub fn append(&mut self, group: Group) -> Result<(), ShardsError> {
        self.append_columns(group.narrow, group.wide).map_err(ShardsError::write(&self.at))?;
        self.rows += group.rows;
        self.groups.push(group.rows as u32);
        Ok(())
    }

    fn append_columns(
        &mut self,
        narrow: Vec<ArrowColumnChunk>,
        wide: Vec<WideColumn>,
    ) -> ParquetResult<()> {
        // What comes before the group has passed on, and so is in no group's hash.
        self.file.flush()?;
        self.file.inner_mut().begin_group();
        let mut writer = self.file.next_row_group()?;
        for column in narrow {
            column.append_to_row_group(&mut writer)?;
        }
        for column in wide {
            column.append_to_row_group(&mut writer)?;
        }
        let metadata = writer.close()?;
        self.file.flush()?;
        let hashed = self.file.inner_mut();
        let (end, group) = (hashed.bytes(), hashed.group());
        self.ends.push(end);
        let begin = end - group.len() as u64;
        let checksum = |column: &ColumnChunkMetaData| {
            let (start, length) = column.byte_range();
            crc32c::crc32c(&group[(start - begin) as usize..][..length as usize])
        };
        self.checksums.push(metadata.columns().iter().map(checksum).collect());
        self.hashes.push((&hashed.end_group()?).into());
        Ok(())
    }

    /// Closes the file, which then can be published.
    ///
    /// # Errors
    /// [`ShardsError::Write`] if not all could be written.
    pub fn close(self) -> Result<ClosedShard, ShardsError> {
        let Self { at, mut file, rows, groups, ends, hashes, checksums } = self;
        file.append_key_value_metadata(KeyValue::new(CHECKSUMS_KEY.into(), checksums.to_text()));
        let (writer, bytes, hash) = file
            .into_inner()
            .and_then(|hashed| Ok(hashed.finish()?))
            .map_err(ShardsError::write(&at))?;
        let entry = ShardEntry {
            file: at.name().to_owned(),
            rows,
            row_groups: groups,
            row_group_ends: ends,
            row_group_hashes: hashes,
            bytes,
            blake3: (&hash).into(),
            first: 0,
            pictures: 0,
            start: Place::default(),
        };
        Ok(ClosedShard { writer, entry })
    }
}

/// A whole shard that nobody sees yet. Dropped, it leaves nothing.
pub struct ClosedShard {
    writer: storage::Writer,
    /// What the manifest says of it, but for its place in the stream.
    pub entry: ShardEntry,
}

impl ClosedShard {
    /// Brings the file to where it belongs.
    ///
    /// # Errors
    /// [`ShardsError::Storage`] if the output can't be written.
    pub fn publish(self) -> Result<ShardEntry, ShardsError> {
        self.writer.finish()?;
        Ok(self.entry)
    }
}

/// Rows, whose wide columns are as the layout says, as one batch with the columns of a shard.
///
/// # Errors
/// [`ArrowError`] if a wide column has another length.
pub fn batch(layout: &ShardLayout, rows: &[Row]) -> Result<RecordBatch, ArrowError> {
    let schema: SchemaRef = Arc::new(layout.arrow_schema());
    let mut columns = narrow_columns(rows);
    for (at, field) in schema.fields().iter().skip(columns.len()).enumerate() {
        let DataType::FixedSizeBinary(width) = *field.data_type() else { continue };
        let mut bytes = Vec::with_capacity(rows.len() * width as usize);
        rows.iter().for_each(|row| bytes.extend_from_slice(&row.wide[at]));
        let column = FixedSizeBinaryArray::try_new(width, Buffer::from_vec(bytes), None)?;
        columns.push(Arc::new(column));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(schema, columns, &options)
}

fn properties(level: ZstdLevel, created_by: &str) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(created_by.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for name in [layout::SOURCE, layout::LABEL] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
    }
    for name in [layout::ID, layout::SOURCE, layout::LABEL, layout::VIEW] {
        let column = ColumnPath::from(name);
        properties = properties.set_column_statistics_enabled(column, EnabledStatistics::Chunk);
    }
    properties.build()
}

/// The columns before the first wide one, in the order of the schema.
fn narrow_columns(rows: &[Row]) -> Vec<ArrayRef> {
    let numbers = |of: fn(&Row) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(of)))
    };
    let hashes = rows.iter().flat_map(|row| row.content_hash).collect();
    vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.source))),
        Arc::new(FixedSizeBinaryArray::new(32, Buffer::from_vec::<u8>(hashes), None)),
        Arc::new(UInt64Array::from_iter(rows.iter().map(|row| row.perceptual_hash))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.label.as_ref()))),
        numbers(|row| row.view),
        numbers(|row| row.source_size.0),
        numbers(|row| row.source_size.1),
        numbers(|row| row.crop.x),
        numbers(|row| row.crop.y),
        numbers(|row| row.crop.width),
        numbers(|row| row.crop.height),
    ]
}
