//! What is found, and what is asked → what is done, or a refusal.

use schemas::Manifest;

use super::found::{Copy, Found};
use super::plan::{Asked, Plan};
use super::refusal::Refusal;

/// How what is to be made goes with what is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Nothing speaks against it.
    Same,
    /// It is made already: the place of the part.
    Made(usize),
    /// The finished set was made with other settings.
    OtherSet(Vec<String>),
    /// The run that has begun makes something else.
    OtherRun(Vec<String>),
}

/// What is done by a run that makes shards.
#[derive(Debug)]
pub(crate) enum Make {
    /// Nothing: the part at this place of a finished set is what is asked.
    Nothing { manifest: Manifest, part: usize },
    /// It begins, on top of a set if there is one.
    Begin { base: Option<Manifest> },
    /// It goes on where an earlier run stopped.
    GoOn { base: Option<Manifest> },
}

/// With which manifest a set is mended.
#[derive(Debug)]
pub(crate) enum Mend {
    /// The one that is there.
    AsItIs(Manifest),
    /// A copy, which takes its place.
    FromCopy(Copy),
}

impl Fit {
    /// How a plan goes with what is found.
    pub fn of(plan: &Plan, found: &Found) -> Self {
        let with_run = |earlier: &Plan| match plan.differences(earlier) {
            differences if differences.is_empty() => Self::Same,
            differences => Self::OtherRun(differences),
        };
        let with_set = |manifest: &Manifest| match plan.made(manifest) {
            Some(part) => Self::Made(part),
            None => match plan.differences_from_set(manifest) {
                differences if differences.is_empty() => Self::Same,
                differences => Self::OtherSet(differences),
            },
        };
        match found {
            Found::Begun { plan: earlier } | Found::Ending { plan: earlier, .. } => {
                with_run(earlier)
            }
            Found::Growing { manifest, plan: earlier } => match with_set(manifest) {
                Self::Same => with_run(earlier),
                other => other,
            },
            Found::Finished { manifest }
            | Found::Outdated { manifest, .. }
            | Found::Beyond { manifest, .. }
            | Found::Unclear { manifest: Some(manifest), .. } => with_set(manifest),
            Found::Empty
            | Found::Foreign { .. }
            | Found::Stray { .. }
            | Found::Lost(_)
            | Found::OtherRelease { .. }
            | Found::Unclear { manifest: None, .. } => Self::Same,
        }
    }
}

/// What a run that makes shards does.
pub(crate) fn make(found: Found, asked: Asked, fit: Fit) -> Result<Make, Refusal> {
    match found {
        Found::Lost(lost) => Err(Refusal::Unusable { problem: lost.problem }),
        Found::OtherRelease { problem } => Err(Refusal::OtherRelease { problem }),
        Found::Empty
        | Found::Foreign { .. }
        | Found::Begun { .. }
        | Found::Stray { .. }
        | Found::Ending { .. }
        | Found::Unclear { manifest: None, .. }
            if asked == Asked::Append =>
        {
            Err(Refusal::NothingToAppendTo)
        }
        Found::Empty => Ok(Make::Begin { base: None }),
        Found::Foreign { name } => Err(Refusal::Foreign { name }),
        Found::Stray { files } => Err(Refusal::Beyond { base: None, files }),
        Found::Unclear { manifest: None, problem } => Err(Refusal::UnclearPlan { problem }),
        Found::Begun { plan } | Found::Ending { plan, .. } => go_on(None, plan, asked, fit),
        Found::Finished { manifest } => {
            grow(manifest, asked, fit, |base, _| Ok(Make::Begin { base: Some(base) }))
        }
        Found::Growing { manifest, plan } => {
            grow(manifest, asked, fit, |base, fit| go_on(Some(base), plan, asked, fit))
        }
        Found::Outdated { manifest, files, .. } | Found::Beyond { manifest, files } => {
            let beyond = |base: Manifest| Refusal::Beyond { base: Some(base.into()), files };
            grow(manifest, asked, fit, |base, _| Err(beyond(base)))
        }
        Found::Unclear { manifest: Some(manifest), problem } => {
            grow(manifest, asked, fit, |_, _| Err(Refusal::UnclearPlan { problem }))
        }
    }
}

