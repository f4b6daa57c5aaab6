//! The first bytes → the format, or what the file is instead of a picture.

use formats::{Format, Picture};
use schemas::{Fault, Reason};

/// How text begins (in lower case, after white space) and what it is then.
const TEXTS: [(&str, &str); 7] = [
    ("<!doctype html", "a web page (HTML)"),
    ("<html", "a web page (HTML)"),
    ("<head", "a web page (HTML)"),
    ("<svg", "an SVG drawing"),
    ("<?xml", "an XML document"),
    ("{", "JSON or other text"),
    ("[", "JSON or other text"),
];

/// Tells the format by the first bytes.
pub(super) fn tell(head: &[u8]) -> Result<Picture, Fault> {
    if head.is_empty() {
        return Err(Fault::new(Reason::Empty, "the file has no bytes"));
    }
    match formats::tell(head) {
        Some(Format::Picture(picture)) => Ok(picture),
        Some(Format::Unread(name)) => Err(unsupported(name)),
        Some(Format::Other(name)) => {
            Err(Fault::new(Reason::NotAPicture, format!("the file is {name}")))
        }
        None => Err(not_a_picture(head)),
    }
}

fn unsupported(name: &str) -> Fault {
    Fault::new(
        Reason::Unsupported,
        format!("a {name} file; JPEG, PNG, WebP, AVIF, GIF, BMP and TIFF are read"),
    )
}

fn not_a_picture(head: &[u8]) -> Fault {
    let start = head[..head.len().min(24)].escape_ascii();
    let text = String::from_utf8_lossy(&head[..head.len().min(512)]).to_ascii_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    // A page may begin with a comment, and an SVG with the XML declaration.
    let kind = TEXTS
        .iter()
        .find(|(begin, _)| text.starts_with(begin))
        .map(|&(_, kind)| match kind {
            "an XML document" if text.contains("<svg") => "an SVG drawing",
            kind => kind,
        })
        .or_else(|| text.contains("<html").then_some("a web page (HTML)"))
        .or_else(|| head.iter().all(|&byte| byte == 0).then_some("zeros"))
        .or_else(|| {
            let printable =
                |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n' | 0x80..);
            (std::str::from_utf8(&head[..head.len().min(64)]).is_ok_and(|text| !text.is_empty())
                && head.iter().take(64).all(printable))
            .then_some("text")
        });
    Fault::new(
        Reason::NotAPicture,
        match kind {
            Some(kind) => format!("the file looks like {kind}; it begins with \"{start}\""),
            None => format!("the file begins with \"{start}\""),
        },
    )
}
