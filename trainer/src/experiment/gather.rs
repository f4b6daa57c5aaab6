//! Folders of experiments → their runs, put together: what is compared lies in one group.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ExperimentError;
use super::alike;
use super::judged::{Judged, Kind};
use super::kept::{self, JudgedOn, Machine, RunRecord, Setup};
use super::plan::{self, Arm};
use super::ratio::Curve;
use crate::analyze::{self, NmiRecord};
use crate::eval::record::{EvalRecord, LayerScore};
use crate::metrics::{self, Record};
use crate::settings::Settings;

/// By what training is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Axis {
    /// By the clock, in minutes.
    Clock,
    /// By what the cores computed, in minutes of all of them: what the clock shows on a machine that
    /// does nothing else.
    Cores,
    /// By views seen, in thousands.
    Views,
}

impl Axis {
    /// All.
    pub const ALL: [Self; 3] = [Self::Clock, Self::Cores, Self::Views];

    /// As axes are labelled.
    pub fn label(self) -> &'static str {
        match self {
            Self::Clock => "minutes of training by the clock",
            Self::Cores => "minutes of all cores",
            Self::Views => "thousands of views seen",
        }
    }

    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::Cores => "core time",
            Self::Views => "views",
        }
    }
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it is a run of.
    pub record: RunRecord,
    /// Its folder.
    pub folder: PathBuf,
    /// What it was trained with, where that was kept.
    settings: Option<Settings>,
    metrics: Vec<Record>,
    judged: Judged,
    /// Mutual information of its attention, untrained and trained, where it was measured.
    pub nmi: Vec<NmiRecord>,
}

impl Run {
    /// Reads a run's folder.
    fn read(folder: PathBuf, record: RunRecord) -> Result<Self, ExperimentError> {
        let io = |source| ExperimentError::Io { path: folder.clone(), source };
        Ok(Self {
            settings: kept::settings(&folder)?,
            metrics: metrics::read(&folder)?,
            judged: Judged::read(&folder)?,
            nmi: analyze::read_nmi(&folder).map_err(io)?,
            folder,
            record,
        })
    }

    /// Whether it was judged in both ways at each of its points.
    fn is_finished(&self) -> bool {
        self.judged.missing(self.record.steps).next().is_none()
    }

    /// The evaluation of its end.
    pub fn end(&self, kind: Kind) -> Option<&EvalRecord> {
        self.judged.at(kind, self.record.steps)
    }

    /// The folder of its experiment.
    pub fn experiment(&self) -> &Path {
        let runs = self.folder.parent();
        runs.and_then(Path::parent).unwrap_or(Path::new("."))
    }

    /// What training had taken after a step that was judged.
    fn spent(&self, step: u64, axis: Axis) -> Option<f64> {
        if axis == Axis::Views {
            return Some((step * self.record.batch) as f64 / 1000.0);
        }
        if step == 0 {
            return Some(0.0);
        }
        let record = self.metrics.iter().find(|record| record.step == step)?;
        // The times of several machines do not add up.
        let machine = self.record.made_on()?;
        match axis {
            Axis::Clock => Some(record.elapsed_s? / 60.0),
            Axis::Cores if machine.on_cores => {
                Some(record.core_s? / machine.cores.max(1) as f64 / 60.0)
            }
            _ => None,
        }
    }

    /// Top-1 accuracy, of the best layer, from the untrained encoder to the end; none where training
    /// is not known to have been measured so.
    pub fn curve(&self, kind: Kind, axis: Axis) -> Option<Curve> {
        let points = std::iter::once(0).chain(plan::points(self.record.steps));
        let at = |step| Some((self.spent(step, axis)?, self.judged.at(kind, step)?.score.top1));
        points.map(at).collect()
    }

    /// Each layer's accuracy after a step that was judged, in per cent.
    pub fn layers(&self, kind: Kind, step: u64) -> Option<Vec<f64>> {
        let layers = &self.judged.at(kind, step)?.layers;
        Some(layers.iter().map(|layer| 100.0 * layer.top1).collect())
    }

    /// The layer that did best in the end, counted from 1, of how many.
    pub fn best_layer(&self, kind: Kind) -> Option<(usize, usize)> {
        let layers = &self.end(kind)?.layers;
        Some((LayerScore::best(layers)?.layer, layers.len()))
    }
}

/// Runs that can be compared.
#[derive(Debug, Clone)]
pub struct Group {
    /// What they share.
    pub setup: Setup,
    /// What keeps them from being compared with those of an earlier group of this setup, in words.
    pub unlike: Option<String>,
    /// By arm, in the order in which arms are listed, then by seed.
    pub runs: Vec<Run>,
}

impl Group {
    /// The arms of which there are runs.
    pub fn arms(&self) -> Vec<Arm> {
        let mut arms: Vec<_> = self.runs.iter().map(|run| run.record.arm).collect();
        arms.dedup();
        arms
    }

