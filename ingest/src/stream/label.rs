//! The class of a picture, which a file beside it may tell.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use archives::{COMPANION, Companion};
use bytes::Bytes;
use crossbeam_channel::Receiver;
use schemas::{Fault, Reason};
use storage::Address;

use super::fetch::{Fetched, Fetcher};
use crate::IngestError;
use crate::classes::Classes;

/// Why there can be no picture of this class.
pub(super) fn class_fault(classes: Option<&Classes>, label: Option<&str>) -> Option<Fault> {
    let classes = classes?;
    let label = label.filter(|label| !classes.has(label))?;
    let message = format!("class `{label}` is none of --classes");
    Some(Fault { reason: Reason::UnknownClass, message })
}

/// The class of a picture, or where it stands.
#[derive(Debug)]
pub(crate) enum Label {
    Known(Option<String>),
    /// Files beside the picture, of which the first that tells a class counts.
    Beside {
        files: Vec<(Companion, Told)>,
        /// The class where none of them tells one.
        otherwise: Option<String>,
        /// The source to which they belong.
        root: Address,
    },
}

/// How the bytes of a file beside a picture are had.
#[derive(Debug)]
pub(crate) enum Told {
    File(Address),
    Coming(Receiver<Fetched>),
}

impl Label {
    /// The class that files tell; what is remote begins to be fetched.
    pub(super) fn beside(
        files: Vec<(Companion, Address)>,
        otherwise: Option<String>,
        root: &Address,
        fetcher: &mut Fetcher<'_, '_>,
    ) -> Self {
        let mut told = |at: Address| match at.local() {
            Some(_) => Told::File(at),
            None => Told::Coming(fetcher.beside(at)),
        };
        let files = files.into_iter().map(|(kind, at)| (kind, told(at))).collect();
        Self::Beside { files, otherwise, root: root.clone() }
    }

    /// The class; waits for it if need be. A fault is that of the file that should tell it.
    ///
    /// # Errors
    /// [`IngestError`] where it is not this file that is at fault, but its source.
    pub fn load(self) -> Result<Result<Option<String>, Fault>, IngestError> {
        let (files, otherwise, root) = match self {
            Self::Known(label) => return Ok(Ok(label)),
            Self::Beside { files, otherwise, root } => (files, otherwise, root),
        };
        for (kind, told) in files {
            let bytes = match told {
                Told::File(at) => read(&at, &root)?,
                Told::Coming(bytes) => bytes.recv().unwrap_or(Err(IngestError::Stopped))?,
            };
            match bytes {
                Ok(bytes) => {
                    if let Some(label) = kind.label(&bytes) {
                        return Ok(Ok(Some(label)));
                    }
                }
                Err(Fault { reason, message }) => {
                    let what = match kind {
                        Companion::Class => "`.cls`",
                        _ => "`.json`",
                    };
                    let message = format!("the {what} beside it can't be read: {message}");
                    return Ok(Err(Fault { reason, message }));
                }
            }
        }
        Ok(Ok(otherwise))
    }
}

fn read(at: &Address, root: &Address) -> Result<Result<Bytes, Fault>, IngestError> {
    let file = |path: &Path| -> io::Result<Bytes> {
        let mut bytes = Vec::new();
        File::open(path)?.take(COMPANION).read_to_end(&mut bytes)?;
        Ok(bytes.into())
    };
    match at.local().map(file) {
        Some(Ok(bytes)) => Ok(Ok(bytes)),
        Some(Err(_)) if root.local().is_some_and(|root| !root.exists()) => {
            let lost = at.to_string();
            Err(IngestError::Vanished { at: root.clone().into(), lost })
        }
        Some(Err(error)) => {
            Ok(Err(Fault { reason: Reason::Unreadable, message: error.to_string() }))
        }
        None => Ok(Ok(Bytes::new())),
    }
}
