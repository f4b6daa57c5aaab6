//! What a JPEG's scans hold, told from its segments alone (ITU T.81, annex B), without a look at
//! the coefficients.

use std::borrow::Cow;

use schemas::Fault;

/// Blocks have 64 coefficients.
const ALL: u64 = u64::MAX;

/// The scans of a file.
#[derive(Debug, Default)]
pub(super) struct Scans {
    /// An end-of-image marker was found.
    pub ended: bool,
    /// Where the last whole segment or the last scan's data end.
    end: usize,
    progressive: bool,
    size: (u64, u64),
    components: Vec<Component>,
    list: Vec<Scan>,
    /// Bytes of all scans.
    entropy: u64,
}

#[derive(Debug)]
struct Component {
    id: u8,
    /// Blocks of it in a unit of the frame that has all components, across and down.
    across: u64,
    down: u64,
}

impl Component {
    fn blocks(&self) -> u64 {
        self.across * self.down
    }
}

#[derive(Debug)]
struct Scan {
    /// Places in the list of components.
    components: Vec<usize>,
    /// A bit a coefficient of which the scan gives the leading bits.
    coefficients: u64,
}

impl Scans {
    /// Walks over the segments of a file.
    pub fn find(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        // Past the start-of-image marker; none if the file ends inside a segment.
        found.walk(bytes, 2);
        found
    }

    /// The file with an end, where it has none: what is left of it, for a decoder that wants one.
    pub fn with_an_end<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if self.ended {
            return Cow::Borrowed(bytes);
        }
        let there = &bytes[..self.end];
        // A download that was broken off may have left room for the rest.
        let zeros = there.iter().rev().take_while(|&&byte| byte == 0).count();
        let there = if zeros >= 16 { &there[..there.len() - zeros] } else { there };
        Cow::Owned([there, &[0xff, 0xd9]].concat())
    }

    fn walk(&mut self, bytes: &[u8], mut at: usize) -> Option<()> {
        let mut in_scan = None;
        loop {
            let rest = bytes.get(at..)?;
            let Some(step) = rest.iter().position(|&byte| byte == 0xff) else {
                if in_scan.is_some() {
                    self.end = bytes.len();
                }
                self.entropy += in_scan.map_or(0, |start| bytes.len() - start) as u64;
                return None;
            };
            at += step + 1;
            self.end = at - 1;
            match *bytes.get(at)? {
                // Fill bytes before a marker.
                0xff => continue,
                // A stuffed byte or a restart marker belongs to the scan.
                0x00 | 0x01 | 0xd0..=0xd8 => {
                    at += 1;
                    continue;
                }
                // Damage inside a scan, over which decoders read.
                0x02..=0xc3 | 0xc5..=0xcf | 0xde | 0xdf | 0xf0..=0xfd if in_scan.is_some() => {
                    at += 1;
                    continue;
                }
                marker => {
                    self.entropy += in_scan.take().map_or(0, |start| at - 1 - start) as u64;
                    if marker == 0xd9 {
                        self.ended = true;
                        return Some(());
                    }
                    let length = bytes.get(at + 1..at + 3)?;
                    let end = at + 1 + usize::from(u16::from_be_bytes([length[0], length[1]]));
                    let content = bytes.get(at + 3..end.max(at + 3))?;
                    at = end.max(at + 3);
                    self.end = at;
                    match marker {
                        0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                            self.frame(marker, content)?;
                        }
                        0xda => {
                            self.scan(content)?;
                            in_scan = Some(at);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn frame(&mut self, marker: u8, content: &[u8]) -> Option<()> {
        if !self.components.is_empty() {
            return Some(());
        }
        self.progressive = marker & 3 == 2;
        let [_, h0, h1, w0, w1, count] = *content.first_chunk::<6>()?;
        self.size = (u16::from_be_bytes([w0, w1]).into(), u16::from_be_bytes([h0, h1]).into());
        for component in content[6..].chunks_exact(3).take(count.into()) {
            let (across, down) = ((component[1] >> 4).max(1), (component[1] & 15).max(1));
            let (across, down) = (across.into(), down.into());
            self.components.push(Component { id: component[0], across, down });
        }
        Some(())
    }

    fn scan(&mut self, content: &[u8]) -> Option<()> {
        let (&count, rest) = content.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let &[first, last, bits] = rest.first_chunk::<3>()?;
        let place = |id: u8| self.components.iter().position(|component| component.id == id);
        let components = selectors.chunks_exact(2).filter_map(|pair| place(pair[0])).collect();
        let coefficients = match self.progressive {
            false => ALL,
            // Bits that refine what an earlier scan gave.
            true if bits >> 4 > 0 => 0,
            true => (first.min(63)..=last.min(63)).fold(0, |set, index| set | 1 << index),
        };
        self.list.push(Scan { components, coefficients });
        Some(())
    }

    /// Units of the whole picture, each of which has blocks of every component.
    pub fn units(&self) -> u64 {
        let most = |side: fn(&Component) -> u64| self.components.iter().map(side).max();
        // A component alone has no units of its own but blocks.
        let (across, down) = match self.components.len() {
            0 | 1 => (1, 1),
            _ => (most(|it| it.across).unwrap_or(1), most(|it| it.down).unwrap_or(1)),
        };
        self.size.0.div_ceil(8 * across) * self.size.1.div_ceil(8 * down)
    }

    fn blocks(&self) -> u64 {
        match self.components.len() {
            0 | 1 => self.units(),
            _ => self.units() * self.components.iter().map(Component::blocks).sum::<u64>(),
        }
    }

    /// The share of the coefficients that the scans give, if of the last one this share is there.
    pub fn share(&self, of_the_last: f64) -> f64 {
        let (mut there, mut all) = (0.0, 0.0);
        for (place, component) in self.components.iter().enumerate() {
            let mut whole = 0u64;
            let mut part = 0u64;
            for (index, scan) in self.list.iter().enumerate() {
                if scan.components.contains(&place) {
                    let last = index + 1 == self.list.len();
                    *(if last { &mut part } else { &mut whole }) |= scan.coefficients;
                }
            }
            let part = f64::from((part & !whole).count_ones()) * of_the_last;
            there += component.blocks() as f64 * (f64::from(whole.count_ones()) + part);
            all += component.blocks() as f64 * 64.0;
        }
        if all > 0.0 { there / all } else { 0.0 }
    }

    /// Refuses a file that has fewer bytes than its blocks need at the very least, so that a large
    /// frame with nothing in it costs nothing: two Huffman codes a block in a sequential picture,
    /// one in a progressive picture's first scan.
    pub fn check_entropy(&self, arithmetic: bool) -> Result<(), Fault> {
        if arithmetic {
            return Ok(());
        }
        let bits = if self.progressive { 1 } else { 2 };
        // Half of them, so that nothing is refused here that would be kept later.
        let least = self.blocks() * bits / 8 / 2;
        if self.entropy < least {
            return Err(Fault::corrupt(format!(
                "{} bytes of picture in the JPEG; {} × {} pixels need at least {least}",
                self.entropy, self.size.0, self.size.1
            )));
        }
        Ok(())
    }
}
