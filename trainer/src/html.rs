//! What all pages share: text made safe, tables, the style, the frame.

use std::fs;
use std::io;
use std::path::Path;

/// Text made safe for HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// A table of names and values.
pub fn facts(rows: &[(String, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| {
            format!("<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value))
        })
        .collect();
    format!("<table class=\"facts\">{rows}</table>")
}

/// A table with a row of headings.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = String>| {
        let cells: String = cells.map(|cell| format!("<{tag}>{cell}</{tag}>")).collect();
        format!("<tr>{cells}</tr>")
    };
    let head = cells("th", &mut headings.iter().map(|heading| escape(heading)));
    let rows: String =
        rows.iter().map(|row| cells("td", &mut row.iter().map(|cell| escape(cell)))).collect();
    format!("<div class=\"scroll\"><table>{head}{rows}</table></div>")
}

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
       color: #1c1c1c; background: #fff; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top;
         border-bottom: 1px solid #e6e6e6; }
.facts th { font-weight: 500; color: #555; }
.matrix th { font-weight: 500; color: #555; border: 0; padding: 0.15rem 0.5rem; }
.matrix td { text-align: right; border: 1px solid #fff; padding: 0.15rem 0.5rem;
             font-variant-numeric: tabular-nums; }
.matrix .across { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
figure { margin: 1.2rem 0; } figcaption { font-size: 0.88rem; color: #555; margin-bottom: 0.3rem; }
img, svg { max-width: 100%; height: auto; }
img.pixels { image-rendering: pixelated; }
.scroll { overflow-x: auto; }
";

/// A whole page of a body of HTML.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>\n",
        escape(title)
    )
}

/// Writes a file whole or not at all; its folder is made.
///
/// # Errors
/// What the system says.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_the_web_stay_text() {
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
        assert!(!table(&["a"], &[vec!["<b>".into()]]).contains("<b>"));
    }
}
