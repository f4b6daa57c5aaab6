//! Whether runs that would be compared were trained alike: releases may differ in what an arm is.

use std::path::{Path, PathBuf};

use super::ExperimentError;
use super::judged::is_trained;
use super::kept::{self, RunRecord};
use super::lab::Lab;
use super::plan::{Arm, RATES};
use crate::settings::Settings;

/// What runs of one arm may differ in: each run's own, and what follows from its steps.
const OF_A_RUN: [&str; 4] = ["seed", "lr", "steps", "warmup-epochs"];
/// What arms with one thing changed may differ in besides.
const OF_A_CHANGE: [&str; 3] = ["taps", "cells", "local-gradients"];
/// What all methods of a family share: the encoder, and what [`Arm::settings`] sets for each.
const OF_A_FAMILY: [&str; 11] = [
    "model",
    "patch",
    "width",
    "depths",
    "heads",
    "positions",
    "batch-size",
    "accum",
    "clip-grad",
    "min-lr",
    "decay",
];

/// An arm, and what it was trained with.
pub(super) type Trained<'a> = (Arm, &'a Settings);

/// What keeps runs that were trained so from being compared, in words; none where they can be.
pub(super) fn differences((arm, before): Trained<'_>, (other, now): Trained<'_>) -> Option<String> {
    if arm.family != other.family {
        return None;
    }
    let counts = |flag: &str| {
        if arm == other {
            !OF_A_RUN.contains(&flag)
        } else if arm.rated_by() == other.rated_by() {
            !OF_A_RUN.contains(&flag) && !OF_A_CHANGE.contains(&flag)
        } else {
            OF_A_FAMILY.contains(&flag)
        }
    };
    let conflicts = now.conflicts(before).into_iter().filter(|(flag, ..)| counts(flag));
    let told = conflicts.map(|(flag, before, now)| format!("{flag}: {before}, not {now}"));
    let told = told.collect::<Vec<_>>().join("; ");
    (!told.is_empty()).then_some(told)
}

impl Lab<'_> {
    /// An error if a folder's runs, or what is settled there, were trained otherwise than the arms
    /// `left` will be. `way_out` is what else can be done.
    pub fn refuse_other_releases(
        &self,
        folder: &Path,
        settled: Vec<(Arm, Settings)>,
        left: &[Arm],
        way_out: &'static str,
    ) -> Result<(), ExperimentError> {
        let file = folder.join(kept::SETTLED_FILE);
        let mut all: Vec<(PathBuf, Arm, Settings)> =
            settled.into_iter().map(|(arm, before)| (file.clone(), arm, before)).collect();
        for (there, run) in kept::runs(folder)? {
            // Others are not compared with what is made here.
            if run.diverged.is_none()
                && run.setup.fits(&self.setup)
                && let Some(before) = kept::settings(&there)?
            {
                all.push((there, run.arm, before));
            }
        }
        for &arm in left {
            let now = self.settings(arm, (1, RATES[0], 0))?;
            let other = all.iter().find_map(|(there, trained, before)| {
                Some((there, *trained, differences((*trained, before), (arm, &now))?))
            });
            if let Some((there, trained, differences)) = other {
                let there = there.clone();
                return Err(ExperimentError::OtherRelease {
                    there,
                    trained,
                    differences,
                    arm,
                    way_out,
                });
            }
        }
        Ok(())
    }

    /// The arms of which a run is left to train.
    pub fn left_to_train(&self) -> Result<Vec<Arm>, ExperimentError> {
        let mut left = vec![];
        for &arm in &self.request.arms {
            for &seed in &self.request.seeds {
                let folder = kept::folder(&self.request.out, arm, seed);
                let done = match RunRecord::read(&folder)? {
                    Some(run) => run.diverged.is_some() || is_trained(&run, &folder)?,
                    None => false,
                };
                if !done {
                    left.push(arm);
                    break;
                }
            }
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceKind;
    use crate::experiment::plan::{Bench, Change, Family, Plan, SIZE};
    use crate::model::{Precision, Start};
    use crate::settings::Recipe;

    fn settings(arm: Arm, plan: Plan) -> Settings {
        let bench = Bench { size: SIZE, model: None, precision: Precision::F32 };
        arm.settings(bench, plan, DeviceKind::Cpu).unwrap()
    }

    #[test]
    fn arms_of_a_family_are_alike_and_another_release_is_named_by_what_differs() {
        let plan = Plan { steps: 100, rate: 1e-3, rows: 6400, seed: 0 };
        let longer = Plan { steps: 700, rate: 4e-3, rows: 6400, seed: 3 };
        for arm in Arm::all() {
            for other in Arm::all() {
                let (a, b) = (settings(arm, plan), settings(other, longer));
                assert_eq!(differences((arm, &a), (other, &b)), None, "{arm} and {other}");
            }
        }
        let [hog, greenmim] =
            [Recipe::LocalmimHog, Recipe::Greenmim].map(|recipe| Arm::of(Family::Swin, recipe));
        let now = settings(hog, plan);
        let four = Settings { depths: Some(vec![2; 4]), mask_ratio: 0.5, ..now.clone() };
        let told = differences((hog, &four), (hog, &now)).unwrap();
        assert_eq!(told, "depths: [2, 2, 2, 2], not [2, 2, 2]; mask-ratio: 0.5, not 0.75");
        // What a method is of its own is another matter than the encoder that it trains.
        let other = settings(greenmim, plan);
        let told = differences((hog, &four), (greenmim, &other)).unwrap();
        assert_eq!(told, "depths: [2, 2, 2, 2], not [2, 2, 2]");
        let longer = Settings { batch_size: 128, ..other };
        let told = differences((hog, &now), (greenmim, &longer)).unwrap();
        assert_eq!(told, "batch-size: 64, not 128");
        let vit = Arm::changed(Change::TopOnly);
        assert_eq!(differences((hog, &four), (vit, &settings(vit, plan))), None);
        // Of LocalMIM with one thing changed all else counts.
        let base = settings(Arm::BASE, plan);
        let earlier = Settings { start: Start::Early, ..base };
        let told = differences((Arm::BASE, &earlier), (vit, &settings(vit, plan))).unwrap();
        assert_eq!(told, "start: \"early\", not \"localmim\"");
    }
}
