//! The planes of a decoded frame, or of the frames of a grid set together.

use re_rav1d::dav1d::pixel::{MatrixCoefficients, YUVRange};
use re_rav1d::dav1d::{self, PixelLayout, PlanarImageComponent};
use schemas::{Fault, Reason};

/// A picture in planes of luma and chroma, or of luma alone.
pub(super) struct Planes {
    pub size: (u32, u32),
    pub bits: u32,
    pub layout: PixelLayout,
    pub full_range: bool,
    /// The code point of the matrix that the frame's own header names.
    pub matrix: u8,
    planes: Vec<Plane>,
}

struct Plane {
    samples: Samples,
    /// Bytes from one row to the next.
    stride: usize,
}

enum Samples {
    Decoded(dav1d::Plane),
    Own(Vec<u8>),
}

impl Samples {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Decoded(plane) => plane,
            Self::Own(bytes) => bytes,
        }
    }
}

impl Planes {
    pub fn of(frame: &dav1d::Picture) -> Result<Self, Fault> {
        let bits = frame
            .bits_per_component()
            .ok_or_else(|| Fault::new(Reason::Unsupported, "an AVIF of unknown depth"))?
            .0 as u32;
        let layout = frame.pixel_layout();
        let planes = [PlanarImageComponent::Y, PlanarImageComponent::U, PlanarImageComponent::V]
            .into_iter()
            .take(if layout == PixelLayout::I400 { 1 } else { 3 })
            .map(|plane| Plane {
                samples: Samples::Decoded(frame.plane(plane)),
                stride: frame.stride(plane) as usize,
            })
            .collect();
        let found = Self {
            size: (frame.width(), frame.height()),
            bits,
            layout,
            full_range: frame.color_range() == YUVRange::Full,
            matrix: matrix(frame),
            planes,
        };
        for (index, plane) in found.planes.iter().enumerate() {
            let (width, height) = found.sides(index);
            let enough = plane.stride * (height - 1) + width * found.sample_bytes();
            if plane.samples.bytes().len() < enough {
                return Err(Fault::corrupt("a plane of the AVIF is smaller than its picture"));
            }
        }
        Ok(found)
    }

    /// Room for a picture of this size, of cells like this one. Chroma is halved as in the cells,
    /// unless they begin between two of its samples.
    pub fn of_grid(size: (u32, u32), cell: &Self) -> Self {
        let halved = cell.halved();
        let splits = |half: bool, cell: u32, whole: u32| half && cell < whole && cell % 2 == 1;
        let layout = match cell.layout {
            PixelLayout::I420 | PixelLayout::I422
                if splits(halved.0, cell.size.0, size.0)
                    || splits(halved.1, cell.size.1, size.1) =>
            {
                PixelLayout::I444
            }
            layout => layout,
        };
        let mut grid = Self { size, layout, planes: Vec::new(), ..*cell };
        for index in 0..cell.planes.len() {
            let (width, height) = grid.sides(index);
            let stride = width * grid.sample_bytes();
            grid.planes.push(Plane { samples: Samples::Own(vec![0; stride * height]), stride });
        }
        grid
    }

    /// Whether another may stand beside it in a grid.
    pub fn is_like(&self, other: &Self) -> bool {
        let kind = |it: &Self| (it.size, it.bits, it.layout, it.full_range);
        kind(self) == kind(other)
    }

    /// Puts a cell with its upper left corner at a pixel of a grid; what reaches beyond it is cut.
    pub fn put(&mut self, cell: &Self, (left, top): (u32, u32)) {
        let bytes = self.sample_bytes();
        let (to_half, from_half) = (self.halved(), cell.halved());
        for index in 0..self.planes.len() {
            let (width, height) = self.sides(index);
            let chroma = index > 0;
            let shift = |half: bool| u32::from(chroma && half);
            let start = ((left >> shift(to_half.0)) as usize, (top >> shift(to_half.1)) as usize);
            // The grid's chroma may be whole where the cell's is halved.
            let spread =
                (shift(from_half.0) - shift(to_half.0), shift(from_half.1) - shift(to_half.1));
            let (cell_width, cell_height) = cell.sides(index);
            let columns = (width - start.0).min(cell_width << spread.0);
            let rows = (height - start.1).min(cell_height << spread.1);
            let (from_stride, to_stride) = (cell.planes[index].stride, self.planes[index].stride);
            let from = cell.planes[index].samples.bytes();
            let Samples::Own(to) = &mut self.planes[index].samples else {
                return;
            };
            for y in 0..rows {
                let from = &from[(y >> spread.1) * from_stride..];
                let to = &mut to[(start.1 + y) * to_stride + start.0 * bytes..][..columns * bytes];
                if spread.0 == 0 {
                    to.copy_from_slice(&from[..columns * bytes]);
                } else {
                    for (x, to) in to.chunks_exact_mut(bytes).enumerate() {
                        to.copy_from_slice(&from[(x >> 1) * bytes..][..bytes]);
                    }
                }
            }
        }
    }

    /// Whether chroma has half the samples across, and down.
    pub fn halved(&self) -> (bool, bool) {
        (
            matches!(self.layout, PixelLayout::I420 | PixelLayout::I422),
            self.layout == PixelLayout::I420,
        )
    }

    /// The sides of a plane in samples.
    pub fn sides(&self, plane: usize) -> (usize, usize) {
        let (across, down) = self.halved();
        let side = |side: u32, half: bool| {
            (if plane > 0 && half { side.div_ceil(2) } else { side }) as usize
        };
        (side(self.size.0, across), side(self.size.1, down))
    }

    pub fn sample_bytes(&self) -> usize {
        if self.bits > 8 { 2 } else { 1 }
    }

    /// A plane's bytes, and how many of them a row takes.
    pub fn plane(&self, plane: usize) -> (&[u8], usize) {
        let plane = &self.planes[plane];
        (plane.samples.bytes(), plane.stride)
    }
}

fn matrix(frame: &dav1d::Picture) -> u8 {
    match frame.matrix_coefficients() {
        MatrixCoefficients::Identity => 0,
        MatrixCoefficients::BT709 => 1,
        MatrixCoefficients::BT470M => 4,
        MatrixCoefficients::ST240M => 7,
        MatrixCoefficients::YCgCo => 8,
        MatrixCoefficients::BT2020NonConstantLuminance
        | MatrixCoefficients::BT2020ConstantLuminance => 9,
        _ => 6,
    }
}
