//! What can stop a run. A bad picture never does: it becomes a line of the list of rejects.

use std::io;
use std::path::{Path, PathBuf};

use archives::Passed;
use schemas::Crop;
use shards::ShardsError;
use storage::{Address, StorageError};

/// Why a run could not start or go on, with the way out. The causes that a system or a library
/// gives are sources of the error, not part of its text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// A local file could not be read or written.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A shard set.
    #[error(transparent)]
    Shards(#[from] ShardsError),
    /// A file of the set could not be written.
    #[error("can't write {at}")]
    Write {
        /// The file.
        at: Address,
        /// What went wrong.
        source: io::Error,
    },
    /// A setting out of its range.
    #[error("{flag}: {problem}")]
    Setting {
        /// The flag that sets it.
        flag: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// There is nothing at a source.
    #[error("{0}: no such folder or file; give folders, archives, lists or pictures")]
    NoSource(Address),
    /// A source is neither a folder nor a regular file.
    #[error(
        "{0} is a pipe, a socket or a device; give regular files and folders (what comes out of a pipe can be put into a file first)"
    )]
    Irregular(Address),
    /// The output is a source itself.
    #[error("--out {0} is a source itself; give a folder of its own for the shards")]
    OutIsSource(Address),
    /// A line of a list is of no use.
    #[error("{list}, line {line}: {problem}")]
    List {
        /// The list.
        list: String,
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A text file that was to list sources is no list.
    #[error("{list} can't be read as a list of sources")]
    NotAList {
        /// The list.
        list: String,
        /// What is wrong with it.
        source: crate::source_list::ListError,
    },
    /// A source went away during the run.
    #[error(
        "{at} is gone: {lost} was there when the run began; bring it back and run the same again, which goes on from the last finished shard"
    )]
    Vanished {
        /// The source.
        at: Box<Address>,
        /// What was to be read.
        lost: String,
    },
    /// A picture that an engine names can't be read by one of its processes, though it may be sound
    /// and others may see it.
    #[error(
        "can't read {at}, or no longer: a folder of pictures must be one that every node sees at the same path, and a bucket one that every node reaches (--endpoint, variables with credentials); mend that and run the same again, which goes on from the finished shards"
    )]
    NotSeen {
        /// The picture.
        at: Box<Address>,
        /// What went wrong.
        source: io::Error,
    },
    /// A remote picture could not be fetched, though it may be sound.
    #[error(
        "can't fetch {at}; the finished shards are kept, and the same command goes on from there"
    )]
    Fetch {
        /// The picture.
        at: Address,
        /// What went wrong.
        source: io::Error,
    },
    /// Nothing can be fetched from the web.
    #[error("addresses of lists can't be fetched; check the certificates in SSL_CERT_FILE")]
    Downloads(#[source] web::StartError),
    /// This machine can't fetch any more, whatever the address.
    #[error(
        "can't go on fetching addresses: {0}; allow more open files (ulimit -n) or lower --downloads. The finished shards are kept, and the same command goes on from there"
    )]
    Machine(String),
    /// An archive could not be read on, though it may be sound.
    #[error(
        "can't go on reading {at}; the finished shards are kept, and the same command goes on from there"
    )]
    Archive {
        /// The archive.
        at: Box<Address>,
        /// What its reader said.
        source: archives::ArchiveError,
    },
    /// A set whose pictures can't be decoded as they were.
    #[error(
        "{0} was made with --scaled-decode, which there is no more: no picture decodes as it did. The set can be read as before; to add to it or to repair it, make it anew, in another folder and without that flag"
    )]
    ScaledDecode(Box<Address>),
    /// The output holds something that is not ours to write over.
    #[error(
        "--out {out} is not empty and was not made by ingest (it holds `{found}`); give an empty or new folder"
    )]
    Foreign {
        /// The output folder.
        out: Box<Address>,
        /// One of the entries in it.
        found: String,
    },
    /// An earlier run on the same output had other settings or pictures.
    #[error(
        "{out} was begun by a run that differs from this one:\n{}\n{hint}",
        .differences.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
    )]
    Differs {
        /// The output folder.
        out: Box<Address>,
        /// A sentence a difference, which names the flag.
        differences: Vec<String>,
        /// The way out.
        hint: &'static str,
    },
    /// A finished set was to get other sources.
    #[error(
        "{out} is finished, and was made of other pictures:\n{}\nGive --append to add these to it, another --out, or delete the folder.",
        .differences.iter().map(|line| format!("  - {line}")).collect::<Vec<_>>().join("\n")
    )]
    Finished {
        /// The output folder.
        out: Box<Address>,
        /// What was different.
        differences: Vec<String>,
    },
    /// A file of a set is not as it was written.
    #[error("{file}: {problem}")]
    Damaged {
        /// The file concerned.
        file: String,
        /// What is wrong with it, and the way out.
        problem: String,
    },
    /// A shard can't be made again as it was.
    #[error("{file} can't be made again: {problem}")]
    Repair {
        /// The shard.
        file: String,
        /// Why, and the way out.
        problem: String,
    },
    /// A folder in which sample pictures can't be made.
    #[error("{}: not empty; give a new folder for the sample pictures", .0.display())]
    NotEmpty(PathBuf),
    /// Another run writes to the same output.
    #[error("another ingest is writing to {0}; wait for it to end, or give another --out")]
    Locked(Address),
    /// Not all shards were made that the engine was to make.
    #[error(
        "{made} of the {planned} shards of {out} are there; run the same again, which makes the others"
    )]
    Incomplete {
        /// The output folder.
        out: Box<Address>,
        /// Those that are there.
        made: u64,
        /// Those that there must be.
        planned: u64,
    },
    /// An engine brought other pictures than it did at first.
    #[error(
        "shard {shard} has {found} pictures, but {planned} when they were counted: what the engine reads gives other rows every time; write it to Parquet first, and ingest that"
    )]
    Counted {
        /// The shard's number in its part.
        shard: u64,
        /// How many it was to have.
        planned: u64,
        /// How many came.
        found: u64,
    },
    /// There is not a single file to look at.
    #[error(
        "no file found under {0} (hidden files are passed over); give folders, archives or lists of pictures"
    )]
    NothingFound(String),
    /// Lists of rejects have nothing that could not be had.
    #[error(
        "none of the {0} entries of {1} can be tried anew: those can whose pictures could not be had, and lie in no archive"
    )]
    NothingAnew(u64, String),
    /// Not one picture became a row.
    #[error("{}", nothing_accepted(*rejected, rejects, passed))]
    NothingAccepted {
        /// How many were rejected.
        rejected: u64,
        /// The list of them.
        rejects: Address,
        /// What archives passed over, by kind.
        passed: Passed,
    },
    /// [`Progress::shard`](crate::Progress::shard) asked to stop.
    #[error("stopped; the finished shards are kept, and the same command goes on from there")]
    Stopped,
    /// A file that is not for the set was to take the place of one of its own.
    #[error("{} is a file of a shard set; give another file", .0.display())]
    OverSet(PathBuf),
    /// The targets could not be computed with these settings.
    #[error(transparent)]
    Targets(#[from] targets::TargetError),
    /// A crop could not be cut out of its picture.
    #[error("can't cut {crop:?} out of a picture: {problem}")]
    Crop {
        /// The crop.
        crop: Crop,
        /// What the resizer said.
        problem: String,
    },
    /// The worker threads could not be started.
    #[error("can't start the worker threads: {0}")]
    Threads(String),
}

fn nothing_accepted(rejected: u64, rejects: &Address, passed: &Passed) -> String {
    let mut text = match rejected {
        0 => "the sources hold no pictures".to_owned(),
        1 => format!("the one picture could not be used; {rejects} says why"),
        _ => format!("none of the {rejected} pictures could be used; {rejects} says why for each"),
    };
    if !passed.is_empty() {
        text += &format!("; responses that are no pictures were passed over: {passed}");
    }
    text
}

impl IngestError {
    /// Makes of an [`io::Error`] one that says what was done to which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
