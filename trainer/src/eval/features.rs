//! A shard set → one feature a view, on the host, with classes; and what evaluation does with
//! rows and classes before it classifies.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use arrow::array::RecordBatch;
use schemas::layout;
use shards::columns::ColumnError;
use shards::{Columns, GroupRef, ShardSet};

use crate::encode::EncodeError;
use crate::encode::rows::{Encoded, Encoders};
use crate::progress::Console;

/// Features of labelled views.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// Numbers a feature.
    pub dim: usize,
    /// `[rows, dim]`.
    pub values: Vec<f32>,
    /// `[rows]`: each row's place in `classes`.
    pub labels: Vec<u32>,
    /// `[rows]`: BLAKE3 of the picture of which the row is a view.
    pub pictures: Vec<[u8; 32]>,
    /// The classes' names.
    pub classes: Vec<String>,
    /// Rows that were left out since they have no label.
    pub unlabelled: u64,
}

impl Features {
    /// Labelled rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }

    /// Pictures of which they are views.
    pub fn picture_count(&self) -> usize {
        self.pictures.iter().collect::<BTreeSet<_>>().len()
    }

    /// The feature of a row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }

    /// The same rows with these of their features' numbers.
    pub fn columns(&self, columns: Range<usize>) -> Cow<'_, Self> {
        if columns == (0..self.dim) {
            return Cow::Borrowed(self);
        }
        let values = self.values.chunks(self.dim.max(1));
        Cow::Owned(Self {
            dim: columns.len(),
            values: values.flat_map(|row| &row[columns.clone()]).copied().collect(),
            labels: self.labels.clone(),
            pictures: self.pictures.clone(),
            classes: self.classes.clone(),
            unlabelled: self.unlabelled,
        })
    }

    /// Parts the rows in two, of which the second has about `share` of the pictures. A picture's
    /// content and the seed alone decide, so that all its views fall on one side.
    pub fn split(&self, share: f64, seed: u64) -> (Self, Self) {
        let (second, first): (Vec<usize>, Vec<usize>) =
            (0..self.rows()).partition(|&row| is_parted_off(&self.pictures[row], share, seed));
        (self.only(&first), self.only(&second))
    }

    fn only(&self, rows: &[usize]) -> Self {
        Self {
            dim: self.dim,
            values: rows.iter().flat_map(|&row| self.row(row)).copied().collect(),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            pictures: rows.iter().map(|&row| self.pictures[row]).collect(),
            classes: self.classes.clone(),
            unlabelled: self.unlabelled,
        }
    }

    /// The same rows with the class indices of another set, matched by name.
    ///
    /// # Errors
    /// The names that `classes` lacks.
    pub fn with_classes_of(mut self, classes: &[String]) -> Result<Self, Vec<String>> {
        let places: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let occurring: BTreeSet<u32> = self.labels.iter().copied().collect();
        let mut renamed = HashMap::new();
        let mut unknown = Vec::new();
        for label in occurring {
            let name = &self.classes[label as usize];
            match places.get(name.as_str()) {
                Some(&place) => _ = renamed.insert(label, place),
                None => unknown.push(name.clone()),
            }
        }
        if !unknown.is_empty() {
            return Err(unknown);
        }
        self.labels.iter_mut().for_each(|label| *label = renamed[label]);
        self.classes = classes.to_vec();
        Ok(self)
    }

    /// Pictures of this set that are in another one too.
    pub fn shared_pictures(&self, other: &Self) -> usize {
        let others: BTreeSet<_> = other.pictures.iter().collect();
        self.pictures
            .iter()
            .filter(|picture| others.contains(picture))
            .collect::<BTreeSet<_>>()
            .len()
    }
}

/// Whether a picture belongs to a share that is parted off: its content and the seed decide, so
/// that all its views are on one side.
pub fn is_parted_off(picture: &[u8; 32], share: f64, seed: u64) -> bool {
    let mut hasher = blake3::Hasher::new_derive_key("localmim evaluation split");
    hasher.update(&seed.to_le_bytes()).update(picture);
    let mut word = [0; 8];
    hasher.finalize_xof().fill(&mut word);
    u64::from_le_bytes(word) < (share.clamp(0.0, 1.0) * u64::MAX as f64) as u64
}

