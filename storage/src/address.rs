//! Where something lies.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use crate::StorageError;

/// Where something lies: a local path or a URL (`s3://bucket/key`, `gs://bucket/key`,
/// `az://container/key`, `http(s)://…`, `file://…`). Shown as it was given, without what may be
/// secret: an http address is shown without user, password and query.
///
/// Keys under `s3://`, `gs://` and `az://` are taken literally, as the stores' own tools do: `%20`
/// is three characters, and `?` is one of the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    text: String,
    place: Place,
}

/// An address, told apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Local(PathBuf),
    /// The key has neither a slash at its start nor one at its end.
    Bucket {
        store: Store,
        bucket: String,
        key: String,
    },
    /// A guarded one leads to no private address.
    Web {
        url: Url,
        guarded: bool,
    },
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Store {
    S3,
    Google,
    Azure,
}

impl Address {
    /// Reads an address. What holds no `://` is a local path.
    ///
    /// # Errors
    ///
    /// [`StorageError::Address`] for an unknown scheme, a URL without a bucket or host, credentials
    /// in the address, and keys with empty parts, `.` or `..`.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        let wrong = |problem: &str| StorageError::Address {
            text: text.split('?').next().unwrap_or_default().to_owned(),
            problem: problem.to_owned(),
        };
        if text.is_empty() {
            return Err(StorageError::Address {
                text: "\"\"".to_owned(),
                problem: "an empty address; give a path or a URL".to_owned(),
            });
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::from(PathBuf::from(text)));
        };
        let store = match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" => Store::S3,
            "gs" => Store::Google,
            "az" => Store::Azure,
            "file" => {
                let path = Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
                let path = path
                    .ok_or_else(|| wrong("not a file of this machine; write file:///path/to/it"))?;
                return Ok(Self { text: text.to_owned(), place: Place::Local(path) });
            }
            "http" | "https" => return Self::web(text).map_err(|problem| wrong(&problem)),
            _ => {
                return Err(wrong(
                    "an unknown kind of address; give a path, or s3://, gs://, az://, http://, https:// or file://",
                ));
            }
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(wrong("no bucket named; write it as in s3://bucket/key"));
        }
        if bucket.contains('@') && store != Store::Azure {
            return Err(StorageError::Address {
                text: format!("{scheme}://…"),
                problem: "holds credentials; give them in environment variables such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned(),
            });
        }
        let key = key.trim_end_matches('/');
        if object_store::path::Path::parse(key).is_err() || key.starts_with('/') {
            return Err(wrong("the key holds an empty part, `.`, `..` or a control character"));
        }
        let place = Place::Bucket { store, bucket: bucket.to_owned(), key: key.to_owned() };
        Ok(Self { text: text.to_owned(), place })
    }

    fn web(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        Ok(Self { text: shown(&url), place: Place::Web { url, guarded: false } })
    }

    /// The same address as a stranger gave it: if it is an http address, nothing is read from it if
    /// it is one of a private network, or leads to one.
    #[must_use]
    pub fn guarded(mut self) -> Self {
        if let Place::Web { guarded, .. } = &mut self.place {
            *guarded = true;
        }
        self
    }

    /// The address of `name` below this one; `name` may be several parts with `/` between them.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let name = name.trim_start_matches('/');
        let text = match self.text.trim_end_matches('/') {
            "" => format!("/{name}"),
            text => format!("{text}/{name}"),
        };
        match &self.place {
            Place::Local(path) => Self { text, place: Place::Local(path.join(name)) },
            Place::Bucket { store, bucket, key } => {
                let separator = if key.is_empty() { "" } else { "/" };
                let key = format!("{key}{separator}{}", name.trim_end_matches('/'));
                let place = Place::Bucket { store: *store, bucket: bucket.clone(), key };
                Self { text, place }
            }
            Place::Web { url, guarded } => {
                let mut url = url.clone();
                if let Ok(mut parts) = url.path_segments_mut() {
                    parts.pop_if_empty().extend(name.split('/'));
                }
                Self { text: shown(&url), place: Place::Web { url, guarded: *guarded } }
            }
        }
    }

    /// The last part: a file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }

    /// The path, if it is a local one.
    #[must_use]
    pub fn local(&self) -> Option<&Path> {
        match &self.place {
            Place::Local(path) => Some(path),
            Place::Bucket { .. } | Place::Web { .. } => None,
        }
    }

    /// Whether it is an http address, which can only be read.
    #[must_use]
    pub fn is_web(&self) -> bool {
        self.url().is_some()
    }

    /// The whole URL, secrets among it, if it is an http address.
    #[must_use]
    pub fn url(&self) -> Option<&Url> {
        match &self.place {
            Place::Web { url, .. } => Some(url),
            Place::Local(_) | Place::Bucket { .. } => None,
        }
    }

    /// The address as a list for everybody may have it, by which it can be found again: an http
    /// address with its query, which is left out only if it holds a signature or a token.
    #[must_use]
    pub fn published(&self) -> String {
        match &self.place {
            Place::Web { url, .. } if url.query().is_some() && !is_signed(url) => {
                let query = url.query().unwrap_or_default();
                format!("{}?{query}", self.text)
            }
            _ => self.text.clone(),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

/// A URL without user, password, query and fragment.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both can fail only for URLs that have no host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

/// Whether the query lets in who knows it.
fn is_signed(url: &Url) -> bool {
    const NAMES: [&str; 10] = [
        "sig",
        "token",
        "password",
        "secret",
        "apikey",
        "api_key",
        "awsaccesskeyid",
        "googleaccessid",
        "key-pair-id",
        "sharedaccesskey",
    ];
    url.query_pairs().any(|(name, _)| {
        let name = name.to_ascii_lowercase();
        NAMES.contains(&name.as_str())
            || ["signature", "credential", "_token", "-token"].iter().any(|end| name.ends_with(end))
    })
}

impl FromStr for Address {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, StorageError> {
        Self::parse(text)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self { text: path.to_string_lossy().into_owned(), place: Place::Local(path) }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::from(path.to_owned())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
