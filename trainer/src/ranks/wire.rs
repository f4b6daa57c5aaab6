//! What processes say to one another besides numbers: JSON behind its length.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use serde::{Deserialize, Serialize};

/// The longest message: settings in words.
const LONGEST: u32 = 1 << 20;

/// Begins each message, so that a stranger's is told.
const MAGIC: [u8; 4] = *b"lmr1";

/// A process, as others know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its number among the processes.
    pub process: usize,
    /// How many ranks it has.
    pub ranks: usize,
    /// The machine's name.
    pub host: String,
    /// The operating system's number of it.
    pub pid: u32,
    /// Where it takes connections for numbers.
    pub address: String,
}

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// A process wants to take part.
    Hello {
        /// Who it is; of its address the port alone is known.
        card: Card,
        /// How many processes it thinks there are.
        processes: usize,
        /// What must be the same everywhere.
        alike: BTreeMap<String, String>,
    },
    /// All are there.
    Welcome {
        /// All processes.
        cards: Vec<Card>,
        /// What proves that one is among them.
        token: String,
    },
    /// It can't take part, or nobody can.
    Refused(String),
    /// It is alive.
    Beat {
        /// The step that it has come to.
        step: u64,
        /// None of its ranks computes: all wait for others.
        waits: bool,
    },
    /// All are to end, for this reason.
    End(String),
    /// It has done its work.
    Bye,
}

/// Sends a message.
pub fn send(mut to: &TcpStream, message: &Message) -> io::Result<()> {
    let text = serde_json::to_vec(message).map_err(io::Error::other)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    to.write_all(&bytes)
}

/// Waits for a message.
pub fn receive(mut from: &TcpStream) -> io::Result<Message> {
    let mut head = [0; 8];
    from.read_exact(&mut head)?;
    let (magic, length) = head.split_at(4);
    let length = u32::from_le_bytes(length.try_into().map_err(io::Error::other)?);
    if magic != MAGIC || length > LONGEST {
        return Err(io::Error::other("it speaks another language"));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text)?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}
