//! A writer of AVIF files of any structure, around AV1 data that are there already.

use super::make::{HEIGHT, WIDTH};

/// Made of the slopes by `avifenc -s 6 --min 2 --max 5 -y 420` of libavif 0.11.1.
pub const HALVED: &[u8] = include_bytes!("halved.avif");

/// An item of a file.
#[derive(Default)]
pub struct Item {
    pub kind: Option<[u8; 4]>,
    pub data: Vec<u8>,
    /// Whole boxes.
    pub properties: Vec<Vec<u8>>,
}

/// The numbers of items begin with 1, and the first one is the picture.
pub struct Heif {
    pub brands: Vec<u8>,
    pub items: Vec<Item>,
    /// Kind, from, to.
    pub references: Vec<([u8; 4], u16, Vec<u16>)>,
    pub form: Form,
}

/// Ways to write the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form {
    /// Version of the list of places.
    pub places: u8,
    /// Numbers of items in four bytes, all else in the later version that this needs.
    pub wide: bool,
    /// Pieces that data are cut into.
    pub pieces: usize,
    /// Data stand inside the list itself.
    pub inner: bool,
    /// The last box has no size but reaches to the end of the file.
    pub open: bool,
}

impl Heif {
    pub fn new(items: Vec<Item>) -> Self {
        let form = Form { pieces: 1, ..Form::default() };
        Self { brands: b"avifmif1miaf".to_vec(), items, references: Vec::new(), form }
    }

    pub fn with(mut self, kind: &[u8; 4], from: u16, to: impl Into<Vec<u16>>) -> Self {
        self.references.push((*kind, from, to.into()));
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let brands = [&self.brands[..4], &[0; 4], &self.brands[4..]].concat();
        let mut file = boxed(b"ftyp", &brands);
        // The places of data follow from the size of what comes before, which they don't change.
        let before = file.len() + self.meta(0).len() + 8;
        file.extend(self.meta(before));
        if !self.form.inner {
            let mut data = boxed(b"mdat", &self.data());
            if self.form.open {
                data[..4].fill(0);
            }
            file.extend(data);
        }
        file
    }

    fn data(&self) -> Vec<u8> {
        self.items.iter().flat_map(|item| item.data.iter().copied()).collect()
    }

    fn id(&self, id: u16) -> Vec<u8> {
        if self.form.wide {
            u32::from(id).to_be_bytes().to_vec()
        } else {
            id.to_be_bytes().to_vec()
        }
    }

    fn meta(&self, data_at: usize) -> Vec<u8> {
        let wide = u8::from(self.form.wide);
        let numbered = || (1u16..).zip(&self.items);
        let mut content = full(b"hdlr", 0, 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0");
        content.extend(full(b"pitm", wide, 0, &self.id(1)));
        content.extend(self.places(if self.form.inner { 0 } else { data_at }));
        let mut kinds = (self.items.len() as u16).to_be_bytes().to_vec();
        for (id, item) in numbered() {
            let entry = [&self.id(id)[..], &[0; 2], &item.kind.unwrap_or(*b"av01"), &[0]].concat();
            kinds.extend(full(b"infe", 2 + wide, 0, &entry));
        }
        content.extend(full(b"iinf", 0, 0, &kinds));
        let references: Vec<u8> = self
            .references
            .iter()
            .flat_map(|(kind, from, to)| {
                let to = || to.iter().flat_map(|&id| self.id(id));
                let count = (to().count() / self.id(0).len()) as u16;
                boxed(
                    kind,
                    &[self.id(*from), count.to_be_bytes().to_vec(), to().collect()].concat(),
                )
            })
            .collect();
        content.extend(full(b"iref", wide, 0, &references));
        let all: Vec<u8> = self.items.iter().flat_map(|item| item.properties.concat()).collect();
        let mut index = 0u16;
        let mut associations = (self.items.len() as u32).to_be_bytes().to_vec();
        for (id, item) in numbered() {
            associations.extend(self.id(id));
            associations.push(item.properties.len() as u8);
            for _ in &item.properties {
                index += 1;
                match self.form.wide {
                    true => associations.extend((index | 0x8000).to_be_bytes()),
                    false => associations.push(index as u8 | 0x80),
                }
            }
        }
        let associations = full(b"ipma", wide, wide, &associations);
        content.extend(boxed(b"iprp", &[boxed(b"ipco", &all), associations].concat()));
        if self.form.inner {
            content.extend(boxed(b"idat", &self.data()));
        }
        full(b"meta", 0, 0, &content)
    }

    fn places(&self, data_at: usize) -> Vec<u8> {
        let Form { places, pieces, inner, .. } = self.form;
        assert!(places > 0 || !inner);
        // Offsets, lengths and the base in four bytes, an index of extents in none.
        let mut list = vec![0x44, 0x40];
        let number = |id: u16| {
            if places > 1 {
                vec![0, 0, (id >> 8) as u8, id as u8]
            } else {
                id.to_be_bytes().to_vec()
            }
        };
        list.extend(number(self.items.len() as u16));
        let mut at = data_at;
        for (id, item) in (1u16..).zip(&self.items) {
            list.extend(number(id));
            if places > 0 {
                list.extend([0, u8::from(inner)]);
            }
            list.extend([0, 0]);
            list.extend((at as u32).to_be_bytes());
            list.extend((pieces as u16).to_be_bytes());
            let mut rest = item.data.len();
            for piece in 0..pieces {
                let length = if piece + 1 == pieces { rest } else { item.data.len() / pieces };
                list.extend(((item.data.len() - rest) as u32).to_be_bytes());
                list.extend((length as u32).to_be_bytes());
                rest -= length;
            }
            at += item.data.len();
        }
        full(b"iloc", places, 0, &list)
    }
}

pub fn boxed(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], name, content].concat()
}

