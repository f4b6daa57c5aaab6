//! The shards of a manifest. A set may have a million of them with millions of row groups, so they
//! are columns of numbers and bytes, of which a [`Shard`] or a [`GroupRef`] is made when it is asked
//! for.

mod entry;
mod lines;
mod packed;
mod read;

use std::ops::Range;
use std::sync::Arc;

pub use entry::{Place, ShardEntry};
use packed::{Lists, Packed};

use crate::{GroupHash, ShardHash};

/// The shards of a set, in order. To clone it costs nothing until one of both grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardTable(Arc<Columns>);

/// What [`ShardEntry`] says of each shard, by what it says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Columns {
    /// The names, one behind the other.
    names: String,
    name_ends: Packed,
    rows: Packed,
    row_groups: Lists,
    /// By how many bytes each row group ends behind the one before it, modulo 2⁶⁴.
    group_bytes: Lists,
    hashes: Vec<GroupHash>,
    hash_ends: Packed,
    bytes: Packed,
    blake3: Vec<ShardHash>,
    first: Packed,
    pictures: Packed,
    unit: Packed,
    members: Packed,
    offset: Packed,
    skip: Packed,
}

/// A row group of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRef {
    /// The shard's place in the manifest.
    pub shard: usize,
    /// The group's place in the shard.
    pub group: usize,
    /// Its rows.
    pub rows: usize,
}

/// A shard of a table: what [`ShardEntry`] says, each by the name that it has there.
#[derive(Clone, Copy)]
pub struct Shard<'a> {
    /// The file's name.
    pub file: &'a str,
    /// Rows in it.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes.
    pub blake3: ShardHash,
    /// The number of its first picture.
    pub first: u64,
    /// Pictures that it took.
    pub pictures: u64,
    /// Where the first of them lies.
    pub start: Place,
    columns: &'a Columns,
    at: usize,
}

impl<'a> Shard<'a> {
    /// Rows of each of its row groups.
    pub fn row_groups(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.columns.row_groups.get(self.at).map(|rows| rows as u32)
    }

    /// The byte at which each of its row groups ends.
    pub fn row_group_ends(&self) -> impl ExactSizeIterator<Item = u64> + use<'a> {
        let mut end = 0_u64;
        self.columns.group_bytes.get(self.at).map(move |bytes| {
            end = end.wrapping_add(bytes);
            end
        })
    }

    /// The hash of each of its row groups.
    pub fn row_group_hashes(&self) -> &'a [GroupHash] {
        &self.columns.hashes[self.columns.hash_ends.run(self.at)]
    }

    /// All of it, by itself.
    pub fn entry(&self) -> ShardEntry {
        ShardEntry {
            file: self.file.to_owned(),
            rows: self.rows,
            row_groups: self.row_groups().collect(),
            row_group_ends: self.row_group_ends().collect(),
            row_group_hashes: self.row_group_hashes().to_vec(),
            bytes: self.bytes,
            blake3: self.blake3,
            first: self.first,
            pictures: self.pictures,
            start: self.start,
        }
    }
}

impl PartialEq for Shard<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.entry() == other.entry()
    }
}

impl std::fmt::Debug for Shard<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.entry().fmt(f)
    }
}

impl ShardTable {
    /// How many shards there are.
    pub fn len(&self) -> usize {
        self.0.blake3.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shard at a place, which must be less than [`len`](Self::len).
    pub fn at(&self, at: usize) -> Shard<'_> {
        let columns = &*self.0;
        Shard {
            file: &columns.names[columns.name_ends.run(at)],
            rows: columns.rows.get(at),
            bytes: columns.bytes.get(at),
            blake3: columns.blake3[at],
            first: columns.first.get(at),
            pictures: columns.pictures.get(at),
            start: Place {
                unit: columns.unit.get(at),
                members: columns.members.get(at),
                offset: columns.offset.get(at),
                skip: columns.skip.get(at),
            },
            columns,
            at,
        }
    }

