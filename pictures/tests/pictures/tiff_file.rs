//! Writes TIFF files of any kind, entry by entry (TIFF 6.0, section 2; BigTIFF).

use image::{Rgb, RgbImage};

pub mod tag {
    pub const SUBFILE: u16 = 254;
    pub const WIDTH: u16 = 256;
    pub const LENGTH: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const SAMPLES: u16 = 277;
    pub const ROWS: u16 = 278;
    pub const STRIP_COUNTS: u16 = 279;
    pub const PLANAR: u16 = 284;
    pub const T4_OPTIONS: u16 = 292;
    pub const PREDICTOR: u16 = 317;
    pub const COLOR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_LENGTH: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_COUNTS: u16 = 325;
    pub const SUB_IFDS: u16 = 330;
    pub const EXTRA: u16 = 338;
    pub const FORMAT: u16 = 339;
    pub const MOST_SAMPLE: u16 = 341;
    pub const JPEG_TABLES: u16 = 347;
    pub const JPEG_FILE: u16 = 513;
    pub const SUBSAMPLING: u16 = 530;
    pub const REFERENCE: u16 = 532;
    pub const PROFILE: u16 = 34675;
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub big_endian: bool,
    pub big: bool,
}

pub const FORMS: [Form; 4] = [
    Form { big_endian: false, big: false },
    Form { big_endian: true, big: false },
    Form { big_endian: false, big: true },
    Form { big_endian: true, big: true },
];
pub const PLAIN: Form = FORMS[0];

impl Form {
    /// The bytes of a number, `size` of them.
    pub fn number(self, value: u64, size: usize) -> Vec<u8> {
        match self.big_endian {
            true => value.to_be_bytes()[8 - size..].to_vec(),
            false => value.to_le_bytes()[..size].to_vec(),
        }
    }

    fn place(self) -> usize {
        if self.big { 8 } else { 4 }
    }
}

#[derive(Debug, Clone)]
enum Value {
    Short(Vec<u16>),
    Bytes(Vec<u8>),
    Float(Vec<f32>),
    /// Where the chunks, or a directory that hangs below, stand.
    Places(Vec<u64>),
}

/// A picture with its directory.
#[derive(Debug, Clone)]
pub struct Page {
    form: Form,
    entries: Vec<(u16, Value)>,
    chunks: Vec<Vec<u8>>,
    tiled: bool,
    below: Vec<Page>,
}

impl Page {
    /// A picture of this size and kind; its chunks come later.
    pub fn new(form: Form, (width, height): (u32, u32), photometric: u16, bits: &[u16]) -> Self {
        let entries = vec![
            (tag::WIDTH, Value::Places(vec![width.into()])),
            (tag::LENGTH, Value::Places(vec![height.into()])),
        ];
        let page = Self { form, entries, chunks: Vec::new(), tiled: false, below: Vec::new() };
        page.short(tag::BITS, bits)
            .short(tag::PHOTOMETRIC, &[photometric])
            .short(tag::SAMPLES, &[bits.len() as u16])
    }

    fn set(mut self, tag: u16, value: Value) -> Self {
        self.entries.retain(|(other, _)| *other != tag);
        self.entries.push((tag, value));
        self
    }

    pub fn without(mut self, tag: u16) -> Self {
        self.entries.retain(|(other, _)| *other != tag);
        self
    }

    pub fn short(self, tag: u16, values: &[u16]) -> Self {
        self.set(tag, Value::Short(values.to_vec()))
    }

    pub fn long(self, tag: u16, value: u64) -> Self {
        self.set(tag, Value::Places(vec![value]))
    }

    pub fn bytes(self, tag: u16, values: &[u8]) -> Self {
        self.set(tag, Value::Bytes(values.to_vec()))
    }

    pub fn floats(self, tag: u16, values: &[f32]) -> Self {
        self.set(tag, Value::Float(values.to_vec()))
    }

    /// One strip of all rows.
    pub fn strip(self, bytes: Vec<u8>) -> Self {
        self.strips(1 << 20, vec![bytes])
    }

    pub fn strips(mut self, rows: u32, strips: Vec<Vec<u8>>) -> Self {
        self.chunks = strips;
        self.long(tag::ROWS, rows.into())
    }

    pub fn tiles(mut self, (width, height): (u32, u32), tiles: Vec<Vec<u8>>) -> Self {
        self.chunks = tiles;
        self.tiled = true;
        self.long(tag::TILE_WIDTH, width.into()).long(tag::TILE_LENGTH, height.into())
    }

    /// Hangs another picture below this one.
    pub fn below(mut self, page: Page) -> Self {
        self.below.push(page);
        self
    }

    pub fn file(&self) -> Vec<u8> {
        file(std::slice::from_ref(self))
    }

