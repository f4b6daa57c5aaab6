//! What a reader of the figures must know: where runs differ in more than they are compared by.

use super::gather::Group;
use super::kept::{JudgedOn, RunRecord};
use super::plan::Arm;

/// One sentence or two each.
pub(super) fn notes(group: &Group) -> Vec<String> {
    let arms = group.arms();
    let of_arm = |&arm: &Arm| [unequal(group, arm), other_rate(group, arm)];
    let all = [several_machines(group, &arms), unknown_test(group), unlike(group)];
    arms.iter().flat_map(of_arm).chain(all).flatten().collect()
}

/// An arm's seeds that were trained otherwise than each other.
fn unequal(group: &Group, arm: Arm) -> Option<String> {
    let mut kinds: Vec<(String, Vec<String>)> = vec![];
    for record in group.records(arm) {
        let (told, seed) = (record.told(), record.seed.to_string());
        match kinds.iter_mut().find(|(other, _)| *other == told) {
            Some((_, seeds)) => seeds.push(seed),
            None => kinds.push((told, vec![seed])),
        }
    }
    let told = kinds.iter().map(|(told, seeds)| format!("{told} (seed {})", seeds.join(", ")));
    (kinds.len() > 1).then(|| {
        let told = told.collect::<Vec<_>>().join(" and ");
        format!("{arm} is of runs that differ: {told}. Its mean and its spread hold that, too.")
    })
}

/// An arm with one thing changed that trained at another rate than what it is held against.
fn other_rate(group: &Group, arm: Arm) -> Option<String> {
    let rate = |record: &RunRecord| record.rate;
    let own: Vec<f64> = group.records(arm).map(rate).collect();
    let other = group.records(arm.rated_by()).map(rate).find(|other| !own.contains(other))?;
    (arm.rated_by() != arm).then(|| {
        format!(
            "{arm} did not train at the rate of {}, {other:e}: what is told of the change may be the rate's.",
            arm.rated_by()
        )
    })
}

/// Runs that another release made.
fn unlike(group: &Group) -> Option<String> {
    let why = group.unlike.as_ref()?;
    Some(format!("These runs are not compared with those above: {why}"))
}

/// Runs of several machines.
fn several_machines(group: &Group, arms: &[Arm]) -> Option<String> {
    if group.machines(arms).len() < 2 {
        return None;
    }
    let on = arms.iter().map(|&arm| {
        let machines = group.machines(&[arm]).into_iter().map(|machine| machine.text());
        format!("{arm} on {}", machines.collect::<Vec<_>>().join(" and "))
    });
    Some(format!(
        "The runs were made on several machines, whose times are not compared: {}. A ratio of times is told only where each seed's runs of both arms were made on one machine; elsewhere views alone count.",
        on.collect::<Vec<_>>().join("; ")
    ))
}

/// Runs of which it is not known that they were judged on the same pictures.
fn unknown_test(group: &Group) -> Option<String> {
    let unknown = |record: &&RunRecord| record.setup.test == JudgedOn::Unknown;
    let records = || group.runs.iter().map(|run| &run.record);
    let count = records().filter(unknown).count();
    (count > 0 && count < group.runs.len()).then(|| {
        format!("Of {count} of {} runs it was not kept which pictures they were judged on; they are taken for those of the others.", group.runs.len())
    })
}
