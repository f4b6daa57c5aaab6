//! Stored rows → a batch: pictures and finished targets, as networks in Python take them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use rayon::prelude::*;
use schemas::{ShardLayout, code, layout};
use shards::Columns;
use targets::{NORMALISED, TargetError, View, mirror_hog, mirror_picture, normalised_pixels_into};

use crate::pool::{Lent, Pool};

/// What becomes of the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Hog,
    Pixel,
    None,
}

/// What a batch holds of its rows.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub layout: ShardLayout,
    pub target: Target,
    /// The cell sizes of the targets.
    pub cells: Vec<u32>,
    /// Pictures come normalised, as floats `[3, size, size]`; else as bytes `[size, size, 3]`.
    pub normalised: bool,
}

/// Pictures as they were asked for.
#[derive(Debug)]
pub enum Pictures {
    Floats(Lent),
    Bytes(Vec<u8>),
}

/// A batch's bytes.
#[derive(Debug)]
pub struct Filled {
    pub pictures: Pictures,
    /// Of each cell size `[rows, grid², values]`.
    pub targets: Vec<Lent>,
}

/// A row of a row group, and whether it is mirrored.
#[derive(Debug, Clone, Copy)]
pub struct RowOf<'a> {
    pub group: &'a RecordBatch,
    pub row: usize,
    pub mirrored: bool,
}

enum Picture<'a> {
    Floats(&'a mut [f32]),
    Bytes(&'a mut [u8]),
}

impl Wanted {
    /// The columns that are read.
    pub fn columns(&self, mirrored: bool) -> Vec<String> {
        let mut columns = vec![layout::ID.to_owned(), layout::LABEL.to_owned()];
        columns.push(self.layout.picture_column().to_owned());
        for &cell in &self.cells {
            match self.target {
                Target::Hog => {
                    columns.push(layout::hog(cell));
                    columns.extend(mirrored.then(|| layout::hog_ties(cell)));
                }
                Target::Pixel => columns.extend([layout::mean(cell), layout::inv_std(cell)]),
                Target::None => {}
            }
        }
        columns
    }

    /// Values of a picture.
    pub fn picture(&self) -> usize {
        self.layout.picture_bytes()
    }

    /// Values of a cell's target in one row.
    pub fn values(&self, cell: u32) -> usize {
        match self.target {
            Target::Hog => self.layout.hog_bytes(cell),
            Target::Pixel => self.layout.picture_bytes(),
            Target::None => 0,
        }
    }

    /// Lists of floats in a batch, at most.
    pub fn lists(&self) -> usize {
        1 + self.cells.len()
    }

    /// A batch of these rows, in memory of the pool.
    pub fn fill(&self, rows: &[RowOf<'_>], pool: &Arc<Pool>) -> Result<Filled, String> {
        let all = rows.len() * self.picture();
        let mut pictures = match self.normalised {
            true => Pictures::Floats(pool.take(all)),
            false => Pictures::Bytes(vec![0; all]),
        };
        let cells = match self.target {
            Target::None => &[][..],
            _ => &self.cells[..],
        };
        let mut targets: Vec<_> =
            cells.iter().map(|&cell| pool.take(rows.len() * self.values(cell))).collect();

        let size = self.picture();
        let mut places: Vec<(Picture<'_>, Vec<&mut [f32]>)> = match &mut pictures {
            Pictures::Floats(all) => {
                all.chunks_mut(size).map(|of| (Picture::Floats(of), vec![])).collect()
            }
            Pictures::Bytes(all) => {
                all.chunks_mut(size).map(|of| (Picture::Bytes(of), vec![])).collect()
            }
        };
        for (&cell, all) in cells.iter().zip(&mut targets) {
            let of_rows = all.chunks_mut(self.values(cell));
            places.iter_mut().zip(of_rows).for_each(|((_, targets), of)| targets.push(of));
        }
        rows.par_iter().zip(places).try_for_each(|(row, (picture, targets))| {
            self.row(*row, picture, targets).map_err(|error| error.to_string())
        })?;
        Ok(Filled { pictures, targets })
    }

    fn row(
        &self,
        RowOf { group, row, mirrored }: RowOf<'_>,
        picture: Picture<'_>,
        targets: Vec<&mut [f32]>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let columns = Columns::of(group);
        let size = self.layout.size as usize;
        let mut rgb = columns.picture(&self.layout)?(row);
        if mirrored {
            let mut turned = vec![0; rgb.len()];
            mirror_picture(&rgb, size, &mut turned)?;
            rgb = turned.into();
        }
        let view = View::new(&rgb, size)?;
        match picture {
            Picture::Bytes(out) => out.copy_from_slice(view.rgb()),
            Picture::Floats(out) => normalise(view, out),
        }
        for (&cell, out) in self.cells.iter().zip(targets) {
            match self.target {
                Target::Hog => {
                    decode(columns.hog(cell)?(row), out)?;
                    if mirrored {
                        let ties = columns.hog_ties(cell)?(row);
                        let ties: Vec<_> = ties.iter().map(|&tie| code::decode(tie)).collect();
                        let (grid, bins) = (self.layout.grid(cell), self.layout.bins as usize);
                        mirror_hog(out, &ties, grid, bins)?;
                    }
                }
                Target::Pixel => {
                    let (mut mean, mut inv_std) =
                        (columns.mean(cell)?(row), columns.inv_std(cell)?(row));
                    if mirrored {
                        let grid = self.layout.grid(cell);
                        mean.chunks_mut(grid).for_each(<[f32]>::reverse);
                        inv_std.chunks_mut(grid).for_each(<[f32]>::reverse);
                    }
                    normalised_pixels_into(view, cell as usize, &mean, &inv_std, out)?;
                }
                Target::None => {}
            }
        }
        Ok(())
    }
}

/// Pixels normalised by ImageNet's statistics, ordered (channel, row, column).
fn normalise(view: View<'_>, out: &mut [f32]) {
    let pixels = view.size() * view.size();
    for (channel, out) in out.chunks_exact_mut(pixels).enumerate() {
        let table = &NORMALISED[channel];
        for (out, pixel) in out.iter_mut().zip(view.rgb().as_chunks::<3>().0) {
            *out = table[usize::from(pixel[channel])];
        }
    }
}

/// Codes → values.
fn decode(codes: &[u8], out: &mut [f32]) -> Result<(), TargetError> {
    if codes.len() != out.len() {
        let (expected, found) = (out.len(), codes.len());
        return Err(TargetError::Length { what: "a HOG column", expected, found });
    }
    for (out, &code) in out.iter_mut().zip(codes) {
        *out = code::decode(code);
    }
    Ok(())
}