pub fn full(name: &[u8; 4], version: u8, flags: u8, content: &[u8]) -> Vec<u8> {
    boxed(name, &[&[version, 0, 0, flags], content].concat())
}

/// A coded picture.
pub fn coded(data: &[u8]) -> Item {
    Item { data: data.to_vec(), ..Item::default() }
}

/// A transparency.
pub fn alpha(data: &[u8]) -> Item {
    let name = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0";
    Item { properties: vec![full(b"auxC", 0, 0, name)], ..coded(data) }
}

/// Rows and columns of cells that make up a picture of this size.
pub fn grid(rows: u8, columns: u8, (width, height): (u32, u32), wide: bool) -> Item {
    let mut data = vec![0, u8::from(wide), rows - 1, columns - 1];
    for side in [width, height] {
        data.extend(&side.to_be_bytes()[if wide { 0 } else { 2 }..]);
    }
    Item { kind: Some(*b"grid"), data, ..Item::default() }
}

/// The AV1 data of a file that has nothing else in its last box.
pub fn payload(file: &[u8]) -> &[u8] {
    let at = file.windows(4).position(|name| name == b"mdat").unwrap();
    &file[at + 4..]
}

/// The transparency of `alpha.avif`, whose left half is there and whose right half is not.
pub fn right_half_clear() -> &'static [u8] {
    let file = include_bytes!("alpha.avif");
    // Its data come first, as the list of places says.
    &file[0x188..0x188 + 0x2f]
}

/// A grid of the same picture in every cell, of which a part is shown.
pub fn same_cells(data: &[u8], (columns, rows): (u8, u8), size: (u32, u32)) -> Heif {
    let count = u16::from(columns) * u16::from(rows);
    let mut items = vec![grid(rows, columns, size, false)];
    items.extend((0..count).map(|_| coded(data)));
    Heif::new(items).with(b"dimg", 1, (2..2 + count).collect::<Vec<_>>())
}

/// Cells and transparency, turned, in pieces and with wide numbers.
pub fn cells_of_every_kind() -> Vec<u8> {
    let size = (WIDTH + 9, HEIGHT + 7);
    let mut heif = same_cells(payload(HALVED), (2, 2), size).with(b"auxl", 6, [1]);
    heif.items.push(alpha(right_half_clear()));
    heif.items[0] = grid(2, 2, size, true);
    heif.items[0].properties = vec![boxed(b"irot", &[1]), boxed(b"imir", &[1])];
    heif.form = Form { places: 2, wide: true, pieces: 2, ..Form::default() };
    heif.bytes()
}
