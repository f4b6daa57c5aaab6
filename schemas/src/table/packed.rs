//! Numbers in few bytes.

use std::ops::Range;

/// Numbers in a row, each in as many bytes as the largest of them needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    /// Bytes a number, 1 to 8.
    width: usize,
    bytes: Vec<u8>,
}

impl Default for Packed {
    fn default() -> Self {
        Self { width: 1, bytes: vec![] }
    }
}

impl Packed {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// The largest number of this width.
    fn most(&self) -> u64 {
        u64::MAX >> (64 - 8 * self.width)
    }

    /// Adds a number.
    #[inline]
    pub fn push(&mut self, number: u64) {
        while number > self.most() {
            self.widen();
        }
        let end = self.bytes.len() + self.width;
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.bytes.truncate(end);
    }

    #[cold]
    fn widen(&mut self) {
        let mut wider = Self { width: self.width + 1, bytes: vec![] };
        wider.bytes.reserve(self.len() * wider.width);
        (0..self.len()).for_each(|at| wider.push(self.get(at)));
        *self = wider;
    }

    /// Adds what another has, each number greater by `more`.
    pub fn append(&mut self, other: &Self, more: u64) {
        if more == 0 && self.width == other.width {
            self.bytes.extend_from_slice(&other.bytes);
            return;
        }
        (0..other.len()).for_each(|at| self.push(other.get(at) + more));
    }

    /// A number by its place, which must be one.
    pub fn get(&self, at: usize) -> u64 {
        let rest = &self.bytes[at * self.width..];
        match rest.first_chunk() {
            Some(word) => u64::from_le_bytes(*word) & self.most(),
            None => {
                let mut word = [0; 8];
                word[..self.width].copy_from_slice(&rest[..self.width]);
                u64::from_le_bytes(word)
            }
        }
    }

    /// Of numbers at which runs end, which never fall: the places of run `at`.
    pub fn run(&self, at: usize) -> Range<usize> {
        let start = at.checked_sub(1).map_or(0, |before| self.get(before));
        start as usize..self.get(at) as usize
    }

    /// Of numbers that never fall: how many are no greater than this one. Of such at which runs end, it
    /// is the run in which that place lies.
    pub fn count_to(&self, number: u64) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle) <= number {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Lists of numbers, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lists {
    /// Where each ends.
    pub ends: Packed,
    pub numbers: Packed,
}

impl Lists {
    /// Ends a list; what was added since the last one is in it.
    pub fn end(&mut self) {
        self.ends.push(self.numbers.len() as u64);
    }

    /// Adds the lists of another.
    pub fn append(&mut self, other: &Self) {
        self.ends.append(&other.ends, self.numbers.len() as u64);
        self.numbers.append(&other.numbers, 0);
    }

    /// A list by its place.
    pub fn get(&self, at: usize) -> impl ExactSizeIterator<Item = u64> + '_ {
        self.ends.run(at).map(|at| self.numbers.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_come_back() {
        let numbers: Vec<u64> =
            (0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1]).chain([u64::MAX, 0, 3]).collect();
        let mut packed = Packed::default();
        for (at, &number) in numbers.iter().enumerate() {
            packed.push(number);
            assert_eq!((0..=at).map(|at| packed.get(at)).collect::<Vec<_>>(), numbers[..=at]);
        }
        let mut bytes = Packed::default();
        (0..=255).for_each(|number| bytes.push(number));
        assert_eq!(bytes.bytes.len(), 256);
    }

    #[test]
    fn a_run_is_found_by_its_places() {
        let mut lists = Lists::default();
        let lengths = [3, 0, 1, 0, 0, 300, 2];
        for (run, length) in lengths.into_iter().enumerate() {
            (0..length).for_each(|_| lists.numbers.push(run as u64));
            lists.end();
        }
        for place in 0..lists.numbers.len() {
            assert_eq!(lists.ends.count_to(place as u64) as u64, lists.numbers.get(place));
        }
        assert_eq!(lists.ends.count_to(lists.numbers.len() as u64), lengths.len());
        for (run, length) in lengths.into_iter().enumerate() {
            assert_eq!(lists.get(run).collect::<Vec<_>>(), vec![run as u64; length]);
        }
    }
}
