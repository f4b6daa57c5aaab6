//! Views → a Parquet file of what an encoder makes of each: `key`, `label` and `embedding`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use schemas::layout;
use shards::Columns;
use storage::{Address, Storage, StorageError, Writer};
use voice::terminal::counted;

use crate::checkpoint::{Checkpoint, EVAL_FOLDER, run_of};
use crate::device::DeviceKind;
use crate::encode::EncodeError;
use crate::encode::encoder::{FEATURE, Layers};
use crate::encode::nearest::normalise;
use crate::encode::pictures::Given;
use crate::encode::rows::{Encoded, Encoders};
use crate::export::{ExportError, find_encoder};
use crate::model::alone;
use crate::progress::Console;

/// utf8: where the picture lies, as the shards' `source` has it.
pub const KEY: &str = "key";
/// utf8, may be null: the class.
pub const LABEL: &str = "label";
/// A list of as many f32 as the encoder is wide.
pub const EMBEDDING: &str = "embedding";

/// Bytes of embeddings that a row group holds, and that are in memory until it is written.
const GROUP_BYTES: usize = 64 << 20;
/// About how many bytes a row takes besides its embedding.
const KEY_BYTES: u64 = 200;

/// Embeddings that can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbedError {
    /// The encoder.
    #[error(transparent)]
    Run(#[from] ExportError),
    /// The views.
    #[error(transparent)]
    Views(#[from] EncodeError),
    /// There is not one view.
    #[error("{0}: holds no picture that could be embedded")]
    Empty(String),
    /// The file can't be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The file can't be written.
    #[error("can't write {at}")]
    Write {
        /// The file.
        at: Address,
        /// Why.
        source: ParquetError,
    },
    /// The output is a folder.
    #[error("--out {0}: it is a folder; give a file in it")]
    Folder(Address),
    /// An encoder whose features are no numbers.
    #[error(
        "checkpoint {}: what it makes of {key} is {value}; its training came to no numbers: use an earlier checkpoint",
        path.display()
    )]
    NotFinite {
        /// The checkpoint.
        path: PathBuf,
        /// The view's picture.
        key: String,
        /// The value.
        value: f32,
    },
}

/// What is to be embedded, by which encoder, and where to.
#[derive(Debug, Clone)]
pub struct EmbedRequest {
    /// A run's folder, for its newest checkpoint, a checkpoint file or an exported encoder.
    pub checkpoint: PathBuf,
    /// How addresses are reached.
    pub storage: Storage,
    /// The views.
    pub given: Given,
    /// The file to write.
    pub out: Address,
    /// Every embedding is brought to length 1.
    pub normalize: bool,
    /// The folder for shards that are made of pictures; none for one in the run's own.
    pub cache: Option<PathBuf>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    /// Rows.
    pub rows: u64,
    /// Numbers an embedding.
    pub width: usize,
    /// The checkpoint.
    pub checkpoint: PathBuf,
    /// Its step.
    pub step: u64,
}