/// What is done where a run has begun.
fn go_on(base: Option<Manifest>, plan: Plan, asked: Asked, fit: Fit) -> Result<Make, Refusal> {
    match fit {
        Fit::OtherRun(differences) => {
            let base = base.map(Box::new);
            Err(Refusal::OtherRun { differences, base, earlier: plan.into(), asked })
        }
        Fit::Same | Fit::Made(_) | Fit::OtherSet(_) => Ok(Make::GoOn { base }),
    }
}

/// What is done with a set that has a manifest; `then`, if a part may be added to it.
fn grow(
    manifest: Manifest,
    asked: Asked,
    fit: Fit,
    then: impl FnOnce(Manifest, Fit) -> Result<Make, Refusal>,
) -> Result<Make, Refusal> {
    if manifest.settings.scaled_decode {
        return Err(Refusal::Reduced);
    }
    match (fit, asked) {
        (Fit::Made(part), _) => Ok(Make::Nothing { manifest, part }),
        (Fit::OtherSet(differences), _) => Err(Refusal::OtherSet { differences, asked }),
        (Fit::Same | Fit::OtherRun(_), Asked::Ingest) => {
            let sources = manifest.parts.into_iter().flat_map(|part| part.sources).collect();
            Err(Refusal::Finished { sources })
        }
        (fit @ (Fit::Same | Fit::OtherRun(_)), Asked::Append) => then(manifest, fit),
    }
}

/// With what a set is mended.
pub(crate) fn mend(found: Found) -> Result<Mend, Refusal> {
    match found {
        Found::Empty
        | Found::Foreign { .. }
        | Found::Begun { .. }
        | Found::Stray { .. }
        | Found::Unclear { manifest: None, .. } => Err(Refusal::NoSet),
        Found::OtherRelease { problem } => Err(Refusal::OtherRelease { problem }),
        Found::Ending { lost, .. } | Found::Lost(lost) => match lost.copy {
            Some(copy) => from_copy(Err(lost.problem), copy),
            None => Err(Refusal::NoCopy { problem: lost.problem, copies: lost.copies }),
        },
        Found::Outdated { manifest, copy, .. } => from_copy(Ok(manifest.version), copy),
        Found::Beyond { manifest, files } => {
            Err(Refusal::NewerLost { found: Ok(manifest.version), newest: manifest.into(), files })
        }
        Found::Finished { manifest }
        | Found::Growing { manifest, .. }
        | Found::Unclear { manifest: Some(manifest), .. } => Ok(Mend::AsItIs(manifest)),
    }
}

