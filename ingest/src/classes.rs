//! A fixed mapping of class names to indices, so that several sets share their labels: a file → the
//! names in the order of their indices.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use schemas::code_of_classes;

/// The names of all classes that there may be, in the order of their indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classes {
    names: Arc<[String]>,
    known: Arc<BTreeSet<String>>,
}

impl Classes {
    /// Reads a file: the `classes.json` of a set, or a text with a name a line, of which the first
    /// has index 0. Blanks around a name, empty lines and those that begin with `#` do not count.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))?;
        Self::parse(&text)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}');
        let names = match text.trim_start().chars().next() {
            Some('{') => of_json(text)?,
            Some('[' | '"') if is_json(text) => {
                return Err(
                    "is JSON, but not an object of class to index as in classes.json, such as {\"cat\": 0, \"dog\": 1}; write that, or one class a line".into(),
                );
            }
            _ => of_lines(text)?,
        };
        if names.is_empty() {
            return Err(
                "names no class; write one a line, or give the classes.json of a set".into()
            );
        }
        Ok(Self::of_names(names))
    }

    /// The classes of a set that was made with such a file.
    pub(crate) fn of_names(names: Vec<String>) -> Self {
        let known = Arc::new(names.iter().cloned().collect());
        Self { names: names.into(), known }
    }

    /// The names in the order of their indices.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether there is such a class.
    pub fn has(&self, name: &str) -> bool {
        self.known.contains(name)
    }

    /// What tells the mapping from every other, as the settings of a set name it.
    pub(crate) fn code(&self) -> String {
        code_of_classes(&self.names)
    }
}

/// Whether a text that begins like a list or a string of JSON is one, if perhaps a damaged one.
fn is_json(text: &str) -> bool {
    let begins_list = text.trim_start().strip_prefix('[').is_some_and(|inside| {
        inside.trim_start().starts_with(['"', '{', '[']) || inside.lines().next() == Some("")
    });
    begins_list || serde_json::from_str::<serde_json::Value>(text).is_ok()
}

fn of_json(text: &str) -> Result<Vec<String>, String> {
    let classes: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| format!("no JSON object of names: {error}"))?;
    let mut names = vec![None; classes.len()];
    for (name, index) in &classes {
        let place = index.as_u64().and_then(|index| names.get_mut(usize::try_from(index).ok()?));
        match place {
            Some(place @ None) => *place = Some(name.clone()),
            _ => {
                return Err(format!(
                    "class `{name}` has index {index}; {} classes need the indices 0 to {}, each once",
                    classes.len(),
                    classes.len() - 1
                ));
            }
        }
    }
    Ok(names.into_iter().flatten().collect())
}

fn of_lines(text: &str) -> Result<Vec<String>, String> {
    let mut seen = BTreeSet::new();
    let lines = (1..).zip(text.lines().map(str::trim));
    lines
        .filter(|(_, name)| !name.is_empty() && !name.starts_with('#'))
        .map(|(line, name)| {
            if name.contains(char::is_control) {
                return Err(format!("line {line} holds a control character"));
            }
            if !seen.insert(name) {
                return Err(format!("line {line}: class `{name}` is there twice"));
            }
            Ok(name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_s_classes_and_a_list_of_names_are_the_same() {
        let list = Classes::parse("\u{feff}zebra\r\n\r\nold cat\n[1]\n").unwrap();
        assert_eq!(list.names(), ["zebra", "old cat", "[1]"]);
        let json = Classes::parse(r#" {"old cat": 1, "[1]": 2, "zebra": 0}"#).unwrap();
        assert_eq!(json, list);
        assert!(list.has("old cat") && !list.has("cat"));
        let list = Classes::parse("# of May\r\nzebra \r\n\t cat\t\n\n #none\n").unwrap();
        assert_eq!(list.names(), ["zebra", "cat"]);
        // A name that a list can't have.
        assert_eq!(Classes::parse(r##"{"#1": 0}"##).unwrap().names(), ["#1"]);
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        for (text, expected) in [
            ("", "no class"),
            ("{}", "no class"),
            ("a\nb\na\n", "line 3"),
            ("# only\n", "no class"),
            ("a\n# of May\n a \n", "line 3"),
            (r#"["a", "b"]"#, "classes.json"),
            ("[\n  \"a\",", "classes.json"),
            (r#""a""#, "classes.json"),
            ("a\x1b", "control"),
            (r#"{"a": 0, "b": 2}"#, "`b` has index 2"),
            (r#"{"a": 0, "b": 0}"#, "index 0"),
            (r#"{"a": -1}"#, "index -1"),
            (r#"{"a": "x"}"#, "index \"x\""),
            (r#"{"a": "#, "JSON"),
        ] {
            let error = Classes::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
