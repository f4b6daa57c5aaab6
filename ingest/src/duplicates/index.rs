//! The pictures that stayed, found again by content and by nearness of their perceptual hashes.
//!
//! Near ones are found by multi-index hashing (Norouzi, Punjani and Fleet, arXiv 1307.2982): the
//! 64 bits are cut into a few chunks; hashes within the radius agree in at least one of them but
//! for a few bits, so it is enough to look up, chunk by chunk, all values that few bits away. It
//! finds what a comparison with every picture finds.
//!
//! How many chunks, and how much of a chunk is looked up by, follows from the radius and the number
//! of pictures. When the pictures outgrow it the tables are made anew for twice as many, which
//! takes a share of the time that adding them took; the last time, at some millions, about a
//! second.

use hashbrown::HashTable;

use super::pages::Pages;
use super::table::{Table, plan, search};

/// The largest radius. Beyond it hashes of unlike pictures come near each other.
pub const MOST_RADIUS: u32 = 16;

/// What a picture is to those that stayed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not seen before; it stays.
    New,
    /// The same file as a picture that stayed.
    Exact {
        /// That picture.
        of: u64,
    },
    /// Within the radius of a picture that stayed.
    Near {
        /// The nearest of them, and of several the one of the smallest number.
        of: u64,
        /// In how many bits the hashes differ.
        distance: u32,
    },
}

/// The pictures that stayed. Holds up to 2³²−2; one more stays but is not found again.
#[derive(Debug)]
pub struct DuplicateIndex {
    kept: Pages<Kept>,
    exact: HashTable<u32>,
    near: Option<Near>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    content: Content,
    id: u64,
    perceptual: u64,
}

/// The first 128 bits of a file's BLAKE3. That any two of n unlike files share them has odds of
/// n²/2¹²⁹: 10⁻²³ for a hundred million.
type Content = [u64; 2];

impl DuplicateIndex {
    /// An empty index; without a radius it finds exact duplicates only. A radius over
    /// [`MOST_RADIUS`] is taken as that.
    pub fn new(radius: Option<u32>) -> Self {
        let near = radius.map(|radius| Near::new(radius.min(MOST_RADIUS)));
        Self { kept: Pages::default(), exact: HashTable::new(), near }
    }

    /// Compares a picture with those that stayed, and keeps it if it is new.
    ///
    /// `content` is the hash of its file, of which the first 128 bits are used; `perceptual` its
    /// [`perceptual_hash`](super::perceptual_hash), without which it is compared exactly only.
    pub fn insert(&mut self, id: u64, content: [u8; 32], perceptual: Option<u64>) -> Verdict {
        let content = first_bits(&content);
        let same = |&slot: &u32| self.kept.get(slot).content == content;
        if let Some(&slot) = self.exact.find(content[0], same) {
            return Verdict::Exact { of: self.kept.get(slot).id };
        }
        if let (Some(near), Some(hash)) = (&mut self.near, perceptual)
            && let Some((distance, of)) = near.nearest(hash, &self.kept)
        {
            return Verdict::Near { of, distance };
        }
        self.keep(Kept { content, id, perceptual: perceptual.unwrap_or(0) }, perceptual.is_some());
        Verdict::New
    }

    fn keep(&mut self, picture: Kept, has_perceptual: bool) {
        let Some(slot) = self.kept.push(picture) else { return };
        let kept = &self.kept;
        self.exact.insert_unique(picture.content[0], slot, |&slot| kept.get(slot).content[0]);
        if let Some(near) = &mut self.near {
            if has_perceptual {
                near.add(slot, picture.perceptual, kept);
            } else {
                near.without.push(slot);
            }
        }
    }

    /// How many pictures stayed.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none stayed yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that the index holds: for each picture 40 and, with a radius, about 13 a chunk, of
    /// which there are three at most radii.
    pub fn bytes(&self) -> usize {
        let near = self.near.as_ref().map_or(0, Near::bytes);
        self.kept.bytes() + self.exact.allocation_size() + near
    }
}

