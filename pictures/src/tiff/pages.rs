//! Which of a file's pictures is taken.

use schemas::Fault;

use super::ifd::{Directory, File, tag};

/// The most directories that are looked at. The first of them is nearly always the one.
const MOST: usize = 64;

/// The first picture in full size; where all are said to be reduced, or hold what is no picture
/// yet (a camera's raw data), the largest of the others.
pub(super) fn choose<'a>(file: &File<'a>, first: u64) -> Result<Directory<'a>, Fault> {
    let mut seen = Vec::new();
    let mut others: Vec<Directory<'a>> = Vec::new();
    let mut waiting = vec![first];
    let mut start = None;
    while let Some(at) = waiting.pop() {
        // A chain may come back to where it was.
        if at == 0 || seen.contains(&at) || seen.len() >= MOST {
            continue;
        }
        seen.push(at);
        let (page, next) = match file.directory(at) {
            Ok(found) => found,
            // The first must be there; what comes after says nothing about it.
            Err(fault) if start.is_none() => return Err(fault),
            Err(_) => continue,
        };
        start = start.or(Some(page));
        match Role::of(&page) {
            Role::Full => return Ok(page),
            Role::Reduced => others.push(page),
            Role::Nothing => {}
        }
        // The next of the chain comes first, then what hangs below this one.
        if let Some(below) = page.get(tag::SUB_IFDS) {
            let places = (0..below.len().min(MOST)).rev().filter_map(|index| below.uint(index));
            waiting.extend(places);
        }
        waiting.push(next);
    }
    let pixels = |page: &Directory<'_>| {
        let side = |tag| page.uint(tag).unwrap_or(0);
        side(tag::IMAGE_WIDTH).saturating_mul(side(tag::IMAGE_LENGTH))
    };
    // Of equals the first.
    let largest = others.into_iter().rev().max_by_key(pixels);
    largest.or(start).ok_or_else(|| Fault::corrupt("the TIFF has no directory"))
}

enum Role {
    Full,
    Reduced,
    /// A mask, or a camera's raw data.
    Nothing,
}

impl Role {
    fn of(page: &Directory<'_>) -> Self {
        const REDUCED: u64 = 1;
        const MASK: u64 = 4;
        let kind = page.uint(tag::NEW_SUBFILE_TYPE).unwrap_or(0);
        // Mask, colour filter array, linear raw data, depth.
        let photometric = page.uint(tag::PHOTOMETRIC);
        if kind & MASK != 0 || matches!(photometric, Some(4 | 32803 | 34892 | 51177)) {
            return Self::Nothing;
        }
        // The old tag counts: 1 full, 2 reduced, 3 one page of many.
        match kind & REDUCED != 0 || page.uint(tag::SUBFILE_TYPE) == Some(2) {
            true => Self::Reduced,
            false => Self::Full,
        }
    }
}
