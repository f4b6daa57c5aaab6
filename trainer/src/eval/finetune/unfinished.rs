//! What a tuning leaves when it is stopped, and goes on from: parameters, moments and the step, in a
//! checkpoint's form.

use std::path::Path;
use std::time::{Duration, Instant};

use kernels::Trainable;
use voice::terminal::counted;

use super::Tuning;
use super::network::Classifier;
use crate::checkpoint::{Checkpoint, Header};
use crate::eval::error::{EvalError, KeepError};
use crate::model::{Precision, alone, state};
use crate::progress::Console;
use crate::train::optim::Optimizer;

/// It is kept so often, so that a machine that fails costs no more.
const EVERY: Duration = Duration::from_secs(300);

/// The file of a tuning that is under way.
pub(super) struct Unfinished<'a> {
    tuning: &'a Tuning<'a>,
    /// What decides its course.
    course: String,
    kept: Instant,
}

impl<'a> Unfinished<'a> {
    /// Of a tuning in this precision.
    pub fn new(tuning: &'a Tuning<'a>, precision: Precision) -> Self {
        Self { tuning, course: course(tuning, precision), kept: Instant::now() }
    }

    /// What was kept, if anything. What belongs to another course, or is damaged, is told and left.
    pub fn read(&self, console: &Console) -> Option<Checkpoint> {
        let path = self.tuning.unfinished;
        if !path.exists() {
            return None;
        }
        let why = match Checkpoint::read(path) {
            Ok(kept) if kept.header.dataset == self.course => {
                let steps = counted(kept.header.optimizer_steps, "step");
                console.message(&format!("goes on after {steps}"));
                return Some(kept);
            }
            Ok(_) => "is of a tuning with other settings, encoder or rows".to_owned(),
            Err(error) => error.reason,
        };
        console.message(&format!("{}: {why}; begun anew", path.display()));
        None
    }

    /// Whether it is time to keep it again.
    pub fn is_due(&self) -> bool {
        self.kept.elapsed() >= EVERY
    }

    /// Keeps what was learned in so many steps.
    pub fn keep<B: Trainable>(
        &mut self,
        model: &Classifier<B>,
        optimizer: &Optimizer<B>,
        steps: u64,
    ) -> Result<(), EvalError> {
        let network = alone::config(&self.tuning.checkpoint.header.network);
        let (moments, _) = optimizer.to_state();
        let parameters = optimizer.parameters();
        let parameters = parameters.unwrap_or_else(|| state::save(model, &network));
        let header = Header {
            optimizer_steps: steps,
            dataset: self.course.clone(),
            ..self.tuning.checkpoint.header.clone()
        };
        let kept = Checkpoint { header, model: parameters, moments };
        kept.write(self.tuning.unfinished).map_err(KeepError::from)?;
        self.kept = Instant::now();
        Ok(())
    }
}

/// BLAKE3, in hexadecimal, over all that decides what is learned.
fn course(tuning: &Tuning<'_>, precision: Precision) -> String {
    let Tuning { checkpoint, train, settings, seed, .. } = tuning;
    let mut hasher = blake3::Hasher::new();
    let settings = serde_json::to_vec(settings).expect("numbers are always JSON");
    let header = serde_json::to_vec(&checkpoint.header).expect("settings are always JSON");
    for part in [settings, header, seed.to_le_bytes().to_vec(), precision.name().into()] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(&part);
    }
    for tensor in checkpoint.model.values() {
        hasher.update(bytemuck::cast_slice(&tensor.data));
    }
    let rows = train.index();
    for (picture, label) in rows.pictures.iter().zip(&rows.labels) {
        hasher.update(picture).update(&label.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Removes what a finished tuning was to go on from.
pub fn remove(path: &Path) {
    // It is read by nobody who does not look at its course first.
    let _ = std::fs::remove_file(path);
}
