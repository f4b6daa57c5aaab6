//! The items that a file's `meta` box lists: what they are, where their data lie, what is said of
//! them and which are made of which (ISO/IEC 14496-12, 8.11; ISO/IEC 23008-12).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use schemas::{Fault, Reason};

use super::boxes::{Boxed, Fields, boxes, inside};
use super::tracks;

/// The names that the transparency of a picture goes by.
const ALPHA: [&[u8]; 2] =
    [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"];

/// A file's items.
#[derive(Debug)]
pub(super) struct Items<'a> {
    file: &'a [u8],
    /// The data inside the `meta` box itself.
    inner: &'a [u8],
    /// The picture that the file is there for.
    pub primary: u32,
    kinds: HashMap<u32, [u8; 4]>,
    places: HashMap<u32, Place>,
    properties: Vec<Boxed<'a>>,
    /// For an item, the places of its properties in that list.
    of_items: HashMap<u32, Vec<usize>>,
    /// What an item is made of, in order.
    inputs: HashMap<u32, Vec<u32>>,
    /// The pictures that say more of an item.
    auxiliary: HashMap<u32, Vec<u32>>,
    /// Pictures that are multiplied by a transparency already, and that transparency.
    premultiplied: HashSet<(u32, u32)>,
}

/// Where an item's data lie.
#[derive(Debug)]
struct Place {
    method: u16,
    /// Offsets and lengths; a length of 0 is all that is left.
    extents: Vec<(u64, u64)>,
}

impl<'a> Items<'a> {
    /// Reads the list. A film without one has one item, the first picture of its first track.
    pub fn find(file: &'a [u8]) -> Result<Self, Fault> {
        let broken = || Fault::corrupt("the AVIF's list of items ends early or is missing");
        let mut items = Self {
            file,
            inner: &[],
            primary: 0,
            kinds: HashMap::new(),
            places: HashMap::new(),
            properties: Vec::new(),
            of_items: HashMap::new(),
            inputs: HashMap::new(),
            auxiliary: HashMap::new(),
            premultiplied: HashSet::new(),
        };
        // Version and flags come before the boxes.
        let meta = inside(file, b"meta").and_then(|meta| meta.get(4..));
        match meta.filter(|meta| inside(meta, b"pitm").is_some()) {
            Some(meta) => items.read(meta).ok_or_else(broken)?,
            None => {
                let extent = tracks::first_picture(file).ok_or_else(broken)?;
                items.kinds.insert(0, *b"av01");
                items.places.insert(0, Place { method: 0, extents: vec![extent] });
            }
        }
        Ok(items)
    }

    fn read(&mut self, meta: &'a [u8]) -> Option<()> {
        self.inner = inside(meta, b"idat").unwrap_or_default();
        let mut primary = Fields(inside(meta, b"pitm")?);
        let (version, _) = primary.version_and_flags()?;
        self.primary = primary.id(version > 0)?;
        self.read_kinds(inside(meta, b"iinf")?)?;
        self.read_places(inside(meta, b"iloc")?)?;
        if let Some(references) = inside(meta, b"iref") {
            self.read_references(references)?;
        }
        if let Some(properties) = inside(meta, b"iprp") {
            self.properties = boxes(inside(properties, b"ipco")?).collect();
            for (_, list) in boxes(properties).filter(|(name, _)| *name == b"ipma") {
                self.read_associations(list)?;
            }
        }
        Some(())
    }

    fn read_kinds(&mut self, list: &[u8]) -> Option<()> {
        let mut list = Fields(list);
        let (version, _) = list.version_and_flags()?;
        list.bytes(if version == 0 { 2 } else { 4 })?;
        for (_, entry) in boxes(list.0).filter(|(name, _)| *name == b"infe") {
            let mut entry = Fields(entry);
            let (version, _) = entry.version_and_flags()?;
            // Earlier versions name no kind, so that they are no pictures.
            if version < 2 {
                continue;
            }
            let id = entry.id(version > 2)?;
            entry.u16()?;
            self.kinds.entry(id).or_insert(*entry.name()?);
        }
        Some(())
    }

