//! Which bits of a hash what is near is looked up by, and the tables of them.

use multiversion::multiversion;

use super::pages::Pages;

/// Some bits of a hash by which a table is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
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
pub(super) fn plan(radius: u32, count: usize) -> Vec<Chunk> {
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
pub(super) struct Table {
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
    pub(super) fn new(chunk: Chunk) -> Self {
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

    pub(super) fn add(&mut self, slot: u32, hash: u64) {
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

    pub(super) fn bytes(&self) -> usize {
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
pub(super) fn search(
    table: &Table,
    hash: u64,
    limit: u32,
    blocks: &mut Vec<u32>,
    found: &mut dyn FnMut(u32),
) {
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

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::MOST_RADIUS;
    use super::*;

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
}