    /// Writes chunks and directory behind `out`; where the directory stands, and where the place of
    /// the next one does.
    fn write(&self, out: &mut Vec<u8>) -> (u64, usize) {
        let form = self.form;
        let below: Vec<u64> = self.below.iter().map(|page| page.write(out).0).collect();
        let mut places = Vec::new();
        for chunk in &self.chunks {
            places.push(out.len() as u64);
            out.extend(chunk);
        }
        let counts = self.chunks.iter().map(|chunk| chunk.len() as u64).collect();
        let mut entries = self.entries.clone();
        let tags = match self.tiled {
            true => (tag::TILE_OFFSETS, tag::TILE_COUNTS),
            false => (tag::STRIP_OFFSETS, tag::STRIP_COUNTS),
        };
        let mut add = |tag, value| {
            if entries.iter().all(|(other, _)| *other != tag) {
                entries.push((tag, value));
            }
        };
        add(tags.0, Value::Places(places));
        add(tags.1, Value::Places(counts));
        if !below.is_empty() {
            add(tag::SUB_IFDS, Value::Places(below));
        }
        entries.sort_by_key(|(tag, _)| *tag);
        let mut directory = form.number(entries.len() as u64, if form.big { 8 } else { 2 });
        for (tag, value) in &entries {
            let (kind, count, bytes) = self.value(value);
            directory.extend(form.number((*tag).into(), 2));
            directory.extend(form.number(kind, 2));
            directory.extend(form.number(count as u64, form.place()));
            let mut field = bytes;
            if field.len() > form.place() {
                let place = out.len() as u64;
                out.extend(field);
                field = form.number(place, form.place());
            }
            field.resize(form.place(), 0);
            directory.extend(field);
        }
        let start = out.len();
        out.extend(directory);
        let next = out.len();
        out.extend(form.number(0, form.place()));
        (start as u64, next)
    }

    fn value(&self, value: &Value) -> (u64, usize, Vec<u8>) {
        let form = self.form;
        match value {
            Value::Short(values) => {
                let bytes = values.iter().flat_map(|&value| form.number(value.into(), 2));
                (3, values.len(), bytes.collect())
            }
            Value::Bytes(values) => (7, values.len(), values.clone()),
            Value::Float(values) => {
                let bytes = values.iter().flat_map(|&it| form.number(it.to_bits().into(), 4));
                (11, values.len(), bytes.collect())
            }
            Value::Places(values) => {
                let kind = if form.big { 16 } else { 4 };
                let bytes = values.iter().flat_map(|&value| form.number(value, form.place()));
                (kind, values.len(), bytes.collect())
            }
        }
    }
}

/// A file of these pages, one after the other.
pub fn file(pages: &[Page]) -> Vec<u8> {
    let form = pages[0].form;
    let mut out = if form.big_endian { b"MM".to_vec() } else { b"II".to_vec() };
    out.extend(form.number(if form.big { 43 } else { 42 }, 2));
    if form.big {
        out.extend(form.number(8, 2));
        out.extend([0, 0]);
    }
    let mut next = out.len();
    out.extend(form.number(0, form.place()));
    for page in pages {
        let (start, after) = page.write(&mut out);
        out.splice(next..next + form.place(), form.number(start, form.place()));
        next = after;
    }
    out
}

/// Rows of samples, each of which takes so many bits, each row from a byte on.
pub fn rows(form: Form, bits: usize, width: usize, samples: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for row in samples.chunks(width) {
        if bits.is_multiple_of(8) {
            out.extend(row.iter().flat_map(|&sample| form.number(sample, bits / 8)));
            continue;
        }
        let (mut pending, mut count) = (0u64, 0);
        for &sample in row {
            pending = pending << bits | sample;
            count += bits;
            while count >= 8 {
                count -= 8;
                out.push((pending >> count) as u8);
                pending &= (1 << count) - 1;
            }
        }
        if count > 0 {
            out.push((pending << (8 - count)) as u8);
        }
    }
    out
}

/// Interleaved samples of 8 bits, cut into tiles; past the edges there is rubbish.
pub fn tiles(
    samples: &[u8],
    together: usize,
    (width, height): (u32, u32),
    (across, down): (u32, u32),
) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for top in (0..height).step_by(down as usize) {
        for left in (0..width).step_by(across as usize) {
            let mut tile = Vec::new();
            for y in top..top + down {
                for x in left..left + across {
                    let at = (y * width + x) as usize * together;
                    match x < width && y < height {
                        true => tile.extend(&samples[at..at + together]),
                        false => tile.extend(vec![99; together]),
                    }
                }
            }
            out.push(tile);
        }
    }
    out
}

/// Grey from numbers, row by row.
pub fn grey((width, height): (u32, u32), level: impl Fn(usize) -> u8) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([level((y * width + x) as usize); 3]))
}

/// One channel of a picture.
pub fn channel(picture: &RgbImage, channel: usize) -> Vec<u8> {
    picture.pixels().map(|pixel| pixel.0[channel]).collect()
}

/// The picture in tiles of 16×16 pixels.
pub fn tiled(picture: &RgbImage) -> Vec<u8> {
    let tiles = tiles(picture.as_raw(), 3, picture.dimensions(), (16, 16));
    let page = Page::new(PLAIN, picture.dimensions(), 2, &[8; 3]);
    page.short(tag::COMPRESSION, &[1]).short(tag::PLANAR, &[1]).tiles((16, 16), tiles).file()
}
