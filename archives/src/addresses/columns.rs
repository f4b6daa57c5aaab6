//! Which column of a list holds the addresses.

use crate::{ArchiveError, LABELS};

/// Columns of addresses by convention, those first that can only mean the picture's; in small
/// letters, without what is between words.
const ADDRESSES: [&str; 18] = [
    "imageurl",
    "imgurl",
    "imagelink",
    "imageuri",
    "photoimageurl",
    "pictureurl",
    "originalurl",
    "contenturl",
    "mediaurl",
    "url",
    "image",
    "img",
    "picture",
    "photo",
    "photourl",
    "link",
    "uri",
    "src",
];

/// What the first rows have in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// An address, in one of them at least.
    Address,
    /// Nothing.
    Nothing,
    /// Something else.
    Other,
}

/// The columns of a list, out of which one is chosen.
#[derive(Debug, Default)]
pub(super) struct Choice {
    columns: Vec<(String, Seen)>,
}

impl Choice {
    /// Adds a column.
    pub fn add(&mut self, name: &str, seen: Seen) {
        self.columns.push((name.to_owned(), seen));
    }

    /// The place of a column by its name, as it is written or in other cases.
    pub fn named(&self, name: &str) -> Option<usize> {
        let find = |is: &dyn Fn(&str) -> bool| self.columns.iter().position(|(name, _)| is(name));
        find(&|other| other == name).or_else(|| find(&|other| other.eq_ignore_ascii_case(name)))
    }

    /// The place of the column that holds the addresses by its name.
    pub fn by_name(&self) -> Option<usize> {
        let find = |known: &str, seen| {
            let is = |(name, what): &(String, Seen)| *what == seen && plain(name) == known;
            self.columns.iter().position(is)
        };
        ADDRESSES.iter().find_map(|known| find(known, Seen::Address))
    }

    /// The place of the column that holds the addresses; inside, none if there is none.
    ///
    /// # Errors
    /// [`ArchiveError::Columns`] if several may be meant.
    pub fn found(&self) -> Result<Option<usize>, ArchiveError> {
        if let Some(column) = self.by_name() {
            return Ok(Some(column));
        }
        let full: Vec<_> =
            (0..self.columns.len()).filter(|&at| self.columns[at].1 == Seen::Address).collect();
        match full[..] {
            [column] => Ok(Some(column)),
            // The first rows may just have none, or none that can be fetched.
            [] => Ok(ADDRESSES.iter().find_map(|known| {
                let is = |(name, what): &(String, Seen)| {
                    let told = *what == Seen::Nothing || known.ends_with("url");
                    told && plain(name) == *known
                };
                self.columns.iter().position(is)
            })),
            _ => {
                let names: Vec<_> = full.iter().map(|&at| self.columns[at].0.as_str()).collect();
                Err(ArchiveError::Columns(format!(
                    "several columns hold addresses ({}); name the pictures' with --url-column",
                    names.join(", ")
                )))
            }
        }
    }

    /// That there is no such column.
    pub fn none(&self, named: Option<&str>) -> ArchiveError {
        let columns = match self.columns.is_empty() {
            true => "there are no columns".to_owned(),
            false => format!("there are {}", self.all()),
        };
        ArchiveError::Columns(match named {
            Some(name) => format!("no column `{name}` of addresses; {columns}"),
            None => format!(
                "no column holds addresses of pictures (http, s3, gs or az); name the one that does with --url-column: {columns}"
            ),
        })
    }

    /// The column of labels: the one that the user named, else the first that is called like one.
    /// `find` gives the first of some names that a column has.
    ///
    /// # Errors
    /// [`ArchiveError::Columns`] if no column is called as the user has it.
    pub fn label<T>(
        &self,
        named: Option<&str>,
        find: impl Fn(&[&str]) -> Option<T>,
    ) -> Result<Option<T>, ArchiveError> {
        let Some(name) = named else { return Ok(find(&LABELS)) };
        let none = || {
            ArchiveError::Columns(format!(
                "no column `{name}` for the label; there are {}",
                self.all()
            ))
        };
        find(&[name]).map(Some).ok_or_else(none)
    }

    /// The place of the first column that has one of these names.
    pub fn any(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.named(name))
    }

    fn all(&self) -> String {
        const SHOWN: usize = 40;
        let names: Vec<_> = self.columns.iter().take(SHOWN).map(|(name, _)| &**name).collect();
        let more = if self.columns.len() > SHOWN { ", …" } else { "" };
        format!("{}{more}", names.join(", "))
    }
}

/// A name in small letters, without what is between its words.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(columns: &[(&str, Seen)]) -> Choice {
        let mut choice = Choice::default();
        columns.iter().for_each(|(name, seen)| choice.add(name, *seen));
        choice
    }

    #[test]
    fn a_column_is_found_by_name_if_it_has_addresses_and_else_by_these() {
        use Seen::{Address, Nothing, Other};
        let found = |columns: &[(&str, Seen)]| choice(columns).found().unwrap();
        assert_eq!(found(&[("TEXT", Other), ("URL", Address)]), Some(1));
        assert_eq!(found(&[("url", Address), ("Image URL", Address)]), Some(1));
        assert_eq!(found(&[("image", Other), ("where", Address)]), Some(1));
        assert_eq!(found(&[("image", Other), ("url", Nothing)]), Some(1));
        assert_eq!(found(&[("image", Other), ("where", Nothing)]), None);
        assert_eq!(found(&[("text", Other), ("url", Other)]), Some(1), "rows of no use");
        let error = choice(&[("a", Address), ("b", Address)]).found().unwrap_err().to_string();
        assert!(error.contains("a, b") && error.contains("--url-column"), "{error}");
    }

    #[test]
    fn a_named_column_may_be_written_in_other_cases() {
        let choice = choice(&[("URL", Seen::Other), ("url", Seen::Other)]);
        assert_eq!(choice.named("url"), Some(1));
        assert_eq!(choice.named("Url"), Some(0));
        assert_eq!(choice.named("uri"), None);
    }
}
