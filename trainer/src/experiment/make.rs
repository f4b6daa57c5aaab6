//! An arm and a seed → a run, judged as it goes.

use std::path::Path;

use storage::Address;

use super::ExperimentError;
use super::ahead::Ahead;
use super::kept::{Machine, RunRecord};
use super::lab::{Lab, shards_of};
use super::plan::{self, Arm, Family};
use super::settle::Settled;
use crate::analyze;
use crate::analyze::views::AnalyzeRequest;
use crate::checkpoint::CheckpointFolder;
use crate::eval::knn::KnnSettings;
use crate::eval::linear::LinearSettings;
use crate::eval::record::{self, Method};
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
            setup: self.setup,
            steps: settled.of(arm).steps,
            batch: plan::BATCH as u64,
            rate: settled.rate(arm),
            tried: settled.tried(arm),
            machine: Machine::here(self.device),
        }
    }

    /// Makes a run, from wherever it was stopped: from point to point, at each of which its encoder is
    /// judged. Evaluations are no part of its time.
    pub fn make(&self, run: &RunRecord, ahead: &Ahead<'_>) -> Result<(), ExperimentError> {
        let folder = self.folder(run);
        let settings = self.settings(run.arm, (run.steps, run.rate, run.seed))?;
        let kept = RunRecord::read(&folder)?;
        if let Some(other) = kept.filter(|kept| (kept.steps, kept.rate) != (run.steps, run.rate)) {
            let found = format!("{} steps at a base rate of {:e}", other.steps, other.rate);
            return Err(ExperimentError::Other { out: folder, found });
        }
        run.keep(&folder)?;
        for step in std::iter::once(0).chain(plan::points(run.steps)) {
            self.train_to(run, &folder, &settings, step)?;
            if let Some(text) = self.judge_at(&folder, step)? {
                self.console.message(&ahead.at(run, step, &text)?);
            }
            if step == 0 || step == run.steps {
                self.analyze(run, &folder, step)?;
            }
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
        let methods =
            [Method::Linear(LinearSettings::default()), Method::Knn(KnnSettings::default())];
        let io = |source| ExperimentError::Io { path: run.to_owned(), source };
        let made = record::read_all(run).map_err(io)?;
        let is_made = |method: &Method| {
            made.iter().any(|eval| eval.step == step && eval.method.name() == method.name())
        };
        if methods.iter().all(is_made) {
            return Ok(None);
        }
        self.go_on()?;
        let checkpoint = CheckpointFolder::of_run(run).path(step);
        let done = self.judge(checkpoint, self.request.test.as_ref(), &methods, 0)?;
        let told = done.iter().map(|done| {
            format!("{} {}", done.record.method.name(), percent(done.record.score.top1))
        });
        Ok(Some(told.collect::<Vec<_>>().join(", ")))
    }

    /// Measures where a ViT looks, unless that was done.
    fn analyze(&self, run: &RunRecord, folder: &Path, step: u64) -> Result<(), ExperimentError> {
        if run.arm.family != Family::Vit || analyze::nmi_file(folder, step).exists() {
            return Ok(());
        }
        let request = AnalyzeRequest {
            checkpoint: CheckpointFolder::of_run(folder).path(step),
            storage: self.request.storage.clone(),
            shards: Address::from(shards_of(self.request, run.arm.views())),
            views: NMI_VIEWS,
        };
        analyze::nmi(&request, &Console::quiet())?;
        Ok(())
    }
}
