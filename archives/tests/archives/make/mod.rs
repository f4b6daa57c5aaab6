//! Small archives of every kind, for the tests and as seeds of the fuzzers.

#![allow(clippy::unwrap_used)]

pub mod zip;

use std::io::Write;
use std::sync::Arc;

use archives::{Kind, Packing};
use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, Int64Array, ListBuilder, RecordBatch, StringArray,
};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, Encoding};
use parquet::file::properties::WriterProperties;

/// Bytes that begin like a picture and differ from one another.
pub fn picture(number: usize) -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend((0..40 + 17 * number).map(|at| (at * 31 + number * 7) as u8));
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Packs bytes as one stream.
pub fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Gzip => gzip(bytes),
        Packing::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        Packing::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Records, each in a zstd frame of its own, packed with a dictionary that the first frame holds.
pub fn warc_zst(records: &[Vec<u8>], packs_dictionary: bool) -> Vec<u8> {
    let dictionary = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a/".repeat(4);
    let stored = match packs_dictionary {
        true => packed(Packing::Zstd, &dictionary),
        false => dictionary.clone(),
    };
    let mut bytes = b"\x5d\x2a\x4d\x18".to_vec();
    bytes.extend((stored.len() as u32).to_le_bytes());
    bytes.extend(stored);
    for record in records {
        let mut encoder =
            zstd::stream::write::Encoder::with_dictionary(Vec::new(), 3, &dictionary).unwrap();
        encoder.write_all(record).unwrap();
        bytes.extend(encoder.finish().unwrap());
    }
    bytes
}

pub fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A tar with samples of several files, of one, and with files that are no pictures.
pub fn small_tar() -> Vec<u8> {
    let long = format!("{}/0004.jpg", "a folder with a long name ".repeat(5).trim());
    tar(&[
        ("train/cat/0001.jpg", picture(1)),
        ("train/cat/0001.cls", b"7\n".to_vec()),
        ("train/cat/0001.json", br#"{"label": "tabby"}"#.to_vec()),
        ("train/cat/._0002.jpg", b"not this".to_vec()),
        ("train/cat/0002.jpg", picture(2)),
        ("train/cat/0002.seg.png", picture(3)),
        ("train/cat/0002.txt", b"a cat".to_vec()),
        ("train/page.html", b"<!doctype html>".to_vec()),
        (&long, picture(4)),
        ("0005", picture(5)),
    ])
}

pub fn record(kind: &str, uri: &str, fields: &str, block: &[u8]) -> Vec<u8> {
    let mut record = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {uri}\r\n{fields}Content-Length: {}\r\n\r\n",
        block.len()
    )
    .into_bytes();
    record.extend(block);
    record.extend(b"\r\n\r\n");
    record
}

pub fn response(uri: &str, head: &str, body: &[u8]) -> Vec<u8> {
    let mut block = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
    block.extend(body);
    record("response", uri, "Content-Type: application/http; msgtype=response\r\n", &block)
}

/// Records of a crawl: some with a picture, most without.
pub fn records() -> Vec<Vec<u8>> {
    let chunked = [b"4\r\nGIF8\r\n", &b"6\r\n9a1234\r\n0\r\n\r\n"[..]].concat();
    vec![
        record("warcinfo", "", "", b"software: none\r\n"),
        response("http://a/1.jpg", "200 OK\r\nContent-Type: image/jpeg", &picture(1)),
        record("request", "http://a/1.jpg", "", b"GET /1.jpg HTTP/1.1\r\n\r\n"),
        response("http://a/", "200 OK\r\nContent-Type: text/html", b"<html>"),
        response("http://a/gone", "404 Not Found\r\nContent-Type: image/png", &picture(2)),
        response(
            "http://a/3",
            "200 OK\r\nContent-Type: image/gif\r\nContent-Encoding: gzip",
            &gzip(&picture(3)),
        ),
        response(
            "http://a/4",
            "200 OK\r\nContent-Type: image/gif\r\nTransfer-Encoding: chunked",
            &chunked,
        ),
        record("resource", "file:///5.gif", "Content-Type: image/gif\r\n", &picture(5)),
        response("http://a/6", "200 OK\r\nContent-Type: application/octet-stream", &picture(6)),
        response("http://a/7", "200 OK\r\nContent-Type: application/octet-stream", b"PK\x03\x04"),
    ]
}

