//! A TIFF file's directories and what their entries hold (TIFF 6.0, section 2; BigTIFF).
//!
//! Nothing is copied: an entry's values stay in the file, so that no count makes anything large.

use schemas::Fault;

/// The tags that are looked at.
pub(super) mod tag {
    pub const NEW_SUBFILE_TYPE: u16 = 254;
    pub const SUBFILE_TYPE: u16 = 255;
    pub const IMAGE_WIDTH: u16 = 256;
    pub const IMAGE_LENGTH: u16 = 257;
    pub const BITS_PER_SAMPLE: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES_PER_PIXEL: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTE_COUNTS: u16 = 279;
    pub const PLANAR_CONFIGURATION: u16 = 284;
    pub const T4_OPTIONS: u16 = 292;
    pub const PREDICTOR: u16 = 317;
    pub const COLOR_MAP: u16 = 320;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_LENGTH: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTE_COUNTS: u16 = 325;
    pub const SUB_IFDS: u16 = 330;
    pub const INK_SET: u16 = 332;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const LEAST_SAMPLE: u16 = 340;
    pub const MOST_SAMPLE: u16 = 341;
    pub const JPEG_TABLES: u16 = 347;
    pub const JPEG_FILE: u16 = 513;
    pub const JPEG_FILE_LENGTH: u16 = 514;
    pub const YCBCR_COEFFICIENTS: u16 = 529;
    pub const YCBCR_SUBSAMPLING: u16 = 530;
    pub const REFERENCE_BLACK_WHITE: u16 = 532;
    pub const ICC_PROFILE: u16 = 34675;
}

/// The order of a number's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endian {
    Little,
    Big,
}

impl Endian {
    /// The number that these bytes are, eight at most.
    pub fn uint(self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, &byte: &u8| sum << 8 | u64::from(byte);
        match self {
            Self::Little => bytes.iter().rev().fold(0, add),
            Self::Big => bytes.iter().fold(0, add),
        }
    }
}

/// A file whose header has been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct File<'a> {
    pub bytes: &'a [u8],
    pub endian: Endian,
    big: bool,
}

impl<'a> File<'a> {
    /// The file, and where its first directory stands.
    pub fn open(bytes: &'a [u8]) -> Result<(Self, u64), Fault> {
        let endian = if bytes.starts_with(b"MM") { Endian::Big } else { Endian::Little };
        let mut file = Self { bytes, endian, big: false };
        file.big = file.uint(2, 2)? == 43;
        let first = if file.big { file.uint(8, 8)? } else { file.uint(4, 4)? };
        Ok((file, first))
    }

    /// The bytes from a place on, to the end of the file if it has fewer.
    pub fn part(&self, at: u64, length: u64) -> &'a [u8] {
        let size = self.bytes.len() as u64;
        let start = at.min(size);
        let end = at.saturating_add(length).min(size);
        &self.bytes[start as usize..end as usize]
    }

    fn uint(&self, at: u64, length: u64) -> Result<u64, Fault> {
        let bytes = self.part(at, length);
        if (bytes.len() as u64) < length {
            return Err(Fault::corrupt("the TIFF ends before its directory"));
        }
        Ok(self.endian.uint(bytes))
    }

    /// The directory at a place, and where the next one stands (0: nowhere).
    pub fn directory(&self, at: u64) -> Result<(Directory<'a>, u64), Fault> {
        let (head, entry, place) = if self.big { (8, 20, 8) } else { (2, 12, 4) };
        let count = self.uint(at, head)?;
        let start = at.saturating_add(head);
        let length = count.saturating_mul(entry);
        let entries = self.part(start, length);
        if (entries.len() as u64) < length {
            return Err(Fault::corrupt("the TIFF ends within its directory"));
        }
        // A file may end after its last entry.
        let next = self.uint(start + length, place).unwrap_or(0);
        Ok((Directory { file: *self, entries }, next))
    }
}

/// One directory: what is said about one picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    file: File<'a>,
    entries: &'a [u8],
}

impl<'a> Directory<'a> {
    /// The values of a tag; none if it is not there, or of no known type.
    pub fn get(&self, tag: u16) -> Option<Values<'a>> {
        let endian = self.file.endian;
        let (step, place) = if self.file.big { (20, 8) } else { (12, 4) };
        let named = |entry: &&[u8]| endian.uint(&entry[..2]) == u64::from(tag);
        let entry = self.entries.chunks_exact(step).find(named)?;
        let kind = Kind::of(endian.uint(&entry[2..4]))?;
        let count = endian.uint(&entry[4..4 + place]);
        let length = count.saturating_mul(kind.bytes() as u64);
        let value = &entry[4 + place..];
        let bytes = match value.get(..usize::try_from(length).unwrap_or(usize::MAX)) {
            Some(inside) => inside,
            None => self.file.part(endian.uint(value), length),
        };
        Some(Values { kind, endian, bytes })
    }

    /// The first value of a tag as a whole number.
    pub fn uint(&self, tag: u16) -> Option<u64> {
        self.get(tag)?.uint(0)
    }
}

/// How an entry's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uint(usize),
    Int(usize),
    Fraction { signed: bool },
    Float,
    Double,
}

impl Kind {
    fn of(code: u64) -> Option<Self> {
        Some(match code {
            1 | 2 | 7 => Self::Uint(1),
            3 => Self::Uint(2),
            4 | 13 => Self::Uint(4),
            16 | 18 => Self::Uint(8),
            6 => Self::Int(1),
            8 => Self::Int(2),
            9 => Self::Int(4),
            17 => Self::Int(8),
            5 => Self::Fraction { signed: false },
            10 => Self::Fraction { signed: true },
            11 => Self::Float,
            12 => Self::Double,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::Uint(bytes) | Self::Int(bytes) => bytes,
            Self::Float => 4,
            Self::Fraction { .. } | Self::Double => 8,
        }
    }
}

/// The values of an entry, as many as lie in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    kind: Kind,
    endian: Endian,
    pub bytes: &'a [u8],
}

impl<'a> Values<'a> {
    pub fn len(&self) -> usize {
        self.bytes.len() / self.kind.bytes()
    }

    fn at(&self, index: usize) -> Option<&'a [u8]> {
        let size = self.kind.bytes();
        self.bytes.get(index.checked_mul(size)?..)?.get(..size)
    }

    /// A whole number that is not negative.
    pub fn uint(&self, index: usize) -> Option<u64> {
        match self.kind {
            Kind::Uint(_) => Some(self.endian.uint(self.at(index)?)),
            _ => {
                let value = self.number(index)?;
                (value >= 0.0).then_some(value as u64)
            }
        }
    }

    /// A number of any kind.
    pub fn number(&self, index: usize) -> Option<f64> {
        let bytes = self.at(index)?;
        let signed = |bytes: &[u8]| {
            let unused = 64 - 8 * bytes.len() as u32;
            (self.endian.uint(bytes) << unused) as i64 >> unused
        };
        Some(match self.kind {
            Kind::Uint(_) => self.endian.uint(bytes) as f64,
            Kind::Int(_) => signed(bytes) as f64,
            Kind::Fraction { signed: true } => {
                signed(&bytes[..4]) as f64 / signed(&bytes[4..]) as f64
            }
            Kind::Fraction { signed: false } => {
                self.endian.uint(&bytes[..4]) as f64 / self.endian.uint(&bytes[4..]) as f64
            }
            Kind::Float => f64::from(f32::from_bits(self.endian.uint(bytes) as u32)),
            Kind::Double => f64::from_bits(self.endian.uint(bytes)),
        })
    }
}
