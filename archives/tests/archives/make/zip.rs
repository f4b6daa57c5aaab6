//! Writes ZIPs, right and wrong ones.

use std::io::Write;

use archives::Packing;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Store = 0,
    Deflate = 8,
    Bzip2 = 12,
    Zstd = 93,
    Xz = 95,
    /// One that is not read.
    Ppmd = 98,
}

/// What a header says of a file.
#[derive(Clone)]
pub struct Head {
    pub name: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub crc: u32,
    pub stored: u32,
    pub bytes: u32,
    pub offset: u32,
    /// Version and system that made it, and what that says of the file.
    pub made_by: u16,
    pub attributes: u32,
    pub extra: Vec<u8>,
}

impl Head {
    fn of(name: &[u8], method: Method, bytes: &[u8], stored: &[u8]) -> Self {
        let mut crc = Crc::new();
        crc.update(bytes);
        Self {
            name: name.to_vec(),
            method: method as u16,
            flags: 0,
            crc: crc.sum(),
            stored: stored.len() as u32,
            bytes: bytes.len() as u32,
            offset: 0,
            made_by: 3 << 8 | 20,
            attributes: 0o100_644 << 16,
            extra: Vec::new(),
        }
    }

    /// What both headers have in common.
    fn common(&self) -> Vec<u8> {
        let mut bytes = 20_u16.to_le_bytes().to_vec();
        bytes.extend([self.flags, self.method, 0, 33].map(u16::to_le_bytes).concat());
        bytes.extend([self.crc, self.stored, self.bytes].map(u32::to_le_bytes).concat());
        bytes.extend((self.name.len() as u16).to_le_bytes());
        bytes.extend((self.extra.len() as u16).to_le_bytes());
        bytes
    }

    fn local(&self) -> Vec<u8> {
        [&b"PK\x03\x04"[..], &self.common(), &self.name, &self.extra].concat()
    }

    fn central(&self) -> Vec<u8> {
        let mut bytes = b"PK\x01\x02".to_vec();
        bytes.extend(self.made_by.to_le_bytes());
        bytes.extend(self.common());
        bytes.extend([0; 6]);
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend(self.offset.to_le_bytes());
        [&bytes[..], &self.name, &self.extra].concat()
    }
}

/// A ZIP in the making.
#[derive(Default, Clone)]
pub struct Zip {
    pub bytes: Vec<u8>,
    pub heads: Vec<Head>,
}

impl Zip {
    pub fn folder(&mut self, name: &str) {
        self.file(name, b"", Method::Store);
    }

    pub fn file(&mut self, name: &str, bytes: &[u8], method: Method) {
        self.named(name.as_bytes(), bytes, method, |_| ());
    }

    /// A file of which `change` makes something else in both headers.
    pub fn named(
        &mut self,
        name: &[u8],
        bytes: &[u8],
        method: Method,
        change: impl FnOnce(&mut Head),
    ) {
        let stored = stored(bytes, method);
        let mut head = Head::of(name, method, bytes, &stored);
        change(&mut head);
        head.offset = self.bytes.len() as u32;
        self.bytes.extend(head.local());
        self.bytes.extend(stored);
        self.heads.push(head);
    }

    /// A file whose sizes and checksum stand behind it, as where a ZIP is written to a pipe.
    pub fn described(&mut self, name: &str, bytes: &[u8]) {
        let stored = stored(bytes, Method::Deflate);
        let mut head = Head::of(name.as_bytes(), Method::Deflate, bytes, &stored);
        head.offset = self.bytes.len() as u32;
        head.flags = 1 << 3;
        let before = Head { crc: 0, stored: 0, bytes: 0, ..head.clone() };
        self.bytes.extend(before.local());
        self.bytes.extend(stored);
        self.bytes.extend(b"PK\x07\x08");
        self.bytes.extend([head.crc, head.stored, head.bytes].map(u32::to_le_bytes).concat());
        self.heads.push(head);
    }

    pub fn end(self) -> Vec<u8> {
        self.end_with(b"")
    }

    /// The whole, with a comment.
    pub fn end_with(self, comment: &[u8]) -> Vec<u8> {
        let Self { mut bytes, heads } = self;
        let (start, count) = (bytes.len() as u32, heads.len() as u16);
        heads.iter().for_each(|head| bytes.extend(head.central()));
        let size = bytes.len() as u32 - start;
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([count, count].map(u16::to_le_bytes).concat());
        bytes.extend([size, start].map(u32::to_le_bytes).concat());
        bytes.extend((comment.len() as u16).to_le_bytes());
        bytes.extend(comment);
        bytes
    }

    /// The whole, in the form for large numbers, which stand in extra fields.
    pub fn end_large(self) -> Vec<u8> {
        let Self { mut bytes, heads } = self;
        let (start, count) = (bytes.len() as u64, heads.len() as u64);
        for head in heads {
            let numbers =
                [head.bytes, head.stored, head.offset].map(|n| u64::from(n).to_le_bytes());
            let extra = [&[1, 0, 24, 0][..], &numbers.concat()].concat();
            let large = Head { bytes: !0, stored: !0, offset: !0, extra, ..head };
            bytes.extend(large.central());
        }
        let (size, end) = (bytes.len() as u64 - start, bytes.len() as u64);
        bytes.extend(b"PK\x06\x06");
        bytes.extend(44_u64.to_le_bytes());
        bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([count, count, size, start].map(u64::to_le_bytes).concat());
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend(end.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(b"PK\x05\x06\0\0\0\0");
        bytes.extend([0xff; 12]);
        bytes.extend([0, 0]);
        bytes
    }
}

fn stored(bytes: &[u8], method: Method) -> Vec<u8> {
    match method {
        Method::Store | Method::Ppmd => bytes.to_vec(),
        Method::Deflate => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Method::Bzip2 => super::packed(Packing::Bzip2, bytes),
        Method::Zstd => super::packed(Packing::Zstd, bytes),
        Method::Xz => super::packed(Packing::Xz, bytes),
    }
}
