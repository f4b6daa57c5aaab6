//! One look at an output, and what it is.

use std::collections::BTreeSet;

use bytes::Bytes;
use schemas::{MANIFEST_FILE, Manifest, ManifestError};
use shards::set::files::{self, Files};
use shards::set::manifest;
use shards::set::names::{self, Numbered};
use storage::{Address, Storage};

use super::plan::Plan;
use super::state::{number_of_state, plan_file, read_plan};
use crate::IngestError;

/// What an output is, with what those need to know who go on from there.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing that anybody would miss.
    Empty,
    /// Something visible that ingest did not put there.
    Foreign { name: String },
    /// A first run has begun: no manifest is there, and none ever was.
    Begun { plan: Plan },
    /// No manifest was ever there, but files that no unfinished run has made.
    Stray { files: Vec<String> },
    /// A first run has ended between its last steps: only its numbered manifest is there.
    Ending { plan: Plan, lost: Lost },
    /// The set was finished, but its manifest is gone or damaged.
    Lost(Lost),
    /// The manifest is that of another release.
    OtherRelease { problem: String },
    /// A finished set.
    Finished { manifest: Manifest },
    /// A finished set to which a run that has begun adds a part.
    Growing { manifest: Manifest, plan: Plan },
    /// The manifest is an earlier one: of a later there is an undamaged copy. The files are those
    /// that the manifest does not name.
    Outdated { manifest: Manifest, files: Vec<String>, copy: Copy },
    /// Files are there that only a later manifest can have named, which is lost.
    Beyond { manifest: Manifest, files: Vec<String> },
    /// A run has begun, but what it makes can't be read; in a finished set if there is a manifest.
    Unclear { manifest: Option<Manifest>, problem: String },
}

/// A manifest that is gone or damaged.
#[derive(Debug)]
pub(crate) struct Lost {
    /// How it is damaged; none if it is gone.
    pub problem: Option<String>,
    /// The names of its numbered copies, the oldest first.
    pub copies: Vec<String>,
    /// The newest that is undamaged.
    pub copy: Option<Copy>,
}

/// An undamaged numbered copy of a manifest.
#[derive(Debug)]
pub(crate) struct Copy {
    pub manifest: Manifest,
    pub bytes: Bytes,
    /// The files that even this one does not name, and no unfinished run has made.
    pub beyond: Vec<String>,
}

/// Looks at an output.
///
/// # Errors
/// [`IngestError`] if what is there can't be told.
pub(crate) fn look(storage: &Storage, out: &Address) -> Result<(Found, Files), IngestError> {
    // In this order, a run that ends meanwhile is not taken for a manifest that is lost: its plan is
    // there until a manifest names all that it made.
    let files = files::list(storage, out)?;
    let plan = match files.contains_key(&plan_file()) {
        false => Ok(None),
        true => match read_plan(storage, out) {
            Err(IngestError::Damaged { problem, .. }) => Err(problem),
            plan => Ok(plan?),
        },
    };
    let manifest = match storage.read(&out.join(MANIFEST_FILE)) {
        Err(error) if error.is_missing() => Ok(None),
        bytes => manifest::parse(&bytes?).map(Some),
    };
    let look = Look { storage, out, files: &files, plan };
    let found = look.tell(manifest)?;
    Ok((found, files))
}

/// What a look has seen, but for the manifest.
struct Look<'a> {
    storage: &'a Storage,
    out: &'a Address,
    files: &'a Files,
    /// What an unfinished run makes, or why that can't be read.
    plan: Result<Option<Plan>, String>,
}

