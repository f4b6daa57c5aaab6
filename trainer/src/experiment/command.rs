//! The commands that make what a page shows.

use std::path::{Path, PathBuf};

use super::gather::{Group, Run};
use super::judged::Kind;
use super::kept::{RunRecord, Scale};
use super::plan::{Arm, SIZE};
use crate::model::Precision;

/// Those that made the runs of a group: one for each folder and the arms there that have the same
/// seeds.
pub(super) fn of_group(group: &Group) -> Vec<String> {
    let mut commands = vec![];
    let mut folders: Vec<&Path> = group.runs.iter().map(Run::experiment).collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in folders {
        let mut parts: Vec<(Vec<u64>, Vec<Arm>)> = vec![];
        for arm in group.arms() {
            let runs = group.of(arm).filter(|run| run.experiment() == folder);
            let seeds: Vec<u64> = runs.map(|run| run.record.seed).collect();
            match parts.iter_mut().find(|part| part.0 == seeds) {
                _ if seeds.is_empty() => {}
                Some(part) => part.1.push(arm),
                None => parts.push((seeds, vec![arm])),
            }
        }
        let command = |(seeds, arms): &(Vec<u64>, Vec<Arm>)| of_arms(group, folder, arms, seeds);
        commands.extend(parts.iter().map(command));
    }
    commands
}

/// The one that makes arms which are missing beside others, from all the seeds that these have.
pub(super) fn of_missing(group: &Group, missing: &[Arm], beside: &[Arm]) -> String {
    let runs = || beside.iter().flat_map(|&arm| group.of(arm));
    let mut seeds: Vec<u64> = runs().map(|run| run.record.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let folder = runs().next().map_or(Path::new("experiment"), Run::experiment);
    of_arms(group, folder, missing, &seeds)
}

/// The one that puts folders together.
pub(super) fn of_page(folders: &[PathBuf], out: &Path) -> String {
    let folders: Vec<_> = folders.iter().map(|folder| quoted(&folder.to_string_lossy())).collect();
    let out = quoted(&out.to_string_lossy());
    format!("trainer experiment --from {} --out {out}", folders.join(" "))
}

fn of_arms(group: &Group, folder: &Path, arms: &[Arm], seeds: &[u64]) -> String {
    let in_folder = || group.runs.iter().filter(|run| run.experiment() == folder);
    let bench = group.setup.bench;
    let Scale { minutes, train_pictures, test_pictures } = group.setup.scale;
    let mut flags: Vec<(&str, String)> = vec![];
    let mut pictures = "PICTURES".to_owned();
    if let Some(end) = in_folder().find_map(|run| run.end(Kind::Linear)) {
        pictures = quoted(&end.train.shards);
        if end.split.is_none() {
            flags.push(("test-pictures", quoted(&end.test.shards)));
        }
    }
    let judged_on = [Scale::SMALL, Scale::FULL].map(|of| (of.train_pictures, of.test_pictures));
    match (train_pictures, test_pictures) {
        of if of == judged_on[0] => {}
        of if of == judged_on[1] => flags.push(("full", String::new())),
        (learn, test) => flags.push(("judged-on", format!("{learn},{test}"))),
    }
    flags.push(("minutes", minutes.to_string()));
    flags.push(("seeds", joined(seeds)));
    flags.push(("arms", joined(arms)));
    let given = |run: &&Run| arms.contains(&run.record.arm) && run.record.tried.is_empty();
    for RunRecord { arm, rate, .. } in in_folder().filter(given).map(|run| &run.record) {
        let flag = ("rate", format!("{arm}={rate:e}"));
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    }
    if bench.size != SIZE {
        flags.push(("size", bench.size.to_string()));
    }
    if let Some(model) = bench.model {
        flags.push(("model", model.name().to_owned()));
    }
    if bench.precision != Precision::F32 {
        flags.push(("precision", bench.precision.name().to_owned()));
    }
    if let Some(run) = in_folder().next() {
        let machine = &run.record.machine;
        let device = machine.device.to_lowercase();
        flags.push(("device", if machine.on_cores { "cpu".to_owned() } else { device }));
    }
    flags.push(("out", quoted(&folder.to_string_lossy())));
    let flags = flags.into_iter().map(|(flag, value)| match value.as_str() {
        "" => format!(" --{flag}"),
        value => format!(" --{flag} {value}"),
    });
    format!("trainer experiment {pictures}{}", flags.collect::<String>())
}

fn joined<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_where_a_shell_would_part_it() {
        assert_eq!(quoted("s3://bucket/a-b_c.tar"), "s3://bucket/a-b_c.tar");
        assert_eq!(quoted("my photos"), "'my photos'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
