//! What an experiment gave, in tables and words.

use super::gather::Axis;
use super::judged::Kind;
use super::kept::Setup;
use super::outcome::{
    ArmOutcome, ExperimentOutcome, GainOutcome, GroupOutcome, KindOutcome, SoonerOutcome,
};
use super::ratio::{Level, Verdict};
use crate::eval::score::percent;

impl ExperimentOutcome {
    /// The tables as Markdown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for group in &self.groups {
            text += &format!("{}\n\n", group.setup.text(group.judged));
            text += &markdown(&GroupOutcome::ARMS, group.arm_rows());
            if !group.sooner.is_empty() {
                text += &format!("\n{}", markdown(&GroupOutcome::SOONER, group.sooner_rows()));
            }
            if !group.gains.is_empty() {
                text += &format!("\n{}", markdown(&GroupOutcome::GAINS, group.gain_rows()));
            }
            for note in &group.notes {
                text += &format!("\nnote: {note}\n");
            }
            text.push('\n');
        }
        for run in &self.diverged {
            text += &format!("its numbers were none, and it is left out: {run}\n");
        }
        for run in &self.unfinished {
            text += &format!("not finished, and left out: {run}\n");
        }
        text
    }
}

fn markdown(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&headings.iter().map(ToString::to_string).collect::<Vec<_>>());
    text += &line(&headings.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
    text + &rows.iter().map(|row| line(row)).collect::<String>()
}

impl Setup {
    /// In a sentence, given how many pictures encoders were judged from, and on.
    pub fn text(&self, judged: Option<(u64, u64)>) -> String {
        let (train, test) = judged.unwrap_or((self.scale.train_pictures, self.scale.test_pictures));
        let model = self.bench.model.map_or("small encoders", |model| model.name());
        format!(
            "{} pictures of {} classes at {} pixels, {model}, {}: {} minutes a run; judged from {train} pictures on {test}.",
            self.pictures,
            self.classes,
            self.bench.size,
            self.bench.precision.name(),
            self.scale.minutes,
        )
    }
}

impl GroupOutcome {
    /// The headings of [`Self::arm_rows`].
    pub const ARMS: [&'static str; 9] = [
        "arm",
        "seeds",
        "base rate",
        "minutes",
        "core minutes",
        "views, 10³",
        "k-NN: untrained → end",
        "linear: untrained → end",
        "best layers",
    ];

    /// A row an arm.
    pub fn arm_rows(&self) -> Vec<Vec<String>> {
        let minutes = |minutes: Option<f64>| minutes.map_or("–".into(), |m| format!("{m:.1}"));
        let row = |arm: &ArmOutcome| {
            let of = |kind| arm.kinds.iter().find(|of| of.kind == kind);
            let text = |kind| of(kind).map_or("–".to_owned(), KindOutcome::text);
            let layer = |kind| {
                let layer = of(kind).and_then(|of| of.layer);
                layer.map_or("–".to_owned(), |(layer, of)| format!("{layer} of {of}"))
            };
            let seeds: Vec<_> = arm.seeds.iter().map(ToString::to_string).collect();
            vec![
                arm.name.clone(),
                seeds.join(", "),
                arm.rates.iter().map(|rate| format!("{rate:e}")).collect::<Vec<_>>().join(", "),
                minutes(arm.clock),
                minutes(arm.cores),
                format!("{:.0}", arm.views),
                text(Kind::Knn),
                text(Kind::Linear),
                format!("{}; {}", layer(Kind::Knn), layer(Kind::Linear)),
            ]
        };
        self.arms.iter().map(row).collect()
    }

    /// The headings of [`Self::sooner_rows`].
    pub const SOONER: [&'static str; 7] = [
        "who reaches whose best",
        "judged by",
        "bar",
        "times sooner by core time",
        "by the clock",
        "by views",
        "the paper",
    ];

    /// A row a claim and kind of evaluation.
    pub fn sooner_rows(&self) -> Vec<Vec<String>> {
        let mut rows: Vec<Vec<String>> = vec![];
        for views in self.sooner.iter().filter(|sooner| sooner.axis == Axis::Views) {
            let by = |axis| {
                let same = |other: &&SoonerOutcome| {
                    (&other.fast, &other.slow, other.kind) == (&views.fast, &views.slow, views.kind)
                        && other.axis == axis
                };
                self.sooner.iter().find(same).map_or("–".to_owned(), SoonerOutcome::text)
            };
            rows.push(vec![
                format!("{} reaches {}'s", views.fast, views.slow),
                views.kind.name().to_owned(),
                views
                    .found
                    .map_or("none: never above untrained".to_owned(), |found| percent(found.bar)),
                by(Axis::Cores),
                by(Axis::Clock),
                by(Axis::Views),
                views.paper.map_or("–".to_owned(), |paper| format!("{paper} by time")),
            ]);
        }
        rows
    }

