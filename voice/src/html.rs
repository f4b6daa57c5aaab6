//! What all pages of both programs share: the frame and its style, tables, pictures.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem;
       color: #1c1c1c; background: #fff; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.92rem; }
th, td { text-align: left; padding: 0.2rem 1rem 0.2rem 0; vertical-align: top;
         border-bottom: 1px solid #e6e6e6; }
.facts th { font-weight: 500; color: #555; }
.facts td { overflow-wrap: anywhere; }
.matrix th { font-weight: 500; color: #555; border: 0; padding: 0.15rem 0.5rem; }
.matrix td { text-align: right; border: 1px solid #fff; padding: 0.15rem 0.5rem;
             font-variant-numeric: tabular-nums; }
.matrix .across { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; }
figure { margin: 1.2rem 0; } figcaption { font-size: 0.88rem; color: #555; margin-bottom: 0.3rem; }
img, svg { max-width: 100%; height: auto; }
img.pixels { image-rendering: pixelated; }
.scroll { overflow-x: auto; } figure .scroll svg { min-width: 34rem; }
.claims td { white-space: nowrap; } .claims td:first-child { white-space: normal; }
.claims figcaption { font-size: 1rem; color: inherit; }
h3 { font-size: 1rem; margin: 1.2rem 0 0.4rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(5rem, 1fr)); gap: 4px; }
.grid img { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 3px; }
img.preview { min-width: 44rem; }
.roses { display: flex; flex-wrap: wrap; gap: 1.5rem; } .roses figure { margin: 0; }
.roses figcaption { text-align: center; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 0 2.5rem; }
.chart dl { display: grid; grid-template-columns: minmax(3rem, max-content) 1fr; gap: 0.2rem 0.8rem; margin: 0;
            font-size: 0.9rem; }
.chart dt { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; max-width: 13rem; }
.chart dd { margin: 0; display: flex; gap: 0.6rem; align-items: center; white-space: nowrap;
            font-variant-numeric: tabular-nums; color: #555; }
.chart .bar { background: #2458a6; height: 0.8rem; border-radius: 2px; min-width: 2px; }
.cluster { display: flex; gap: 0.8rem; align-items: center; margin: 0.4rem 0; }
.cluster .grid { flex: 1; grid-template-columns: repeat(auto-fill, 5.5rem); }
.count { color: #555; font-variant-numeric: tabular-nums; min-width: 2.2rem; }
.example { margin: 0.2rem 0 0.5rem; font-size: 0.88rem; color: #555; overflow-wrap: anywhere; }
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
                 grid-template-columns: repeat(var(--columns), minmax(0, 1fr)); }
.neighbours li { min-width: 0; font-size: 0.75rem; line-height: 1.3; }
.neighbours li img { width: 100%; aspect-ratio: 1; border-radius: 4px; display: block;
                     box-sizing: border-box; border: 3px solid transparent; }
.neighbours li.same img { border-color: var(--same); }
.neighbours li span { display: block; } .neighbours li .mark { display: inline; }
.neighbours .cosine { font-variant-numeric: tabular-nums; color: #1c1c1c; margin-top: 0.15rem; }
.neighbours .class { color: #777; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media (max-width: 40rem) {
  .neighbours article { grid-template-columns: minmax(0, 1fr); gap: 0.8rem; }
  .neighbours ol { grid-template-columns: repeat(auto-fill, minmax(4.7rem, 1fr)); }
  .neighbours .asked { display: grid; grid-template-columns: 6.5rem 1fr; gap: 0.8rem;
                       align-items: end; }
}
.warning { border-left: 4px solid #d66024; background: #fdf3ec; padding: 0.6rem 0.9rem; }
";

/// A whole page of a body, which may hold what strangers have named: all text in markup is escaped.
pub fn document(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// A table of names and values.
pub fn facts<N: Render, V: Render>(rows: impl IntoIterator<Item = (N, V)>) -> Markup {
    html! {
        table.facts {
            @for (name, value) in rows { tr { th { (name) } td { (value) } } }
        }
    }
}

/// A table with a row of headings.
pub fn table<R: IntoIterator<Item: Render>>(
    headings: &[impl Render],
    rows: impl IntoIterator<Item = R>,
) -> Markup {
    html! {
        div.scroll {
            table {
                tr { @for heading in headings { th { (heading) } } }
                @for row in rows { tr { @for cell in row { td { (cell) } } } }
            }
        }
    }
}

/// A wide picture, with what it shows above it.
pub fn sheet(caption: &str, png: &[u8]) -> Markup {
    html! {
        figure {
            figcaption { (caption) }
            div.scroll { img alt=(caption) src=(data_url("image/png", png)); }
        }
    }
}

/// A picture as an address that holds it, so that a page needs no files beside it.
pub fn data_url(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_from_the_web_stays_text() {
        let page = document("</title><script>", &html! { p { "a < b" } });
        assert!(page.contains("&lt;/title&gt;&lt;script&gt;"));
        assert!(page.contains("<p>a &lt; b</p>"));
    }

    #[test]
    fn names_from_the_web_stay_text() {
        let hostile = "<a href=\"x\">&";
        let safe = "&lt;a href=&quot;x&quot;&gt;&amp;";
        assert_eq!(
            facts([(hostile, hostile)]).into_string(),
            format!("<table class=\"facts\"><tr><th>{safe}</th><td>{safe}</td></tr></table>")
        );
        assert_eq!(
            table(&[hostile], [[hostile]]).into_string(),
            format!(
                "<div class=\"scroll\"><table><tr><th>{safe}</th></tr><tr><td>{safe}</td></tr></table></div>"
            )
        );
        let sheet = sheet(hostile, b"png").into_string();
        assert!(sheet.contains(&format!("alt=\"{safe}\" src=\"data:image/png;base64,cG5n\"")));
        assert!(!sheet.contains("<a"));
    }
}
