//! A listed file → its rows: one a view, with the targets as they are stored.

use std::path::Path;

use schemas::{IngestSettings, Reason, Reject, code};
use targets::{HogExtractor, View, patch_stats};

use crate::IngestError;
use crate::picture::{self, Decoder, Fault, MemoryBudget, Picture};
use crate::source::Source;
use crate::view::{Crop, Cutter};

/// One row of a shard; the fields are its columns, in the order of the schema.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub id: u64,
    pub source: String,
    pub content_hash: [u8; 32],
    pub label: Option<String>,
    pub view: u32,
    pub source_size: (u32, u32),
    pub crop: Crop,
    pub picture: Vec<u8>,
    pub cells: Vec<Cells>,
}

/// The columns that a row has once for every cell size.
#[derive(Debug, Clone)]
pub(crate) struct Cells {
    pub hog: Vec<u8>,
    pub ties: Vec<u8>,
    pub mean: Vec<u8>,
    pub inv_std: Vec<u8>,
}

/// What became of one listed file.
#[derive(Debug)]
pub(crate) enum Outcome {
    Rows { rows: Vec<Row>, cut_short: bool },
    Reject(Reject),
}

/// Makes rows; keeps its buffers between pictures. One a thread.
#[derive(Debug)]
pub(crate) struct RowMaker<'a> {
    root: &'a Path,
    settings: &'a IngestSettings,
    decoder: Decoder<'a>,
    cutter: Cutter,
    hog: HogExtractor,
}

impl<'a> RowMaker<'a> {
    pub fn new(
        root: &'a Path,
        settings: &'a IngestSettings,
        memory: &MemoryBudget,
    ) -> Result<Self, IngestError> {
        let layout = &settings.layout;
        let cells: Vec<_> = layout.cells.iter().map(|&cell| cell as usize).collect();
        let hog = HogExtractor::new(layout.size as usize, layout.bins as usize, &cells)?;
        let decoder = Decoder::new(settings).with_memory(memory.clone());
        Ok(Self { root, settings, decoder, cutter: Cutter::new(layout.size), hog })
    }

    /// The rows of the file that stands at `number` in the listing, or why there are none.
    pub fn make(&mut self, number: u64, source: &Source) -> Result<Outcome, IngestError> {
        let picture = match &source.fault {
            Some(message) => Err(Fault::new(Reason::Unreadable, message.clone())),
            None => picture::load(&self.root.join(&source.relative), self.settings)
                .and_then(|bytes| self.decoder.decode(&bytes)),
        };
        let picture = match picture {
            Ok(picture) => picture,
            Err(fault) => {
                return Ok(Outcome::Reject(Reject {
                    source: source.name(),
                    bytes: source.bytes,
                    reason: fault.reason,
                    message: fault.message,
                }));
            }
        };
        let rows = (0..self.settings.views)
            .map(|view| self.row(number, source, &picture, view))
            .collect::<Result<_, _>>()?;
        Ok(Outcome::Rows { rows, cut_short: picture.cut_short })
    }

    fn row(
        &mut self,
        number: u64,
        source: &Source,
        picture: &Picture,
        view: u32,
    ) -> Result<Row, IngestError> {
        let IngestSettings { views, seed, .. } = *self.settings;
        let source_size = picture.size;
        let crop = Crop::draw(&picture.content_hash, view, seed, source_size);
        let pixels = self.cutter.cut_from(picture, crop)?;
        let cells = self.cells(&pixels)?;
        Ok(Row {
            id: number * u64::from(views) + u64::from(view),
            source: source.name(),
            content_hash: picture.content_hash,
            label: source.label(),
            view,
            source_size,
            crop,
            picture: pixels,
            cells,
        })
    }

    fn cells(&mut self, pixels: &[u8]) -> Result<Vec<Cells>, IngestError> {
        let layout = &self.settings.layout;
        let view = View::new(pixels, layout.size as usize)?;
        let hogs = self.hog.compute(view)?;
        hogs.iter()
            .map(|hog| {
                let stats = patch_stats(view, hog.cell)?;
                Ok(Cells {
                    hog: codes(&hog.values),
                    ties: codes(&hog.ties),
                    mean: floats(&stats.mean),
                    inv_std: floats(&stats.inv_std),
                })
            })
            .collect()
    }
}

fn codes(values: &[f32]) -> Vec<u8> {
    values.iter().map(|&value| code::encode(value)).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}
