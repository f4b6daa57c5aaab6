//! A picture of the stream → its views → its rows, with the targets as they are stored.

use pictures::{Decoder, MemoryBudget};
use schemas::{Crop, Fault, IngestSettings, Reject, code};
use shards::write::Row;
use targets::{HogExtractor, View, mirror_picture, patch_stats_of};

use crate::IngestError;
use crate::codebook::Codebook;
use crate::decode;
use crate::duplicates::perceptual_hash;
use crate::stream::{Body, Loaded};
use crate::view::{self, Cutter};

/// A picture from which its views are cut; of the rest there are only hashes.
#[derive(Debug)]
pub(crate) struct Cut {
    pub name: String,
    pub label: Option<String>,
    /// Bytes of the picture's file.
    pub bytes: u64,
    pub content_hash: [u8; 32],
    pub perceptual_hash: Option<u64>,
    pub cut_short: bool,
    source_size: (u32, u32),
    views: Vec<(Crop, Vec<u8>)>,
}

/// What a look at a picture gave.
#[derive(Debug)]
pub(crate) enum Seen {
    Cut(Cut),
    Reject(Reject),
}

/// Decodes pictures and cuts their views; keeps its buffers between pictures. One a thread.
#[derive(Debug)]
pub(crate) struct Looker<'a> {
    settings: &'a IngestSettings,
    decoder: Decoder,
    cutter: Cutter,
}

impl<'a> Looker<'a> {
    /// A looker that takes the memory of its pictures from this budget.
    pub fn new(settings: &'a IngestSettings, memory: &MemoryBudget) -> Self {
        let decoder = Decoder::new(decode::options(settings)).with_memory(memory.clone());
        Self { settings, decoder, cutter: Cutter::new(settings.layout.size) }
    }

    /// The views of a picture, or why there are none.
    pub fn look(
        &mut self,
        name: String,
        label: Option<String>,
        body: Body,
        most: u64,
    ) -> Result<Seen, IngestError> {
        let Loaded { body, bytes, taken } = body.load(most)?;
        let (bytes, picture) = match body {
            Ok(body) => (body.len() as u64, self.decoder.decode(&body)),
            Err(fault) => (bytes, Err(fault)),
        };
        // Its file takes room until it is decoded.
        drop(taken);
        let picture = match picture {
            Ok(picture) => picture,
            Err(Fault { reason, message }) => {
                let label = label.filter(|_| reason.may_pass());
                return Ok(Seen::Reject(Reject { source: name, bytes, reason, message, label }));
            }
        };
        let source_size = picture.size();
        let views = (0..self.settings.views)
            .map(|view| {
                let crop = view::crop(self.settings, &picture.content_hash, view, source_size);
                Ok((crop, self.cutter.cut(&picture.rgb, crop)?))
            })
            .collect::<Result<_, IngestError>>()?;
        Ok(Seen::Cut(Cut {
            name,
            label,
            bytes,
            content_hash: picture.content_hash,
            perceptual_hash: perceptual_hash(&picture.rgb),
            cut_short: picture.cut_short,
            source_size,
            views,
        }))
    }
}

/// Makes rows; keeps its buffers between pictures. One a thread.
#[derive(Debug)]
pub(crate) struct RowMaker<'a> {
    settings: &'a IngestSettings,
    cells: Vec<usize>,
    hog: HogExtractor,
    codebooks: &'a [Codebook],
}

impl<'a> RowMaker<'a> {
    pub fn new(
        settings: &'a IngestSettings,
        codebooks: &'a [Codebook],
    ) -> Result<Self, IngestError> {
        let layout = &settings.layout;
        let cells: Vec<_> = layout.cells.iter().map(|&cell| cell as usize).collect();
        let hog = HogExtractor::new(layout.size as usize, layout.bins as usize, &cells)?;
        Ok(Self { settings, cells, hog, codebooks })
    }

    /// The rows of the picture that has this number in the set.
    pub fn rows(&mut self, number: u64, cut: Cut) -> Result<Vec<Row>, IngestError> {
        let Cut { name, label, content_hash, perceptual_hash, source_size, views, .. } = cut;
        let first = number * u64::from(self.settings.views);
        (0..)
            .zip(views)
            .map(|(view, (crop, picture))| {
                let wide = self.wide(picture)?;
                Ok(Row {
                    id: first + u64::from(view),
                    source: name.clone(),
                    content_hash,
                    perceptual_hash,
                    label: label.clone(),
                    view,
                    source_size,
                    crop,
                    wide,
                })
            })
            .collect()
    }

    fn wide(&mut self, picture: Vec<u8>) -> Result<Vec<Vec<u8>>, IngestError> {
        let layout = &self.settings.layout;
        let view = View::new(&picture, layout.size as usize)?;
        let mut targets = Vec::with_capacity(4 * self.cells.len());
        for hog in self.hog.compute_as(view, code::encode)? {
            targets.extend([hog.values, hog.ties]);
        }
        for stats in patch_stats_of(view, &self.cells)? {
            targets.extend([floats(&stats.mean), floats(&stats.inv_std)]);
        }
        if !self.codebooks.is_empty() {
            let mut mirrored = vec![0; picture.len()];
            mirror_picture(&picture, view.size(), &mut mirrored)?;
            let mirrored = View::new(&mirrored, view.size())?;
            for codebook in self.codebooks {
                targets
                    .extend([words(&codebook.nearest(view)?), words(&codebook.nearest(mirrored)?)]);
            }
        }
        let mut wide = vec![layout.picture_filter.apply(picture, layout.size as usize)];
        wide.append(&mut targets);
        Ok(wide)
    }
}

fn words(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    for value in values {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};

    use super::*;
    use crate::Settings;

    #[test]
    fn the_file_of_a_picture_takes_its_room_until_the_picture_is_decoded() {
        let settings = Settings::new("a", "b").ingest;
        let mut file = Cursor::new(Vec::new());
        RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 0]))
            .write_to(&mut file, ImageFormat::Png)
            .unwrap();
        let bytes = file.into_inner();
        let (room, decoding) = (MemoryBudget::new(1 << 20), MemoryBudget::new(1 << 30));
        let size = bytes.len() as u64;
        let body = Body::Here { body: Ok(bytes.into()), bytes: size, taken: room.acquire(size) };
        // While this is held no picture is decoded.
        let held = decoding.acquire(1 << 30).unwrap();
        std::thread::scope(|scope| {
            let look = scope.spawn(|| {
                Looker::new(&settings, &decoding).look("a.png".into(), None, body, 1 << 20)
            });
            while decoding.waiting() == 0 {
                std::thread::yield_now();
            }
            assert_eq!(room.used(), size);
            drop(held);
            assert!(matches!(look.join().unwrap(), Ok(Seen::Cut(_))));
        });
        assert_eq!(room.used(), 0);
    }
}
