//! Files beside pictures, of the same name up to the ending: those that tell a picture's class, and
//! those that only tell of it.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use archives::COMPANION;
use hashbrown::HashTable;

use super::beside::{self, Beside};
use super::listing::Listed;

/// A path without its ending.
fn stem(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_encoded_bytes();
    let ending = path.extension().map_or(0, |ending| ending.len() + 1);
    &bytes[..bytes.len() - ending]
}

/// The files of folders that may lie beside a picture, found by their names without the ending.
pub(super) struct Companions {
    files: Vec<Listed>,
    /// Whether a file lies beside a picture.
    used: Vec<bool>,
    places: HashTable<usize>,
    hasher: RandomState,
}

impl Companions {
    pub(super) fn new(files: Vec<Listed>) -> Self {
        let hasher = RandomState::new();
        let hash = |listed: &Listed| hasher.hash_one((listed.input, stem(&listed.relative)));
        let mut places = HashTable::with_capacity(files.len());
        for (place, listed) in files.iter().enumerate() {
            places.insert_unique(hash(listed), place, |&place| hash(&files[place]));
        }
        Self { used: vec![false; files.len()], files, places, hasher }
    }

    /// The files with a name, but for its ending.
    fn named(&self, input: u32, name: &[u8]) -> impl Iterator<Item = usize> {
        let hash = self.hasher.hash_one((input, name));
        self.places.iter_hash(hash).copied().filter(move |&place| {
            let listed = &self.files[place];
            listed.input == input && stem(&listed.relative) == name
        })
    }

    /// Tells a picture which files lie beside it, and these that they do.
    pub(super) fn tell(&mut self, picture: &mut Listed) {
        if self.files.is_empty() || picture.relative.as_os_str().is_empty() {
            return;
        }
        let whole = picture.relative.as_os_str().as_encoded_bytes();
        let stem = stem(&picture.relative);
        let mut beside = Vec::new();
        beside.extend(self.named(picture.input, stem).map(|place| (true, place)));
        if stem.len() < whole.len() {
            beside.extend(self.named(picture.input, whole).map(|place| (false, place)));
        }
        for (instead, place) in beside {
            self.used[place] = true;
            let file = &self.files[place];
            let ending = file.relative.extension().unwrap_or_default();
            let form = Beside::form(instead, ending);
            if let Some(form) = form.filter(|_| file.bytes <= COMPANION) {
                picture.beside.add(form);
            }
        }
    }

    /// How many files lie beside a picture.
    pub(super) fn used(&self) -> u64 {
        self.used.iter().filter(|&&used| used).count() as u64
    }

    /// Takes out the files that lie beside no picture.
    pub(super) fn take_strays(&mut self) -> impl Iterator<Item = Listed> {
        self.files.iter_mut().zip(&self.used).filter(|(_, used)| !**used).map(|(listed, _)| {
            let relative = std::mem::take(&mut listed.relative);
            Listed { relative, ..listed.clone() }
        })
    }

    /// The forms and sizes of the files that tell a picture's class.
    pub(super) fn sizes(&self, picture: &Listed) -> impl Iterator<Item = (usize, u64)> {
        picture.beside.forms().map(|form| {
            let path = beside::path(&picture.relative, form);
            let mut places = self.named(picture.input, stem(&path));
            let bytes = places.find(|&place| self.files[place].relative == path);
            (form, bytes.map_or(0, |place| self.files[place].bytes))
        })
    }
}
