//! TensorBoard's event files: TFRecord frames around protobuf events.
//!
//! A frame is the payload's length (u64, little-endian), its masked CRC-32C, the payload, and its
//! masked CRC-32C; masked is ((crc >> 15) | (crc << 17)) + 0xa282ead8.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// The parts of TensorFlow's `Event` that scalars need.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// An event file that is being written.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// A new event file in `folder` for a run that goes on after `step`.
    pub(super) fn create(folder: &Path, step: u64) -> io::Result<Self> {
        // TensorBoard reads a folder's files by name, so a resumed run's must sort behind.
        let seconds = now() as u64;
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.{step:08}"));
        let file = File::create(&path)?;
        let mut events = Self { path, file };
        events.frame(&Event {
            wall_time: now(),
            step: 0,
            file_version: Some("brain.Event:2".into()),
            summary: None,
        })?;
        Ok(events)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Scalars of a step.
    pub(super) fn write(&mut self, step: u64, scalars: &[(String, f64)]) -> io::Result<()> {
        let value =
            |(tag, value): &(String, f64)| Value { tag: tag.clone(), simple_value: *value as f32 };
        let summary = Summary { value: scalars.iter().map(value).collect() };
        self.frame(&Event {
            wall_time: now(),
            step: step as i64,
            file_version: None,
            summary: Some(summary),
        })
    }

    fn frame(&mut self, event: &Event) -> io::Result<()> {
        let payload = event.encode_to_vec();
        let length = (payload.len() as u64).to_le_bytes();
        let mut frame = Vec::with_capacity(payload.len() + 16);
        frame.extend(length);
        frame.extend(masked_crc(&length).to_le_bytes());
        frame.extend(&payload);
        frame.extend(masked_crc(&payload).to_le_bytes());
        self.file.write_all(&frame)
    }
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_tfrecords() {
        // The frame header of a 24-byte first record ("brain.Event:2"), as TensorFlow writes it.
        assert_eq!(masked_crc(&24u64.to_le_bytes()).to_le_bytes(), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_file_reads_back_frame_by_frame() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 0).unwrap();
        events.write(7, &[("loss".into(), 0.5), ("lr".into(), 1e-3)]).unwrap();
        let bytes = std::fs::read(events.path()).unwrap();
        let mut rest = bytes.as_slice();
        let mut found = vec![];
        while !rest.is_empty() {
            let (header, tail) = rest.split_at(12);
            let length = u64::from_le_bytes(header[..8].try_into().unwrap()) as usize;
            assert_eq!(header[8..], masked_crc(&header[..8]).to_le_bytes());
            let (payload, tail) = tail.split_at(length);
            let (crc, tail) = tail.split_at(4);
            assert_eq!(crc, masked_crc(payload).to_le_bytes());
            found.push(Event::decode(payload).unwrap());
            rest = tail;
        }
        assert_eq!(found[0].file_version.as_deref(), Some("brain.Event:2"));
        let values = &found[1].summary.as_ref().unwrap().value;
        assert_eq!(found[1].step, 7);
        assert_eq!((values[0].tag.as_str(), values[0].simple_value), ("loss", 0.5));
        assert_eq!(found.len(), 2);
    }
}
