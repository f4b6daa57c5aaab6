//! The files of one key → members with their label.

use bytes::Bytes;
use schemas::{Fault, Reason};
use serde_json::{Number, Value};

use super::super::text;

/// Files of one key beyond which a new sample begins: names with dots in them (`photo.1.jpg`,
/// `photo.2.jpg`, …) would else make one sample of a whole archive.
const FILES: usize = 64;

/// Extensions by which a file counts as a picture even if its content is none, so that a page
/// saved as `.jpg` is told of.
const PICTURES: [&str; 30] = [
    "apng", "avif", "bmp", "dib", "exr", "gif", "hdr", "heic", "heif", "ico", "jfif", "jp2", "jpe",
    "jpeg", "jpg", "jxl", "pbm", "pgm", "png", "pnm", "ppm", "psd", "qoi", "svg", "tga", "tif",
    "tiff", "webp", "img", "image",
];

/// Extensions of what WebDataset lays beside a picture.
const COMPANIONS: [&str; 24] = [
    "cbor",
    "csv",
    "id",
    "index",
    "inx",
    "jsonl",
    "md",
    "mp",
    "msgpack",
    "npy",
    "npz",
    "pickle",
    "pkl",
    "pt",
    "pth",
    "pyd",
    "ten",
    "text",
    "transcript",
    "tsv",
    "txt",
    "xml",
    "yaml",
    "yml",
];

/// A file that lies beside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Companion {
    /// `.cls`: the label as text.
    Class,
    /// `.json`: attributes, the label maybe among them.
    Json,
    /// A caption, a key, an array: nothing that is looked into.
    Other,
}

impl Companion {
    /// The label that a companion of these bytes tells.
    pub fn label(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Class => label(&text(bytes)),
            Self::Json => label_of_json(bytes),
            Self::Other => None,
        }
    }
}

/// What companion a file is by its name, if it is one.
pub fn companion(name: &str) -> Option<Companion> {
    match &*extension(name)? {
        "cls" => Some(Companion::Class),
        "json" => Some(Companion::Json),
        other => COMPANIONS.contains(&other).then_some(Companion::Other),
    }
}

/// Whether a file is a picture by its name.
pub(super) fn is_picture_name(name: &str) -> bool {
    extension(name).is_some_and(|extension| PICTURES.contains(&&*extension))
}

/// WebDataset's key: the path up to the first dot of the file's name.
pub(crate) fn key(path: &str) -> &str {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path[name..].find('.').map_or(path.len(), |dot| name + dot);
    &path[..dot]
}

/// The folder in which a path lies; none at the top.
pub(super) fn folder(name: &str) -> Option<String> {
    let (folders, _) = name.rsplit_once('/')?;
    folders.rsplit('/').find(|part| !part.is_empty()).map(str::to_owned)
}

fn extension(name: &str) -> Option<String> {
    let file = name.rsplit('/').next()?;
    file.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase())
}

/// A path without its extension.
fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

type Found = (String, Result<Bytes, Fault>);

/// A label that a companion tells.
struct Told {
    name: String,
    is_json: bool,
    label: String,
}

/// Consecutive files of one key.
pub(super) struct Sample {
    key: String,
    pictures: Vec<Found>,
    others: Vec<Found>,
    told: Vec<Told>,
    files: usize,
    held: u64,
}

impl Sample {
    pub(super) fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            pictures: Vec::new(),
            others: Vec::new(),
            told: Vec::new(),
            files: 0,
            held: 0,
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether a file of so many bytes can be held beside those that are there.
    pub(super) fn has_room(&self, bytes: u64, most: u64) -> bool {
        self.files < FILES && (self.held == 0 || self.held.saturating_add(bytes) <= most)
    }

    pub(super) fn add_picture(&mut self, name: String, body: Result<Bytes, Fault>) {
        self.held += body.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.pictures.push((name, body));
        self.files += 1;
    }

    pub(super) fn add_other(&mut self, name: String, body: Result<Bytes, Fault>) {
        self.held += body.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.others.push((name, body));
        self.files += 1;
    }

    pub(super) fn add_companion(&mut self, name: String, companion: Companion, bytes: &[u8]) {
        let is_json = companion == Companion::Json;
        let label = companion.label(bytes);
        self.told.extend(label.map(|label| Told { name, is_json, label }));
        self.files += 1;
    }

