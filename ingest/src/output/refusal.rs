//! Why nothing is done at an output, in words, with the way out.

use schemas::{MANIFEST_FILE, Manifest};
use shards::set::manifest;
use shards::set::names::{next_shard, shard_file};
use storage::{Address, Storage};

use super::plan::{Asked, Plan};
use super::some_of;
use super::state::plan_file;
use crate::IngestError;

/// Why nothing is done at an output.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no set that could be mended.
    NoSet,
    /// Something lies there that ingest did not put there.
    Foreign { name: String },
    /// There is no finished set.
    NothingToAppendTo,
    /// The manifest is gone, or has a problem: to begin anew would write over the set's shards.
    Unusable { problem: Option<String> },
    /// The manifest is that of another release.
    OtherRelease { problem: String },
    /// What a run that has begun makes can't be read.
    UnclearPlan { problem: String },
    /// Files would be written over that only a manifest can have named that is lost.
    Beyond { base: Option<Box<Manifest>>, files: Vec<String> },
    /// The set's pictures were decoded at a reduced size, as none is any more.
    Reduced,
    /// The set was made with other settings.
    OtherSet { differences: Vec<String>, asked: Asked },
    /// The set was made of other pictures.
    Finished { sources: Vec<String> },
    /// The run that has begun makes something else.
    OtherRun {
        differences: Vec<String>,
        base: Option<Box<Manifest>>,
        earlier: Box<Plan>,
        asked: Asked,
    },
    /// The manifest is gone or has a problem, and none of its copies is undamaged.
    NoCopy { problem: Option<String>, copies: Vec<String> },
    /// The newest manifest to be had does not name all. What is found is the version of the one that
    /// is in its place, or its problem.
    NewerLost { found: Result<u32, Option<String>>, newest: Box<Manifest>, files: Vec<String> },
}

impl Refusal {
    /// Whether it concerns an unfinished run, which may be at work: only who holds the lock knows.
    pub fn is_of_a_run(&self) -> bool {
        matches!(self, Self::UnclearPlan { .. } | Self::Beyond { .. } | Self::OtherRun { .. })
    }

    /// The error of an output.
    pub fn at(self, storage: &Storage, out: &Address) -> IngestError {
        let damaged = |file: &str, problem| IngestError::Damaged {
            file: out.join(file).to_string(),
            problem,
        };
        match self {
            Self::NoSet => manifest::missing(storage, out).into(),
            Self::Foreign { name } => IngestError::Foreign { out: out.clone().into(), found: name },
            Self::NothingToAppendTo => {
                let problem =
                    format!("there is no finished set in {out}; leave it out to make one");
                IngestError::Setting { flag: "--append", problem }
            }
            Self::Unusable { problem: None } => manifest::gone(out).into(),
            Self::Unusable { problem: Some(problem) } => damaged(
                MANIFEST_FILE,
                format!("{problem}; `ingest repair {out}` brings back an undamaged copy"),
            ),
            Self::OtherRelease { problem } => damaged(MANIFEST_FILE, problem),
            Self::UnclearPlan { problem } => damaged(&plan_file(), problem),
            Self::Beyond { base, files } => {
                let first = files.first().map_or(MANIFEST_FILE, String::as_str);
                damaged(first, beyond(out, base.as_deref(), &files))
            }
            Self::Reduced => IngestError::ScaledDecode(out.clone().into()),
            Self::OtherSet { differences, asked } => differs(
                out,
                differences,
                match asked {
                    Asked::Ingest => ANOTHER,
                    Asked::Append => {
                        "All shards of a set are made alike: repeat the earlier settings to append."
                    }
                },
            ),
            Self::OtherRun { differences, asked, .. } => differs(
                out,
                differences,
                match asked {
                    Asked::Ingest => ANOTHER,
                    Asked::Append => "Finish that one first, with its sources and settings.",
                },
            ),
            Self::Finished { sources } => {
                let difference = format!(
                    "the listed files are others than those of {} (compared by name and size)",
                    sources.join(", ")
                );
                IngestError::Finished { out: out.clone().into(), differences: vec![difference] }
            }
            Self::NoCopy { problem, copies } => damaged(MANIFEST_FILE, no_copy(problem, &copies)),
            Self::NewerLost { found, newest, files } => {
                damaged(MANIFEST_FILE, newer_lost(out, found, &newest, &files))
            }
        }
    }
}

const ANOTHER: &str = "Give another --out, repeat the earlier settings, or delete the folder.";

fn differs(out: &Address, differences: Vec<String>, hint: &'static str) -> IngestError {
    IngestError::Differs { out: out.clone().into(), differences, hint }
}

fn beyond(out: &Address, base: Option<&Manifest>, files: &[String]) -> String {
    let version = match base {
        Some(base) => format!("{MANIFEST_FILE}, which is version {}", base.version),
        None => format!("the set, which has no {MANIFEST_FILE}"),
    };
    format!(
        "it lies beyond {version}, and no unfinished run has made it: a newer manifest is lost, and adding to the set would write over what that named ({}). `ingest repair {out}` brings the newer manifest back or says what is missing for that; if that is of no use, move {} out of {out}",
        some_of(files),
        all_beyond(base)
    )
}

fn no_copy(problem: Option<String>, copies: &[String]) -> String {
    let copies = match copies {
        [] => "no numbered one at all".to_owned(),
        copies => some_of(copies),
    };
    format!(
        "{}, and there is no undamaged copy of it ({copies}). Bring one back from a backup, or make the set anew with another --out: which shards there were, and from what, stands nowhere else",
        is(problem)
    )
}

fn newer_lost(
    out: &Address,
    found: Result<u32, Option<String>>,
    newest: &Manifest,
    files: &[String],
) -> String {
    let is = match found {
        Ok(version) if version == newest.version => format!("it is version {version},"),
        found => format!(
            "{}, version {} is the newest of which there is an undamaged copy,",
            found.map_or_else(is, |version| format!("it is version {version}")),
            newest.version
        ),
    };
    format!(
        "{is} but there is more that only a newer manifest can name, which is lost: {}. Nothing is changed. Bring that manifest back from a backup and repair again; or, to give up what it named, move {} out of {out} and repair again",
        some_of(files),
        all_beyond(Some(newest))
    )
}

/// What is wrong with a manifest that is gone, or has a problem.
fn is(problem: Option<String>) -> String {
    problem.map_or("it is gone".to_owned(), |problem| format!("it is damaged ({problem})"))
}

/// All files that a manifest later than this one can have named.
fn all_beyond(manifest: Option<&Manifest>) -> String {
    format!(
        "all manifests and lists of rejects of versions after {}, and shards from {} on,",
        manifest.map_or(0, |manifest| manifest.version),
        shard_file(next_shard(manifest))
    )
}
