//! A wide column of a row group → its pages, compressed, as they lie in a file.
//!
//! The wide columns are nearly all of a shard, and as plain as Parquet's columns can be: values of
//! one length, none of them null, one after the other. So a page is put together here, with one
//! copy of its values; the Parquet library's way for any column makes five.

use std::io;
use std::ops::RangeInclusive;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{ColumnChunkMetaData, PageEncodingStats};
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter::{HashLog, LiteralCompressionMode, MinMatch};
use zstd::zstd_safe::ParamSwitch;

/// Bytes at which a page ends. A page is put together and compressed while it is in the
/// processor's cache; a reader has one of each column in memory.
const PAGE_BYTES: usize = 512 << 10;

/// A column of a row group that is encoded and compressed, but not yet in a file.
pub struct WideColumn {
    bytes: Bytes,
    close: ColumnCloseResult,
}

impl WideColumn {
    /// Appends the column to the row group.
    pub fn append_to_row_group<W: io::Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> ParquetResult<()> {
        group.append_column(&self.bytes, self.close)
    }
}

/// The levels of zstd that are taken, but for 0.
pub const ZSTD_LEVELS: RangeInclusive<i32> = -50..=22;

/// The level that is taken if none is asked for: pixels' differences and histograms have few
/// repetitions worth looking for.
pub const DEFAULT_ZSTD_LEVEL: i32 = -5;

/// Encodes columns; keeps its buffers between them. One a thread.
pub struct Packer {
    compressor: Compressor<'static>,
    page: Vec<u8>,
}

impl Packer {
    /// A packer that compresses at this level, of [`ZSTD_LEVELS`].
    pub fn new(level: i32) -> io::Result<Self> {
        let mut compressor = Compressor::new(level)?;
        if level < 0 {
            // Zstd's own levels below 0 do not entropy-code literals, of which nearly all comes
            // here, and look for matches too short to be of use.
            compressor.set_parameter(LiteralCompressionMode(ParamSwitch::Enable))?;
            compressor.set_parameter(MinMatch(7))?;
            compressor.set_parameter(HashLog(8))?;
        }
        Ok(Self { compressor, page: vec![] })
    }

    /// The column of the values, which all have the same length.
    pub fn pack<'a>(
        &mut self,
        column: &ColumnDescPtr,
        values: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    ) -> ParquetResult<WideColumn> {
        let rows = values.len();
        let width = values.clone().next().map_or(1, <[u8]>::len).max(1);
        let rows_a_page = PAGE_BYTES.div_ceil(width);

        // Room for all, of which the allocator gives no more than is written to.
        let mut sink = TrackedWrite::new(Vec::with_capacity(rows * width));
        let mut writer = SerializedPageWriter::new(&mut sink);
        let (mut compressed, mut uncompressed, mut pages) = (0, 0, 0);
        let mut values = values.peekable();
        while values.peek().is_some() {
            self.page.clear();
            let mut rows = 0;
            for value in values.by_ref().take(rows_a_page) {
                self.page.extend_from_slice(value);
                rows += 1;
            }
            let page = Page::DataPage {
                buf: self.compressor.compress(&self.page)?.into(),
                num_values: rows,
                encoding: Encoding::PLAIN,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let written = writer.write_page(CompressedPage::new(page, self.page.len()))?;
            compressed += written.compressed_size;
            uncompressed += written.uncompressed_size;
            pages += 1;
        }
        writer.close()?;

        let stats = PageEncodingStats {
            page_type: PageType::DATA_PAGE,
            encoding: Encoding::PLAIN,
            count: pages,
        };
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_encodings_mask(EncodingMask::new_from_encodings(
                [Encoding::PLAIN, Encoding::RLE].iter(),
            ))
            .set_page_encoding_stats(vec![stats])
            .set_total_compressed_size(compressed as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_num_values(rows as i64)
            .set_data_page_offset(0)
            .build()?;
        let mut bytes = sink.into_inner()?;
        bytes.shrink_to_fit();
        Ok(WideColumn {
            bytes: bytes.into(),
            close: ColumnCloseResult {
                bytes_written: compressed as u64,
                rows_written: rows as u64,
                metadata,
                bloom_filter: None,
                column_index: None,
                offset_index: None,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, FixedSizeBinaryArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowSchemaConverter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::writer::SerializedFileWriter;

    use super::*;

    /// Reads a column of such values back through the Parquet library; the values, the pages, and
    /// the column's metadata.
    fn round_trip(values: &[Vec<u8>], level: i32) -> (Vec<Vec<u8>>, usize, ColumnChunkMetaData) {
        let field = Field::new("wide", DataType::FixedSizeBinary(values[0].len() as i32), false);
        let schema = ArrowSchemaConverter::new().convert(&Schema::new(vec![field])).unwrap();
        let properties = Arc::new(WriterProperties::default());
        let mut file =
            SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), properties).unwrap();
        let mut packer = Packer::new(level).unwrap();
        let packed = packer.pack(&schema.column(0), values.iter().map(Vec::as_slice)).unwrap();
        let mut group = file.next_row_group().unwrap();
        packed.append_to_row_group(&mut group).unwrap();
        group.close().unwrap();
        let file = Bytes::from(file.into_inner().unwrap());

        let reader = SerializedFileReader::new(file.clone()).unwrap();
        let metadata = reader.metadata().row_group(0).column(0).clone();
        let pages = reader.get_row_group(0).unwrap().get_column_page_reader(0).unwrap().count();
        let batches = ParquetRecordBatchReader::try_new(file, values.len()).unwrap();
        let batch = batches.into_iter().next().unwrap().unwrap();
        let column: &FixedSizeBinaryArray = batch.column(0).as_fixed_size_binary();
        (column.iter().flatten().map(<[u8]>::to_vec).collect(), pages, metadata)
    }

    #[test]
    fn any_reader_gets_the_values_back_from_as_many_pages_as_they_fill() {
        for (width, count, pages) in
            [(1, 3, 1), (147, 64, 1), (150_528, 9, 3), (PAGE_BYTES + 1, 2, 2)]
        {
            let value = |row: usize| (0..width).map(|at| (at * (row + 3) / 5) as u8).collect();
            let values: Vec<Vec<u8>> = (0..count).map(value).collect();
            for level in [*ZSTD_LEVELS.start(), DEFAULT_ZSTD_LEVEL, 1, 3] {
                let (read, found, metadata) = round_trip(&values, level);
                assert!(read == values, "{count} values of {width} bytes");
                assert_eq!((found, metadata.num_values()), (pages, count as i64));
                assert!(metadata.uncompressed_size() as usize >= width * count);
            }
        }
    }
}