impl Look<'_> {
    fn tell(self, manifest: Result<Option<Manifest>, ManifestError>) -> Result<Found, IngestError> {
        match manifest {
            Ok(Some(manifest)) => self.with(manifest),
            Ok(None) if self.copies(0).is_empty() => Ok(self.without()),
            Ok(None) => self.lost(None),
            // No copy is of another release.
            Err(error @ ManifestError::Version(_)) => {
                Ok(Found::OtherRelease { problem: error.to_string() })
            }
            Err(error) => self.lost(Some(error.to_string())),
        }
    }

    /// No manifest is there, and none ever was.
    fn without(self) -> Found {
        let files = self.beyond(None);
        match self.plan {
            Err(problem) => Found::Unclear { manifest: None, problem },
            Ok(None) => match self.files.keys().find(|name| !name.starts_with('.')) {
                Some(name) => Found::Foreign { name: name.trim_end_matches('/').to_owned() },
                None => Found::Empty,
            },
            Ok(Some(_)) if !files.is_empty() => Found::Stray { files },
            Ok(Some(plan)) if plan.version == 1 => Found::Begun { plan },
            // What is left of a set that somebody has deleted.
            Ok(Some(_)) => Found::Empty,
        }
    }

    /// The manifest is gone or damaged.
    fn lost(self, problem: Option<String>) -> Result<Found, IngestError> {
        let lost = Lost { copies: self.copies(0), copy: self.copy(0)?, problem };
        let is_whole = self.beyond(None).is_empty();
        Ok(match self.plan {
            Ok(Some(plan)) if plan.version == 1 && lost.problem.is_none() && is_whole => {
                Found::Ending { plan, lost }
            }
            _ => Found::Lost(lost),
        })
    }

    /// The manifest can be read.
    fn with(self, manifest: Manifest) -> Result<Found, IngestError> {
        let files = self.beyond(Some(&manifest));
        // An unfinished run puts its copy in its place itself.
        let made = self.plan().map(|plan| plan.version);
        let copy = self.copy(manifest.version)?.filter(|copy| {
            copy.manifest.grew_from(&manifest) && Some(copy.manifest.version) != made
        });
        if let Some(copy) = copy {
            return Ok(Found::Outdated { manifest, files, copy });
        }
        if !files.is_empty() {
            return Ok(Found::Beyond { manifest, files });
        }
        Ok(match self.plan {
            Err(problem) => Found::Unclear { manifest: Some(manifest), problem },
            Ok(Some(plan)) if plan.version == manifest.version + 1 => {
                Found::Growing { manifest, plan }
            }
            Ok(_) => Found::Finished { manifest },
        })
    }

    /// The newest undamaged copy of the manifest that is later than a version.
    fn copy(&self, version: u32) -> Result<Option<Copy>, IngestError> {
        for name in self.copies(version).into_iter().rev() {
            let bytes = self.storage.read(&self.out.join(&name))?;
            let Ok(manifest) = manifest::parse(&bytes) else { continue };
            if name == Manifest::file_of_version(manifest.version) {
                let beyond = self.beyond(Some(&manifest));
                return Ok(Some(Copy { manifest, bytes, beyond }));
            }
        }
        Ok(None)
    }

    /// The files of later versions than a manifest, or than none, that no unfinished run has made.
    fn beyond(&self, manifest: Option<&Manifest>) -> Vec<String> {
        let next = manifest.map_or(1, |manifest| manifest.version + 1);
        let has_begun = self.plan().is_some_and(|plan| plan.version == next);
        let states = self.files.keys().filter_map(|name| number_of_state(name));
        // Killed at the right moment, a run leaves its last shard without a state.
        let last = states.max().map_or(names::next_shard(manifest), |last| last + 1);
        // Shards that are made in any order may all be there before the first has one.
        let planned = self.plan().and_then(|plan| plan.shards).unwrap_or(0);
        let last = last.max(names::next_shard(manifest) + planned);
        let is_of_run = |file: Numbered| match file {
            Numbered::Shard(number) => number <= last,
            file => file.is_of(next),
        };
        names::beyond(self.files.keys().map(String::as_str), manifest)
            .into_iter()
            .filter(|(file, _)| !(has_begun && is_of_run(*file)))
            .map(|(_, name)| name)
            .collect()
    }

    /// The names of the numbered manifests that are later than a version, the oldest first.
    fn copies(&self, version: u32) -> Vec<String> {
        let number = |name: &String| match Numbered::of(name) {
            Some(Numbered::Manifest(of)) if of > version.into() => Some((of, name.clone())),
            _ => None,
        };
        let copies: BTreeSet<_> = self.files.keys().filter_map(number).collect();
        copies.into_iter().map(|(_, name)| name).collect()
    }

    fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref().ok()?.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use schemas::FileEntry;
    use tempfile::TempDir;

    use super::*;
    use crate::output::plan::Columns;
    use crate::output::state::{plan_at, state_file, write_json};
    use crate::tally::Tally;

    /// An output in which files are laid one after the other.
    struct Case {
        folder: TempDir,
        storage: Storage,
    }

    impl Case {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), storage: Storage::local() }
        }

        fn out(&self) -> Address {
            self.folder.path().join("out").into()
        }

        fn put(&self, name: &str, text: impl Into<Bytes>) {
            self.storage.put(&self.out().join(name), text.into()).unwrap();
        }

        fn plan(&self, version: u32) -> Plan {
            let plan = Plan {
                created_by: "ingest".into(),
                version,
                settings: crate::Settings::new("raw", "out").ingest,
                sources: vec!["raw".into()],
                follow_links: false,
                columns: Columns::default(),
                listing: version.to_string(),
                units: 1,
                shards: None,
            };
            write_json(&self.storage, &plan_at(&self.out()), &plan).unwrap();
            plan
        }

        /// Numbered manifests up to a version, the newest of which is given back.
        fn copies(&self, version: u32) -> Manifest {
            let mut newest = None;
            for version in 1..=version {
                let rejects = FileEntry { file: "list".into(), bytes: 0, blake3: "00".into() };
                let base = newest.as_ref();
                let manifest = Tally::new(base).manifest(&self.plan(version), base, None, rejects);
                self.put(&Manifest::file_of_version(version), manifest.to_text());
                newest = Some(manifest);
            }
            self.storage.delete(&plan_at(&self.out())).unwrap();
            newest.unwrap()
        }

        fn found(&self) -> Found {
            look(&self.storage, &self.out()).unwrap().0
        }
    }

    #[test]
    fn an_output_without_a_manifest_is_what_lies_in_it() {
        let case = Case::new();
        assert!(matches!(case.found(), Found::Empty), "there is no folder");
        case.put(".hidden", "");
        case.put(".ingest/lock", "");
        assert!(matches!(case.found(), Found::Empty));
        // A plan of a set that somebody has deleted.
        case.plan(2);
        assert!(matches!(case.found(), Found::Empty));
        case.put("rejects-00002.jsonl", "");
        assert!(matches!(case.found(), Found::Stray { files } if files == ["rejects-00002.jsonl"]));
        case.storage.delete(&plan_at(&case.out())).unwrap();
        let name = |found| match found {
            Found::Foreign { name } => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(case.found()), "rejects-00002.jsonl");
        let case = Case::new();
        case.put("folder/file", "");
        assert_eq!(name(case.found()), "folder");
    }

    #[test]
    fn a_run_that_has_begun_owns_what_it_has_made_and_no_more() {
        let case = Case::new();
        let plan = case.plan(1);
        case.put("rejects.jsonl", "");
        // It was killed before it could keep what became of the second.
        case.put(&state_file(0), "{}");
        for number in 0..2 {
            case.put(&names::shard_file(number), "");
        }
        assert!(matches!(case.found(), Found::Begun { plan: of } if of == plan));
        case.put(&names::shard_file(2), "");
        assert!(matches!(case.found(), Found::Stray { files } if files == ["shard-00002.parquet"]));
        let case = Case::new();
        let manifest = case.copies(1);
        let plan = case.plan(1);
        assert!(matches!(case.found(), Found::Ending { lost: Lost { copy: Some(_), .. }, .. }));
        case.put(MANIFEST_FILE, manifest.to_text());
        assert!(matches!(case.found(), Found::Finished { .. }), "{plan:?} is done");
        let plan = case.plan(2);
        case.put(&names::shard_file(0), "");
        assert!(matches!(case.found(), Found::Growing { plan: of, .. } if of == plan));
        case.put(&names::shard_file(1), "");
        assert!(matches!(case.found(), Found::Beyond { .. }));
    }

    #[test]
    fn a_manifest_that_is_lost_is_missed() {
        let case = Case::new();
        let newest = case.copies(3);
        let lost = |found| match found {
            Found::Lost(lost) => lost,
            other => panic!("{other:?}"),
        };
        let gone = lost(case.found());
        assert_eq!((gone.problem, gone.copies.len()), (None, 3));
        assert_eq!(gone.copy.unwrap().manifest, newest);
        case.put(MANIFEST_FILE, "{");
        assert!(lost(case.found()).problem.is_some());
        // Of the damaged ones the next is taken, and tells what it does not name.
        case.put(&Manifest::file_of_version(3), "{");
        let copy = lost(case.found()).copy.unwrap();
        assert_eq!((copy.manifest.version, copy.beyond), (2, vec!["manifest-00003.json".into()]));
        case.put(
            MANIFEST_FILE,
            newest.to_text().replace("\"schema_version\": 1", "\"schema_version\": 9"),
        );
        assert!(matches!(case.found(), Found::OtherRelease { .. }));
    }

    #[test]
    fn a_manifest_that_is_not_the_newest_is_told() {
        let case = Case::new();
        let second = case.copies(2);
        let first = case.storage.read(&case.out().join(&Manifest::file_of_version(1))).unwrap();
        case.put(MANIFEST_FILE, first);
        let Found::Outdated { copy, .. } = case.found() else { panic!("{:?}", case.found()) };
        assert_eq!((copy.manifest, copy.beyond.len()), (second, 0));
        case.plan(2);
        assert!(matches!(case.found(), Found::Growing { .. }), "the run puts it in its place");
        case.put(".ingest/plan.json", "{");
        assert!(matches!(case.found(), Found::Outdated { .. }));
        case.storage.delete(&case.out().join(&Manifest::file_of_version(2))).unwrap();
        assert!(matches!(case.found(), Found::Unclear { manifest: Some(_), .. }));
        case.put("rejects-00002.jsonl", "");
        assert!(matches!(case.found(), Found::Beyond { .. }));
    }
}
