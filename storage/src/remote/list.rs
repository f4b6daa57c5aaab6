//! What lies at an address, and below it.

use std::collections::{BTreeMap, HashSet};

use futures_util::StreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::Remote;
use crate::retry::{Trouble, persist, within};
use crate::{Listed, Stat, StorageError};

impl Remote {
    pub async fn stat(&self) -> Result<Option<Stat>, StorageError> {
        let is_web = self.client.uploads.is_none();
        if is_web || !self.path.is_root() {
            match self.existing("look at").await {
                Err(StorageError::Missing { .. }) if is_web => return Ok(None),
                Err(StorageError::Missing { .. }) => {}
                Err(error) => return Err(error),
                Ok(found) => {
                    let (bytes, version) = (found.bytes, found.name());
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
        let mut found: BTreeMap<Path, u64> = BTreeMap::new();
        let mut last: Option<Path> = None;
        let mut complete = false;
        while !complete {
            // A listing that breaks off goes on after the last name, with the whole time again.
            let more =
                persist("list", &self.at, &self.limits, |_| self.list_after(last.as_ref(), &found));
            match more.await {
                Err(StorageError::Missing { .. }) if found.is_empty() => return Ok(Vec::new()),
                Err(error) => return Err(error),
                Ok((more, end)) => {
                    last = more.last().map(|meta| meta.location.clone()).or(last);
                    for meta in more {
                        // An object and the marker of a folder may have one name.
                        let bytes = found.entry(meta.location).or_default();
                        *bytes = meta.size.max(*bytes);
                    }
                    complete = end;
                }
            }
        }
        let below = match self.path.as_ref() {
            "" => String::new(),
            path => format!("{path}/"),
        };
        let listed = found.into_iter().filter_map(|(path, bytes)| {
            let relative = path.as_ref().strip_prefix(&below)?.to_owned();
            Some(Listed { relative, bytes })
        });
        Ok(without_markers(listed.collect()))
    }

    /// What is listed after a name and is not known yet, and whether that is all. Trouble is one only
    /// before the first. Azure knows no listings from a name on in the version of its service that
    /// `object_store` names, and begins anew.
    async fn list_after(
        &self,
        last: Option<&Path>,
        known: &BTreeMap<Path, u64>,
    ) -> Result<(Vec<ObjectMeta>, bool), Trouble> {
        let mut list = match last {
            Some(last) => self.objects().list_with_offset(Some(&self.path), last),
            None => self.objects().list(Some(&self.path)),
        };
        let mut found = Vec::new();
        loop {
            match within(self.limits.stall, async { list.next().await.transpose() }).await {
                Ok(Some(meta)) if known.contains_key(&meta.location) => {}
                Ok(Some(meta)) => found.push(meta),
                Ok(None) => return Ok((found, true)),
                Err(trouble) if found.is_empty() => return Err(trouble),
                Err(_) => return Ok((found, false)),
            }
        }
    }
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
