//! The input of every target.

/// Mean of each channel over ImageNet, of pixels in 0..=1.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of each channel over ImageNet, of pixels in 0..=1.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// For each channel and byte: (byte/255 − mean)/std, rounded at every step as the published code
/// rounds it. A nearly flat patch is divided by a small deviation, which makes that rounding
/// visible in its target.
pub static NORMALISED: [[f32; 256]; 3] = {
    let mut table = [[0.0; 256]; 3];
    let mut channel = 0;
    while channel < 3 {
        let mut byte = 0;
        while byte < 256 {
            table[channel][byte] =
                (byte as f32 / 255.0 - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel];
            byte += 1;
        }
        channel += 1;
    }
    table
};

/// Sizes that do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// A buffer of another length than its sizes say.
    #[error("{what} has {found} values, but should have {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// The length it should have.
        expected: usize,
        /// The length it has.
        found: usize,
    },
    /// A cell or patch that does not tile the view, or is too small.
    #[error("a cell of {cell} pixels does not tile a view of {size} pixels")]
    Cell {
        /// The cell's side.
        cell: usize,
        /// The view's side.
        size: usize,
    },
    /// A view too small for a 3×3 gradient with reflected borders.
    #[error("a view must be at least 2 pixels a side, not {0}")]
    Size(usize),
    /// A codebook with no choice between codes, or more than 16 bits can tell.
    #[error("a codebook has 2 to 65536 codes, not {0}")]
    Codes(usize),
    /// A code that the codebook does not have.
    #[error("a code is {code}, but the codebook has {codes}")]
    Code {
        /// The code.
        code: u16,
        /// How many there are.
        codes: usize,
    },
    /// A number that is infinite or none, or whose square is.
    #[error("{0} has a value that is no finite number, or too large to be squared")]
    NotFinite(&'static str),
    /// Bins out of range.
    #[error("bins must be in 1..=64, not {0}")]
    Bins(usize),
}

/// A square RGB picture of `size`·`size`·3 bytes, ordered (row, column, channel).
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    rgb: &'a [u8],
    size: usize,
}

impl<'a> View<'a> {
    /// A view of `size`×`size` pixels.
    ///
    /// # Errors
    /// [`TargetError`] if there are not size·size·3 bytes, or fewer than 2 pixels a side.
    pub fn new(rgb: &'a [u8], size: usize) -> Result<Self, TargetError> {
        if size < 2 {
            return Err(TargetError::Size(size));
        }
        let expected = size * size * 3;
        if rgb.len() != expected {
            return Err(TargetError::Length { what: "a view", expected, found: rgb.len() });
        }
        Ok(Self { rgb, size })
    }

    /// The bytes, ordered (row, column, channel).
    pub fn rgb(&self) -> &'a [u8] {
        self.rgb
    }

    /// The side in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Cells along a side.
    pub(crate) fn grid(&self, cell: usize) -> Result<usize, TargetError> {
        if cell < 2 || !self.size.is_multiple_of(cell) {
            return Err(TargetError::Cell { cell, size: self.size });
        }
        Ok(self.size / cell)
    }
}

/// The index of `i` in 0..`len` when it may lie one outside: −1 is 1, `len` is `len` − 2.
pub(crate) fn reflect(i: isize, len: usize) -> usize {
    let len = len as isize;
    (if i < 0 {
        -i
    } else if i >= len {
        2 * len - 2 - i
    } else {
        i
    }) as usize
}
