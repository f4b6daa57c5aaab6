//! A list that never moves what is in it.

/// A list that grows by pages, so that it neither moves nor holds much more than its entries.
#[derive(Debug)]
pub(super) struct Pages<T> {
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Pages<T> {
    const PAGE: usize = 1 << 10;

    pub(super) fn len(&self) -> usize {
        match self.pages.split_last() {
            Some((last, full)) => full.len() * Self::PAGE + last.len(),
            None => 0,
        }
    }

    /// The number of the new entry; None if numbers are used up.
    pub(super) fn push(&mut self, entry: T) -> Option<u32> {
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

    pub(super) fn get(&self, number: u32) -> &T {
        &self.pages[number as usize / Self::PAGE][number as usize % Self::PAGE]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        &mut self.pages[number as usize / Self::PAGE][number as usize % Self::PAGE]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.len() * size_of::<T>() * Self::PAGE + self.pages.capacity() * size_of::<Vec<T>>()
    }
}
