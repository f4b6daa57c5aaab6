//! Views of a set through the encoder, for what they show of its attention.

use std::path::{Path, PathBuf};

use burn::backend::Flex;
use shards::{ShardSet, StoredRow};
use storage::{Address, Storage};

use super::error::AnalyzeError;
use crate::checkpoint::{Checkpoint, EVAL_FOLDER, run_of};
use crate::encode::encoder::{Attention, Frozen, Layers};
use crate::encode::spread::spread;
use crate::encode::{EncodeError, pictures};
use crate::export::find_checkpoint;
use crate::progress::Console;
use crate::range;

/// Which encoder is looked into, and which views it is shown.
#[derive(Debug, Clone)]
pub struct AnalyzeRequest {
    /// A run's folder, for its newest checkpoint, or a checkpoint file.
    pub checkpoint: PathBuf,
    /// How shards are reached.
    pub storage: Storage,
    /// Shards, or local pictures.
    pub shards: Address,
    /// How many views, spread evenly over the set's rows.
    pub views: u64,
}

/// An opened request.
pub struct Views {
    /// The checkpoint's file.
    pub path: PathBuf,
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    set: ShardSet,
    rows: Vec<u64>,
}

impl Views {
    /// Opens checkpoint and set.
    ///
    /// # Errors
    /// [`AnalyzeError`] if either can't be read or they do not fit together.
    pub fn open(request: &AnalyzeRequest, console: &Console) -> Result<Self, AnalyzeError> {
        let (path, checkpoint) = find_checkpoint(&request.checkpoint, console)?;
        range::check("--views", request.views, 1..)?;
        let cache = run_of(&path).join(EVAL_FOLDER);
        let network = &checkpoint.header.network;
        let set = pictures::open(&request.storage, &request.shards, network, &cache, console)?;
        let all = set.manifest().rows;
        let count = request.views.min(all);
        let rows = (0..count).map(|i| i * all / count).collect();
        Ok(Self { path, checkpoint, set, rows })
    }

    /// The folder of the run.
    pub fn run(&self) -> PathBuf {
        run_of(&self.path)
    }

    /// How many views there are.
    pub fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// What `make` makes of each view and its attention in every block, in the set's order. Each
    /// core takes one view after the other.
    ///
    /// # Errors
    /// [`EncodeError`] if a row can't be read.
    pub fn each<T: Send>(
        &self,
        console: &Console,
        make: impl Fn(&StoredRow, &[Attention]) -> T + Sync,
    ) -> Result<Vec<T>, EncodeError> {
        let encoder =
            Frozen::<Flex>::new(&self.checkpoint, Layers::Top, &self.path, &Default::default())?;
        let bar = console.work("attention", self.count());
        let workers = vec![encoder; rayon::current_num_threads()];
        let all = spread(workers, &self.rows, |encoder, &index| {
            let row = self.set.row(index)?;
            let mut input = Vec::new();
            encoder.cut(&row.picture, &mut input).map_err(|error| EncodeError::Row {
                at: row.source.clone(),
                reason: error.to_string(),
            })?;
            let made = make(&row, &encoder.attention(input));
            bar.inc(1);
            Ok(made)
        });
        bar.finish_and_clear();
        all
    }

    /// The [`file()`] of such a name, of the step that is analyzed.
    pub fn file(&self, name: &str, extension: &str) -> PathBuf {
        file(&self.run(), name, self.checkpoint.header.step, extension)
    }

    /// What a page's title says of the run.
    pub fn title(&self) -> String {
        let header = &self.checkpoint.header;
        let (recipe, model) = (header.settings.recipe.name(), header.settings.model.name());
        format!("{recipe} · {model} at step {}", header.step)
    }
}

/// The folder of analyses in a run's folder.
pub const ANALYSIS_FOLDER: &str = "analysis";

/// A file of a run's step there: `analysis/NAME-step-N.EXTENSION`.
pub fn file(run: &Path, name: &str, step: u64, extension: &str) -> PathBuf {
    run.join(ANALYSIS_FOLDER).join(format!("{name}-step-{step:08}.{extension}"))
}

/// Writes a file whole.
///
/// # Errors
/// [`AnalyzeError::Write`] if the disk refuses.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), AnalyzeError> {
    storage::write_file(path, bytes)
        .map_err(|source| AnalyzeError::Write { path: path.to_owned(), source })
}
