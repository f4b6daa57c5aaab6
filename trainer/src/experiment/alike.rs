//! Whether runs that would be compared were trained alike: releases may differ in what an arm is.

use std::path::Path;

use super::ExperimentError;
use super::judged::is_trained;
use super::kept;
use super::lab::Lab;
use super::plan::{Arm, RATES};
use crate::settings::Settings;

/// What runs of one arm may differ in: each run's own, and what follows from its steps.
const OF_A_RUN: [&str; 4] = ["seed", "lr", "steps", "warmup-epochs"];
/// What the arms of a family share: its encoder.
const OF_A_FAMILY: [&str; 5] = ["model", "patch", "width", "depths", "heads"];

/// What keeps runs with these settings from being compared, in words; nothing where they can be.
pub(super) fn differences(
    (arm, before): (Arm, &Settings),
    (other, now): (Arm, &Settings),
) -> Option<String> {
    let counts = |flag: &str| match arm == other {
        true => !OF_A_RUN.contains(&flag),
        false => arm.family == other.family && OF_A_FAMILY.contains(&flag),
    };
    let conflicts = now.conflicts(before).into_iter().filter(|(flag, ..)| counts(flag));
    let told = conflicts.map(|(flag, before, now)| format!("{flag}: {before}, not {now}"));
    let told = told.collect::<Vec<_>>().join("; ");
    (!told.is_empty()).then_some(told)
}

impl Lab<'_> {
    /// An error if what lies in the experiment's folder was trained otherwise than what is to be
    /// trained beside it.
    pub fn refuse_other_releases(&self, left: &[Arm]) -> Result<(), ExperimentError> {
        for (folder, run) in kept::runs(&self.request.out)? {
            let Some(before) = Settings::of_run(&folder)? else { continue };
            for &arm in left {
                self.refuse_other_release(arm, (run.arm, &before), &folder)?;
            }
        }
        Ok(())
    }

    /// An error if an arm as it was trained there differs from one that is to be trained beside it.
    pub fn refuse_other_release(
        &self,
        arm: Arm,
        before: (Arm, &Settings),
        there: &Path,
    ) -> Result<(), ExperimentError> {
        let now = self.settings(arm, (1, RATES[0], 0))?;
        match differences(before, (arm, &now)) {
            Some(differences) => {
                Err(ExperimentError::OtherRelease { there: there.to_owned(), arm, differences })
            }
            None => Ok(()),
        }
    }

    /// The arms of which a run is left to train.
    pub fn left_to_train(&self) -> Result<Vec<Arm>, ExperimentError> {
        let kept = kept::runs(&self.request.out)?;
        let mut left = vec![];
        for &arm in &self.request.arms {
            for &seed in &self.request.seeds {
                let run = kept.iter().find(|(_, run)| (run.arm, run.seed) == (arm, seed));
                let done = match run {
                    Some((folder, run)) => run.diverged.is_some() || is_trained(run, folder)?,
                    None => false,
                };
                if !done && !left.contains(&arm) {
                    left.push(arm);
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
    use crate::model::Precision;
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
        let vit = Arm::changed(Change::TopOnly);
        assert_eq!(differences((hog, &four), (vit, &settings(vit, plan))), None);
    }
}