fn first_bits(content: &[u8; 32]) -> Content {
    let words = content.as_chunks::<8>().0;
    [u64::from_le_bytes(words[0]), u64::from_le_bytes(words[1])]
}

/// Finds the perceptual hashes within the radius.
#[derive(Debug)]
struct Near {
    radius: u32,
    /// How many pictures the tables are made for.
    room: usize,
    tables: Vec<Table>,
    /// Pictures that are in no table, in order.
    without: Vec<u32>,
    /// Blocks still to be looked at.
    blocks: Vec<u32>,
}

impl Near {
    const FIRST_ROOM: usize = 3 << 9;

    fn new(radius: u32) -> Self {
        let room = Self::FIRST_ROOM;
        let tables = plan(radius, room).into_iter().map(Table::new).collect();
        Self { radius, room, tables, without: Vec::new(), blocks: Vec::new() }
    }

    /// Distance and number of the nearest picture.
    fn nearest(&mut self, hash: u64, kept: &Pages<Kept>) -> Option<(u32, u64)> {
        let mut nearest = None;
        for table in &self.tables {
            // Once one is found, another must be as near.
            let limit = nearest.map_or(self.radius, |(distance, _)| distance);
            search(table, hash, limit, &mut self.blocks, &mut |slot| {
                let picture = kept.get(slot);
                let distance = (picture.perceptual ^ hash).count_ones();
                if distance <= self.radius {
                    let found = (distance, picture.id);
                    nearest = Some(nearest.map_or(found, |nearest| found.min(nearest)));
                }
            });
        }
        nearest
    }

    fn add(&mut self, slot: u32, hash: u64, kept: &Pages<Kept>) {
        if slot as usize >= self.room {
            self.room *= 2;
            self.make_anew(kept);
        } else {
            self.tables.iter_mut().for_each(|table| table.add(slot, hash));
        }
    }

    /// Makes the tables of all kept pictures for the room that there is now.
    fn make_anew(&mut self, kept: &Pages<Kept>) {
        // Their memory goes before the new ones come.
        self.tables.clear();
        for chunk in plan(self.radius, self.room) {
            let mut table = Table::new(chunk);
            let mut without = self.without.iter().copied().peekable();
            for (slot, picture) in (0..).zip(kept.iter()) {
                if without.next_if_eq(&slot).is_none() {
                    table.add(slot, picture.perceptual);
                }
            }
            self.tables.push(table);
        }
    }

