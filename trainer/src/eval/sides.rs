//! The sets that are named → the rows on which an encoder is trained and tested: two sets whose
//! classes are matched, or one that is parted.

use std::collections::HashSet;
use std::path::Path;

use shards::ShardSet;
use storage::Address;

use super::EvalRequest;
use super::features::{self, Features};
use super::labelled::Labelled;
use crate::encode::rows::Encoders;
use crate::encode::{EncodeError, pictures};
use crate::model::ModelConfig;
use crate::progress::Console;

/// Sets that are no two sides of an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SidesError {
    /// The views.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A set without labels.
    #[error(
        "{at}: no row has a label ({unlabelled} have none); put the pictures of each class into a folder of its name and ingest them again"
    )]
    Unlabelled {
        /// The shards.
        at: String,
        /// Its rows.
        unlabelled: u64,
    },
    /// Classes of the test set that the train set lacks.
    #[error(
        "{at}: the classes {unknown:?} are not among those of the train set ({known}); give sets with the same classes"
    )]
    UnknownClasses {
        /// The test shards.
        at: String,
        /// The classes that are missed.
        unknown: Vec<String>,
        /// The first of those that are there.
        known: String,
    },
    /// A split that leaves nothing on one side.
    #[error(
        "{at}: {pictures} labelled pictures are too few to part {share} of them off; give --test-shards"
    )]
    TooFew {
        /// The shards.
        at: String,
        /// Its pictures.
        pictures: usize,
        /// The share for the test.
        share: f64,
    },
}

/// What is told of the train and of the test rows, and their features where an encoder is frozen.
#[derive(Debug)]
pub(super) struct Sides {
    pub train: Features,
    pub test: Features,
}

impl Sides {
    /// Test pictures whose bytes are those of a train picture.
    pub fn shared_pictures(&self) -> u64 {
        self.test.shared_pictures(&self.train) as u64
    }
}

/// The sets of a request.
pub(super) struct Sets<'a> {
    pub request: &'a EvalRequest,
    /// What takes their views.
    pub network: &'a ModelConfig,
    /// The folder for shards that are made of pictures.
    pub cache: &'a Path,
    pub console: &'a Console,
}

impl Sets<'_> {
    /// The features of both sides by a frozen encoder.
    pub fn frozen(&self, encoders: Encoders<'_>) -> Result<Sides, SidesError> {
        let EvalRequest { train: train_at, test: test_at, most, .. } = self.request;
        let features = |at: &Address, set: &ShardSet, what: &str, most: Option<u64>| {
            self.labelled(at, features::extract(encoders, set, what, most, self.console)?)
        };
        let (train_most, test_most) = most.unzip();
        let train_set = self.open_labelled(train_at)?;
        let Some(test_at) = test_at else {
            let most = most.map(|(train, test)| train + test);
            let all = features(train_at, &train_set, "features", most)?;
            let (train, test) = all.split(self.request.test_share, self.request.seed);
            return self.parted(Sides { train, test });
        };
        let test_set = self.open_labelled(test_at)?;
        if most.is_none() {
            foresee(test_at, &test_set, &train_set)?;
        }
        let train = features(train_at, &train_set, "train features", train_most)?;
        let test = features(test_at, &test_set, "test features", test_most)?;
        let test = matched(test, test_at, &train.classes)?;
        Ok(Sides { train, test })
    }

    /// The rows of both sides, whose views stay on disk.
    pub fn on_disk(&self) -> Result<(Labelled, Labelled), SidesError> {
        let EvalRequest { train: train_at, test: test_at, test_share, seed, .. } = self.request;
        let rows = |at: &Address| -> Result<(Labelled, Features), SidesError> {
            let rows = Labelled::open(self.open(at)?)?;
            let index = self.labelled(at, rows.index())?;
            Ok((rows, index))
        };
        let (all, all_index) = rows(train_at)?;
        let Some(test_at) = test_at else {
            let (train, test) = all.split(*test_share, *seed);
            self.parted(Sides { train: train.index(), test: test.index() })?;
            return Ok((train, test));
        };
        let (test, index) = rows(test_at)?;
        Ok((all, test.with_index(&matched(index, test_at, &all_index.classes)?)))
    }

    fn open(&self, at: &Address) -> Result<ShardSet, EncodeError> {
        pictures::open(&self.request.storage, at, self.network, self.cache, self.console)
    }

    /// Opens a set; an error if it is known to have no labels before its rows are read.
    fn open_labelled(&self, at: &Address) -> Result<ShardSet, SidesError> {
        let set = self.open(at)?;
        if set.manifest().classes.is_empty() || set.rows() == 0 {
            return Err(SidesError::Unlabelled { at: at.to_string(), unlabelled: set.rows() });
        }
        Ok(set)
    }

    /// Says what was left out; an error where nothing is left.
    fn labelled(&self, at: &Address, rows: Features) -> Result<Features, SidesError> {
        let unlabelled = rows.unlabelled;
        if unlabelled > 0 {
            let text = format!("{at}: {unlabelled} rows without a label are left out");
            self.console.message(&text);
        }
        if rows.rows() == 0 {
            return Err(SidesError::Unlabelled { at: at.to_string(), unlabelled });
        }
        Ok(rows)
    }

    /// Says how one set was parted; an error where a side is empty.
    fn parted(&self, sides: Sides) -> Result<Sides, SidesError> {
        let Sides { train, test } = &sides;
        let pictures = train.picture_count() + test.picture_count();
        if train.rows() == 0 || test.rows() == 0 {
            let EvalRequest { train: at, test_share, .. } = self.request;
            return Err(SidesError::TooFew { at: at.to_string(), pictures, share: *test_share });
        }
        self.console.message(&format!(
            "no --test-shards: {} of {pictures} pictures are parted off for the test, by the hash of their content",
            test.picture_count(),
        ));
        Ok(sides)
    }
}

/// Refuses a test set with classes that the train set lacks before any feature is made.
fn foresee(at: &Address, test: &ShardSet, train: &ShardSet) -> Result<(), SidesError> {
    let known = &train.manifest().classes;
    let names: HashSet<&String> = known.iter().collect();
    if test.manifest().classes.iter().all(|class| names.contains(class)) {
        return Ok(());
    }
    // A class may be listed of which there is no row.
    matched(Labelled::open(test.clone())?.index(), at, known).map(drop)
}

fn matched(test: Features, at: &Address, classes: &[String]) -> Result<Features, SidesError> {
    test.with_classes_of(classes).map_err(|unknown| {
        let known: Vec<_> = classes.iter().take(8).map(String::as_str).collect();
        let more = if classes.len() > known.len() { ", …" } else { "" };
        let known = format!("{}{more}", known.join(", "));
        SidesError::UnknownClasses { at: at.to_string(), unknown, known }
    })
}
