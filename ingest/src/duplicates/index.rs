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
use multiversion::multiversion;

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

/// Some bits of a hash by which a table is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chunk {
    /// The lowest bit.
    start: u32,
    /// How many bits.
    width: u32,
    /// In how many of them what is sought may differ.
    reach: u32,
}

impl Chunk {
    /// How many values are within reach.
    fn values(self) -> u64 {
        let mut values = 1;
        let mut of_so_many = 1;
        for flips in 1..=self.reach.min(self.width) {
            of_so_many = of_so_many * u64::from(self.width - flips + 1) / u64::from(flips);
            values += of_so_many;
        }
        values
    }
}

/// The chunks that find all hashes within `radius` by looking at the fewest blocks, for `count`
/// pictures.
///
/// Of m chunks and a radius of m·s + e, one of the first e + 1 differs in at most s bits, or one of
/// the others in at most s − 1: if not, the distance were (e + 1)(s + 1) + (m − e − 1)s, one more
/// than the radius. It holds for a part of each chunk too.
fn plan(radius: u32, count: usize) -> Vec<Chunk> {
    /// Bits that part `count` into lists of up to so many.
    const A_LIST: usize = 12;
    let most_width = (count / A_LIST).max(1).next_power_of_two().ilog2();
    let chunks = |m: u32| -> Vec<Chunk> {
        let (s, e) = (radius / m, radius % m);
        (0..m)
            .filter_map(|i| {
                let (start, end) = (64 * i / m, 64 * (i + 1) / m);
                let reach = if i <= e { Some(s) } else { s.checked_sub(1) };
                let width = most_width.min(end - start);
                reach.map(|reach| Chunk { start, width, reach: reach.min(width) })
            })
            .collect()
    };
    let blocks = |chunk: &Chunk| {
        let a_list = (count as u64 >> chunk.width) as f64;
        chunk.values() as f64 * (1.0 + a_list / Block::ROOM as f64)
    };
    let cost = |chunks: &Vec<Chunk>| chunks.iter().map(blocks).sum::<f64>();
    (1..=radius + 1).map(chunks).min_by(|a, b| cost(a).total_cmp(&cost(b))).unwrap_or_default()
}

/// The kept pictures by one chunk: for each value of it a list of blocks.
#[derive(Debug)]
struct Table {
    chunk: Chunk,
    /// The values within reach, as what they differ in from the one sought; nearest first.
    flips: Vec<u32>,
    /// The first block of each list.
    first: Vec<Block>,
    /// The others; block 0 stands for none.
    more: Pages<Block>,
}

/// A cache line of a list. What is in it is told apart by 32 bits of the hash that are not in the
/// chunk, so that hardly any picture is looked at in vain.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Block {
    bits: [u32; Self::ROOM],
    slots: [u32; Self::ROOM],
    used: u32,
    next: u32,
}

impl Block {
    const ROOM: usize = 7;

    fn push(&mut self, bits: u32, slot: u32) -> bool {
        let at = self.used as usize;
        if at == Self::ROOM {
            return false;
        }
        (self.bits[at], self.slots[at]) = (bits, slot);
        self.used += 1;
        true
    }
}

impl Table {
    fn new(chunk: Chunk) -> Self {
        let mut flips: Vec<u32> =
            (0..1 << chunk.width).filter(|value: &u32| value.count_ones() <= chunk.reach).collect();
        flips.sort_by_key(|value| value.count_ones());
        let mut more = Pages::default();
        more.push(Block::default());
        Self { chunk, flips, first: vec![Block::default(); 1 << chunk.width], more }
    }

    /// The chunk's value, and the bits after it.
    fn part(&self, hash: u64) -> (u32, u32) {
        let from_chunk = hash.rotate_right(self.chunk.start);
        let value = from_chunk & ((1 << self.chunk.width) - 1);
        (value as u32, (from_chunk >> self.chunk.width) as u32)
    }