    /// The last shard whose first picture is this one or one before it; none if all come later. Of a
    /// set's shards it is the one that took the picture, if any did.
    pub fn holding(&self, picture: u64) -> Option<Shard<'_>> {
        self.0.first.count_to(picture).checked_sub(1).map(|at| self.at(at))
    }

    /// All shards, so many at a time.
    pub fn chunks(&self, size: usize) -> impl Iterator<Item = Vec<Shard<'_>>> {
        let chunk = move |from| self.iter_from(from).take(size).collect();
        (0..self.len()).step_by(size).map(chunk)
    }

    fn iter_from(&self, from: usize) -> Shards<'_> {
        Shards { table: self, left: from..self.len() }
    }

    /// All shards.
    pub fn iter(&self) -> Shards<'_> {
        self.iter_from(0)
    }

    /// Row groups of all shards.
    pub fn group_count(&self) -> usize {
        self.0.row_groups.numbers.len()
    }

    /// A row group by its place among those of all shards, which must be less than
    /// [`group_count`](Self::group_count).
    pub fn group(&self, at: usize) -> GroupRef {
        let ends = &self.0.row_groups.ends;
        let shard = ends.count_to(at as u64);
        GroupRef { shard, group: at - ends.run(shard).start, rows: self.group_rows(at) }
    }

    /// The rows of a row group, as [`group`](Self::group) tells them, found sooner.
    pub fn group_rows(&self, at: usize) -> usize {
        self.0.row_groups.numbers.get(at) as usize
    }

    /// All row groups, shard by shard.
    pub fn groups(&self) -> impl Iterator<Item = GroupRef> + '_ {
        self.iter().enumerate().flat_map(|(shard, entry)| {
            let groups = entry.row_groups().enumerate();
            groups.map(move |(group, rows)| GroupRef { shard, group, rows: rows as usize })
        })
    }

    /// Adds the shards of another table.
    pub fn append(&mut self, other: &Self) {
        Arc::make_mut(&mut self.0).append(&other.0);
    }
}

impl Columns {
    fn push(&mut self, shard: ShardEntry) {
        self.names.push_str(&shard.file);
        self.rows.push(shard.rows);
        shard.row_groups.iter().for_each(|&rows| self.row_groups.numbers.push(rows.into()));
        let mut before = 0;
        for &end in &shard.row_group_ends {
            self.push_end(end, &mut before);
        }
        self.hashes.extend(&shard.row_group_hashes);
        self.bytes.push(shard.bytes);
        self.blake3.push(shard.blake3);
        self.first.push(shard.first);
        self.pictures.push(shard.pictures);
        self.push_start(shard.start);
        self.end();
    }

    /// Adds the byte at which a row group ends behind one that ends at `before`.
    fn push_end(&mut self, end: u64, before: &mut u64) {
        self.group_bytes.numbers.push(end.wrapping_sub(*before));
        *before = end;
    }

    fn push_start(&mut self, start: Place) {
        self.unit.push(start.unit);
        self.members.push(start.members);
        self.offset.push(start.offset);
        self.skip.push(start.skip);
    }

    /// Ends a shard, of which all is there.
    fn end(&mut self) {
        self.name_ends.push(self.names.len() as u64);
        self.row_groups.end();
        self.group_bytes.end();
        self.hash_ends.push(self.hashes.len() as u64);
    }

    fn append(&mut self, other: &Self) {
        self.name_ends.append(&other.name_ends, self.names.len() as u64);
        self.names.push_str(&other.names);
        self.row_groups.append(&other.row_groups);
        self.group_bytes.append(&other.group_bytes);
        self.hash_ends.append(&other.hash_ends, self.hashes.len() as u64);
        self.hashes.extend(&other.hashes);
        self.blake3.extend(&other.blake3);
        let numbers = [
            (&mut self.rows, &other.rows),
            (&mut self.bytes, &other.bytes),
            (&mut self.first, &other.first),
            (&mut self.pictures, &other.pictures),
            (&mut self.unit, &other.unit),
            (&mut self.members, &other.members),
            (&mut self.offset, &other.offset),
            (&mut self.skip, &other.skip),
        ];
        for (column, other) in numbers {
            column.append(other, 0);
        }
    }
}

