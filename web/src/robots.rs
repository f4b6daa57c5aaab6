//! What a server allows to be done with what it sends, by its field `X-Robots-Tag`.

/// Directives that forbid to collect what is sent for training, or at all.
const FORBIDDING: [&str; 5] = ["noai", "noimageai", "noindex", "noimageindex", "none"];
/// Directives that have a value; what stands before other colons is whom the rest concerns.
const WITH_VALUES: [&str; 4] =
    ["unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"];

/// The names by which a server may speak to a client of this `User-Agent`, in lower case.
#[derive(Debug)]
pub(crate) struct Agents(Vec<String>);

impl Agents {
    pub fn of(user_agent: &str) -> Self {
        let words = user_agent.split(|c: char| c.is_whitespace() || "();,".contains(c));
        let names = words.map(|word| word.split('/').next().unwrap_or_default());
        let names = names.filter(|name| !name.is_empty()).map(str::to_ascii_lowercase);
        Self(names.chain(["*".to_owned()]).collect())
    }

    /// The first directive of a field that forbids.
    pub fn forbidden(&self, field: &str) -> Option<&'static str> {
        let field = field.to_ascii_lowercase();
        let mut is_for_us = true;
        for part in field.split([',', ';']) {
            let words = match part.split_once(':') {
                None => part,
                Some((name, _)) if WITH_VALUES.contains(&name.trim()) => continue,
                // A part of a date.
                Some((name, _)) if name.trim().contains(char::is_whitespace) => continue,
                Some((agent, words)) => {
                    is_for_us = self.0.iter().any(|name| name == agent.trim());
                    words
                }
            };
            let forbids = |word| FORBIDDING.into_iter().find(|directive| *directive == word);
            let found = words.split_whitespace().find_map(forbids);
            if is_for_us && found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forbids_is_found_among_the_directives() {
        let agents = Agents::of("localmim-ingest/0.1.0 (+mailto:crawl@example.com)");
        for (field, forbidden) in [
            ("noai", Some("noai")),
            ("noarchive, NoImageAI", Some("noimageai")),
            ("nofollow,noindex", Some("noindex")),
            ("none", Some("none")),
            ("noimageindex; noai", Some("noimageindex")),
            ("noai noimageai", Some("noai")),
            ("all", None),
            ("", None),
            ("nofollow, nosnippet", None),
            ("*: noai", Some("noai")),
            ("localmim-ingest: noindex", Some("noindex")),
            ("Localmim-Ingest : nofollow, noai", Some("noai")),
            ("googlebot: noindex, noai", None),
            ("googlebot: noindex, *: noai", Some("noai")),
            ("unavailable_after: 25 Jun 2010 15:00:00 PST", None),
            ("unavailable_after: Wed, 25 Jun 2036 15:00:00 GMT, noai", Some("noai")),
            ("max-snippet: 50, noindex", Some("noindex")),
            ("max-image-preview:none", None),
        ] {
            assert_eq!(agents.forbidden(field), forbidden, "{field}");
        }
    }

    #[test]
    fn a_client_goes_by_each_product_that_it_names() {
        let agents = Agents::of("Mozilla/5.0 (compatible; MyBot/1.0)");
        assert_eq!(agents.forbidden("mybot: noai"), Some("noai"));
        assert_eq!(agents.forbidden("localmim-ingest: noai"), None);
    }
}
