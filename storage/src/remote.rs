//! Objects in a bucket or on a web server: each request of this crate, made until it succeeds.

mod connect;
mod http;
mod list;
mod read;
mod whole;
mod write;

use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetResult, ObjectMeta, ObjectStore};

pub(crate) use connect::{Client, Reach, connect, reach};
pub(crate) use whole::Whole;
pub(crate) use write::Put;

use crate::answer::Answer;
use crate::options::Limits;
use crate::retry::{Trouble, persist, within};
use crate::{Address, StorageError};

/// An address with the client that reaches it; cheap to clone.
#[derive(Clone)]
pub(crate) struct Remote {
    pub at: Address,
    pub path: Path,
    pub client: Arc<Client>,
    pub limits: Arc<Limits>,
}

/// Which object it is, as far as the store tells.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub bytes: u64,
    tag: Option<String>,
    /// In milliseconds since 1970.
    modified: Option<i64>,
}

impl Version {
    pub fn of(meta: &ObjectMeta) -> Self {
        // A weak tag is the same as the strong one for what it tells.
        let tag = meta.e_tag.as_deref().map(|tag| tag.trim_start_matches("W/").to_owned());
        // What is not told is 1970.
        let modified = Some(meta.last_modified.timestamp_millis()).filter(|&time| time != 0);
        Self { bytes: meta.size, tag, modified }
    }

    /// Whether two answers can't be about the same object. Web servers tell more in one answer than
    /// in another, so that only what both tell counts.
    pub fn differs(&self, other: &Self) -> bool {
        if self.bytes != other.bytes {
            return true;
        }
        match (&self.tag, &other.tag) {
            (Some(one), Some(other)) => one != other,
            _ => match (self.modified, other.modified) {
                (Some(one), Some(other)) => one != other,
                _ => false,
            },
        }
    }

    /// What tells it from others of its size; empty if the store tells nothing.
    pub fn name(&self) -> String {
        let modified = || self.modified.map(|time| time.to_string());
        self.tag.clone().or_else(modified).unwrap_or_default()
    }
}

impl Remote {
    fn objects(&self) -> &dyn ObjectStore {
        self.client.objects.as_ref()
    }

    pub async fn get(&self, options: GetOptions) -> Result<GetResult, Trouble> {
        within(self.limits.stall, self.objects().get_opts(&self.path, options)).await
    }

    /// The object's metadata, in one attempt.
    async fn head(&self) -> Result<ObjectMeta, Trouble> {
        match self.get(GetOptions { head: true, ..GetOptions::default() }).await {
            // Some web servers, and addresses signed for GET alone, know no HEAD.
            Err(Trouble::Store(error))
                if self.client.uploads.is_none()
                    && (matches!(error, StoreError::PermissionDenied { .. })
                        || Answer::behind(&error).is_some_and(Answer::is_method_unknown)) =>
            {
                Ok(self.get(GetOptions::default()).await?.meta)
            }
            result => Ok(result?.meta),
        }
    }

    /// Size and version; an error if there is nothing.
    pub async fn existing(&self, action: &'static str) -> Result<Version, StorageError> {
        let meta = persist(action, &self.at, &self.limits, |_| self.head()).await?;
        Ok(Version::of(&meta))
    }
}
