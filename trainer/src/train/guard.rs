//! What stops a run whose numbers are none.
//!
//! Losses and norms stay on the device, since a host that reads them waits. Where nobody waits they
//! are read as they come, before the optimizer is given the gradient; on a device that works off a
//! queue when a step is logged, before anything is saved, and at the latest once [`Unseen`] is full.
//! Steps that were made in between from a number that is none are never saved.

use std::path::Path;

use burn::tensor::backend::Backend;

use super::error::TrainError;
use super::unseen::{Read, Unseen};
use crate::checkpoint::CheckpointFolder;
use crate::data::RowRef;
use crate::ranks::Seat;

/// A step's numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// The mean loss of each tap.
    pub tap_losses: Vec<f64>,
    /// The gradient's norm, where it was taken.
    pub grad_norm: Option<f64>,
}

impl Seen {
    /// Those of a step, if all are numbers.
    fn check(read: &Read<Vec<RowRef>>, told: Told<'_>) -> Result<Self, TrainError> {
        let taps = read.batches.first().map_or(0, |(losses, _)| losses.len());
        let mut tap_losses = vec![0.0; taps];
        for (losses, rows) in &read.batches {
            let guard = Guard { step: read.step, rows, told };
            for (tap, loss) in losses.iter().enumerate() {
                guard.check(&format!("the loss of tap {}", tap + 1), *loss)?;
                tap_losses[tap] += loss / read.batches.len() as f64;
            }
        }
        if let Some(norm) = read.norm {
            let rows: Vec<_> = read.batches.iter().flat_map(|(_, rows)| rows).cloned().collect();
            let guard = Guard { step: read.step, rows: &rows, told };
            guard.check("the gradient's norm", norm)?;
        }
        Ok(Self { tap_losses, grad_norm: read.norm })
    }
}

/// What is looked at, and what was seen.
pub struct Watch<B: Backend> {
    /// What steps gave, and of which rows.
    pub unseen: Unseen<B, Vec<RowRef>>,
    /// The newest that was looked at.
    pub last: Seen,
}

impl<B: Backend> Watch<B> {
    /// There is nothing yet.
    pub fn begin() -> Self {
        Self { unseen: Unseen::none(), last: Seen::default() }
    }

    /// Looks at all that is unseen, and refuses the first number that is none. Where several ranks
    /// share each batch, the newest losses are the sums of all.
    pub fn look(&mut self, told: Told<'_>) -> Result<(), TrainError> {
        let steps = self.unseen.read();
        for read in &steps {
            self.last = Seen::check(read, told)?;
        }
        if !steps.is_empty() {
            self.last.tap_losses = told.seat.add(std::mem::take(&mut self.last.tap_losses))?;
        }
        Ok(())
    }
}

/// Where it is told what is wrong.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// Where checkpoints lie.
    pub folder: &'a CheckpointFolder,
    /// The run's folder.
    pub out: &'a Path,
    /// The rank that looks.
    pub seat: &'a Seat,
}

/// Refuses numbers that have left the finite.
struct Guard<'a> {
    step: u64,
    /// Of which the number was made.
    rows: &'a [RowRef],
    told: Told<'a>,
}

impl Guard<'_> {
    /// Refuses a number that is none; the rows it was made of are listed in the run's folder.
    fn check(&self, what: &str, value: f64) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        let Told { folder, out, seat } = self.told;
        // Others have rows of their own.
        let rank = if seat.is_first() { String::new() } else { format!("-rank-{}", seat.rank()) };
        let list = out.join(format!("failed-step-{}{rank}.txt", self.step));
        let lines: String = self.rows.iter().map(|row| format!("{row}\n")).collect();
        storage::write_file(&list, lines)
            .map_err(|source| TrainError::Io { path: list.clone(), source })?;
        let checkpoint = match folder.steps()?.last() {
            Some(&step) => folder.path(step).display().to_string(),
            None => "none was written yet".to_owned(),
        };
        let first: Vec<_> = self.rows.iter().take(3).map(ToString::to_string).collect();
        let more = self.rows.len().saturating_sub(first.len());
        let rows = format!("{} and {more} more", first.join(", "));
        Err(TrainError::NotFinite {
            step: self.step,
            what: what.to_owned(),
            value,
            rows,
            list,
            checkpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::tensor::Tensor;

    use super::super::step::Losses;
    use super::super::unseen::Made;
    use super::*;

    fn row_of(step: u64, row: usize) -> RowRef {
        RowRef { shard: "shard".into(), group: step as usize, row, id: row as u64, flipped: false }
    }

    fn made(step: u64, losses: [f32; 2], norm: Option<f32>) -> Made<Flex, Vec<RowRef>> {
        let tensor = |values: &[f32]| Tensor::<Flex, 1>::from_floats(values, &Default::default());
        let batch = |row: usize, loss| {
            (Losses::whole(vec![tensor(&[loss]), tensor(&[1.0])]), vec![row_of(step, row)])
        };
        let batches = losses.into_iter().enumerate().map(|(at, loss)| batch(at, loss)).collect();
        Made { step, batches, norm: norm.map(|norm| tensor(&[norm])) }
    }

    #[test]
    fn the_first_number_that_is_none_is_named_whenever_it_is_looked_for() {
        let out = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::of_run(out.path());
        let seat = Seat::alone();
        let told = Told { folder: &folder, out: out.path(), seat: &seat };
        let mut watch = Watch::begin();
        watch.unseen.keep(made(1, [2.0, 4.0], None));
        watch.unseen.keep(made(2, [2.0, 3.0], Some(0.5)));
        watch.look(told).unwrap();
        let seen = Seen { tap_losses: vec![2.5, 1.0], grad_norm: Some(0.5) };
        assert_eq!(watch.last, seen);

        watch.unseen.keep(made(3, [2.0, 3.0], None));
        watch.unseen.keep(made(4, [2.0, f32::NAN], Some(0.5)));
        watch.unseen.keep(made(5, [f32::INFINITY, 3.0], None));
        let error = watch.look(told).unwrap_err();
        assert!(matches!(error, TrainError::NotFinite { step: 4, .. }), "{error}");
        assert!(error.to_string().contains("the loss of tap 1"), "{error}");
        let listed = std::fs::read_to_string(out.path().join("failed-step-4.txt")).unwrap();
        assert_eq!(listed, format!("{}\n", row_of(4, 1)));

        watch.unseen.keep(made(6, [2.0, 3.0], Some(f32::NAN)));
        let error = watch.look(told).unwrap_err();
        assert!(error.to_string().contains("the gradient's norm"), "{error}");
        let listed = std::fs::read_to_string(out.path().join("failed-step-6.txt")).unwrap();
        assert_eq!(listed.lines().count(), 2);
    }
}