/// Writes a row for every view of the set, in its order. The file is seen when it is complete; as
/// it is written, memory holds no more than a few row groups.
///
/// # Errors
/// [`EmbedError`]; there is no file then, or the earlier one.
pub fn run(
    request: &EmbedRequest,
    device: DeviceKind,
    console: &Console,
) -> Result<Embedded, EmbedError> {
    let (path, checkpoint) = find_encoder(&request.checkpoint, console)?;
    if request.out.local().is_some_and(Path::is_dir) {
        return Err(EmbedError::Folder(request.out.clone()));
    }
    let network = &checkpoint.header.network;
    let width = alone::width(network);
    let cache = request.cache.clone().unwrap_or_else(|| run_of(&path).join(EVAL_FOLDER));
    let set = request.given.open(&request.storage, network, &cache, console)?;
    let rows = set.rows();
    if rows == 0 {
        return Err(EmbedError::Empty(request.given.named()));
    }
    let views = set.manifest().settings.views;
    if views > 1 {
        console.message(&format!(
            "{}: of each picture {}, a row each with the same key; --pictures takes one central view",
            request.given.named(),
            counted(views.into(), "view")
        ));
    }

    let mut file = Growing::create(request, &checkpoint, &path, rows)?;
    let checkpoints = [&checkpoint];
    let encoders = Encoders { device, path: &path, checkpoints: &checkpoints, layers: Layers::Top };
    let bar = console.work("embeddings", rows);
    let columns = [layout::SOURCE, layout::LABEL];
    let all = |_, batch: &RecordBatch| Ok((0..batch.num_rows()).collect());
    let groups: Vec<_> = set.groups().collect();
    encoders.encode(&set, &groups, &columns, all, |encoded| {
        let Encoded { group, batch, features, .. } = encoded;
        let mut values = features.into_iter().next().unwrap_or_default();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let source = Columns::of(&batch).source();
            let source = source.map_err(|error| EncodeError::from(set.fault(group, error)))?;
            let key = source(at / width).to_owned();
            return Err(EmbedError::NotFinite { path: path.clone(), key, value: values[at] });
        }
        if request.normalize {
            values.chunks_mut(width).for_each(normalise);
        }
        file.write(&batch[layout::SOURCE], &batch[layout::LABEL], values)?;
        bar.inc(group.rows as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    file.finish()?;
    Ok(Embedded { rows, width, step: checkpoint.header.step, checkpoint: path })
}

/// The file as it grows.
struct Growing<'a> {
    at: &'a Address,
    schema: SchemaRef,
    writer: ArrowWriter<Writer>,
}

impl<'a> Growing<'a> {
    fn create(
        request: &'a EmbedRequest,
        checkpoint: &Checkpoint,
        path: &Path,
        rows: u64,
    ) -> Result<Self, EmbedError> {
        let at = &request.out;
        let width = alone::width(&checkpoint.header.network);
        let list = DataType::FixedSizeList(element(), width as i32);
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new(KEY, DataType::Utf8, false),
            Field::new(LABEL, DataType::Utf8, true),
            Field::new(EMBEDDING, list, false),
        ]));
        let bytes = rows * (4 * width as u64 + KEY_BYTES);
        let writer = request.storage.writer_of(at, bytes)?;
        let properties = properties(told(request, checkpoint, path), width);
        let writer = properties
            .and_then(|properties| ArrowWriter::try_new(writer, schema.clone(), Some(properties)))
            .map_err(|source| EmbedError::Write { at: at.clone(), source })?;
        Ok(Self { at, schema, writer })
    }

    fn write(
        &mut self,
        keys: &ArrayRef,
        labels: &ArrayRef,
        values: Vec<f32>,
    ) -> Result<(), EmbedError> {
        let DataType::FixedSizeList(_, width) = *self.schema.field(2).data_type() else {
            unreachable!("the third column is a list");
        };
        let values = Arc::new(Float32Array::from(values));
        let written = FixedSizeListArray::try_new(element(), width, values, None)
            .and_then(|list| {
                let columns = vec![keys.clone(), labels.clone(), Arc::new(list) as ArrayRef];
                RecordBatch::try_new(self.schema.clone(), columns)
            })
            .map_err(ParquetError::from)
            .and_then(|batch| self.writer.write(&batch));
        written.map_err(|source| EmbedError::Write { at: self.at.clone(), source })
    }

    fn finish(self) -> Result<(), EmbedError> {
        let writer = self.writer.into_inner();
        let writer = writer.map_err(|source| EmbedError::Write { at: self.at.clone(), source })?;
        Ok(writer.finish()?)
    }
}

/// A number of an embedding, by the name that the Parquet format gives to elements of lists.
fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}

/// What the file says of where its embeddings come from.
fn told(request: &EmbedRequest, checkpoint: &Checkpoint, path: &Path) -> Vec<KeyValue> {
    let header = &checkpoint.header;
    [
        ("model", header.settings.model.name().to_owned()),
        ("recipe", header.settings.recipe.name().to_owned()),
        ("checkpoint", path.display().to_string()),
        ("step", header.step.to_string()),
        ("width", alone::width(&header.network).to_string()),
        ("feature", FEATURE.to_owned()),
        ("normalized", request.normalize.to_string()),
        ("views", request.given.named()),
    ]
    .into_iter()
    .map(|(key, value)| KeyValue::new(format!("localmim.{key}"), value))
    .collect()
}

fn properties(told: Vec<KeyValue>, width: usize) -> Result<WriterProperties, ParquetError> {
    let rows = (GROUP_BYTES / (4 * width.max(1))).max(1);
    // Floats of a network hardly compress, and neither they nor keys repeat.
    let embedding = ColumnPath::new([EMBEDDING, "list", "element"].map(str::to_owned).to_vec());
    Ok(WriterProperties::builder()
        .set_created_by(concat!("localmim-trainer version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(told))
        .set_max_row_group_row_count(Some(rows))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_column_compression(embedding.clone(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(embedding.clone(), false)
        .set_column_dictionary_enabled(ColumnPath::from(KEY), false)
        .set_column_statistics_enabled(embedding, EnabledStatistics::None)
        .build())
}
