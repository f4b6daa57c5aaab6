//! Sources → what lies in them: a walk of local folders, listings of remote ones, lines of lists.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archives::addresses::{self, Form};
use archives::{ArchiveError, Kind, Origin};
use rayon::prelude::*;
use shards::set::manifest;
use storage::{Address, Storage, StorageError};
use walkdir::{DirEntry, WalkDir};

use super::beside::Beside;
use super::list;
use super::listing::{Input, Listed, What};
use super::numbered::{self, Place};
use super::origin::Stored;
use super::rows::{List, Survey};
use super::{Request, Source};
use crate::IngestError;

/// Bytes of a file's beginning by which it is told what it is.
const HEAD: u64 = 4096;
/// Archives that are looked at at once.
pub(super) const LOOKS: usize = 16;
/// How the names of pictures end; a file so named is never taken for a list.
const PICTURE_ENDINGS: [&str; 12] = [
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff",
    ".avif",
];

/// What was found so far.
pub(super) struct Found<'a> {
    pub(super) storage: &'a Storage,
    request: &'a Request<'a>,
    /// The output, links resolved, if it is a local folder that is there.
    out: Option<PathBuf>,
    pub inputs: Vec<Input>,
    pub loose: Vec<Listed>,
    pub archives: Vec<Listed>,
    /// Files of folders that are no pictures by name, but may lie beside one.
    pub companions: Vec<Listed>,
    /// Folders that are called by a number.
    pub folders: HashSet<Place>,
    /// Files of metadata beside shards that were passed over.
    pub metadata: u64,
    pub hidden: u64,
    pub irregular: u64,
    pub not_tried: Option<BTreeMap<String, u64>>,
}

/// What one file is.
enum Told {
    Picture,
    Archive(Kind),
    Rows(List),
    List,
}

impl<'a> Found<'a> {
    pub fn new(storage: &'a Storage, request: &'a Request<'a>) -> Self {
        Self {
            storage,
            request,
            out: request.out.local().and_then(|out| fs::canonicalize(out).ok()),
            inputs: vec![],
            loose: vec![],
            archives: vec![],
            companions: vec![],
            folders: HashSet::new(),
            metadata: 0,
            hidden: 0,
            irregular: 0,
            not_tried: None,
        }
    }

    /// Adds what a source holds.
    pub fn source(&mut self, source: &Source) -> Result<(), IngestError> {
        let given = source.given.trim_end_matches('/');
        let prefix = self.request.prefixed.then(|| given.to_owned());
        let input = Input { at: source.at.clone(), prefix, label: None };
        if source.at == *self.request.out {
            return Err(IngestError::OutIsSource(source.at.clone()));
        }
        let stat = self.storage.stat(&source.at)?;
        let Some(stat) = stat else { return Err(IngestError::NoSource(source.at.clone())) };
        if stat.folder {
            return self.folder(input);
        }
        if is_irregular(&source.at)? {
            return Err(IngestError::Irregular(source.at.clone()));
        }
        // By itself, a file goes by its own name.
        let own = given.rsplit('/').next().unwrap_or(given);
        let input = Input { prefix: Some(input.prefix.unwrap_or_else(|| own.to_owned())), ..input };
        match self.tell(&source.at, stat.bytes)? {
            Told::Picture => self.file(input, stat.bytes, What::Loose),
            Told::Archive(kind) => self.file(input, stat.bytes, What::Archive(kind)),
            Told::Rows(list) => self.rows(input, stat.bytes, list)?,
            Told::List => {
                for mut line in list::read(self.storage, &source.at, stat.bytes)? {
                    if !self.request.private_addresses {
                        line.at = line.at.guarded();
                    }
                    self.line(&source.at, line)?;
                }
            }
        }
        Ok(())
    }

