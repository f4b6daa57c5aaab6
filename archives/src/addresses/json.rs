//! JSON lines: an object a line.

use std::sync::Arc;

use schemas::{Fault, Reason};
use serde_json::{Map, Value};

use super::columns::{Choice, Seen};
use super::text::{LineEnd, Text, too_long};
use super::{Compression, Entries, Entry, LOOK, address, check, is_address, up_to_an_error};
use crate::{ArchiveError, Cursor, Limits, Origin, whole_number};

/// Bytes of the beginning that are looked at to find the fields.
const HEAD: usize = 1 << 20;

/// The lines of a text that are not blank.
pub struct Lines {
    text: Text,
    /// Which comes next, from 0.
    row: u64,
    /// Reading can begin at any line.
    resumes: bool,
}

/// A line's object, or what is wrong with it.
pub type Line = Result<Map<String, Value>, String>;

impl Lines {
    /// The lines from `from` on.
    ///
    /// # Errors
    /// [`ArchiveError`] if the list can't be read.
    pub fn open(
        origin: Arc<dyn Origin>,
        compression: Compression,
        from: Cursor,
    ) -> Result<Self, ArchiveError> {
        check(&*origin, from)?;
        let text = Text::open(origin, compression, from.offset)?;
        let mut lines = Self { text, row: 0, resumes: compression == Compression::Plain };
        if from.offset == 0 {
            while lines.row < from.members && lines.next(|_| ())?.is_some() {}
        }
        lines.row = from.members;
        Ok(lines)
    }

    /// The next line's object, or what is wrong with it; none at the end.
    ///
    /// # Errors
    /// [`ArchiveError`] if the list can't be read on.
    pub fn object(&mut self) -> Result<Option<Line>, ArchiveError> {
        let object = self.next(|line| {
            serde_json::from_slice(line)
                .map_err(|error| format!("the line is no JSON object: {error}"))
        })?;
        Ok(object.map(|object| object.unwrap_or_else(|| Err(too_long()))))
    }

    /// What `read` makes of the next line; inside, none of one that is too long.
    fn next<T>(&mut self, read: impl Fn(&[u8]) -> T) -> Result<Option<Option<T>>, ArchiveError> {
        loop {
            let read = match self.text.line()? {
                None => return Ok(None),
                Some(LineEnd::Beyond) => {
                    self.text.skip_line()?;
                    None
                }
                Some(LineEnd::After(bytes)) => {
                    let line = self.text.ahead()[..bytes].trim_ascii();
                    let found = (!line.is_empty()).then(|| read(line));
                    self.text.take(bytes);
                    match found {
                        None => continue,
                        found => found,
                    }
                }
            };
            self.row += 1;
            return Ok(Some(read));
        }
    }

    /// The row that was read last, without its address, and where reading goes on after it.
    pub fn entry(&self) -> Entry {
        let offset = if self.resumes { self.text.at() } else { 0 };
        Entry {
            rows: self.row.saturating_sub(1)..self.row,
            address: Err(Fault::new(Reason::NoAddress, "the row has no address")),
            label: None,
            next: Cursor { members: self.row, offset, skip: 0 },
            read: self.text.read(),
        }
    }
}

/// The fields that are read.
struct Fields {
    address: String,
    label: Option<String>,
}

impl Fields {
    fn find(
        origin: Arc<dyn Origin>,
        compression: Compression,
        limits: &Limits,
    ) -> Result<Option<Self>, ArchiveError> {
        let mut lines = Lines::open(origin, compression, Cursor::default())?;
        if lines.text.fill(1).trim_ascii_start().starts_with(b"[") {
            let problem =
                "the list is one JSON array; write an object a line, as with `jq -c '.[]'`";
            return Err(ArchiveError::Columns(problem.to_owned()));
        }
        let named = limits.url_column.as_deref();
        let mut seen: Vec<(String, Seen)> = Vec::new();
        let (mut rows, mut has_named, mut has_label) = (0, false, false);
        while rows < LOOK && lines.text.at() < HEAD as u64 {
            let Some(line) = lines.object()? else { break };
            let Ok(object) = line else { continue };
            rows += 1;
            has_named |= named.is_some_and(|name| get(&object, name).is_some());
            let label = limits.label_column.as_deref();
            has_label |= label.is_some_and(|name| get(&object, name).is_some());
            for (name, value) in &object {
                let now = match value {
                    Value::String(text) if is_address(text) => Seen::Address,
                    Value::Null => Seen::Nothing,
                    Value::String(text) if text.is_empty() => Seen::Nothing,
                    _ => Seen::Other,
                };
                match seen.iter_mut().find(|(other, _)| other == name) {
                    Some((_, before)) if *before == Seen::Address => {}
                    Some((_, before)) if now != Seen::Nothing => *before = now,
                    Some(_) => {}
                    None => seen.push((name.clone(), now)),
                }
            }
        }
        let mut choice = Choice::default();
        seen.iter().for_each(|(name, seen)| choice.add(name, *seen));
        let name = |column: usize| seen[column].0.clone();
        let address = match named {
            // What is within another object goes by its path.
            Some(named) if has_named => Some(named.to_owned()),
            Some(named) => choice.named(named).map(name),
            None => choice.found()?.map(name),
        };
        // A list without a row has no fields, and nothing to look for in them.
        if rows == 0 && lines.row == 0 {
            return Ok(None);
        }
        let address = address.ok_or_else(|| choice.none(named))?;
        let label = limits.label_column.as_deref();
        let label = choice.label(label, |names| match label {
            // It may be within another object, too.
            Some(named) => has_label.then(|| named.to_owned()),
            None => choice.any(names).map(name),
        })?;
        Ok(Some(Self { address, label }))
    }
}

/// The value of a field, or of one within others whose names have dots between them.
fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        get(object.get(outer)?.as_object()?, inner)
    })
}

/// The label that a value is: a text, or a whole number.
pub fn label(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Bool(is) => Some(u8::from(*is).to_string()),
        Value::Number(number) => whole_number(number),
        _ => None,
    }
}

/// The rows of a file from `from` on.
pub(super) fn entries(
    origin: Arc<dyn Origin>,
    compression: Compression,
    from: Cursor,
    limits: &Limits,
) -> Result<Entries, ArchiveError> {
    let fields = Fields::find(Arc::clone(&origin), compression, limits)?;
    let mut lines = Lines::open(origin, compression, from)?;
    Ok(up_to_an_error(move || {
        let Some(fields) = &fields else { return Ok(None) };
        let Some(line) = lines.object()? else { return Ok(None) };
        let mut entry = lines.entry();
        match line {
            Err(problem) => entry.address = Err(Fault::new(Reason::NoAddress, problem)),
            Ok(object) => {
                let text = match get(&object, &fields.address) {
                    None | Some(Value::Null) => None,
                    Some(Value::String(text)) => Some(text.clone()),
                    Some(other) => Some(other.to_string()),
                };
                entry.address = address(text.as_deref());
                let value = fields.label.as_ref().and_then(|name| get(&object, name));
                entry.label = value.and_then(label);
            }
        }
        Ok(Some(entry))
    }))
}
