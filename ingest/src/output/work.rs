//! The work on an output: held by one run at a time.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use rayon::prelude::*;
use schemas::{FileEntry, Manifest};
use shards::set::files::{self, Files};
use shards::set::manifest::check_sizes;
use shards::set::names::{UNFINISHED_FOLDER, next_shard, rejects_file};
use storage::{Address, Listed, Lock, Storage};

use super::decide::{self, Fit, Make};
use super::differences::other_files;
use super::found::look;
use super::plan::{Asked, Plan};
use super::refusal::Refusal;
use super::rejects::RejectList;
use super::state::{
    AT_ONCE, ShardState, done, done_in_any_order, keep, number_of_state, pictures_done, plan_at,
    read_plan, state_file, states, write_json,
};
use crate::IngestError;
use crate::source::Listing;

const LOCK: &str = "lock";

/// What there is to do at an output.
pub(crate) enum Opened {
    /// Nothing: the plan's part, at this place, belongs to a finished set.
    Finished(Box<Manifest>, usize),
    /// The part, or what is left of it.
    Work(Box<Work>),
}

/// An output that is held by this run.
pub(crate) struct Work {
    storage: Storage,
    out: Address,
    /// The manifest of the set that is appended to.
    pub base: Option<Manifest>,
    pub plan: Plan,
    /// What was there when the run began.
    files: Files,
    lock: Mutex<Lock>,
}

/// Looks at an output and takes hold of it, unless there is nothing to do.
///
/// # Errors
/// [`IngestError`] if what is there is in the way, or another run is at work.
pub(crate) fn open(
    storage: &Storage,
    out: &Address,
    mut plan: Plan,
    listing: Option<&Listing>,
    asked: Asked,
) -> Result<Opened, IngestError> {
    let decide = |found, plan: &Plan| {
        let fit = Fit::of(plan, &found);
        decide::make(found, asked, fit)
    };
    // Who is refused leaves no trace: a lock in a folder that is no set would look like one in the
    // making.
    let (found, files) = look(storage, out)?;
    match decide(found, &plan) {
        Ok(Make::Nothing { manifest, part }) => {
            return finished(storage, out, manifest, part, &files);
        }
        Err(refusal) if !refusal.is_of_a_run() => return Err(refusal.at(storage, out)),
        Ok(_) | Err(_) => {}
    }
    let lock = hold(storage, out)?;
    storage.sweep(out)?;
    storage.sweep(&out.join(UNFINISHED_FOLDER))?;
    // Another run may have written until it was taken.
    let (found, mut files) = look(storage, out)?;
    let (base, goes_on) = match decide(found, &plan) {
        Ok(Make::Begin { base }) => (base, false),
        Ok(Make::GoOn { base }) => (base, true),
        Ok(Make::Nothing { manifest, part }) => {
            release(out, lock);
            return finished(storage, out, manifest, part, &files);
        }
        Err(mut refusal) => {
            if let Some(listing) = listing {
                name_other_files(&mut refusal, storage, out, (&plan, listing), &files);
            }
            release(out, lock);
            return Err(refusal.at(storage, out));
        }
    };
    plan.version = base.as_ref().map_or(1, |manifest| manifest.version + 1);
    if !goes_on {
        // What a run left behind that ended between its last steps.
        clear(storage, out)?;
        files.retain(|name, _| !name.starts_with(UNFINISHED_FOLDER));
        write_json(storage, &plan_at(out), &plan)?;
    }
    let (storage, out, lock) = (storage.clone(), out.clone(), Mutex::new(lock));
    Ok(Opened::Work(Box::new(Work { storage, out, base, plan, files, lock })))
}

/// That there is nothing to do, if the set is whole. What a run left behind that ended between its
/// last steps is removed.
fn finished(
    storage: &Storage,
    out: &Address,
    manifest: Manifest,
    part: usize,
    files: &Files,
) -> Result<Opened, IngestError> {
    check_sizes(storage, out, &manifest)?;
    let left = files.keys().any(|name| name.starts_with(UNFINISHED_FOLDER));
    // It is in nobody's way: that it can't be removed is no error.
    if left && let Ok(lock) = hold(storage, out) {
        let plan = read_plan(storage, out);
        if plan.is_ok_and(|plan| plan.is_none_or(|plan| plan.version <= manifest.version)) {
            let _ = clear(storage, out);
            let _ = storage.sweep(&out.join(UNFINISHED_FOLDER));
            let _ = storage.sweep(out);
        }
        release(out, lock);
    }
    Ok(Opened::Finished(manifest.into(), part))
}

/// Adds in which files the listing differs from that of the run that has begun, as far as what that
/// has done can be read.
fn name_other_files(
    refusal: &mut Refusal,
    storage: &Storage,
    out: &Address,
    (plan, listing): (&Plan, &Listing),
    files: &Files,
) {
    if let Refusal::OtherRun { differences, base, earlier, .. } = refusal
        && plan.lists_others(earlier)
        && let views = earlier.settings.views
        && let Ok(pictures) = pictures_done(storage, out, files, base.as_deref(), views)
    {
        differences.extend(other_files(listing, &pictures));
    }
}