    fn add(&mut self, slot: u32, hash: u64) {
        let (value, bits) = self.part(hash);
        let first = &mut self.first[value as usize];
        if first.push(bits, slot)
            || first.next != 0 && self.more.get_mut(first.next).push(bits, slot)
        {
            return;
        }
        let mut block = Block { next: first.next, ..Block::default() };
        block.push(bits, slot);
        // A list's blocks are fewer than the slots, which did fit.
        if let Some(at) = self.more.push(block) {
            first.next = at;
        }
    }

    fn bytes(&self) -> usize {
        self.more.bytes()
            + size_of::<Block>() * self.first.capacity()
            + size_of::<u32>() * self.flips.capacity()
    }
}

/// Tells `found` all of a table's pictures that may be within `limit` of `hash`, and few others.
///
/// First blocks are looked at one after the other without waiting for what is in them: it is
/// noted which lists go on, and those are followed afterwards.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx512vpopcntdq+popcnt",
    "x86_64+avx2+popcnt",
    "x86_64+popcnt"
))]
fn search(table: &Table, hash: u64, limit: u32, blocks: &mut Vec<u32>, found: &mut dyn FnMut(u32)) {
    let (value, bits) = table.part(hash);
    blocks.clear();
    blocks.resize(table.flips.len(), 0);
    let mut pending = 0;
    let mut look = |block: &Block, limit: u32| {
        let mut hits = 0;
        for at in 0..Block::ROOM {
            hits |= u32::from((block.bits[at] ^ bits).count_ones() <= limit) << at;
        }
        hits &= (1 << block.used) - 1;
        while hits != 0 {
            found(block.slots[hits.trailing_zeros() as usize]);
            hits &= hits - 1;
        }
        block.next
    };
    for &flips in &table.flips {
        // What differs in the chunk leaves less for the rest.
        let Some(left) = limit.checked_sub(flips.count_ones()) else { break };
        blocks[pending] = look(&table.first[(value ^ flips) as usize], left);
        pending += usize::from(blocks[pending] != 0);
    }
    while pending > 0 {
        let mut still = 0;
        for at in 0..pending {
            blocks[still] = look(table.more.get(blocks[at]), limit);
            still += usize::from(blocks[still] != 0);
        }
        pending = still;
    }
}

/// A list that grows by pages, so that it neither moves nor holds much more than its entries.
#[derive(Debug)]
struct Pages<T> {
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Pages<T> {
    const PAGE: usize = 1 << 10;

    fn len(&self) -> usize {
        match self.pages.split_last() {
            Some((last, full)) => full.len() * Self::PAGE + last.len(),
            None => 0,
        }
    }

    /// The number of the new entry; None if numbers are used up.
    fn push(&mut self, entry: T) -> Option<u32> {
        let number = u32::try_from(self.len()).ok().filter(|&number| number < u32::MAX)?;
        match self.pages.last_mut().filter(|page| page.len() < Self::PAGE) {
            Some(page) => page.push(entry),
            None => {
                let mut page = Vec::with_capacity(Self::PAGE);
                page.push(entry);
                self.pages.push(page);
            }
        }
        Some(number)
    }

    fn get(&self, number: u32) -> &T {
        &self.pages[number as usize / Self::PAGE][number as usize % Self::PAGE]
    }

    fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.pages[number as usize / Self::PAGE][number as usize % Self::PAGE]
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }

    fn bytes(&self) -> usize {
        self.pages.len() * size_of::<T>() * Self::PAGE + self.pages.capacity() * size_of::<Vec<T>>()
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
    fn every_difference_within_the_radius_is_within_reach_of_a_chunk() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for radius in 0..=MOST_RADIUS {
            for count in [1, 10, 3000, 1_000_000, 100_000_000, u32::MAX as usize] {
                let chunks = plan(radius, count);
                for _ in 0..2000 {
                    let turned = |bits, _| bits | 1u64 << rng.random_range(0..64);
                    let difference = (0..radius).fold(0, turned);
                    let reached = chunks.iter().any(|chunk| {
                        let part = difference >> chunk.start & ((1 << chunk.width) - 1);
                        part.count_ones() <= chunk.reach
                    });
                    assert!(reached, "radius {radius}, {count} pictures, {difference:#x}");
                }
            }
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
