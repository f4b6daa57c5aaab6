//! Objects written, each at once or not at all.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::{
    Attribute, Attributes, Error as StoreError, GetOptions, ObjectStoreExt, PutMode, PutOptions,
    UpdateVersion,
};

use super::Remote;
use crate::StorageError;
use crate::retry::{Trouble, persist, within};

/// The object's attribute that tells whose creation it is.
const CREATOR: Attribute = Attribute::Metadata(Cow::Borrowed("creator"));

/// What a conditional put came to.
#[derive(Debug)]
pub(crate) enum Put {
    Done(UpdateVersion),
    /// What is there comes from an earlier put of the same holder, whose answer was lost.
    Earlier(UpdateVersion),
    /// Something else is there.
    Other,
}

impl Remote {
    /// What creates and completes uploads; an error where nothing can be written.
    pub fn uploads(&self, action: &'static str) -> Result<Arc<dyn MultipartStore>, StorageError> {
        self.client
            .uploads
            .clone()
            .ok_or_else(|| StorageError::ReadOnly { action, address: self.at.to_string() })
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

    /// A put that succeeds only if nothing is there, or only over the given version. `holder`
    /// is a word that nobody else uses and `put` one that the holder uses once; both are kept with
    /// the object: of a put whose answer was lost they tell whether it took place.
    pub async fn put_if(
        &self,
        action: &'static str,
        bytes: Bytes,
        over: Option<UpdateVersion>,
        (holder, put): (&str, &str),
    ) -> Result<Put, StorageError> {
        let creator = format!("{holder}{put}");
        self.uploads(action)?;
        let mode = over.map_or(PutMode::Create, PutMode::Update);
        persist(action, &self.at, &self.limits, |_| async {
            match self.put_once(&bytes, mode.clone(), Some(&creator)).await {
                Err(Trouble::Store(
                    StoreError::AlreadyExists { .. } | StoreError::Precondition { .. },
                )) => {}
                result => return Ok(Put::Done(result?)),
            }
            match self.get(GetOptions { head: true, ..GetOptions::default() }).await {
                Ok(found) => {
                    let by = found.attributes.get(&CREATOR).map_or("", |by| by.as_ref());
                    let (e_tag, version) = (found.meta.e_tag, found.meta.version);
                    let version = UpdateVersion { e_tag, version };
                    Ok(match by.strip_prefix(holder) {
                        Some(rest) if rest == put => Put::Done(version),
                        Some(_) => Put::Earlier(version),
                        None => Put::Other,
                    })
                }
                Err(trouble) if trouble.is_missing() && mode != PutMode::Create => Ok(Put::Other),
                Err(trouble) if trouble.is_missing() => {
                    Err(Trouble::Unclear("something was there, and is gone again"))
                }
                Err(trouble) => Err(trouble),
            }
        })
        .await
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
                Err(trouble) if trouble.is_missing() => Ok(None),
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
                Err(gone) if gone.is_upload_missing() && attempt > 1 => {
                    let now = match self.head().await {
                        Err(trouble) if trouble.is_missing() => {
                            return Err(Trouble::Unclear("its parts are still being joined"));
                        }
                        now => now?,
                    };
                    let is_new = earlier.as_ref().is_none_or(|earlier| {
                        (&earlier.e_tag, earlier.last_modified) != (&now.e_tag, now.last_modified)
                    });
                    if is_new && now.size == bytes { Ok(()) } else { Err(gone) }
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