/// Removes all states but the lock, the plan last: without it, what is left has no meaning.
fn clear(storage: &Storage, out: &Address) -> Result<(), IngestError> {
    let folder = out.join(UNFINISHED_FOLDER);
    let found = storage.list(&folder)?;
    found
        .par_iter()
        .filter(|found| found.relative.starts_with("shard-"))
        .try_for_each(|found| storage.delete(&folder.join(&found.relative)))?;
    Ok(storage.delete(&plan_at(out))?)
}

/// Takes hold of an output.
///
/// # Errors
/// [`IngestError::Locked`] if another run holds it.
pub(crate) fn hold(storage: &Storage, out: &Address) -> Result<Lock, IngestError> {
    let lock = storage.lock(&out.join(UNFINISHED_FOLDER).join(LOCK))?;
    lock.ok_or_else(|| IngestError::Locked(out.clone()))
}

/// Lets go of an output, and of the folder of the lock if it is for nothing else.
pub(crate) fn release(out: &Address, lock: Lock) {
    drop(lock);
    if let (Some(folder), Some(plan)) = (out.join(UNFINISHED_FOLDER).local(), plan_at(out).local())
        && !plan.exists()
    {
        // Another run may hold the lock by now; what is not empty stays.
        let _ = std::fs::remove_file(folder.join(LOCK));
        let _ = std::fs::remove_dir(folder);
    }
}

impl Work {
    /// Tells `each` what became of the part's shards that are finished, in order.
    pub fn finished(
        &self,
        each: impl FnMut(ShardState) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        done(&self.storage, &self.out, &self.files, self.base.as_ref(), each)
    }

    /// Keeps what became of shard `number`.
    pub fn keep(&self, number: u64, state: &ShardState) -> Result<(), IngestError> {
        self.still_held()?;
        keep(&self.storage, &self.out, number, state)
    }

    /// Which of the part's shards, counted from its first, need not be made, whatever their order;
    /// none of a plan that does not say how many there will be.
    pub fn finished_in_any_order(&self) -> Result<Vec<u64>, IngestError> {
        let part = (self.base.as_ref(), self.plan.shards.unwrap_or(0));
        done_in_any_order(&self.storage, &self.out, &self.files, part)
    }

    /// Of which of the part's shards, counted from its first, there is a state by now.
    pub fn kept(&self) -> Result<Vec<u64>, IngestError> {
        let found = self.storage.list(&self.out.join(UNFINISHED_FOLDER))?;
        let first = next_shard(self.base.as_ref());
        let name = |found: &Listed| format!("{UNFINISHED_FOLDER}/{}", found.relative);
        let numbers = found.iter().filter_map(|found| number_of_state(&name(found)));
        Ok(numbers.filter_map(|number| number.checked_sub(first)).collect())
    }

    /// Looks again at which files are there.
    pub fn look_again(&mut self) -> Result<(), IngestError> {
        self.files = files::list(&self.storage, &self.out)?;
        Ok(())
    }

    /// Writes the rejects of the part's first `shards` shards; the file's size and hash.
    pub fn write_rejects(&self, shards: u64) -> Result<FileEntry, IngestError> {
        let file = rejects_file(self.plan.version);
        let mut list = RejectList::begin(&self.storage, &self.out, &file)?;
        let first = next_shard(self.base.as_ref());
        let numbers: Vec<_> = (first..first + shards).collect();
        for numbers in numbers.chunks(AT_ONCE) {
            let states = states(&self.storage, &self.out, numbers)?;
            for (number, state) in numbers.iter().zip(states) {
                let state = state.ok_or_else(|| IngestError::Damaged {
                    file: self.at(&state_file(*number)).to_string(),
                    problem: "it is gone; run the same again".to_owned(),
                })?;
                state.rejects.iter().try_for_each(|reject| list.add(reject))?;
            }
        }
        let entry = list.entry();
        list.publish()?;
        Ok(entry)
    }

    /// Where a file of the set lies.
    pub fn at(&self, name: &str) -> Address {
        self.out.join(name)
    }

    /// Writes a file of the finished set.
    pub fn publish(&self, name: &str, text: impl Into<Bytes>) -> Result<(), IngestError> {
        self.still_held()?;
        Ok(self.storage.put(&self.out.join(name), text)?)
    }

    /// Removes the state: the manifest is there and says everything.
    pub fn remove(self) -> Result<(), IngestError> {
        let Self { storage, out, lock, .. } = self;
        clear(&storage, &out)?;
        release(&out, lock.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// Whether the lock was not lost to another run, as one on a remote output can be.
    fn still_held(&self) -> Result<(), IngestError> {
        Ok(self.lock.lock().unwrap_or_else(PoisonError::into_inner).check()?)
    }
}
