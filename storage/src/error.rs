//! What can go wrong between an address and its bytes.

use std::error::Error;
use std::io;
use std::ops::Range;
use std::time::Duration;

use crate::Address;

type Cause = Box<dyn Error + Send + Sync + 'static>;

/// Why bytes could not be read or written, with the way out. The causes that a system or a library
/// gives are sources of the error, not part of its text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A text that is no address.
    #[error("{text}: {problem}")]
    Address {
        /// The text, without what may be secret.
        text: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A local file could not be read or written.
    #[error("can't {action} {address}")]
    Local {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// There is nothing at the address, or no such bucket.
    #[error("can't {action} {address}: nothing is there; check the address")]
    Missing {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        address: String,
        /// What the store or the system said.
        source: Cause,
    },
    /// The store does not let this user do that.
    #[error(
        "can't {action} {address}: access refused; check the credentials in the environment and what they allow"
    )]
    Denied {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        address: String,
        /// What the store said.
        source: Cause,
    },
    /// No credentials are set, and the machine has none of its own.
    #[error(
        "can't {action} {address}: no credentials found; set the environment variables of the store (for s3:// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for gs:// GOOGLE_APPLICATION_CREDENTIALS, for az:// AZURE_STORAGE_ACCOUNT_KEY; or for a public bucket AWS_SKIP_SIGNATURE, GOOGLE_SKIP_SIGNATURE or AZURE_SKIP_SIGNATURE to true)"
    )]
    NoCredentials {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        address: String,
        /// What the machine's metadata service said.
        source: Cause,
    },
    /// The certificate of the server is not one to be trusted.
    #[error(
        "can't {action} {address}: the server's certificate is not trusted; if it is signed by an authority of your own, name the file with that authority's certificate in SSL_CERT_FILE"
    )]
    Untrusted {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        address: String,
        /// What is wrong with it.
        source: Cause,
    },
    /// A stranger's address is one of a private network, or leads to one.
    #[error("can't {action} {address}: it leads to {source}")]
    Private {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        address: String,
        /// What kind of address it is.
        source: web::Private,
    },
    /// It was tried again and again, and time is up.
    #[error(
        "can't {action} {address}: gave up after {attempts} {} in {:.1} s{}",
        if *attempts == 1 { "attempt" } else { "attempts" },
        took.as_secs_f64(),
        if *action == "write" {
            "; nothing half-written is left to be seen, so running the same again is safe"
        } else {
            ""
        }
    )]
    GaveUp {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        address: String,
        /// How often.
        attempts: u32,
        /// From the first attempt to the end of the last.
        took: Duration,
        /// What went wrong in the last attempt.
        source: Cause,
    },
    /// The store refuses, and would refuse again.
    #[error("can't {action} {address}: refused")]
    Refused {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        address: String,
        /// What the store said.
        source: Cause,
    },
    /// The object is not the one that it was at the start.
    #[error("{address} changed while it was being read; read it again from the start")]
    Changed {
        /// The object.
        address: String,
    },
    /// The object ends before what was asked for.
    #[error(
        "{address} has {bytes} bytes, but bytes {}..{} were asked for; it is not what it was, or is cut short",
        range.start,
        range.end
    )]
    Beyond {
        /// The object.
        address: String,
        /// Its size.
        bytes: u64,
        /// What was asked for.
        range: Range<u64>,
    },
    /// Nothing can be written over http.
    #[error(
        "can't {action} {address}: http addresses can only be read; give a folder, or an s3://, gs:// or az:// address"
    )]
    ReadOnly {
        /// What was tried, as a verb.
        action: &'static str,
        /// Where.
        address: String,
    },
    /// There are no listings over http.
    #[error(
        "can't list {address}: http has no listings; give the addresses of the files, for instance as lines of a text file"
    )]
    Unlisted {
        /// Where.
        address: String,
    },
    /// A name below a local folder that is not Unicode.
    #[error("{address}: the name is not Unicode; rename the file")]
    Name {
        /// The file, as well as it can be shown.
        address: String,
    },
    /// The environment, the endpoint or another setting does not fit.
    #[error(
        "can't reach {address}: the settings for it don't fit; check the endpoint and the environment variables of the store"
    )]
    Settings {
        /// What was to be reached.
        address: String,
        /// What does not fit.
        source: Cause,
    },
    /// More bytes than one upload can hold.
    #[error(
        "{address}: more than {parts} parts of {part_bytes} bytes, which is all that an upload can hold; write several objects"
    )]
    TooLarge {
        /// The object.
        address: String,
        /// How many parts an upload can hold.
        parts: usize,
        /// Bytes a part.
        part_bytes: usize,
    },
    /// The reader or writer failed before, and its bytes are not complete.
    #[error("{address}: an earlier step failed, so there is nothing to go on with; start again")]
    Spoilt {
        /// The object.
        address: String,
    },
    /// The lock is somebody else's by now.
    #[error(
        "{address}: the lock could not be renewed in time and may be held by another; stop, and run again"
    )]
    LockLost {
        /// The lock.
        address: String,
    },
    /// The threads behind the requests are not there.
    #[error("can't {action} {address}: the threads for requests can't be started or have failed")]
    Threads {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StorageError {
    /// Whether there is nothing at the address.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Makes of an [`io::Error`] one that says what was done to which address.
    pub(crate) fn local(action: &'static str, at: &Address) -> impl FnOnce(io::Error) -> Self {
        let address = at.to_string();
        move |source| {
            if source.kind() == io::ErrorKind::NotFound {
                Self::Missing { action, address, source: source.into() }
            } else {
                Self::Local { action, address, source }
            }
        }
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Local { source, .. } if source.kind() != io::ErrorKind::Interrupted => {
                source.kind()
            }
            StorageError::Missing { .. } => io::ErrorKind::NotFound,
            StorageError::Denied { .. } | StorageError::NoCredentials { .. } => {
                io::ErrorKind::PermissionDenied
            }
            StorageError::GaveUp { .. } => io::ErrorKind::TimedOut,
            StorageError::Beyond { .. } => io::ErrorKind::UnexpectedEof,
            StorageError::ReadOnly { .. } => io::ErrorKind::ReadOnlyFilesystem,
            StorageError::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            StorageError::Address { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// An error and those behind it.
pub(crate) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An I/O error's source is that of the error that it holds.
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source())
    })
}