    pub(super) fn add_nothing(&mut self) {
        self.files += 1;
    }

    /// The pictures, or if there is none the files that are nothing known, each with the label that
    /// the sample itself tells; and labels of no picture of it, as faults.
    ///
    /// Keys end at the first dot, so that files of several pictures (`www.a.org.jpg`,
    /// `www.b.org.jpg`) may make one sample: a label belongs to the picture that has the same name
    /// up to the extension, and to all if it is the only one or has the name of the key.
    pub(super) fn members(self) -> Vec<(Found, Option<String>)> {
        let Self { key, pictures, others, told, .. } = self;
        let found = if pictures.is_empty() { others } else { pictures };
        let of_all = |is_json: bool| {
            let mut kind = told.iter().filter(|told| told.is_json == is_json);
            match (kind.next(), kind.next()) {
                (Some(only), None) => Some(only),
                (_, None) => None,
                _ => told.iter().find(|told| told.is_json == is_json && stem(&told.name) == key),
            }
        };
        let own = |name: &str, is_json: bool| {
            told.iter().find(|told| told.is_json == is_json && stem(&told.name) == stem(name))
        };
        let label = |name: &str| {
            let class = own(name, false).or_else(|| of_all(false));
            class.or_else(|| own(name, true)).or_else(|| of_all(true))
        };
        let is_stray = |told: &&Told| {
            let belongs = found.iter().any(|(name, _)| stem(name) == stem(&told.name));
            let to_all = of_all(told.is_json).is_some_and(|all| std::ptr::eq(all, *told));
            found.is_empty() || !belongs && !to_all
        };
        let stray: Vec<_> = told.iter().filter(is_stray).map(stray).collect();
        let labels: Vec<_> =
            found.iter().map(|(name, _)| label(name).map(|told| told.label.clone())).collect();
        found.into_iter().zip(labels).chain(stray.into_iter().map(|found| (found, None))).collect()
    }
}

fn stray(told: &Told) -> Found {
    let message = format!(
        "the label `{}` of a picture that does not stand beside it in the archive; put each \
         picture's files next to each other, as `tar --sort=name` does",
        told.label
    );
    (told.name.clone(), Err(Fault::new(Reason::StrayLabel, message)))
}

fn label(text: &str) -> Option<String> {
    let text = text.trim_start_matches('\u{feff}').trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A whole number as a label has it.
pub(crate) fn whole_number(number: &Number) -> Option<String> {
    if !number.is_f64() {
        return Some(number.to_string());
    }
    // What pandas makes of whole numbers in a column with gaps.
    number.as_f64().filter(|number| number.fract() == 0.0).map(|number| number.to_string())
}

/// The first of `label`, `class` and `cls` that is text or a whole number.
fn label_of_json(bytes: &[u8]) -> Option<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let Value::Object(fields) = serde_json::from_slice(bytes).ok()? else { return None };
    ["label", "class", "cls"].into_iter().find_map(|key| match fields.get(key)? {
        Value::String(text) => label(text),
        Value::Number(number) => whole_number(number),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_of_json_is_text_or_a_whole_number() {
        let label = |json: &str| label_of_json(json.as_bytes());
        assert_eq!(label(r#"{"label": "tench"}"#).as_deref(), Some("tench"));
        assert_eq!(label("\u{feff}{\"label\": \"tench\"}").as_deref(), Some("tench"));
        assert_eq!(label(r#"{"cls": 7, "label": null}"#).as_deref(), Some("7"));
        assert_eq!(label(r#"{"class": " a b ", "cls": 7}"#).as_deref(), Some("a b"));
        assert_eq!(label(r#"{"class": 5.0}"#).as_deref(), Some("5"));
        for none in [r#"{"label": 0.5}"#, r#"{"label": [1]}"#, r#"{"label": ""}"#, "[1]", "{"] {
            assert_eq!(label(none), None, "{none}");
        }
    }

    #[test]
    fn the_folder_is_the_last_of_the_path() {
        assert_eq!(folder("a.jpg"), None);
        assert_eq!(folder("train/cat/a.jpg").as_deref(), Some("cat"));
        assert_eq!(folder("/a.jpg"), None);
    }
}
