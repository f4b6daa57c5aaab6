//! Which files that tell a picture's class lie beside it, of the same name up to the ending.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use archives::Companion;

/// How a file is called that tells the class of a picture: the ending stands in the place of the
/// picture's, or behind it. The first that tells one counts.
const FORMS: [(bool, &str, Companion); 8] = [
    (true, "cls", Companion::Class),
    (true, "CLS", Companion::Class),
    (false, "cls", Companion::Class),
    (false, "CLS", Companion::Class),
    (true, "json", Companion::Json),
    (true, "JSON", Companion::Json),
    (false, "json", Companion::Json),
    (false, "JSON", Companion::Json),
];

/// Which files that tell its class lie beside a picture: a bit for each form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Beside(u8);

impl Beside {
    /// The form that a file's name has beside a picture's, if it is one that tells a class: whether
    /// its ending stands in the place of the picture's, and which.
    pub(super) fn form(instead: bool, ending: &OsStr) -> Option<usize> {
        FORMS.iter().position(|form| form.0 == instead && ending == form.1)
    }

    /// Adds a file of this form.
    pub(super) fn add(&mut self, form: usize) {
        self.0 |= 1 << form;
    }

    /// Places in [`FORMS`].
    pub(super) fn forms(self) -> impl Iterator<Item = usize> {
        (0..FORMS.len()).filter(move |form| self.0 >> form & 1 == 1)
    }

    /// The files beside a picture, in the order in which they are asked.
    pub(super) fn files(self, picture: &Path) -> impl Iterator<Item = (Companion, PathBuf)> {
        self.forms().map(|form| (FORMS[form].2, path(picture, form)))
    }
}

/// Where the file of a form lies beside a picture.
pub(super) fn path(picture: &Path, form: usize) -> PathBuf {
    let (instead, ending, _) = FORMS[form];
    if instead {
        return picture.with_extension(ending);
    }
    let mut name = OsString::from(picture);
    name.push(".");
    name.push(ending);
    name.into()
}