    /// Adds what a line of a list names. A remote picture is not asked for, since a list may have
    /// very many.
    fn line(&mut self, list: &Address, line: list::Line) -> Result<(), IngestError> {
        let list::Line { number, text, at, label } = line;
        // The web has no folders.
        let ends_like_one = text.ends_with('/') || at.to_string().ends_with('/');
        let is_folder = ends_like_one && !at.is_web();
        let input = Input { at: at.clone(), prefix: Some(text), label };
        let is_named = Kind::is_name(at.name()) || addresses::is_named(at.name());
        if at.local().is_none() && !is_folder && !is_named {
            self.file(input, 0, What::Loose);
            return Ok(());
        }
        let stat = match self.storage.stat(&at) {
            Ok(Some(stat)) => stat,
            Ok(None) => {
                self.file(input, 0, What::unreadable("there is nothing at this line of the list"));
                return Ok(());
            }
            Err(StorageError::Private { source, .. }) => {
                self.file(input, 0, What::Fault(super::private(source).into()));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if stat.folder {
            return self.folder(input);
        }
        let unusable = |problem: String| {
            Err(IngestError::List { list: list.to_string(), line: number, problem })
        };
        if is_irregular(&at)? {
            return unusable(format!(
                "{at} is a pipe, a socket or a device; name regular files and folders"
            ));
        }
        match self.tell(&at, stat.bytes)? {
            Told::Picture => self.file(input, stat.bytes, What::Loose),
            Told::Archive(kind) => self.file(input, stat.bytes, What::Archive(kind)),
            Told::Rows(list) => self.rows(input, stat.bytes, list)?,
            Told::List => {
                return unusable(format!("{at} is a list too; give it as a source of its own"));
            }
        }
        Ok(())
    }

    /// Adds a list with a row for each picture, unless it is one of rejects of which none can be
    /// tried anew.
    fn rows(&mut self, input: Input, bytes: u64, list: List) -> Result<(), IngestError> {
        let at = input.at.clone();
        let survey = list.survey(self.origin(&at, bytes)).map_err(of(&at))?;
        if let Some(Survey { anew, passed }) = survey {
            let all = self.not_tried.get_or_insert_default();
            for (code, entries) in passed {
                *all.entry(code).or_default() += entries;
            }
            if anew == 0 {
                return Ok(());
            }
        }
        self.file(input, bytes, What::List(list));
        Ok(())
    }

    fn file(&mut self, input: Input, bytes: u64, what: What) {
        let input = self.input(input);
        self.add(Listed {
            input,
            beside: Beside::default(),
            relative: PathBuf::new(),
            bytes,
            what,
        });
    }

    fn input(&mut self, input: Input) -> u32 {
        self.inputs.push(input);
        (self.inputs.len() - 1) as u32
    }

    fn add(&mut self, listed: Listed) {
        let name = listed.relative.file_name().unwrap_or_default().to_string_lossy();
        match listed.what {
            What::Archive(_) | What::List(_) => self.archives.push(listed),
            What::Loose if archives::companion(&name).is_some() => self.companions.push(listed),
            What::Loose | What::Fault(..) => self.loose.push(listed),
        }
    }

    fn folder(&mut self, input: Input) -> Result<(), IngestError> {
        let at = input.at.clone();
        let input = self.input(input);
        match at.local() {
            Some(folder) => self.walk(&at, folder, input),
            None => self.objects(&at, input),
        }
    }

    /// Adds the files of a local folder, at any depth.
    fn walk(&mut self, at: &Address, folder: &Path, input: u32) -> Result<(), IngestError> {
        let entered = fs::canonicalize(folder).map_err(IngestError::io("find", folder))?;
        fs::read_dir(&entered).map_err(IngestError::io("read the folder", folder))?;
        if self.out.as_ref() == Some(&entered) {
            return Err(IngestError::OutIsSource(at.clone()));
        }
        let follow_links = self.request.follow_links;
        let mut walk = WalkDir::new(&entered).min_depth(1).follow_links(follow_links).into_iter();
        while let Some(entry) = walk.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(&entered);
                    let relative = path.strip_prefix(&entered).unwrap_or(path).to_owned();
                    let what = What::unreadable(error);
                    self.add(Listed { input, beside: Beside::default(), relative, bytes: 0, what });
                    continue;
                }
            };
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                self.hidden += 1;
                skip(&mut walk, &entry);
            } else if entry.file_type().is_dir() {
                if self.out.as_deref() == Some(entry.path()) {
                    skip(&mut walk, &entry);
                } else if numbered::is_number(entry.file_name().as_encoded_bytes()) {
                    let relative = entry.path().strip_prefix(&entered).unwrap_or(entry.path());
                    self.folders.insert((input, relative.to_owned()));
                }
            } else if entry.file_type().is_file() {
                self.add(local_file(&entry, &entered, input));
            } else {
                self.irregular += 1;
            }
        }
        Ok(())
    }

    /// Adds the objects below a remote address.
    fn objects(&mut self, at: &Address, input: u32) -> Result<(), IngestError> {
        let (folder, out) = (at.to_string(), self.request.out.to_string());
        let folder = folder.trim_end_matches('/');
        let out = out.strip_prefix(folder).and_then(|below| below.strip_prefix('/'));
        let out = out.map(|below| format!("{}/", below.trim_end_matches('/')));

        let mut archives = Vec::new();
        for storage::Listed { relative, bytes, .. } in self.storage.list(at)? {
            let beside = Beside::default();
            if relative.split('/').any(|part| part.starts_with('.')) {
                self.hidden += 1;
            } else if out.as_ref().is_some_and(|out| relative.starts_with(out)) {
                // What an earlier run made is no picture.
            } else if Kind::is_name(&relative) {
                archives.push((relative, bytes));
            } else {
                if let Some(place) = numbered::folder(input, &relative)
                    && !self.folders.contains(&place)
                {
                    self.folders.insert(place);
                }
                let (relative, what) = (relative.into(), What::Loose);
                self.add(Listed { input, beside, relative, bytes, what });
            }
        }
        let threads = threads(LOOKS)?;
        let storage = self.storage;
        let told: Vec<_> = threads.install(|| {
            archives
                .into_par_iter()
                .map(|(relative, bytes)| {
                    let head = remote_head(storage, &at.join(&relative), bytes)?;
                    let what = Kind::of(&head, &relative).map_or(What::Loose, What::Archive);
                    let (relative, beside) = (relative.into(), Beside::default());
                    Ok(Listed { input, beside, relative, bytes, what })
                })
                .collect::<Result<_, IngestError>>()
        })?;
        told.into_iter().for_each(|listed| self.add(listed));
        Ok(())
    }

    /// What a file that was named is, by its first bytes.
    fn tell(&self, at: &Address, bytes: u64) -> Result<Told, IngestError> {
        let head = match at.local() {
            Some(path) => local_head(path).map_err(IngestError::io("read", path))?,
            None => remote_head(self.storage, at, bytes)?,
        };
        let limits = self.request.limits;
        Ok(match Kind::of(&head, at.name()) {
            Some(Kind::Parquet) => {
                match Form::is_in_parquet(self.origin(at, bytes), limits).map_err(of(at))? {
                    true => Told::Rows(List::Addresses(Form::Parquet)),
                    false => Told::Archive(Kind::Parquet),
                }
            }
            Some(kind) => Told::Archive(kind),
            None if ends_with(at.name(), &PICTURE_ENDINGS) => Told::Picture,
            None => match List::of(&head, at.name(), limits) {
                Some(List::Rejects(compression, _)) => {
                    Told::Rows(List::Rejects(compression, self.roots(at)?))
                }
                Some(list) => Told::Rows(list),
                None if list::is_list(&head) => Told::List,
                None => Told::Picture,
            },
        })
    }

    /// The sources of the run that left a list of rejects, if the manifest beside it tells them.
    fn roots(&self, list: &Address) -> Result<Arc<[Address]>, IngestError> {
        let folder = match list.local() {
            Some(path) => Address::from(path.parent().unwrap_or(path)),
            None => match list.to_string().rsplit_once('/') {
                Some((folder, _)) => Address::parse(folder)?,
                None => return Ok(Arc::default()),
            },
        };
        // A list may lie anywhere.
        let Ok(Some(manifest)) = manifest::find(self.storage, &folder) else {
            return Ok(Arc::default());
        };
        let part = manifest.parts.iter().find(|part| part.rejects.file == list.name());
        let sources = part.map_or(&[][..], |part| &part.sources);
        Ok(sources.iter().filter_map(|source| Address::parse(source).ok()).collect())
    }

    fn origin(&self, at: &Address, bytes: u64) -> Arc<dyn Origin> {
        Arc::new(Stored { storage: self.storage.clone(), at: at.clone(), bytes })
    }
}

