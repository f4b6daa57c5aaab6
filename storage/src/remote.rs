//! Objects in a bucket or on a web server: each request of this crate, made until it succeeds.

mod answer;
mod connect;
mod whole;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error as StoreError, GetOptions, GetRange, GetResult, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion,
};

pub(crate) use answer::Answer;
pub(crate) use connect::{Client, Reach, connect, reach};
pub(crate) use whole::Whole;

use crate::options::Limits;
use crate::retry::{Trouble, persist, within};
use crate::{Address, Listed, Stat, StorageError};

/// The object's attribute that tells whose creation it is.
const CREATOR: Attribute = Attribute::Metadata(std::borrow::Cow::Borrowed("creator"));

/// An address with the client that reaches it; cheap to clone.
#[derive(Clone)]
pub(crate) struct Remote {
    pub at: Address,
    pub path: Path,
    pub client: Arc<Client>,
    pub limits: Arc<Limits>,
}

/// Which object it is, as far as the store tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub bytes: u64,
    tag: String,
}

impl Version {
    pub fn of(meta: &ObjectMeta) -> Self {
        let tag = meta.e_tag.clone();
        Self { bytes: meta.size, tag: tag.unwrap_or_else(|| meta.last_modified.to_rfc3339()) }
    }
}

/// What is set aside for so many bytes; a server that promises more than it has costs no memory.
fn room(bytes: u64) -> usize {
    const MOST: u64 = 64 << 20;
    bytes.min(MOST) as usize
}

/// Some tools keep a folder as an empty object with a slash at the end of its name, which
/// `object_store` takes off. An empty object that others lie below is taken for one.
fn without_markers(mut listed: Vec<Listed>) -> Vec<Listed> {
    let mut folders = HashSet::new();
    if listed.iter().any(|object| object.bytes == 0) {
        for object in &listed {
            let ends = object.relative.match_indices('/');
            folders.extend(ends.map(|(end, _)| object.relative[..end].to_owned()));
        }
    }
    listed.retain(|object| object.bytes > 0 || !folders.contains(&object.relative));
    listed
}

/// What a conditional put came to.
#[derive(Debug)]
pub(crate) enum Put {
    Done(UpdateVersion),
    /// Something else is there.
    Other,
}

impl Remote {
    fn objects(&self) -> &dyn ObjectStore {
        self.client.objects.as_ref()
    }