/// The shards of a table, in order.
#[derive(Debug, Clone)]
pub struct Shards<'a> {
    table: &'a ShardTable,
    left: Range<usize>,
}

impl<'a> Iterator for Shards<'a> {
    type Item = Shard<'a>;

    fn next(&mut self) -> Option<Shard<'a>> {
        self.left.next().map(|at| self.table.at(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl ExactSizeIterator for Shards<'_> {}

impl<'a> IntoIterator for &'a ShardTable {
    type Item = Shard<'a>;
    type IntoIter = Shards<'a>;

    fn into_iter(self) -> Shards<'a> {
        self.iter()
    }
}

impl Extend<ShardEntry> for ShardTable {
    fn extend<T: IntoIterator<Item = ShardEntry>>(&mut self, shards: T) {
        let columns = Arc::make_mut(&mut self.0);
        shards.into_iter().for_each(|shard| columns.push(shard));
    }
}

impl FromIterator<ShardEntry> for ShardTable {
    fn from_iter<T: IntoIterator<Item = ShardEntry>>(shards: T) -> Self {
        let mut table = Self::default();
        table.extend(shards);
        table
    }
}

impl<'a> FromIterator<Shard<'a>> for ShardTable {
    fn from_iter<T: IntoIterator<Item = Shard<'a>>>(shards: T) -> Self {
        shards.into_iter().map(|shard| shard.entry()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards of which nothing fits: a table holds whatever a manifest says.
    fn entries() -> Vec<ShardEntry> {
        let entry = |at: u64, row_groups: &[u32], row_group_ends: &[u64]| ShardEntry {
            file: "é".repeat(at as usize),
            rows: u64::MAX >> at,
            row_groups: row_groups.to_vec(),
            row_group_ends: row_group_ends.to_vec(),
            row_group_hashes: vec![(&blake3::hash(&[1])).into(); 3 - at as usize],
            bytes: at << 40,
            blake3: (&blake3::hash(&at.to_le_bytes())).into(),
            first: 10 * at,
            pictures: 3,
            start: Place { unit: at, members: 300 * at, offset: at << 20, skip: 7 },
        };
        vec![
            entry(0, &[3, 0, u32::MAX], &[9, 4, u64::MAX, 0]),
            entry(1, &[], &[5]),
            entry(2, &[70_000], &[]),
            entry(3, &[1, 2], &[1 << 50, 1 << 51]),
        ]
    }

    #[test]
    fn a_table_gives_back_what_it_was_given() {
        let table: ShardTable = entries().into_iter().collect();
        assert!(table.iter().map(|shard| shard.entry()).eq(entries()));
        for at in 0..=table.len() {
            let mut parts: ShardTable = table.iter().take(at).collect();
            let before = parts.clone();
            parts.append(&table.iter().skip(at).collect());
            assert_eq!(parts, table);
            assert_eq!(before.len(), at, "a copy does not grow");
        }
        let chunks: Vec<Vec<_>> = table.chunks(3).collect();
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [3, 1]);
        assert!(chunks.concat().into_iter().eq(&table));
    }

    #[test]
    fn row_groups_are_found_by_their_place() {
        let table: ShardTable = entries().into_iter().collect();
        let groups: Vec<_> = table.groups().collect();
        let places: Vec<_> = groups.iter().map(|group| (group.shard, group.group)).collect();
        assert_eq!(places, [(0, 0), (0, 1), (0, 2), (2, 0), (3, 0), (3, 1)]);
        assert_eq!(groups.len(), table.group_count());
        for (at, &group) in groups.iter().enumerate() {
            assert_eq!(table.group(at), group);
            let entry = table.at(group.shard).entry();
            assert_eq!(group.rows, entry.row_groups[group.group] as usize);
        }
    }

    #[test]
    fn a_shard_is_found_by_a_picture() {
        let table: ShardTable = entries().into_iter().skip(1).collect();
        let first = |picture| table.holding(picture).map(|shard| shard.first);
        assert_eq!(
            [9, 10, 19, 20, 1000].map(first),
            [None, Some(10), Some(10), Some(20), Some(30)]
        );
    }
}