    /// The headings of [`Self::level_rows`].
    pub const LEVELS: [&'static str; 5] =
        ["arms", "linear accuracy", "the first reaches it at", "the second at", "times sooner"];

    /// A row a claim and accuracy that both of its arms reach, over the time of the plot.
    pub fn level_rows(&self) -> Vec<Vec<String>> {
        let shown = self.sooner.iter().filter(|of| (of.kind, of.axis) == (Kind::Linear, self.time));
        let row = |of: &SoonerOutcome, level: &Level| {
            let sure = level.interval.map_or("no interval".to_owned(), between);
            vec![
                format!("{}, {}", of.fast, of.slow),
                percent(level.accuracy),
                format!("{:.1}", level.fast),
                format!("{:.1}", level.slow),
                format!("{:.1} ({sure})", level.ratio()),
            ]
        };
        shown.flat_map(|of| of.levels.iter().map(move |level| row(of, level))).collect()
    }

    /// The headings of [`Self::gain_rows`].
    pub const GAINS: [&'static str; 4] = ["arm", "against", "judged by", "points more at the end"];

    /// A row a change and kind of evaluation.
    pub fn gain_rows(&self) -> Vec<Vec<String>> {
        let row = |of: &GainOutcome| {
            let points = |share: f64| format!("{:+.1}", 100.0 * share);
            let how = match of.gain.interval {
                None => "one seed: nothing shown".to_owned(),
                Some((low, high)) => {
                    let shown = if low > 0.0 || high < 0.0 { "" } else { "; not shown" };
                    format!("{} to {}{shown}", points(low), points(high))
                }
            };
            vec![
                of.arm.clone(),
                of.against.clone(),
                of.kind.name().to_owned(),
                format!("{} ({how})", points(of.gain.mean)),
            ]
        };
        self.gains.iter().map(row).collect()
    }
}

/// An interval of ratios, and what it does not show.
fn between((low, high): (f64, f64)) -> String {
    let shown = if Verdict::of((low, high)) == Verdict::NotShown { "; not shown" } else { "" };
    // A ratio of 0 is that of an arm which does not get there.
    let low = if low == 0.0 { "not at all".to_owned() } else { format!("{low:.1}") };
    format!("{low} to {high:.1}{shown}")
}

impl SoonerOutcome {
    /// The ratio with its interval, and what it does not show.
    pub fn text(&self) -> String {
        let Some(found) = self.found else {
            return "no bar".to_owned();
        };
        let ratio = match found.fast {
            Some(_) => format!("{:.1}", found.ratio),
            None => "not reached".to_owned(),
        };
        match (found.interval, found.verdict()) {
            (Some((_, 0.0)), _) => format!("{ratio} (in no draw)"),
            (Some(interval), _) => format!("{ratio} ({})", between(interval)),
            (None, Verdict::OneSeed) => format!("{ratio} (one seed)"),
            (None, _) => format!("{ratio} (no interval)"),
        }
    }
}

impl KindOutcome {
    fn text(&self) -> String {
        let spread = self.deviation.map_or(String::new(), |d| format!(" ± {:.1}", 100.0 * d));
        format!("{} → {}{spread}", percent(self.untrained), percent(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ratio::Sooner;
    use super::*;

    #[test]
    fn nothing_is_said_to_be_shown_that_is_not() {
        let found = Sooner {
            bar: 0.4,
            slow: 3.0,
            fast: Some(1.5),
            ratio: 2.0,
            interval: Some((0.9, 2.4)),
            seeds: 3,
        };
        let text = |found: Option<Sooner>| {
            let verdict = found.map(|found| found.verdict());
            let (fast, slow) = ("a".to_owned(), "b".to_owned());
            let (kind, axis, paper) = (Kind::Knn, Axis::Views, None);
            SoonerOutcome { fast, slow, paper, kind, axis, found, verdict, levels: vec![] }.text()
        };
        assert_eq!(text(Some(found)), "2.0 (0.9 to 2.4; not shown)");
        let some = Sooner { fast: None, ratio: 0.0, interval: Some((0.0, 5.2)), ..found };
        assert_eq!(text(Some(some)), "not reached (not at all to 5.2; not shown)");
        let interval = Some((1.1, 2.4));
        assert_eq!(text(Some(Sooner { interval, ..found })), "2.0 (1.1 to 2.4)");
        let one = Sooner { interval: None, seeds: 1, ..found };
        assert_eq!(text(Some(one)), "2.0 (one seed)");
        let never = Sooner { fast: None, ratio: 0.0, ..one };
        assert_eq!(text(Some(never)), "not reached (one seed)");
        let no_seed = Sooner { interval: Some((0.0, 0.0)), ..Sooner { seeds: 3, ..never } };
        assert_eq!(text(Some(no_seed)), "not reached (in no draw)");
        let unsure = Sooner { seeds: 3, ..one };
        assert_eq!(text(Some(unsure)), "2.0 (no interval)");
        assert_eq!(text(None), "no bar");
    }
}
