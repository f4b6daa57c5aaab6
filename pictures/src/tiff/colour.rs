//! Samples of 16 bits → the page's colours in 8 bits: grey, RGB or CMYK.

use super::page::{Alpha, Colour, Lab, Page, YCbCr};
use super::samples::Reader;

/// Turns rows of a page's samples into colours.
pub(super) struct Converter<'a> {
    page: &'a Page<'a>,
    reader: Reader,
    /// A row of each sample that is needed: of colours, then of transparency.
    lanes: Vec<Vec<u16>>,
}

/// Where a chunk's samples lie.
pub(super) enum Planes<'a> {
    /// A row of all samples, one pixel after another.
    Together(&'a [u8]),
    /// A row of each sample.
    Apart(Vec<&'a [u8]>),
}

impl<'a> Converter<'a> {
    pub fn new(page: &'a Page<'a>) -> Self {
        let lanes = page.colour.samples() + usize::from(page.alpha.is_some());
        let width = page.chunks.width.min(page.size.0) as usize;
        Self { page, reader: Reader::scaled(page), lanes: vec![vec![0; width]; lanes] }
    }

    /// The samples whose values are needed.
    pub fn samples(page: &Page<'_>) -> impl Iterator<Item = usize> {
        (0..page.colour.samples()).chain(page.alpha.map(|alpha| alpha.sample))
    }

    /// Whether samples are the wanted bytes as they stand.
    fn is_plain(&self) -> bool {
        let page = self.page;
        page.bits == 8
            && page.alpha.is_none()
            && page.samples_together() == page.colour.channels()
            && matches!(
                page.colour,
                Colour::Grey { white_is_zero: false } | Colour::Rgb | Colour::Cmyk
            )
    }

    /// Converts a row as long as `colours` wants it; `alpha` is filled if the page has it.
    pub fn row(&mut self, planes: &Planes<'_>, colours: &mut [u8], alpha: &mut [u8]) {
        if let Planes::Together(row) = planes
            && self.is_plain()
        {
            colours.copy_from_slice(&row[..colours.len()]);
            return;
        }
        let page = self.page;
        let width = colours.len() / page.colour.channels();
        let is_plain = matches!(page.colour, Colour::Palette(_) | Colour::Lab(_));
        for (index, sample) in Self::samples(page).enumerate() {
            let (row, sample, together) = match planes {
                Planes::Together(row) => (*row, sample, page.samples),
                Planes::Apart(rows) => (rows[index], 0, 1),
            };
            let lane = &mut self.lanes[index][..width];
            if is_plain && index < page.colour.samples() {
                self.reader.plain_row(row, sample, together, lane);
            } else {
                self.reader.row(row, sample, together, lane);
            }
        }
        let (lanes, clear) = self.lanes.split_at_mut(page.colour.samples());
        if let Some(Alpha { associated, .. }) = page.alpha {
            let clear = &clear[0][..width];
            if associated && matches!(page.colour, Colour::Grey { .. } | Colour::Rgb | Colour::Cmyk)
            {
                lanes.iter_mut().for_each(|lane| divide(lane, clear));
            }
            for (to, &value) in alpha.iter_mut().zip(clear) {
                *to = byte(value);
            }
        }
        convert(page, lanes, colours);
    }
}

fn byte(value: u16) -> u8 {
    ((u32::from(value) + 128) / 257) as u8
}

/// Takes out transparency that colours have been multiplied by.
fn divide(lane: &mut [u16], alpha: &[u16]) {
    for (value, &alpha) in lane.iter_mut().zip(alpha) {
        let whole = (u32::from(*value) * 65535 + u32::from(alpha) / 2).checked_div(alpha.into());
        *value = whole.unwrap_or(0).min(65535) as u16;
    }
}

fn convert(page: &Page<'_>, lanes: &[Vec<u16>], to: &mut [u8]) {
    let pixels = to.chunks_exact_mut(page.colour.channels()).enumerate();
    match page.colour {
        Colour::Grey { white_is_zero: true } => {
            pixels.for_each(|(x, to)| to[0] = 255 - byte(lanes[0][x]));
        }
        Colour::Grey { .. } | Colour::Rgb | Colour::Cmyk => pixels.for_each(|(x, to)| {
            to.iter_mut().zip(lanes).for_each(|(to, lane)| *to = byte(lane[x]));
        }),
        Colour::Palette(palette) => pixels.for_each(|(x, to)| {
            to.copy_from_slice(&palette.colour(lanes[0][x].into()));
        }),
        Colour::YCbCr(ycbcr) => pixels.for_each(|(x, to)| {
            to.copy_from_slice(&ycbcr.rgb([0, 1, 2].map(|lane| f32::from(lanes[lane][x]) / 257.0)));
        }),
        Colour::Lab(lab) => {
            let wide = page.bits == 16;
            pixels.for_each(|(x, to)| {
                let [l, a, b] = lab.values([0, 1, 2].map(|lane: usize| lanes[lane][x]), wide);
                to.copy_from_slice(&srgb_of_lab(l, a, b));
            });
        }
    }
}

impl YCbCr {
    /// RGB of values from 0 to 255.
    fn rgb(&self, values: [f32; 3]) -> [u8; 3] {
        let [red, green, blue] = self.luma;
        let part = |index: usize, range: f32| {
            let (black, white) = self.reference[index];
            (values[index] - black) * range / (white - black)
        };
        let (y, cb, cr) = (part(0, 255.0), part(1, 127.0), part(2, 127.0));
        let r = y + cr * (2.0 - 2.0 * red);
        let b = y + cb * (2.0 - 2.0 * blue);
        let g = (y - blue * b - red * r) / green;
        [r, g, b].map(|value| value.round().clamp(0.0, 255.0) as u8)
    }
}

impl Lab {
    /// L*, a* and b* of what is stored in 8 or 16 bits.
    fn values(self, stored: [u16; 3], wide: bool) -> [f32; 3] {
        let [l, a, b] = stored.map(f32::from);
        let step = if wide { 256.0 } else { 1.0 };
        let signed = |value: u16| match wide {
            true => f32::from(value as i16) / 256.0,
            false => f32::from(value as u8 as i8),
        };
        match self {
            Self::Cie => {
                let most = if wide { 65535.0 } else { 255.0 };
                [l * 100.0 / most, signed(stored[1]), signed(stored[2])]
            }
            Self::Icc => [l * 100.0 / (255.0 * step), a / step - 128.0, b / step - 128.0],
            Self::Itu => [
                l * 100.0 / (255.0 * step),
                (a / step - 128.0) * 170.0 / 255.0,
                (b / step - 96.0) * 200.0 / 255.0,
            ],
        }
    }
}

/// CIELab seen by D50, as profiles and Photoshop have it, → sRGB.
fn srgb_of_lab(l: f32, a: f32, b: f32) -> [u8; 3] {
    const D50: [f32; 3] = [0.9642, 1.0, 0.8249];
    // sRGB's primaries adapted to D50 (Bradford), the other way round.
    const LINEAR: [[f32; 3]; 3] = [
        [3.134_051, -1.617_028, -0.490_653],
        [-0.978_763, 1.916_142, 0.033_45],
        [0.071_943, -0.228_97, 1.405_219],
    ];
    let cube = |value: f32| match value > 6.0 / 29.0 {
        true => value.powi(3),
        false => (value - 4.0 / 29.0) * 108.0 / 841.0,
    };
    let middle = (l + 16.0) / 116.0;
    let xyz = [middle + a / 500.0, middle, middle - b / 200.0];
    let xyz = [0, 1, 2].map(|index| cube(xyz[index]) * D50[index]);
    LINEAR.map(|row| {
        let light: f32 = row.iter().zip(xyz).map(|(factor, value)| factor * value).sum();
        let light = light.clamp(0.0, 1.0);
        let value = match light <= 0.003_130_8 {
            true => 12.92 * light,
            false => 1.055 * light.powf(1.0 / 2.4) - 0.055,
        };
        (value * 255.0).round() as u8
    })
}
