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
.neighbours { --trained: #1f497d; --untrained: #8a8a8a; --same: #2e8b57; }
.neighbours .headline { font-size: 1.35rem; margin: 1.2rem 0 0.6rem; }
.neighbours .bars { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 0.8rem;
                    margin: 0; max-width: 40rem; }
.neighbours .bars dt { color: #555; } .neighbours .bars dd { margin: 0; display: flex; gap: 0.6rem;
                    align-items: center; white-space: nowrap; margin-right: 4.5rem; }
.neighbours .bar { height: 0.9rem; border-radius: 2px; background: #c9ced6; flex: none; }
.neighbours .bar.trained { background: var(--trained); }
.neighbours .bar.untrained { background: var(--untrained); }
.neighbours .note { color: #555; font-size: 0.88rem; }
.neighbours .mark { color: var(--same); font-weight: 700; }
.neighbours article { display: grid; grid-template-columns: 8.5rem 1fr; gap: 1.4rem;
                      padding: 1.1rem 0; border-top: 1px solid #e6e6e6; }
.neighbours .asked { margin: 0; }
.neighbours .asked img { width: 100%; aspect-ratio: 1; border-radius: 6px; display: block; }
.neighbours .asked figcaption { margin-top: 0.4rem; line-height: 1.35; }
.neighbours .asked strong { display: block; color: #1c1c1c; font-size: 1rem; }
.neighbours .asked span { display: block; overflow-wrap: anywhere; font-size: 0.75rem; }
.neighbours .strips { min-width: 0; display: grid; gap: 0.9rem; }
.neighbours h3 { font-size: 0.88rem; margin: 0 0 0.3rem; color: var(--untrained); }
.neighbours .trained h3 { color: var(--trained); }
.neighbours h3 span { font-weight: 400; margin-left: 0.6rem; color: #555; }
.neighbours ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 0.5rem;
                 grid-template-columns: repeat(auto-fill, minmax(4.9rem, 1fr)); }
.neighbours li { min-width: 0; font-size: 0.75rem; line-height: 1.3; }
.neighbours li img { width: 100%; aspect-ratio: 1; border-radius: 4px; display: block;
                     box-sizing: border-box; border: 3px solid transparent; }
.neighbours li.same img { border-color: var(--same); }
.neighbours li span { display: block; } .neighbours li .mark { display: inline; }
.neighbours .cosine { font-variant-numeric: tabular-nums; color: #1c1c1c; margin-top: 0.15rem; }
.neighbours .class { color: #777; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media (max-width: 40rem) {
  .neighbours article { grid-template-columns: 1fr; gap: 0.8rem; }
  .neighbours .asked { display: grid; grid-template-columns: 6.5rem 1fr; gap: 0.8rem;
                       align-items: end; }
}
.warning { border-left: 4px solid #d66024; background: #fdf3ec; padding: 0.6rem 0.9rem; }
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
