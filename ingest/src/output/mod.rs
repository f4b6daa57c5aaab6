//! What lies at an output, and what is done there: by one run at a time, which nobody sees half of.
//!
//! | | |
//! | --- | --- |
//! | [`plan`] | what a part of a set will be, from settings and listing; [`differences`] between two, in words |
//! | [`state`] | what a run keeps beside its shards until the set is finished, so that the next goes on |
//! | [`found`] | one look at an output → what it is |
//! | [`decide`] | what is found, and what is asked → what is done, or a refusal; a table without I/O |
//! | [`refusal`] | refusals in words, with the way out |
//! | [`rejects`] | the list of rejects, a line each |
//! | [`work`] | look, decide, and hold what may be written; every write is asked of the lock |
//!
//! Who only reads a set needs its manifest alone, and finds it through the crate `shards`.

pub(crate) mod decide;
pub(crate) mod differences;
pub(crate) mod found;
pub(crate) mod plan;
pub(crate) mod refusal;
pub(crate) mod rejects;
pub(crate) mod state;
pub(crate) mod work;

/// The first of some files, for a sentence.
pub(crate) fn some_of(files: &[String]) -> String {
    const SHOWN: usize = 3;
    match files.len().saturating_sub(SHOWN) {
        0 => files.join(", "),
        more => format!("{} and {more} more", files[..SHOWN].join(", ")),
    }
}