    fn bytes(&self) -> usize {
        let tables: usize = self.tables.iter().map(Table::bytes).sum();
        tables + size_of::<u32>() * (self.without.capacity() + self.blocks.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// A content that no other number has.
    fn content(number: u64) -> [u8; 32] {
        std::array::from_fn(|at| if at < 8 { number.to_le_bytes()[at] } else { 7 })
    }

    /// What the index says, found by comparing each picture with every one that stayed.
    fn by_comparing_all(pictures: &[(u64, [u8; 32], Option<u64>)], radius: u32) -> Vec<Verdict> {
        let mut kept: Vec<(u64, [u8; 32], Option<u64>)> = Vec::new();
        let verdict = |&(id, content, perceptual): &(u64, [u8; 32], Option<u64>)| {
            if let Some(same) = kept.iter().find(|kept| kept.1 == content) {
                return Verdict::Exact { of: same.0 };
            }
            let distance = |of: &(u64, [u8; 32], Option<u64>)| {
                Some(((of.2? ^ perceptual?).count_ones(), of.0)).filter(|(bits, _)| *bits <= radius)
            };
            if let Some((distance, of)) = kept.iter().filter_map(distance).min() {
                return Verdict::Near { of, distance };
            }
            kept.push((id, content, perceptual));
            Verdict::New
        };
        pictures.iter().map(verdict).collect()
    }

    /// Random hashes, copies of earlier ones with some bits turned, and pictures without a hash;
    /// copies of files; numbers in no order.
    fn pictures(count: usize, rng: &mut impl Rng) -> Vec<(u64, [u8; 32], Option<u64>)> {
        let mut pictures: Vec<(u64, [u8; 32], Option<u64>)> = Vec::new();
        for number in 0..count as u64 {
            let before = (number > 0).then(|| pictures[rng.random_range(0..pictures.len())]);
            let (mut bytes, mut hash) = (content(number), Some(rng.random()));
            match (rng.random_range(0..10), before) {
                (0, _) => hash = None,
                (1, Some(before)) => (bytes, hash) = (before.1, before.2),
                (2..6, Some(before)) => {
                    let turns = rng.random_range(0..20);
                    let turned = |hash, _| hash ^ (1 << rng.random_range(0..64));
                    hash = before.2.map(|hash| (0..turns).fold(hash, turned));
                }
                // Few bits set, so that lists are long and many lie near each other.
                (6, _) => hash = hash.map(|hash: u64| hash & rng.random::<u64>() & 0x1111_0f0f),
                _ => {}
            }
            pictures.push((number.reverse_bits() ^ 0x5555, bytes, hash));
        }
        pictures
    }

    fn verdicts(
        index: &mut DuplicateIndex,
        pictures: &[(u64, [u8; 32], Option<u64>)],
    ) -> Vec<Verdict> {
        pictures.iter().map(|&(id, content, hash)| index.insert(id, content, hash)).collect()
    }

    #[test]
    fn it_finds_what_comparing_all_finds() {
        // Enough for the tables to be made anew.
        let count = 3 * Near::FIRST_ROOM;
        for radius in 0..=MOST_RADIUS {
            let mut rng = ChaCha8Rng::seed_from_u64(u64::from(radius));
            let pictures = pictures(count, &mut rng);
            let mut index = DuplicateIndex::new(Some(radius));
            let found = verdicts(&mut index, &pictures);
            let expected = by_comparing_all(&pictures, radius);
            for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found, expected, "picture {number}, radius {radius}");
            }
            let kept = expected.iter().filter(|&&verdict| verdict == Verdict::New).count();
            assert_eq!(index.len(), kept);
            assert!(expected.iter().any(|verdict| matches!(verdict, Verdict::Near { .. })));
            assert!(expected.iter().any(|verdict| matches!(verdict, Verdict::Exact { .. })));
        }
    }

    #[test]
    fn the_nearest_wins_and_of_those_the_smallest_number() {
        let mut index = DuplicateIndex::new(Some(4));
        let mut insert = |id, hash| index.insert(id, content(id), Some(hash));
        assert_eq!(insert(9, 0b11_1111), Verdict::New);
        assert_eq!(insert(5, 0), Verdict::New);
        assert_eq!(insert(7, 0b1), Verdict::Near { of: 5, distance: 1 });
        assert_eq!(insert(8, 0b111), Verdict::Near { of: 5, distance: 3 });
        assert_eq!(insert(3, 0b1111), Verdict::Near { of: 9, distance: 2 });
        // 7 did not stay: what is within the radius of it alone is new.
        assert_eq!(insert(4, 0b1111_0000_0001), Verdict::New);
    }

    #[test]
    fn without_a_radius_or_a_hash_only_equal_files_are_found() {
        let mut index = DuplicateIndex::new(None);
        assert_eq!(index.insert(0, content(0), Some(1)), Verdict::New);
        assert_eq!(index.insert(1, content(1), Some(1)), Verdict::New);
        assert_eq!(index.insert(2, content(0), Some(2)), Verdict::Exact { of: 0 });
        let mut index = DuplicateIndex::new(Some(8));
        assert_eq!(index.insert(0, content(0), None), Verdict::New);
        assert_eq!(index.insert(1, content(1), None), Verdict::New);
        assert_eq!(index.insert(2, content(2), Some(0)), Verdict::New);
        assert_eq!(index.insert(3, content(1), None), Verdict::Exact { of: 1 });
        assert_eq!(index.len(), 3);
    }
}
