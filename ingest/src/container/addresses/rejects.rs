//! A list of rejects that an earlier run left → its pictures that could not be had.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};
use storage::Address;

use super::json::{Lines, label};
use super::{Entries, Packing, address, is_address, up_to_an_error};
use crate::container::{ContainerError, Cursor, Origin, fault};
use crate::picture::Fault;
use crate::source::is_in_archive;
use schemas::Reason;

/// What a list of rejects holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Pictures that could not be had and can be tried anew, and lines that can't be read.
    pub anew: u64,
    /// What is passed over, by the codes of the reasons.
    pub passed: BTreeMap<String, u64>,
}

/// What is passed over of a reject that could not be had, beside the codes of reasons.
const IN_ARCHIVE: &str = "in an archive";

/// Whether a text begins with the line of a reject.
pub(super) fn reads_like(text: &[u8]) -> bool {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Ok(object) = serde_json::from_slice::<Map<String, Value>>(line) else { return false };
    let is_text = |name| object.get(name).is_some_and(Value::is_string);
    ["source", "reason", "message"].into_iter().all(is_text)
        && object.get("bytes").is_some_and(Value::is_u64)
}

/// What is to become of a line.
enum Told {
    /// To be tried anew: its source and class.
    Anew(String, Option<String>),
    Passed(String),
}

fn told(object: &Map<String, Value>) -> Result<Told, Fault> {
    let text = |name: &str| match object.get(name) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(fault(Reason::NoAddress, format!("the line has no `{name}`, as rejects have"))),
    };
    let (source, code) = (text("source")?, text("reason")?);
    // A code of a newer release is none that is known to pass.
    let reason: Option<Reason> = serde_json::from_value(Value::String(code.clone())).ok();
    Ok(if !reason.is_some_and(Reason::may_pass) {
        Told::Passed(code.clone())
    } else if is_in_archive(source) {
        Told::Passed(IN_ARCHIVE.to_owned())
    } else {
        Told::Anew(source.clone(), object.get("label").and_then(label))
    })
}

/// Counts what is in a list.
pub(super) fn survey(origin: Arc<dyn Origin>, packing: Packing) -> Result<Survey, ContainerError> {
    let mut lines = Lines::open(origin, packing, Cursor::default())?;
    let mut survey = Survey::default();
    while let Some(line) = lines.object()? {
        match line.map(|object| told(&object)) {
            Ok(Ok(Told::Passed(code))) => *survey.passed.entry(code).or_default() += 1,
            Ok(Ok(Told::Anew(..)) | Err(_)) | Err(_) => survey.anew += 1,
        }
    }
    Ok(survey)
}

/// The pictures to try anew from `from` on; `roots` are the sources of the run that rejected them.
pub(super) fn entries(
    origin: Arc<dyn Origin>,
    packing: Packing,
    from: Cursor,
    roots: Arc<[Address]>,
) -> Result<Entries, ContainerError> {
    let mut lines = Lines::open(origin, packing, from)?;
    Ok(up_to_an_error(move || {
        while let Some(line) = lines.object()? {
            let mut entry = lines.entry();
            match line.map(|object| told(&object)) {
                Ok(Ok(Told::Passed(_))) => continue,
                Ok(Ok(Told::Anew(source, label))) => {
                    entry.at = place(&source, &roots);
                    (entry.name, entry.label) = (Some(source), label);
                }
                Ok(Err(fault)) => entry.at = Err(fault),
                Err(problem) => entry.at = Err(fault(Reason::NoAddress, problem)),
            }
            return Ok(Some(entry));
        }
        Ok(None)
    }))
}

/// Where a source lies. One that is no address is a path, from here or from where the run's sources
/// lay, as they were given to it or in lists.
fn place(source: &str, roots: &[Address]) -> Result<Address, Fault> {
    if source.contains("://") {
        return match is_address(source) {
            true => address(Some(source)).1,
            false => Address::parse(source).map_err(|error| unreadable(error.to_string())),
        };
    }
    let beside = |root: &Path| root.parent().map(|folder| folder.join(source));
    let below = roots.iter().filter_map(Address::local);
    let below = below.flat_map(|root| [Some(root.join(source)), beside(root)]).flatten();
    let found = std::iter::once(PathBuf::from(source)).chain(below).find_map(|path| {
        let about = fs::metadata(&path).ok()?;
        Some((path, about.is_file()))
    });
    match (found, roots.iter().find(|root| root.local().is_none())) {
        (Some((path, true)), _) => Ok(path.into()),
        // To open a pipe would wait for somebody who writes to it.
        (Some((_, false)), _) => Err(unreadable("it is no regular file".to_owned())),
        (None, Some(remote)) => Ok(remote.join(source)),
        (None, None) => Ok(PathBuf::from(source).into()),
    }
}

fn unreadable(message: String) -> Fault {
    fault(Reason::Unreadable, message)
}
