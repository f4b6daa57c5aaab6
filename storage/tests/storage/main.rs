//! What users of `storage` rely on, over a local folder and over a server of every kind of store on
//! the loopback interface, with a proxy in between that spoils its answers.

#![allow(clippy::unwrap_used)]

/// Makes of each function a test a place; of those after the semicolon one a server of a store.
macro_rules! everywhere {
    ($($place:ident)* $(; $($server:ident)*)?) => {
        mod local {
            $(#[test] fn $place() { super::$place(&crate::Place::local()); })*
        }
        mod s3 {
            $(#[test] fn $place() { super::$place(&crate::Place::on(crate::s3())); })*
            $($(#[test] fn $server() { super::$server(crate::s3()); })*)?
        }
        mod gs {
            $(#[test] fn $place() { super::$place(&crate::Place::on(crate::gs())); })*
            $($(#[test] fn $server() { super::$server(crate::gs()); })*)?
        }
        mod az {
            $(#[test] fn $place() { super::$place(&crate::Place::on(crate::az())); })*
            $($(#[test] fn $server() { super::$server(crate::az()); })*)?
        }
    };
}

mod addresses;
mod everywhere;
mod faults;
mod killed;
mod locks;
mod web;

use std::io::Read;
use std::time::Duration;

use storage::testing::{AzureServer, GcsServer, S3Server, StoreServer};
use storage::{Address, Storage, StorageError, StorageOptions};
use tempfile::TempDir;

/// A place for objects, and what keeps it alive.
struct Place {
    storage: Storage,
    /// The same with ranges of the usual size, to read back what is large.
    plain: Storage,
    root: Address,
    keeps: Keeps,
}

enum Keeps {
    Folder(TempDir),
    Server(AnyServer),
}

type AnyServer = Box<dyn StoreServer>;

fn s3() -> AnyServer {
    Box::new(S3Server::start().unwrap())
}

fn gs() -> AnyServer {
    Box::new(GcsServer::start().unwrap())
}

fn az() -> AnyServer {
    Box::new(AzureServer::start().unwrap())
}

/// Small ranges and parts, so that few bytes make many of them.
fn small(options: StorageOptions) -> StorageOptions {
    StorageOptions {
        range_bytes: Some(10_000),
        ahead: Some(3),
        part_bytes: Some(PART),
        uploads: Some(2),
        lease: Some(LEASE),
        ..options
    }
}

/// S3's least.
const PART: usize = 5 << 20;

/// Long enough for a busy machine to renew in time.
const LEASE: Duration = Duration::from_secs(3);

impl Place {
    fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            storage: Storage::new(small(StorageOptions::default())).unwrap(),
            plain: Storage::local(),
            root: Address::from(folder.path()),
            keeps: Keeps::Folder(folder),
        }
    }

    fn on(server: AnyServer) -> Self {
        Self {
            storage: Storage::new(small(server.options())).unwrap(),
            plain: Storage::new(server.options()).unwrap(),
            root: server.address("root"),
            keeps: Keeps::Server(server),
        }
    }

    /// The names of files that a reader of the place does not see.
    fn leftovers(&self) -> usize {
        match &self.keeps {
            Keeps::Server(server) => server.unfinished_parts().unwrap(),
            Keeps::Folder(folder) => {
                let hidden = |entry: &std::fs::DirEntry| {
                    entry.file_name().to_string_lossy().starts_with('.')
                };
                folder.path().read_dir().unwrap().filter(|e| hidden(e.as_ref().unwrap())).count()
            }
        }
    }
}

/// Whether a store can be told to drop the parts of an upload. Azure does so by itself, when a blob
/// of that name is made or after a week.
fn drops_parts(at: &Address) -> bool {
    !at.to_string().starts_with("az://")
}

/// Bytes in which no range is like another.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn read_from(storage: &Storage, at: &Address, from: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    storage.reader(at, from)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What `storage` says behind an error of a reader or writer.
fn cause(error: &std::io::Error) -> &StorageError {
    error.get_ref().and_then(|error| error.downcast_ref()).expect("an error of storage")
}