    fn read_places(&mut self, list: &[u8]) -> Option<()> {
        let mut list = Fields(list);
        let (version, _) = list.version_and_flags()?;
        let (sizes, more) = (list.u8()?, list.u8()?);
        let (of_offset, of_length) = (usize::from(sizes >> 4), usize::from(sizes & 15));
        let of_base = usize::from(more >> 4);
        let of_index = if version == 0 { 0 } else { usize::from(more & 15) };
        let fits = |bytes: usize| bytes <= 8;
        if ![of_offset, of_length, of_base, of_index].into_iter().all(fits) {
            return None;
        }
        for _ in 0..list.id(version > 1)? {
            let id = list.id(version > 1)?;
            let method = if version == 0 { 0 } else { list.u16()? & 15 };
            list.u16()?;
            let base = list.number(of_base)?;
            let count = list.u16()?;
            // Extents of no bytes each could be without end.
            if count > 1 && of_offset + of_length == 0 {
                return None;
            }
            let mut extents = Vec::new();
            for _ in 0..count {
                list.bytes(of_index)?;
                let offset = base.checked_add(list.number(of_offset)?)?;
                extents.push((offset, list.number(of_length)?));
            }
            self.places.entry(id).or_insert(Place { method, extents });
        }
        Some(())
    }

    fn read_references(&mut self, list: &[u8]) -> Option<()> {
        let mut list = Fields(list);
        let (version, _) = list.version_and_flags()?;
        let wide = version > 0;
        for (name, content) in boxes(list.0) {
            let mut content = Fields(content);
            let from = content.id(wide)?;
            for _ in 0..content.u16()? {
                let to = content.id(wide)?;
                match name {
                    b"dimg" => self.inputs.entry(from).or_default().push(to),
                    b"auxl" => self.auxiliary.entry(to).or_default().push(from),
                    b"prem" => {
                        self.premultiplied.insert((from, to));
                    }
                    _ => {}
                }
            }
        }
        Some(())
    }

    fn read_associations(&mut self, list: &[u8]) -> Option<()> {
        let mut list = Fields(list);
        let (version, flags) = list.version_and_flags()?;
        let wide = flags & 1 == 1;
        for _ in 0..list.u32()? {
            let id = list.id(version > 0)?;
            let of_item = self.of_items.entry(id).or_default();
            for _ in 0..list.u8()? {
                // The highest bit says that the property must be understood.
                let index = if wide { list.u16()? & 0x7fff } else { u16::from(list.u8()? & 127) };
                of_item.extend(usize::from(index).checked_sub(1));
            }
        }
        Some(())
    }

    /// The kind of an item, such as `av01`.
    pub fn kind(&self, id: u32) -> Option<&[u8; 4]> {
        self.kinds.get(&id)
    }

    /// The properties of an item, in order.
    pub fn properties(&self, id: u32) -> impl Iterator<Item = Boxed<'a>> {
        let places = self.of_items.get(&id).map_or(&[][..], Vec::as_slice);
        places.iter().filter_map(|&place| self.properties.get(place).copied())
    }

    /// The items that an item is made of.
    pub fn inputs(&self, id: u32) -> &[u32] {
        self.inputs.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The item that holds the transparency of another.
    pub fn alpha(&self, id: u32) -> Option<u32> {
        let is_alpha = |&&other: &&u32| {
            self.properties(other).any(|(name, content)| {
                let text = content.get(4..).unwrap_or_default();
                name == b"auxC"
                    && ALPHA.contains(&text.split(|&byte| byte == 0).next().unwrap_or(text))
            })
        };
        self.auxiliary.get(&id)?.iter().filter(|&&other| other != id).find(is_alpha).copied()
    }

    /// Whether the colours of an item are multiplied by this transparency already.
    pub fn is_premultiplied(&self, id: u32, alpha: u32) -> bool {
        self.premultiplied.contains(&(id, alpha))
    }

    /// The data of an item.
    pub fn content(&self, id: u32) -> Result<Cow<'a, [u8]>, Fault> {
        let missing = || Fault::corrupt(format!("the data of item {id} lie outside the AVIF"));
        let place = self.places.get(&id).ok_or_else(missing)?;
        let source = match place.method {
            0 => self.file,
            1 => self.inner,
            method => {
                return Err(Fault::new(
                    Reason::Unsupported,
                    format!("an AVIF whose items are made by method {method}"),
                ));
            }
        };
        let part = |&(offset, length): &(u64, u64)| {
            let rest = source.get(usize::try_from(offset).ok()?..)?;
            match length {
                0 => Some(rest),
                length => rest.get(..usize::try_from(length).ok()?),
            }
        };
        let parts: Option<Vec<&[u8]>> = place.extents.iter().map(part).collect();
        let parts = parts.ok_or_else(missing)?;
        if let [whole] = parts[..] {
            return Ok(Cow::Borrowed(whole));
        }
        // Extents that lie over one another could make any amount of a small file.
        if parts.iter().map(|part| part.len()).sum::<usize>() > source.len() {
            return Err(Fault::corrupt(format!("the data of item {id} lie over one another")));
        }
        Ok(Cow::Owned(parts.concat()))
    }
}