    /// The runs of an arm, by seed.
    pub fn of(&self, arm: Arm) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.record.arm == arm)
    }

    /// Curves of the seeds that two arms share, in the same order; none over time where one of these
    /// seeds' runs were made on different machines.
    pub fn pairs(&self, a: Arm, b: Arm, kind: Kind, axis: Axis) -> (Vec<Curve>, Vec<Curve>) {
        let of_seed = |one: &Run| self.of(b).find(|other| other.record.seed == one.record.seed);
        let both = self.of(a).filter_map(|one| Some((one, of_seed(one)?)));
        let curves = |(one, other): (&Run, &Run)| {
            let fits = axis == Axis::Views || one.record.made_on() == other.record.made_on();
            fits.then(|| Some((one.curve(kind, axis)?, other.curve(kind, axis)?))).flatten()
        };
        let pairs: Option<Vec<_>> = both.map(curves).collect();
        pairs.unwrap_or_default().into_iter().unzip()
    }

    /// The machines that the runs of these arms were made on.
    pub fn machines(&self, arms: &[Arm]) -> Vec<&Machine> {
        let mut machines = vec![];
        for RunRecord { machine, others, .. } in arms.iter().flat_map(|&arm| self.records(arm)) {
            for machine in std::iter::once(machine).chain(others) {
                if !machines.contains(&machine) {
                    machines.push(machine);
                }
            }
        }
        machines
    }

    /// What the runs of an arm are, by seed.
    pub fn records(&self, arm: Arm) -> impl Iterator<Item = &RunRecord> {
        self.of(arm).map(|run| &run.record)
    }

    /// By what these arms can be held against each other: core time where all have it, else the
    /// clock, and views where their runs were made on several machines.
    pub fn measure(&self, arms: &[Arm]) -> Axis {
        let runs: Vec<&Run> = arms.iter().flat_map(|&arm| self.of(arm)).collect();
        let has = |axis: &Axis| runs.iter().all(|run| run.curve(Kind::Linear, *axis).is_some());
        let times: &[Axis] = match self.machines(arms).len() {
            ..2 => &[Axis::Cores, Axis::Clock],
            _ => &[],
        };
        times.iter().copied().find(has).unwrap_or(Axis::Views)
    }
}

/// All runs of some folders.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// The finished ones.
    pub groups: Vec<Group>,
    /// The folders of runs that are not.
    pub unfinished: Vec<PathBuf>,
    /// Those of runs whose numbers were none, and at which step.
    pub diverged: Vec<(PathBuf, u64)>,
}

/// Puts the runs of experiments together.
///
/// # Errors
/// [`ExperimentError`] if a folder is no experiment's or can't be read, there is no run, or two are
/// the same.
pub fn gather(folders: &[PathBuf]) -> Result<Gathered, ExperimentError> {
    let none = folders.iter().filter(|folder| !kept::is_experiment(folder));
    let none: Vec<_> = none.cloned().collect();
    if !none.is_empty() {
        return Err(ExperimentError::NoExperiment { folders: none });
    }
    let (mut runs, mut unfinished, mut diverged): (Vec<Run>, _, _) = (vec![], vec![], vec![]);
    for folder in folders {
        for (path, record) in kept::runs(folder)? {
            if let Some(step) = record.diverged {
                diverged.push((path, step));
                continue;
            }
            let run = Run::read(path, record)?;
            if !run.is_finished() {
                unfinished.push(run.folder);
                continue;
            }
            let same = |other: &&Run| {
                let (a, b) = (&other.record, &run.record);
                (a.arm, a.seed) == (b.arm, b.seed)
                    && a.setup.fits(&b.setup)
                    && unlike(other, &run).is_none()
            };
            if let Some(other) = runs.iter().find(same) {
                return Err(ExperimentError::Twice { a: other.folder.clone(), b: run.folder });
            }
            runs.push(run);
        }
    }
    if runs.is_empty() && diverged.is_empty() {
        return Err(ExperimentError::NoRuns { folders: folders.to_vec() });
    }
    Ok(Gathered { groups: grouped(runs), unfinished, diverged })
}

/// Runs → those that can be compared.
fn grouped(runs: Vec<Run>) -> Vec<Group> {
    let all = Arm::all();
    let place = |run: &Run| all.iter().position(|arm| *arm == run.record.arm);
    let mut groups: Vec<Group> = vec![];
    // Those of which less is known come last: they join what they may belong to.
    let (unknown, known): (Vec<_>, Vec<_>) =
        runs.into_iter().partition(|run| run.record.setup.test == JudgedOn::Unknown);
    for run in known.into_iter().chain(unknown) {
        let setup = run.record.setup.clone();
        let (mut place, mut why_not) = (None, None);
        for group in groups.iter_mut().filter(|group| group.setup.fits(&setup)) {
            match group.runs.iter().find_map(|other| unlike(other, &run)) {
                None => {
                    place = Some(group);
                    break;
                }
                why => why_not = why_not.or(why),
            }
        }
        match place {
            Some(group) => group.runs.push(run),
            None => groups.push(Group { setup, unlike: why_not, runs: vec![run] }),
        }
    }
    for group in &mut groups {
        group.runs.sort_by_key(|run| (place(run), run.record.seed));
    }
    groups
}

/// What keeps two runs of one setup from being compared, as where different releases made them, in
/// words.
fn unlike<'a>(one: &'a Run, other: &'a Run) -> Option<String> {
    let trained = |run: &'a Run| Some((run.record.arm, run.settings.as_ref()?));
    let differences = alike::differences(trained(other)?, trained(one)?)?;
    Some(format!(
        "{} was not trained as {} was, as by another release ({differences}).",
        other.folder.display(),
        one.folder.display()
    ))
}
