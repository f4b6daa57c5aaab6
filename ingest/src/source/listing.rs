//! What the sources hold: every loose picture and every archive, with its name, its class and its
//! share of the work.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use archives::{Companion, Kind};
use schemas::{Fault, Reason};
use storage::Address;

use super::beside::Beside;
use super::numbered::{self, Place};
use super::rows::List;

/// Bytes that a picture counts for whose size is not known before it is fetched.
const UNKNOWN: u64 = 100 << 10;
/// How many times its bytes a list of addresses counts for: a row of some 200 bytes stands for a
/// picture.
const A_LIST: u64 = UNKNOWN / 200;

/// A folder or a file that a source names; a list names many.
#[derive(Debug)]
pub(super) struct Input {
    pub at: Address,
    /// Goes before the names of what lies in it; of a file, it is the name.
    pub prefix: Option<String>,
    /// The class of a picture that a list names.
    pub label: Option<String>,
}

/// One listed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub(super) input: u32,
    /// The files beside it that tell its class.
    pub(super) beside: Beside,
    /// Where it lies below its input; empty if it is the input.
    pub(super) relative: PathBuf,
    /// Its size in bytes when it was listed; 0 for a remote picture that a list names.
    pub bytes: u64,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Loose,
    /// It can't be read, which was found on listing it.
    Fault(Box<Fault>),
    Archive(Kind),
    /// A list with a row for each picture.
    List(List),
}

/// All pictures and archives of the sources.
#[derive(Debug)]
pub struct Listing {
    pub(super) inputs: Vec<Input>,
    /// The loose pictures, in the order in which shards take them.
    pub loose: Vec<Listed>,
    /// The archives, which come after them, in the order in which shards take their pictures.
    pub archives: Vec<Listed>,
    /// BLAKE3 of names and sizes in that order, and of what else tells classes.
    pub hash: blake3::Hash,
    /// Folders that are called by the number of a shard, which is no class, in their order.
    pub(super) shards: Vec<Place>,
    /// Files that lie beside a picture, and tell of it alone.
    pub beside: u64,
    /// Files of metadata beside shards that were passed over.
    pub metadata: u64,
    /// Hidden files and folders that were passed over.
    pub hidden: u64,
    /// Symbolic links that were not followed, sockets, pipes and devices.
    pub irregular: u64,
    /// Entries of lists of rejects that are not tried anew, by the codes of their reasons; none if
    /// no source is such a list.
    pub not_tried: Option<BTreeMap<String, u64>>,
}

impl Listing {
    /// The text of the `source` column, or what the names of an archive's pictures begin with: the
    /// parts of the path with `/` between, and bytes that are not UTF-8 written as `\xNN`.
    pub fn name(&self, listed: &Listed) -> String {
        self.inputs[listed.input as usize].name(&listed.relative)
    }

    /// Where a listed file lies.
    pub fn address(&self, listed: &Listed) -> Address {
        address(&self.inputs, listed.input, &listed.relative)
    }

    /// The files beside it that tell its class, in the order in which they are asked.
    pub(crate) fn beside(&self, listed: &Listed) -> Vec<(Companion, Address)> {
        let files = listed.beside.files(&listed.relative);
        files.map(|(kind, path)| (kind, address(&self.inputs, listed.input, &path))).collect()
    }

    /// The source in which a listed file lies.
    pub(crate) fn root(&self, listed: &Listed) -> &Address {
        &self.inputs[listed.input as usize].at
    }

    /// Its class, where no file beside it tells one: the folder in which it lies; none in the root of
    /// a source, and in a shard.
    pub fn label(&self, listed: &Listed) -> Option<String> {
        if listed.relative.as_os_str().is_empty() {
            return self.inputs[listed.input as usize].label.clone();
        }
        let folder = listed.relative.parent()?;
        let name = folder.file_name()?.as_encoded_bytes();
        let at = |(input, shard): &Place| (*input, shard.as_path()).cmp(&(listed.input, folder));
        let is_shard = numbered::is_number(name) && self.shards.binary_search_by(at).is_ok();
        (!is_shard).then(|| archives::text(name))
    }

    /// The sum of all [`Listed::weight`]s.
    pub(crate) fn weight(&self) -> u64 {
        self.loose.iter().chain(&self.archives).map(Listed::weight).sum()
    }

    /// How much of it, in the same, lies before a unit.
    pub(crate) fn weight_before(&self, unit: u64) -> u64 {
        let units = self.loose.iter().chain(&self.archives);
        units.take(usize::try_from(unit).unwrap_or(usize::MAX)).map(Listed::weight).sum()
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.loose.is_empty() && self.archives.is_empty()
    }
}

impl Listed {
    /// What it counts for in telling how far a run is: its bytes, or what most pictures have where
    /// they are not known.
    pub(crate) fn weight(&self) -> u64 {
        match (self.bytes, &self.what) {
            (0, What::Loose) => UNKNOWN,
            (bytes, What::List(_)) => bytes.saturating_mul(A_LIST).max(1),
            (bytes, _) => bytes.max(1),
        }
    }

    /// What so many of its bytes count for.
    pub(crate) fn weight_of(&self, bytes: u64) -> u64 {
        match self.what {
            What::List(_) => bytes.min(self.bytes).saturating_mul(A_LIST),
            _ => bytes.min(self.bytes),
        }
    }

    /// Why it can't be read, if that was found on listing it.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match &self.what {
            What::Fault(fault) => Some(fault),
            What::Loose | What::Archive(_) | What::List(_) => None,
        }
    }

    /// What kind of archive it is.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self.what {
            What::Archive(kind) => Some(kind),
            What::Loose | What::Fault(..) | What::List(_) => None,
        }
    }

    /// The list that it is.
    pub(crate) fn list(&self) -> Option<&List> {
        match &self.what {
            What::List(list) => Some(list),
            What::Loose | What::Fault(..) | What::Archive(_) => None,
        }
    }
}

impl What {
    pub fn unreadable(message: impl ToString) -> Self {
        Self::Fault(Fault::new(Reason::Unreadable, message.to_string()).into())
    }
}

impl Input {
    /// What goes by a path of it.
    pub fn name(&self, relative: &Path) -> String {
        match &self.prefix {
            Some(prefix) if relative.as_os_str().is_empty() => prefix.clone(),
            Some(prefix) => format!("{prefix}/{}", text(relative)),
            None => text(relative),
        }
    }
}

/// Where a path of an input lies.
pub(super) fn address(inputs: &[Input], input: u32, relative: &Path) -> Address {
    let at = &inputs[input as usize].at;
    match at.local() {
        _ if relative.as_os_str().is_empty() => at.clone(),
        Some(folder) => Address::from(folder.join(relative)),
        None => at.join(&text(relative)),
    }
}

fn text(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| archives::text(part.as_encoded_bytes())).collect();
    parts.join("/")
}