/// Names the file that can't be read.
fn of(at: &Address) -> impl FnOnce(ArchiveError) -> IngestError {
    let at = Box::new(at.clone());
    move |source| IngestError::Archive { at, source }
}

/// A pool of its own for what waits for a store.
pub(super) fn threads(number: usize) -> Result<rayon::ThreadPool, IngestError> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(number).build();
    threads.map_err(|error| IngestError::Threads(error.to_string()))
}

/// Whether opening a local file may wait for ever, or give other bytes each time.
fn is_irregular(at: &Address) -> Result<bool, IngestError> {
    let Some(path) = at.local() else { return Ok(false) };
    Ok(!fs::metadata(path).map_err(IngestError::io("look at", path))?.is_file())
}

fn skip(walk: &mut walkdir::IntoIter, entry: &DirEntry) {
    if entry.file_type().is_dir() {
        walk.skip_current_dir();
    }
}

fn local_file(entry: &DirEntry, root: &Path, input: u32) -> Listed {
    let beside = Beside::default();
    let relative = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_owned();
    let bytes = match entry.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) => {
            let what = What::unreadable(error);
            return Listed { input, beside, relative, bytes: 0, what };
        }
    };
    let name = entry.file_name().to_string_lossy();
    let what = if Kind::is_name(&name) {
        match local_head(entry.path()) {
            Ok(head) => Kind::of(&head, &name).map_or(What::Loose, What::Archive),
            Err(error) => What::unreadable(error),
        }
    } else {
        What::Loose
    };
    Listed { input, beside, relative, bytes, what }
}

fn local_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD).read_to_end(&mut head)?;
    Ok(head)
}

fn remote_head(storage: &Storage, at: &Address, bytes: u64) -> Result<Vec<u8>, IngestError> {
    if bytes == 0 {
        return Ok(vec![]);
    }
    Ok(storage.read_range(at, 0..HEAD.min(bytes))?.to_vec())
}

fn ends_with(name: &str, endings: &[&str]) -> bool {
    let name = name.as_bytes();
    endings.iter().any(|ending| {
        name.len() > ending.len()
            && name[name.len() - ending.len()..].eq_ignore_ascii_case(ending.as_bytes())
    })
}
