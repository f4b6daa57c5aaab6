//! An arm and a seed → a run, judged as it goes.

use std::path::Path;

use storage::Address;

use super::ExperimentError;
use super::ahead::Ahead;
use super::judged::{Judged, is_trained};
use super::kept::{Machine, RunRecord};
use super::lab::{Lab, shards_of};
use super::plan::{self, Arm};
use super::settle::Settled;
use crate::analyze;
use crate::analyze::views::AnalyzeRequest;
use crate::checkpoint::CheckpointFolder;
use crate::eval::knn::KnnSettings;
use crate::eval::linear::LinearSettings;
use crate::eval::record::Method;
use crate::eval::score::percent;
use crate::progress::Console;
use crate::settings::Settings;
use crate::train::run::Resume;

/// Views of which the mutual information of attention is averaged.
const NMI_VIEWS: u64 = 64;

impl Lab<'_> {
    /// What is kept of a run.
    pub fn record(&self, settled: &Settled, arm: Arm, seed: u64) -> RunRecord {
        RunRecord {
            arm,
            seed,
            setup: self.setup.clone(),
            steps: settled.of(arm).steps,
            batch: plan::BATCH as u64,
            rate: settled.rate(arm),
            tried: settled.tried(arm),
            machine: Machine::here(self.device),
            others: vec![],
            diverged: None,
        }
    }

    /// Makes a run, from wherever it was stopped: from point to point, at each of which its encoder is
    /// judged. Evaluations are no part of its time. A run whose numbers are none is told and left as
    /// it is, so that the others are made.
    pub fn make(&self, run: &RunRecord, ahead: &Ahead<'_>) -> Result<(), ExperimentError> {
        let folder = self.folder(run);
        let run = run.taken_up(RunRecord::read(&folder)?, &folder)?;
        if let Some(step) = run.diverged {
            self.console.message(&format!(
                "{}, seed {}, is left out: by step {step} its numbers were none; without {} it is tried again",
                run.arm,
                run.seed,
                folder.display()
            ));
            return Ok(());
        }
        let points = std::iter::once(0).chain(plan::points(run.steps));
        let trained = is_trained(&run, &folder)?;
        if !trained {
            run.keep(&folder)?;
        }
        for step in points {
            match self.make_point(&run, &folder, (step, trained), ahead) {
                Err(error) if error.is_not_finite() => {
                    let (arm, seed) = (run.arm, run.seed);
                    self.console.message(&format!("{arm}, seed {seed}, is given up: {error}"));
                    return RunRecord { diverged: Some(step), ..run }.keep(&folder);
                }
                made => made?,
            }
        }
        Ok(())
    }

    /// Trains a run to a point, unless it is trained, and judges what came of it.
    fn make_point(
        &self,
        run: &RunRecord,
        folder: &Path,
        (step, trained): (u64, bool),
        ahead: &Ahead<'_>,
    ) -> Result<(), ExperimentError> {
        if !trained {
            let settings = self.settings(run.arm, (run.steps, run.rate, run.seed))?;
            self.train_to(run, folder, &settings, step)?;
        }
        if let Some(text) = self.judge_at(folder, step)? {
            self.console.message(&ahead.at(run, step, &text)?);
        }
        if step == 0 || step == run.steps {
            self.analyze(run, folder, step)?;
        }
        Ok(())
    }

    /// Trains a run up to a step, from a checkpoint of the untrained network on.
    fn train_to(
        &self,
        run: &RunRecord,
        out: &Path,
        settings: &Settings,
        step: u64,
    ) -> Result<(), ExperimentError> {
        let folder = CheckpointFolder::of_run(out);
        let set = self.set(run.arm);
        let network = settings.network(set.layout())?;
        let newest =
            folder.newest_or_untrained(settings, network, set.fingerprint(), self.console)?;
        let (path, checkpoint) = newest;
        if checkpoint.header.step >= step {
            return Ok(());
        }
        let settings = Settings { max_steps: Some(step), ..settings.clone() };
        self.train(run.arm, out, &settings, Some(Resume { path, checkpoint }))
    }

    /// Judges a run's checkpoint of a step, unless that was done; says what came out.
    fn judge_at(&self, run: &Path, step: u64) -> Result<Option<String>, ExperimentError> {
        if Judged::read(run)?.has(step) {
            return Ok(None);
        }
        self.go_on()?;
        let checkpoint = CheckpointFolder::of_run(run).path(step);
        if !checkpoint.exists() {
            let way_out = "it can't be judged any more; without the run's folder it is made anew";
            return Ok(Some(format!("{} is gone, so {way_out}", checkpoint.display())));
        }
        let methods =
            [Method::Linear(LinearSettings::default()), Method::Knn(KnnSettings::default())];
        let done = self.judge(checkpoint, self.request.test.as_ref(), &methods, 0)?;
        let told = done.iter().map(|done| {
            format!("{} {}", done.record.method.name(), percent(done.record.score.top1))
        });
        Ok(Some(told.collect::<Vec<_>>().join(", ")))
    }

    /// Measures where an encoder looks, unless that was done, or its checkpoint is gone.
    fn analyze(&self, run: &RunRecord, folder: &Path, step: u64) -> Result<(), ExperimentError> {
        let checkpoint = CheckpointFolder::of_run(folder).path(step);
        if analyze::nmi_file(folder, step).exists() || !checkpoint.exists() {
            return Ok(());
        }
        let request = AnalyzeRequest {
            checkpoint,
            storage: self.request.storage.clone(),
            shards: Address::from(shards_of(self.request, run.arm.views())),
            views: NMI_VIEWS,
        };
        analyze::nmi(&request, &Console::quiet())?;
        Ok(())
    }
}
