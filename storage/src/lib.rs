//! Bytes by address, wherever they lie: a local path, or an object under `s3://`, `gs://`, `az://`
//! or `http(s)://`. Knows nothing of pictures, Parquet or training.
//!
//! An [`Address`] says where, a [`Storage`] reaches it. Calls block; what they wait for runs on
//! threads of this crate's own, so any thread may call.
//!
//! | | local folder | `s3://`, `gs://`, `az://` | `http(s)://` |
//! | --- | --- | --- | --- |
//! | [`read`](Storage::read), [`reader`](Storage::reader) | the file | ranges, fetched ahead, in order | the same, if the server knows ranges |
//! | [`put`](Storage::put), [`writer`](Storage::writer) | temporary name, fsync, rename | one request, or a multipart upload | refused |
//! | [`lock`](Storage::lock) | lock of the operating system | conditional put with a lease | refused |
//! | [`list`](Storage::list) | walk | paged listing | refused |
//!
//! **Atomic.** Nothing is seen at an address before it is there whole. A program killed in between
//! leaves at most what no reader sees: a hidden file beside the address, which
//! [`sweep`](Storage::sweep) removes, or parts of an unfinished upload, which a bucket's lifecycle
//! rule (`AbortIncompleteMultipartUpload`) removes, and Azure by itself after a week. Files that are
//! written by path, without an address, keep to the same: [`write_file`], [`FileWriter`].
//!
//! **Faults.** Every request is made anew, after a wait that grows and is drawn at random, until it
//! succeeds or [`StorageOptions::retry_for`] has passed: errors of the server (503 and `SlowDown`
//! among them), lost connections, answers that stall, bodies of another length than was asked for.
//! In the end the bytes are complete, or an error says what was tried and for how long.
//!
//! **Credentials** come from the usual environment variables (`AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`; `GOOGLE_APPLICATION_CREDENTIALS`;
//! `AZURE_STORAGE_ACCOUNT_NAME`, `AZURE_STORAGE_ACCOUNT_KEY`; and whatever else `object_store`
//! reads), never from an address. `AWS_SKIP_SIGNATURE=true` reads a public bucket.
//!
//! # Example
//!
//! ```
//! use std::io::{Read, Write};
//!
//! use storage::{Address, Storage};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path().to_str().expect("a temporary folder with a plain name");
//! let storage = Storage::local();
//! let shards: Address = folder.parse()?; // or "s3://bucket/shards"
//! let shard = shards.join("shard-00000.parquet");
//!
//! let mut writer = storage.writer(&shard)?;
//! writer.write_all(b"PAR1")?;
//! assert_eq!(storage.stat(&shard)?, None); // not there before it is there whole
//! writer.finish()?;
//!
//! let mut bytes = Vec::new();
//! storage.reader(&shard, 2)?.read_to_end(&mut bytes)?;
//! assert_eq!(bytes, b"R1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod address;
mod answer;
mod error;
mod file;
mod local;
mod lock;
mod options;
mod reader;
mod remote;
mod retry;
mod runtime;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
mod writer;

pub use address::Address;
pub use error::StorageError;
pub use file::{FileWriter, write_file};
pub use lock::Lock;
pub use options::{Notice, StorageOptions};
pub use reader::Reader;
pub use storage::{Listed, Stat, Storage};
pub use writer::Writer;