    /// What creates and completes uploads; an error where nothing can be written.
    pub fn uploads(&self, action: &'static str) -> Result<Arc<dyn MultipartStore>, StorageError> {
        self.client
            .uploads
            .clone()
            .ok_or_else(|| StorageError::ReadOnly { action, address: self.at.to_string() })
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

    /// The version of a lock, as conditional puts take it.
    pub async fn lock_version(&self) -> Result<Option<UpdateVersion>, StorageError> {
        self.uploads("lock")?;
        let head = persist("lock", &self.at, &self.limits, |_| self.head()).await;
        match head {
            Err(StorageError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
            Ok(meta) => Ok(Some(UpdateVersion { e_tag: meta.e_tag, version: meta.version })),
        }
    }

    pub async fn stat(&self) -> Result<Option<Stat>, StorageError> {
        let is_web = self.client.uploads.is_none();
        if is_web || !self.path.is_root() {
            match self.existing("look at").await {
                Err(StorageError::Missing { .. }) if is_web => return Ok(None),
                Err(StorageError::Missing { .. }) => {}
                Err(error) => return Err(error),
                Ok(Version { bytes, tag: version }) => {
                    return Ok(Some(Stat { bytes, version, folder: false }));
                }
            }
        }
        // A folder is what something lies below.
        let first = persist("look at", &self.at, &self.limits, |_| async {
            let mut list = self.objects().list(Some(&self.path));
            within(self.limits.stall, async { list.next().await.transpose() }).await
        });
        match first.await {
            Err(StorageError::Missing { .. }) | Ok(None) => Ok(None),
            Err(error) => Err(error),
            Ok(Some(_)) => Ok(Some(Stat { bytes: 0, version: String::new(), folder: true })),
        }
    }

    pub async fn list(&self) -> Result<Vec<Listed>, StorageError> {
        if self.client.uploads.is_none() {
            return Err(StorageError::Unlisted { address: self.at.to_string() });
        }
        let mut found: Vec<ObjectMeta> = Vec::new();
        let mut complete = false;
        while !complete {
            // A listing that breaks off goes on after the last name, with the whole time again.
            let last = found.last().map(|meta| &meta.location);
            let more = persist("list", &self.at, &self.limits, |_| self.list_after(last));
            match more.await {
                Err(StorageError::Missing { .. }) if found.is_empty() => return Ok(Vec::new()),
                Err(error) => return Err(error),
                Ok((more, end)) => {
                    found.extend(more);
                    complete = end;
                }
            }
        }
        let below = match self.path.as_ref() {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let listed = found.into_iter().filter_map(|meta| {
            let relative = meta.location.as_ref().strip_prefix(&below)?.to_owned();
            Some(Listed { relative, bytes: meta.size })
        });
        Ok(without_markers(listed.collect()))
    }

    /// What is listed after a name, and whether that is all. Trouble is one only before the first.
    async fn list_after(&self, last: Option<&Path>) -> Result<(Vec<ObjectMeta>, bool), Trouble> {
        let mut list = match last {
            Some(last) => self.objects().list_with_offset(Some(&self.path), last),
            None => self.objects().list(Some(&self.path)),
        };
        let mut found = Vec::new();
        loop {
            match within(self.limits.stall, async { list.next().await.transpose() }).await {
                Ok(Some(meta)) => found.push(meta),
                Ok(None) => return Ok((found, true)),
                Err(trouble) if found.is_empty() => return Err(trouble),
                Err(_) => return Ok((found, false)),
            }
        }
    }

    /// The whole object; a large one in ranges. Even the first answer is one to a range: only then
    /// does it tell the object's size beside its own length.
    pub async fn read(&self) -> Result<Bytes, StorageError> {
        if !self.client.knows_ranges.load(Ordering::Relaxed) {
            return self.read_whole().await;
        }
        let most = self.limits.range_bytes.saturating_mul(2);
        let start = persist("read", &self.at, &self.limits, |_| async {
            let range = Some(GetRange::Bounded(0..most));
            let got = self.get(GetOptions { range, ..GetOptions::default() }).await?;
            let version = Version::of(&got.meta);
            Ok((self.body(got, most.min(version.bytes)).await?, version))
        });
        match start.await {
            // An empty object has no range, and some servers know none.
            Err(error) if Answer::is_beyond(&error) => self.read_whole().await,
            Err(error) if Answer::is_whole(&error) => {
                self.client.knows_ranges.store(false, Ordering::Relaxed);
                self.read_whole().await
            }
            Err(error) => Err(error),
            Ok((start, version)) if version.bytes <= most => Ok(start),
            Ok((start, version)) => self.read_long(0..version.bytes, Some((start, version))).await,
        }
    }

    async fn read_whole(&self) -> Result<Bytes, StorageError> {
        persist("read", &self.at, &self.limits, |_| async {
            let got = self.get(GetOptions::default()).await?;
            let bytes = got.meta.size;
            self.body(got, bytes).await
        })
        .await
    }

    /// Exactly these bytes.
    pub async fn read_range(&self, range: Range<u64>) -> Result<Bytes, StorageError> {
        if range.end - range.start > self.limits.range_bytes.saturating_mul(2) {
            return self.read_long(range, None).await;
        }
        match self.range(range.clone(), None).await {
            Err(error) if Answer::is_whole(&error) => self.read_part_of_whole(range).await,
            result => Ok(result?.0),
        }
    }

    /// A range from a server that knows none.
    async fn read_part_of_whole(&self, range: Range<u64>) -> Result<Bytes, StorageError> {
        let whole = self.read_whole().await?;
        let bytes = whole.len() as u64;
        if range.end > bytes {
            return Err(StorageError::Beyond { address: self.at.to_string(), bytes, range });
        }
        // Both lie within what fits into memory.
        Ok(whole.slice(range.start as usize..range.end as usize))
    }

    /// A long range as several at once, all of the same object; its start may be there already.
    async fn read_long(
        &self,
        range: Range<u64>,
        start: Option<(Bytes, Version)>,
    ) -> Result<Bytes, StorageError> {
        let step = self.limits.range_bytes;
        let (start, version) = match start {
            Some(start) => start,
            None => match self.range(range.start..range.end.min(range.start + step), None).await {
                Err(error) if Answer::is_whole(&error) => {
                    return self.read_part_of_whole(range).await;
                }
                result => result?,
            },
        };
        let mut all = BytesMut::new();
        all.reserve(room(range.end - range.start));
        all.extend_from_slice(&start);
        let rest = range.start + start.len() as u64..range.end;
        let rest = rest.step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let mut parts = stream::iter(rest)
            .map(|start| self.range(start..range.end.min(start + step), Some(&version)))
            .buffered(self.limits.ahead.max(1));
        while let Some((bytes, _)) = parts.try_next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    /// A range of the object, which must be of that version if one is given.
    pub async fn range(
        &self,
        range: Range<u64>,
        version: Option<&Version>,
    ) -> Result<(Bytes, Version), StorageError> {
        persist("read", &self.at, &self.limits, |_| async {
            let bounds = Some(GetRange::Bounded(range.clone()));
            let got = self.get(GetOptions { range: bounds, ..GetOptions::default() }).await?;
            let found = Version::of(&got.meta);
            if version.is_some_and(|version| *version != found) {
                return Err(Trouble::Changed);
            }
            if found.bytes < range.end {
                return Err(Trouble::Beyond { bytes: found.bytes, range: range.clone() });
            }
            Ok((self.body(got, range.end - range.start).await?, found))
        })
        .await
    }

    /// A body, which must have that length.
    async fn body(&self, got: GetResult, expected: u64) -> Result<Bytes, Trouble> {
        let mut bytes = BytesMut::with_capacity(room(expected));
        let mut body = got.into_stream();
        while let Some(part) =
            within(self.limits.stall, async { body.next().await.transpose() }).await?
        {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > expected {
                break;
            }
        }
        let got = bytes.len() as u64;
        if got != expected {
            return Err(Trouble::Length { expected, got });
        }
        Ok(bytes.freeze())
    }

    async fn put_once(
        &self,
        bytes: &Bytes,
        mode: PutMode,
        creator: Option<&str>,
    ) -> Result<UpdateVersion, Trouble> {
        let mut attributes = Attributes::new();
        if let Some(creator) = creator {
            attributes.insert(CREATOR, creator.to_owned().into());
        }
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let put = self.objects().put_opts(&self.path, bytes.clone().into(), options);
        Ok(within(self.limits.upload_time(bytes.len()), put).await?.into())
    }

    pub async fn put(&self, bytes: Bytes) -> Result<(), StorageError> {
        self.uploads("write")?;
        persist("write", &self.at, &self.limits, |_| async {
            self.put_once(&bytes, PutMode::Overwrite, None).await
        })
        .await?;
        Ok(())
    }

    /// A put that succeeds only if nothing is there, or only over the given version. `creator` is
    /// drawn for this one put and kept with the object: of a put whose answer was lost it tells
    /// whether it took place.
    pub async fn put_if(
        &self,
        action: &'static str,
        bytes: Bytes,
        over: Option<UpdateVersion>,
        creator: &str,
    ) -> Result<Put, StorageError> {
        self.uploads(action)?;
        let mode = over.map_or(PutMode::Create, PutMode::Update);
        persist(action, &self.at, &self.limits, |_| async {
            match self.put_once(&bytes, mode.clone(), Some(creator)).await {
                Err(Trouble::Store(
                    StoreError::AlreadyExists { .. } | StoreError::Precondition { .. },
                )) => {}
                result => return Ok(Put::Done(result?)),
            }
            match self.get(GetOptions { head: true, ..GetOptions::default() }).await {
                Ok(found) if found.attributes.get(&CREATOR).is_some_and(|by| **by == *creator) => {
                    Ok(Put::Done(UpdateVersion {
                        e_tag: found.meta.e_tag,
                        version: found.meta.version,
                    }))
                }
                Ok(_) => Ok(Put::Other),
                Err(Trouble::Store(StoreError::NotFound { .. })) if mode != PutMode::Create => {
                    Ok(Put::Other)
                }
                Err(Trouble::Store(StoreError::NotFound { .. })) => {
                    Err(Trouble::Unclear("something was there, and is gone again"))
                }
                Err(trouble) => Err(trouble),
            }
        })
        .await
    }

    pub async fn delete(&self) -> Result<(), StorageError> {
        self.uploads("delete")?;
        let deleted = persist("delete", &self.at, &self.limits, |_| async {
            within(self.limits.stall, self.objects().delete(&self.path)).await
        });
        match deleted.await {
            Err(StorageError::Missing { .. }) => Ok(()),
            result => result,
        }
    }

    pub async fn begin_upload(&self) -> Result<String, StorageError> {
        let uploads = self.uploads("write")?;
        persist("write", &self.at, &self.limits, |_| async {
            within(self.limits.stall, uploads.create_multipart(&self.path)).await
        })
        .await
    }

    pub async fn upload(
        &self,
        id: String,
        index: usize,
        bytes: Bytes,
    ) -> Result<PartId, StorageError> {
        let uploads = self.uploads("write")?;
        let time = self.limits.upload_time(bytes.len());
        persist("write", &self.at, &self.limits, |_| async {
            within(time, uploads.put_part(&self.path, &id, index, bytes.clone().into())).await
        })
        .await
    }

    /// Makes an object of the parts.
    pub async fn complete_upload(
        &self,
        id: String,
        parts: Vec<PartId>,
        bytes: u64,
    ) -> Result<(), StorageError> {
        let uploads = self.uploads("write")?;
        let head = persist("write", &self.at, &self.limits, |_| async {
            match self.head().await {
                Err(Trouble::Store(StoreError::NotFound { .. })) => Ok(None),
                head => Ok(Some(head?)),
            }
        });
        let earlier = head.await?;
        // Stores may take long to join thousands of parts.
        let time = self.limits.stall * 4;
        let (uploads, id, earlier) = (&uploads, &id, &earlier);
        let parts = &parts;
        persist("write", &self.at, &self.limits, |attempt| async move {
            let complete = uploads.complete_multipart(&self.path, id, parts.clone());
            match within(time, complete).await {
                // The answer to an earlier attempt may have been lost: then the upload is no more,
                // and a new object of its size is there.
                Err(Trouble::Store(error @ StoreError::NotFound { .. })) if attempt > 1 => {
                    let now = match self.head().await {
                        Err(Trouble::Store(StoreError::NotFound { .. })) => {
                            return Err(Trouble::Unclear("its parts are still being joined"));
                        }
                        now => now?,
                    };
                    let is_new = earlier.as_ref().is_none_or(|earlier| {
                        (&earlier.e_tag, earlier.last_modified) != (&now.e_tag, now.last_modified)
                    });
                    if is_new && now.size == bytes { Ok(()) } else { Err(error.into()) }
                }
                result => result.map(|_| ()),
            }
        })
        .await
    }

    pub async fn abort_upload(&self, id: String) -> Result<(), StorageError> {
        let uploads = self.uploads("write")?;
        persist("abort the upload to", &self.at, &self.limits, |_| async {
            within(self.limits.stall, uploads.abort_multipart(&self.path, &id)).await
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_listed_unless_others_lie_below_it() {
        let object = |name: &str, bytes| Listed { relative: name.to_owned(), bytes };
        let listed = vec![
            object("folder", 0),
            object("folder/deep", 0),
            object("folder/deep/a", 1),
            object("folder/empty", 0),
            object("full", 2),
            object("full/b", 3),
        ];
        let names: Vec<String> =
            without_markers(listed).into_iter().map(|object| object.relative).collect();
        assert_eq!(names, ["folder/deep/a", "folder/empty", "full", "full/b"]);
    }
}