/// The features by the first of the encoders of every labelled row of the set, in its order; of the
/// first row groups only, if `most` rows are enough. They depend neither on the number of threads
/// nor on each other.
///
/// # Errors
/// [`EncodeError`] if a shard can't be read, or its views are of another size than the encoder's.
pub fn extract(
    encoders: Encoders<'_>,
    dataset: &ShardSet,
    what: &str,
    most: Option<u64>,
    console: &Console,
) -> Result<Features, EncodeError> {
    let classes = dataset.manifest().classes.clone();
    let places: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
    let mut rows = 0;
    let wanted = dataset.groups().take_while(|group| {
        let before = rows;
        rows += group.rows as u64;
        most.is_none_or(|most| before < most)
    });
    let groups: Vec<GroupRef> = wanted.collect();
    let bar = console.work(what, groups.iter().map(|group| group.rows as u64).sum());
    let columns = [layout::CONTENT_HASH, layout::LABEL];
    let labelled = |_, batch: &RecordBatch| {
        let label = Columns::of(batch).label()?;
        Ok((0..batch.num_rows()).filter(|&row| label(row).is_some()).collect())
    };
    let mut all = Features {
        dim: encoders.dim(),
        values: vec![],
        labels: vec![],
        pictures: vec![],
        unlabelled: 0,
        classes: classes.clone(),
    };
    encoders.encode(dataset, &groups, &columns, labelled, |encoded| {
        let Encoded { group, rows, batch, features } = encoded;
        let fault = |reason: String| EncodeError::row(dataset, group, reason);
        let lacks = |error: ColumnError| fault(error.to_string());
        let label = Columns::of(&batch).label().map_err(lacks)?;
        let content_hash = Columns::of(&batch).content_hash().map_err(lacks)?;
        for &row in &rows {
            let label = label(row).unwrap_or_default();
            let place = places.get(label);
            let place =
                place.ok_or_else(|| fault(format!("class `{label}` is not in its manifest")))?;
            all.labels.push(*place);
            all.pictures.push(content_hash(row));
        }
        all.values.extend(features.into_iter().next().unwrap_or_default());
        all.unlabelled += (group.rows - rows.len()) as u64;
        bar.inc(group.rows as u64);
        Ok::<(), EncodeError>(())
    })?;
    bar.finish_and_clear();
    Ok(all)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Rows of these features and classes, each of a picture of its own.
    pub fn of_rows(rows: &[(&[f32], u32)], classes: usize) -> Features {
        Features {
            dim: rows[0].0.len(),
            values: rows.iter().flat_map(|(row, _)| row.iter().copied()).collect(),
            labels: rows.iter().map(|&(_, label)| label).collect(),
            pictures: (0..rows.len())
                .map(|row| *blake3::hash(&row.to_le_bytes()).as_bytes())
                .collect(),
            classes: (0..classes).map(|class| format!("class {class}")).collect(),
            unlabelled: 0,
        }
    }

    /// Rows of `views` views each of pictures of these classes.
    fn features(labels: &[u32], views: usize, classes: &[&str]) -> Features {
        let rows = || labels.iter().enumerate().flat_map(|row| std::iter::repeat_n(row, views));
        Features {
            dim: 1,
            values: rows().map(|(row, _)| row as f32).collect(),
            labels: rows().map(|(_, &label)| label).collect(),
            pictures: rows().map(|(row, _)| *blake3::hash(&row.to_le_bytes()).as_bytes()).collect(),
            classes: classes.iter().map(ToString::to_string).collect(),
            unlabelled: 0,
        }
    }

    #[test]
    fn no_picture_has_views_on_both_sides_of_a_split() {
        let all = features(&[0; 500], 3, &["a"]);
        let (train, test) = all.split(0.2, 7);
        assert_eq!(train.rows() + test.rows(), all.rows());
        assert_eq!(test.shared_pictures(&train), 0);
        assert_eq!((test.rows() % 3, train.rows() % 3), (0, 0));
        let share = test.picture_count() as f64 / 500.0;
        assert!((0.14..0.26).contains(&share), "{share}");
        // A feature stays with its label and its picture.
        for row in 0..test.rows() {
            let picture = test.row(row)[0] as usize;
            assert_eq!(test.pictures[row], *blake3::hash(&picture.to_le_bytes()).as_bytes());
        }
    }

    #[test]
    fn a_split_follows_from_content_and_seed_alone() {
        let all = features(&[0; 100], 1, &["a"]);
        let mut backwards = all.only(&(0..100).rev().collect::<Vec<_>>());
        backwards.values.reverse();
        let test = |features: &Features, seed| -> BTreeSet<_> {
            features.split(0.2, seed).1.pictures.into_iter().collect()
        };
        assert_eq!(test(&all, 1), test(&backwards, 1));
        assert_ne!(test(&all, 1), test(&all, 2));
    }

    #[test]
    fn classes_are_matched_by_name() {
        let test = features(&[0, 1, 0], 1, &["dog", "cat"]);
        let classes = ["cat", "cow", "dog"].map(str::to_owned);
        let matched = test.with_classes_of(&classes).unwrap();
        assert_eq!(matched.labels, [2, 0, 2]);
        assert_eq!(matched.classes, classes);
    }

    #[test]
    fn a_class_that_the_other_set_lacks_is_named_if_it_occurs() {
        let classes = ["cat".to_owned()];
        let test = features(&[0, 1], 1, &["cat", "newt", "yak"]);
        assert_eq!(test.with_classes_of(&classes), Err(vec!["newt".to_owned()]));
        assert!(features(&[0], 1, &["cat", "newt"]).with_classes_of(&classes).is_ok());
    }
}