/// Mends with a copy where `found` is the manifest's version, or what is wrong with it.
fn from_copy(found: Result<u32, Option<String>>, copy: Copy) -> Result<Mend, Refusal> {
    match copy.beyond.is_empty() {
        true => Ok(Mend::FromCopy(copy)),
        false => {
            let newest = copy.manifest.into();
            Err(Refusal::NewerLost { found, newest, files: copy.beyond })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use schemas::FileEntry;

    use super::*;
    use crate::output::found::Lost;
    use crate::output::plan::Columns;
    use crate::tally::Tally;

    /// What is done in each state, by what is asked. The set is made of plan A; B and D are of other
    /// pictures, C has other settings. A run that has begun makes B.
    const TABLE: &str = "
        found             | ingest A  | ingest B       | ingest C  | append A | append B | append C  | append D  | repair
        empty             | begin     | begin          | begin     | no base  | no base  | no base   | no base   | no set
        foreign           | foreign   | foreign        | foreign   | no base  | no base  | no base   | no base   | no set
        begun             | other run | go on          | other run | no base  | no base  | no base   | no base   | no set
        stray             | beyond    | beyond         | beyond    | no base  | no base  | no base   | no base   | no set
        ending            | other run | go on          | other run | no base  | no base  | no base   | no base   | copy
        ending, no copy   | other run | go on          | other run | no base  | no base  | no base   | no base   | no copy
        lost              | unusable  | unusable       | unusable  | unusable | unusable | unusable  | unusable  | copy
        lost, no copy     | unusable  | unusable       | unusable  | unusable | unusable | unusable  | unusable  | no copy
        lost, newer       | unusable  | unusable       | unusable  | unusable | unusable | unusable  | unusable  | newer lost
        other release     | release   | release        | release   | release  | release  | release   | release   | release
        finished          | nothing   | other pictures | other set | nothing  | begin    | other set | begin     | as it is
        finished, reduced | reduced   | reduced        | reduced   | reduced  | reduced  | reduced   | reduced   | as it is
        growing           | nothing   | other pictures | other set | nothing  | go on    | other set | other run | as it is
        outdated          | nothing   | other pictures | other set | nothing  | beyond   | other set | beyond    | copy
        outdated, newer   | nothing   | other pictures | other set | nothing  | beyond   | other set | beyond    | newer lost
        beyond            | nothing   | other pictures | other set | nothing  | beyond   | other set | beyond    | newer lost
        unclear           | plan      | plan           | plan      | no base  | no base  | no base   | no base   | no set
        unclear, a set    | nothing   | other pictures | other set | nothing  | plan     | other set | plan      | as it is";

    fn plan(name: &str) -> Plan {
        let mut settings = crate::Settings::new("raw", "out").ingest;
        settings.views = if name == "C" { 2 } else { 1 };
        Plan {
            created_by: "ingest".into(),
            version: 1,
            settings,
            sources: vec![name.to_owned()],
            follow_links: false,
            columns: Columns::default(),
            listing: name.to_owned(),
            units: 1,
            shards: None,
        }
    }

    fn manifest() -> Manifest {
        let rejects = FileEntry { file: "rejects.jsonl".into(), bytes: 0, blake3: "00".into() };
        Tally::new(None).manifest(&plan("A"), None, None, rejects)
    }

    fn copy(beyond: &[&str]) -> Copy {
        let beyond = beyond.iter().map(|&name| name.to_owned()).collect();
        Copy { manifest: manifest(), bytes: Bytes::new(), beyond }
    }

    fn lost(problem: Option<&str>, copy: Option<Copy>) -> Lost {
        Lost { problem: problem.map(str::to_owned), copies: vec![], copy }
    }

    fn found(state: &str) -> Found {
        let (manifest, plan, problem) = (manifest(), plan("B"), "cut short".to_owned());
        let files = vec!["shard-00007.parquet".to_owned()];
        match state {
            "empty" => Found::Empty,
            "foreign" => Found::Foreign { name: "thesis".into() },
            "begun" => Found::Begun { plan },
            "stray" => Found::Stray { files },
            "ending" => Found::Ending { plan, lost: lost(None, Some(copy(&[]))) },
            "ending, no copy" => Found::Ending { plan, lost: lost(None, None) },
            "lost" => Found::Lost(lost(None, Some(copy(&[])))),
            "lost, no copy" => Found::Lost(lost(Some("cut short"), None)),
            "lost, newer" => Found::Lost(lost(None, Some(copy(&["rejects-00002.jsonl"])))),
            "other release" => Found::OtherRelease { problem },
            "finished" => Found::Finished { manifest },
            "finished, reduced" => {
                let mut manifest = manifest;
                manifest.settings.scaled_decode = true;
                Found::Finished { manifest }
            }
            "growing" => Found::Growing { manifest, plan },
            "outdated" => Found::Outdated { manifest, files, copy: copy(&[]) },
            "outdated, newer" => {
                Found::Outdated { manifest, files, copy: copy(&["rejects-00003.jsonl"]) }
            }
            "beyond" => Found::Beyond { manifest, files },
            "unclear" => Found::Unclear { manifest: None, problem },
            "unclear, a set" => Found::Unclear { manifest: Some(manifest), problem },
            other => panic!("{other}"),
        }
    }

    /// The state that a row's name begins with; one that is added must get a row.
    fn state(found: &Found) -> &'static str {
        match found {
            Found::Empty => "empty",
            Found::Foreign { .. } => "foreign",
            Found::Begun { .. } => "begun",
            Found::Stray { .. } => "stray",
            Found::Ending { .. } => "ending",
            Found::Lost(_) => "lost",
            Found::OtherRelease { .. } => "other release",
            Found::Finished { .. } => "finished",
            Found::Growing { .. } => "growing",
            Found::Outdated { .. } => "outdated",
            Found::Beyond { .. } => "beyond",
            Found::Unclear { .. } => "unclear",
        }
    }

    fn refused(refusal: &Refusal) -> &'static str {
        match refusal {
            Refusal::NoSet => "no set",
            Refusal::Foreign { .. } => "foreign",
            Refusal::NothingToAppendTo => "no base",
            Refusal::Unusable { .. } => "unusable",
            Refusal::OtherRelease { .. } => "release",
            Refusal::UnclearPlan { .. } => "plan",
            Refusal::Beyond { .. } => "beyond",
            Refusal::Reduced => "reduced",
            Refusal::OtherSet { .. } => "other set",
            Refusal::Finished { .. } => "other pictures",
            Refusal::OtherRun { .. } => "other run",
            Refusal::NoCopy { .. } => "no copy",
            Refusal::NewerLost { .. } => "newer lost",
        }
    }

    fn done(found: Found, asked: &str) -> &'static str {
        let make = |found: Found, asked, name| {
            let fit = Fit::of(&plan(name), &found);
            match make(found, asked, fit) {
                Ok(Make::Nothing { part, .. }) => {
                    assert_eq!(part, 0);
                    "nothing"
                }
                Ok(Make::Begin { .. }) => "begin",
                Ok(Make::GoOn { .. }) => "go on",
                Err(refusal) => refused(&refusal),
            }
        };
        match asked.split_once(' ') {
            Some(("ingest", name)) => make(found, Asked::Ingest, name),
            Some(("append", name)) => make(found, Asked::Append, name),
            _ => match mend(found) {
                Ok(Mend::AsItIs(_)) => "as it is",
                Ok(Mend::FromCopy(_)) => "copy",
                Err(refusal) => refused(&refusal),
            },
        }
    }

    #[test]
    fn whatever_is_found_and_asked_has_its_answer() {
        let mut rows = TABLE.trim().lines().map(|line| line.split('|').map(str::trim));
        let asked: Vec<_> = rows.next().unwrap().skip(1).collect();
        let mut states = BTreeSet::new();
        for mut row in rows {
            let name = row.next().unwrap();
            let of_row = state(&found(name));
            assert!(name.starts_with(of_row), "{name} is {of_row}");
            states.insert(of_row);
            let answers: Vec<_> = row.collect();
            assert_eq!(answers.len(), asked.len(), "{name}");
            for (asked, answer) in asked.iter().zip(answers) {
                assert_eq!(done(found(name), asked), answer, "{name}, {asked}");
            }
        }
        assert_eq!(states.len(), 12, "a state has no row: {states:?}");
    }

    #[test]
    fn a_base_is_kept_where_a_part_is_added_to_it() {
        for (state, name) in [("finished", "B"), ("growing", "B")] {
            let found = found(state);
            let fit = Fit::of(&plan(name), &found);
            match make(found, Asked::Append, fit).unwrap() {
                Make::Begin { base } | Make::GoOn { base } => assert_eq!(base, Some(manifest())),
                Make::Nothing { .. } => panic!("{state}"),
            }
        }
    }
}
