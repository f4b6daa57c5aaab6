//! Where the pictures lie of which damaged files were made.

use std::collections::{BTreeMap, BTreeSet};

use schemas::{Manifest, Part};
use storage::{Address, Storage};
use voice::terminal::counted;

use super::Repair;
use crate::IngestError;
use crate::classes::Classes;
use crate::engine::{self, Mark};
use crate::make::wanted;
use crate::output::plan::Columns;
use crate::source::{self, Listing, Request, Source};
use crate::stream::Wanted;

/// The listings of the parts that have damaged files.
pub(super) struct Sources<'a> {
    storage: &'a Storage,
    private_addresses: bool,
    manifest: &'a Manifest,
    out: &'a Address,
    /// Where the sources of each part lie, by its place.
    of_part: BTreeMap<usize, Vec<Source>>,
    /// With what is to be said if what they list is not what it was.
    listings: BTreeMap<usize, (Listing, Option<String>)>,
}

impl<'a> Sources<'a> {
    pub fn new(
        storage: &'a Storage,
        repair: &'a Repair,
        manifest: &'a Manifest,
        parts: BTreeSet<usize>,
    ) -> Result<Self, IngestError> {
        let mut of_part: BTreeMap<_, _> = parts.into_iter().map(|part| (part, vec![])).collect();
        let given: Vec<_> =
            of_part.keys().flat_map(|&part| &manifest.parts[part].sources).collect();
        if !repair.from.is_empty() && repair.from.len() != given.len() {
            let given: Vec<_> = given.iter().map(|source| source.as_str()).collect();
            let problem = format!(
                "{}, but the damaged files were made from {}: {}; give that many, in this order",
                counted(repair.from.len() as u64, "source"),
                given.len(),
                given.join(", ")
            );
            return Err(IngestError::Setting { flag: "--from", problem });
        }
        let mut from = repair.from.iter();
        for (&part, sources) in &mut of_part {
            for given in &manifest.parts[part].sources {
                let at = match from.next() {
                    Some(at) => at.clone(),
                    None => Address::parse(given)?,
                };
                sources.push(Source { given: given.clone(), at });
            }
        }
        let listings = BTreeMap::new();
        Ok(Self {
            storage,
            private_addresses: repair.web.private_addresses,
            manifest,
            out: &repair.out,
            of_part,
            listings,
        })
    }

    /// A part, and its listing, for `file` to be made again. If it is not the listing from which the
    /// part was made, it comes with a sentence on that: a shard may be none of what is other.
    pub fn listing(
        &mut self,
        index: usize,
        file: &str,
    ) -> Result<(&'a Part, &Listing, Option<&str>), IngestError> {
        let part = &self.manifest.parts[index];
        if !self.listings.contains_key(&index) {
            let sources = &self.of_part[&index];
            let of_engine = engine::is_listing(&part.listing);
            let request = Request {
                sources,
                // An engine's names are what they are.
                prefixed: !of_engine && (sources.len() > 1 || index > 0),
                out: self.out,
                seed: self.manifest.settings.seed,
                follow_links: part.follow_links,
                limits: &wanted_of(self.manifest, part).limits,
                private_addresses: self.private_addresses,
            };
            let mut listing =
                source::list(self.storage, &request).map_err(|error| match error {
                    IngestError::NoSource(at) => {
                        let problem = if of_engine { gone_of_engine(&at) } else { gone(&at) };
                        IngestError::Repair { file: file.to_owned(), problem }
                    }
                    error => error,
                })?;
            let other = other_than(part, &mut listing, self.manifest.settings.seed).map(|by| {
                let given: Vec<_> = sources.iter().map(|source| source.at.to_string()).collect();
                format!(
                    "the files of {} are not those of which the set was made (compared by {by}); bring them back, or say with --from where a copy of them lies",
                    given.join(", ")
                )
            });
            self.listings.insert(index, (listing, other));
        }
        let (listing, other) = &self.listings[&index];
        Ok((part, listing, other.as_deref()))
    }
}

/// By what a part's sources were found to list others than it was made of, if they do. What an engine
/// brought may be without its empty files, over which Spark passes: then they leave the listing, too.
fn other_than(part: &Part, listing: &mut Listing, seed: u64) -> Option<&'static str> {
    if !engine::is_listing(&part.listing) {
        return (listing.hash.to_hex().as_str() != part.listing).then_some("name and size");
    }
    let is_of = |listing: &Listing| {
        let order = |listed| source::order(seed, &listing.name(listed));
        let orders = listing.loose.iter().map(order);
        engine::listing(orders.map(|order| Mark::place(&order))) == part.listing
    };
    if is_of(listing) {
        return None;
    }
    let loose = listing.loose.clone();
    listing.loose.retain(|listed| listed.bytes > 0);
    if is_of(listing) {
        return None;
    }
    listing.loose = loose;
    Some("name")
}

/// That what an engine's pictures are to be made of is gone, and the way out.
fn gone_of_engine(at: &Address) -> String {
    format!(
        "its pictures were brought by Spark or Ray, and no folder {at} is there; say with --from in which folder they lie by the names of the `source` column"
    )
}

/// That a source is gone, and the way out.
fn gone(at: &Address) -> String {
    let relative = at.local().filter(|path| path.is_relative());
    match relative.and_then(|path| std::path::absolute(path).ok()) {
        None => format!("{at} is gone; bring it back, or say with --from where its copy lies"),
        Some(path) => format!(
            "{at} is gone: there is no {}, for a relative source is looked for from the current directory; repair from where the set was made, bring it back, or say with --from where it lies now",
            path.display()
        ),
    }
}

/// What is taken of the sources where a part is made again.
pub(super) fn wanted_of(manifest: &Manifest, part: &Part) -> Wanted {
    let given = manifest.settings.classes.as_ref();
    let classes = given.map(|_| Classes::of_names(manifest.classes.clone()));
    wanted(&manifest.settings, Columns::of(part), classes)
}
