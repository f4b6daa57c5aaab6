//! A gzip file, member by member.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

use super::ContainerError;
use super::stream::Source;

const WITHIN: &str = "a gzip member";
/// More than this without a picture, at more than [`BOMB_RATIO`], is a bomb. Deflate reaches
/// 1,032, in haste some 170; pages and headers stay far below 100.
const BOMB_BYTES: u64 = 64 << 20;
const BOMB_RATIO: u64 = 100;

/// Whether `inflated` bytes from `stored` are out of all proportion.
pub(super) fn is_bomb(inflated: u64, stored: u64) -> bool {
    inflated > BOMB_BYTES && inflated / BOMB_RATIO > stored
}

enum State {
    /// Before a member, or at the end.
    Between(Source),
    Within(Box<GzDecoder<Source>>),
    /// Left behind by an error while the state was taken apart; nothing is read from it.
    Lost,
}

pub(super) struct Gzip {
    state: State,
    buffer: Vec<u8>,
    /// What is not yet taken of the buffer.
    from: usize,
    to: usize,
    /// Where the member begins whose first bytes are those at the buffer's start.
    starts: Option<u64>,
    trusted: bool,
    inflated: u64,
    stored_before: u64,
}

impl Gzip {
    pub(super) fn new(source: Source) -> Self {
        let stored_before = source.at();
        Self {
            state: State::Between(source),
            buffer: vec![0; 64 << 10],
            from: 0,
            to: 0,
            starts: None,
            trusted: false,
            inflated: 0,
            stored_before,
        }
    }

    pub(super) fn at(&self) -> u64 {
        match &self.state {
            State::Between(source) => source.at(),
            State::Within(decoder) => decoder.get_ref().at(),
            State::Lost => self.stored_before,
        }
    }

    pub(super) fn resume_point(&mut self) -> Result<Option<u64>, ContainerError> {
        Ok(if self.fill()?.is_empty() {
            Some(self.at())
        } else {
            self.starts.filter(|_| self.from == 0)
        })
    }

    /// Says that what is read now is a picture within the limits, or no longer; the account of
    /// what inflates begins anew.
    pub(super) fn trust(&mut self, trusted: bool) {
        self.trusted = trusted;
        self.inflated = 0;
        self.stored_before = self.at();
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.from = (self.from + bytes).min(self.to);
    }

    pub(super) fn fill(&mut self) -> Result<&[u8], ContainerError> {
        while self.from == self.to {
            match &mut self.state {
                State::Between(source) => {
                    match source.fill_buf() {
                        Err(error) => return Err(source.error(error, WITHIN)),
                        // Padding with zeros, which gzip too passes over.
                        Ok([] | [0, ..]) => return Ok(&[]),
                        Ok([0x1f, ..]) => {}
                        Ok(_) => {
                            let problem = "no gzip member begins here".to_owned();
                            return Err(ContainerError::Damaged { offset: source.at(), problem });
                        }
                    }
                    let starts = source.at();
                    let State::Between(source) = std::mem::replace(&mut self.state, State::Lost)
                    else {
                        return Ok(&[]);
                    };
                    self.state = State::Within(Box::new(GzDecoder::new(source)));
                    self.starts = Some(starts);
                    (self.from, self.to) = (0, 0);
                }
                State::Within(decoder) => match decoder.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(decoder.get_ref().error(error, WITHIN)),
                    Ok(0) => {
                        if let State::Within(decoder) =
                            std::mem::replace(&mut self.state, State::Lost)
                        {
                            self.state = State::Between(decoder.into_inner());
                        }
                    }
                    Ok(read) => {
                        // Only the first bytes of a member lie at the start of the buffer at its
                        // start.
                        if self.to > 0 {
                            self.starts = None;
                        }
                        (self.from, self.to) = (0, read);
                        self.inflated += read as u64;
                        let stored = decoder.get_ref().at() - self.stored_before;
                        if !self.trusted && is_bomb(self.inflated, stored) {
                            let (offset, inflated) = (decoder.get_ref().at(), self.inflated);
                            return Err(ContainerError::Bomb { offset, inflated, stored });
                        }
                    }
                },
                State::Lost => return Ok(&[]),
            }
        }
        Ok(&self.buffer[self.from..self.to])
    }
}