pub fn columns(columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

pub fn binary(values: impl IntoIterator<Item = Option<Vec<u8>>>) -> ArrayRef {
    let values: Vec<_> = values.into_iter().collect();
    let values: Vec<_> = values.iter().map(|value| value.as_deref()).collect();
    Arc::new(BinaryArray::from_opt_vec(values))
}

/// Rows as img2dataset has them, in three row groups of several pages; the third has no bytes.
pub fn small_parquet(codec: Codec) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_max_row_group_row_count(Some(4))
        .set_data_page_row_count_limit(2)
        .set_write_batch_size(1)
        .build();
    let keys = (0..10).map(|number| Some(format!("{number:05}")));
    columns(
        vec![
            ("key", Arc::new(StringArray::from_iter(keys)) as ArrayRef),
            ("label", Arc::new(Int64Array::from_iter((0..10).map(|number| Some(number % 3))))),
            ("jpg", binary((0..10).map(|number| (number != 2).then(|| picture(number))))),
        ],
        properties,
    )
}

/// Lists of pictures, some of them empty, whose values are stored by lengths and prefixes.
pub fn small_lists() -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(Codec::SNAPPY)
        .set_dictionary_enabled(false)
        .set_encoding(Encoding::DELTA_BYTE_ARRAY)
        .set_max_row_group_row_count(Some(3))
        .build();
    let mut images = ListBuilder::new(BinaryBuilder::new());
    for row in 0..5 {
        for number in 0..row % 3 {
            images.values().append_value(picture(3 * row + number));
        }
        images.append(row != 3);
    }
    let labels = StringArray::from_iter_values((0..5).map(|row| format!("class {row}")));
    let images: ArrayRef = Arc::new(images.finish());
    columns(vec![("images", images), ("label", Arc::new(labels))], properties)
}

/// A ZIP with the files of [`small_tar`], but for one whose label lies elsewhere in it.
pub fn small_zip() -> Vec<u8> {
    use zip::{Method, Zip};
    let mut zip = Zip::default();
    zip.folder("train/");
    zip.file("train/cat/0001.jpg", &picture(1), Method::Store);
    zip.file("train/cat/._0001.jpg", b"not this", Method::Store);
    zip.described("train/cat/0002.jpg", &picture(2));
    zip.file("train/cat/0002.seg.png", &picture(3), Method::Bzip2);
    zip.file("train/page.html", b"<!doctype html>", Method::Deflate);
    zip.file("train/cat/0001.cls", b"7\n", Method::Deflate);
    zip.file("0004.jpg", &picture(4), Method::Xz);
    zip.file("0005", &picture(5), Method::Zstd);
    zip.end()
}

/// An archive of every kind, in every form that differs in how it is read.
pub fn all() -> Vec<(Kind, Bytes)> {
    let (tar, records) = (small_tar(), records());
    let each: Vec<u8> = records.iter().flat_map(|record| gzip(record)).collect();
    // In two streams, of which the second begins with a sample.
    let halves = |packing| {
        let (first, second) = tar.split_at(8 * 512);
        [packed(packing, first), packed(packing, second)].concat()
    };
    [
        (Kind::Tar(Packing::Plain), tar.clone()),
        (Kind::Tar(Packing::Gzip), gzip(&tar)),
        (Kind::Tar(Packing::Gzip), halves(Packing::Gzip)),
        (Kind::Warc(Packing::Plain), records.concat()),
        (Kind::Warc(Packing::Gzip), each),
        (Kind::Warc(Packing::Gzip), gzip(&records.concat())),
        (Kind::Parquet, small_parquet(Codec::SNAPPY)),
        (Kind::Parquet, small_parquet(Codec::GZIP(Default::default()))),
        (Kind::Parquet, small_parquet(Codec::ZSTD(Default::default()))),
        (Kind::Parquet, small_parquet(Codec::BROTLI(Default::default()))),
        (Kind::Parquet, small_parquet(Codec::LZ4)),
        (Kind::Parquet, small_lists()),
        (Kind::Tar(Packing::Zstd), halves(Packing::Zstd)),
        (Kind::Tar(Packing::Xz), halves(Packing::Xz)),
        (Kind::Tar(Packing::Bzip2), halves(Packing::Bzip2)),
        (Kind::Warc(Packing::Zstd), warc_zst(&records, false)),
        (Kind::Zip, small_zip()),
    ]
    .map(|(kind, bytes)| (kind, bytes.into()))
    .into()
}
