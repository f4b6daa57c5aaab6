//! Runs → what is told: each arm's accuracies, how much sooner one arm is than another, and what a
//! change gains.

use serde::{Deserialize, Serialize};

use super::gather::{Axis, Gathered, Group, Kind};
use super::kept::Setup;
use super::plan::{Arm, Change, Family};
use super::ratio::{Gain, Sooner, Verdict, mean};
use crate::eval::score::percent;
use crate::settings::Recipe;

/// What an experiment gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentOutcome {
    /// One for each setup, whose runs can be compared.
    pub groups: Vec<GroupOutcome>,
    /// Folders of runs that are not finished, which are left out.
    pub unfinished: Vec<String>,
}

/// What the runs of one setup gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupOutcome {
    /// What they share.
    pub setup: Setup,
    /// Where they were made.
    pub machines: Vec<String>,
    /// By which time they are told: core time where all have it, else the clock.
    pub time: Axis,
    /// Each arm.
    pub arms: Vec<ArmOutcome>,
    /// How much sooner.
    pub sooner: Vec<SoonerOutcome>,
    /// What changes gain.
    pub gains: Vec<GainOutcome>,
}

/// What an arm gave, over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmOutcome {
    /// Its name.
    pub name: String,
    /// Its seeds.
    pub seeds: Vec<u64>,
    /// Its base rate, of the first seed.
    pub rate: f64,
    /// Thousands of views seen, on average.
    pub views: f64,
    /// Minutes by the clock, on average.
    pub clock: Option<f64>,
    /// Minutes of all cores, on average.
    pub cores: Option<f64>,
    /// By each kind of evaluation.
    pub kinds: Vec<KindOutcome>,
}

/// Accuracies of an arm by one kind of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KindOutcome {
    /// The kind.
    pub kind: Kind,
    /// Of the untrained encoder, on average.
    pub untrained: f64,
    /// At the end, on average.
    pub end: f64,
    /// The standard deviation of that over the seeds (with n − 1); none of one seed.
    pub deviation: Option<f64>,
    /// The best of the means along the way.
    pub best: f64,
    /// The layer that did best in the first seed's end, counted from 1, of how many.
    pub layer: Option<(usize, usize)>,
}

/// How much sooner an arm reaches what another reaches in its whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SoonerOutcome {
    /// The arm that is said to be faster.
    pub fast: String,
    /// The other.
    pub slow: String,
    /// The paper's ratio of times.
    pub paper: Option<f64>,
    /// The kind of evaluation.
    pub kind: Kind,
    /// By what it is measured.
    pub axis: Axis,
    /// What came out; none where the slower arm was at no time better than an untrained encoder.
    pub found: Option<Sooner>,
    /// What can be said of it.
    pub verdict: Option<Verdict>,
}

/// What an arm has at the end that another has not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GainOutcome {
    /// The arm.
    pub arm: String,
    /// The one that it is held against.
    pub against: String,
    /// The kind of evaluation.
    pub kind: Kind,
    /// The difference of accuracies.
    pub gain: Gain,
}

/// A pair of arms of which the paper says that one is so many times faster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// The faster.
    pub fast: Arm,
    /// The slower.
    pub slow: Arm,
    /// The ratio of times; none where the paper gives none.
    pub paper: Option<f64>,
}

/// What is held against the paper's abstract and figure 1: who is how much sooner.
pub fn claims() -> Vec<Claim> {
    let arm = Arm::of;
    let claim = |family, fast, slow, paper| Claim {
        fast: arm(family, fast),
        slow: arm(family, slow),
        paper,
    };
    use Recipe::{Greenmim, LocalmimHog, LocalmimPixel, Mae, Maskfeat, Simmim};
    vec![
        claim(Family::Vit, LocalmimHog, Mae, Some(3.1)),
        claim(Family::Vit, LocalmimHog, Maskfeat, Some(5.6)),
        claim(Family::Vit, LocalmimPixel, Mae, None),
        claim(Family::Swin, LocalmimHog, Simmim, Some(3.6)),
        claim(Family::Swin, LocalmimHog, Greenmim, Some(6.4)),
    ]
}

/// Which arms are held against each other for what they have at the end.
pub fn changes() -> Vec<(Arm, Arm)> {
    let changed = Arm::changed;
    vec![
        (changed(Change::OneScale), changed(Change::TopOnly)),
        (Arm::BASE, changed(Change::OneScale)),
        (Arm::BASE, changed(Change::TopOnly)),
        (changed(Change::LocalGradients), Arm::BASE),
        (Arm::BASE, changed(Change::OneView)),
        (changed(Change::EightViews), Arm::BASE),
    ]
}

impl ExperimentOutcome {
    /// Of runs that were put together.
    pub(super) fn new(gathered: &Gathered) -> Self {
        let unfinished = gathered.unfinished.iter().map(|path| path.display().to_string());
        Self {
            groups: gathered.groups.iter().map(GroupOutcome::new).collect(),
            unfinished: unfinished.collect(),
        }
    }

    /// The tables as Markdown.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for group in &self.groups {
            text += &format!("{}\n\n", group.setup.text());
            text += &markdown(&GroupOutcome::ARMS, group.arm_rows());
            if !group.sooner.is_empty() {
                text += &format!("\n{}", markdown(&GroupOutcome::SOONER, group.sooner_rows()));
            }
            if !group.gains.is_empty() {
                text += &format!("\n{}", markdown(&GroupOutcome::GAINS, group.gain_rows()));
            }
            text.push('\n');
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
    /// In a sentence.
    pub fn text(&self) -> String {
        let model = self.bench.model.map_or("small encoders", |model| model.name());
        format!(
            "{} pictures of {} classes at {} pixels, {model}, {}: {} minutes a run; judged from {} pictures on {}.",
            self.pictures,
            self.classes,
            self.bench.size,
            self.bench.precision.name(),
            self.scale.minutes,
            self.scale.train_pictures,
            self.scale.test_pictures,
        )
    }
}

impl GroupOutcome {
    fn new(group: &Group) -> Self {
        let mut machines: Vec<String> = vec![];
        for run in &group.runs {
            let machine = &run.record.machine;
            let name = match machine.on_cores {
                true => format!("{} cores of {}", machine.cores, machine.processor),
                false => format!("{} beside {}", machine.device, machine.processor),
            };
            if !machines.contains(&name) {
                machines.push(name);
            }
        }
        let arms = group.arms();
        let has = |arm: &Arm| arms.contains(arm);
        let claims = claims();
        let here = claims.iter().filter(|claim| has(&claim.fast) && has(&claim.slow));
        let sooner = here.flat_map(|claim| sooner(group, claim)).collect();
        let changes = changes().into_iter().filter(|(a, b)| has(a) && has(b));
        let gains = changes.flat_map(|(arm, against)| gains(group, arm, against)).collect();
        Self {
            setup: group.setup,
            machines,
            time: if group.has(Axis::Cores) { Axis::Cores } else { Axis::Clock },
            arms: arms.iter().map(|&arm| ArmOutcome::new(group, arm)).collect(),
            sooner,
            gains,
        }
    }

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
                format!("{:e}", arm.rate),
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
                views.found.map_or("none".to_owned(), |found| percent(found.bar)),
                by(Axis::Cores),
                by(Axis::Clock),
                by(Axis::Views),
                views.paper.map_or("–".to_owned(), |paper| format!("{paper} by time")),
            ]);
        }
        rows
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

impl SoonerOutcome {
    /// The ratio with its interval, and what it does not show.
    pub fn text(&self) -> String {
        let Some(found) = self.found else {
            return format!("{} learned nothing", self.slow);
        };
        let ratio = match found.fast {
            Some(_) => format!("{:.1}", found.ratio),
            None => "never".to_owned(),
        };
        match (found.interval, found.verdict()) {
            (Some((low, high)), verdict) => {
                let shown = if verdict == Verdict::NotShown { "; not shown" } else { "" };
                format!("{ratio} ({low:.1} to {high:.1}{shown})")
            }
            (None, Verdict::OneSeed) if found.seeds < 2 => format!("{ratio} (one seed)"),
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

impl ArmOutcome {
    fn new(group: &Group, arm: Arm) -> Self {
        let runs: Vec<_> = group.of(arm).collect();
        let at_end = |axis| {
            let ends: Option<Vec<f64>> = runs
                .iter()
                .map(|run| run.curve(Kind::Linear, axis)?.last().map(|end| end.0))
                .collect();
            ends.map(|ends| average(&ends))
        };
        let kind = |kind: Kind| {
            let curves: Option<Vec<_>> =
                runs.iter().map(|run| run.curve(kind, Axis::Views)).collect();
            let curves = curves?;
            let line = mean(&curves.iter().collect::<Vec<_>>());
            let ends: Vec<f64> = curves.iter().filter_map(|curve| Some(curve.last()?.1)).collect();
            Some(KindOutcome {
                kind,
                untrained: line.first()?.1,
                end: average(&ends),
                deviation: deviation(&ends),
                best: line.iter().skip(1).map(|point| point.1).fold(0.0, f64::max),
                layer: runs.first()?.best_layer(kind),
            })
        };
        Self {
            name: arm.name(),
            seeds: runs.iter().map(|run| run.record.seed).collect(),
            rate: runs.first().map_or(0.0, |run| run.record.rate),
            views: at_end(Axis::Views).unwrap_or(0.0),
            clock: at_end(Axis::Clock),
            cores: at_end(Axis::Cores),
            kinds: Kind::ALL.into_iter().filter_map(kind).collect(),
        }
    }
}

/// A claim by each kind of evaluation and each measure that its runs have.
fn sooner(group: &Group, claim: &Claim) -> Vec<SoonerOutcome> {
    let mut all = vec![];
    for kind in Kind::ALL {
        for axis in Axis::ALL {
            let (fast, slow) = group.pairs(claim.fast, claim.slow, kind, axis);
            if fast.is_empty() {
                continue;
            }
            let found = Sooner::of(&fast, &slow);
            all.push(SoonerOutcome {
                fast: claim.fast.name(),
                slow: claim.slow.name(),
                paper: claim.paper,
                kind,
                axis,
                verdict: found.map(|found| found.verdict()),
                found,
            });
        }
    }
    all
}

/// A change by each kind of evaluation.
fn gains(group: &Group, arm: Arm, against: Arm) -> Vec<GainOutcome> {
    let of = |kind: Kind| {
        let (a, b) = group.pairs(arm, against, kind, Axis::Views);
        let ends = a.iter().zip(&b).filter_map(|(a, b)| Some(a.last()?.1 - b.last()?.1));
        let gain = Gain::of(&ends.collect::<Vec<_>>())?;
        Some(GainOutcome { arm: arm.name(), against: against.name(), kind, gain })
    };
    Kind::ALL.into_iter().filter_map(of).collect()
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// That of a sample.
fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = average(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_a_sample() {
        assert_eq!(deviation(&[1.0]), None);
        assert!((deviation(&[1.0, 2.0, 3.0]).unwrap() - 1.0).abs() < 1e-12);
    }

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
            SoonerOutcome { fast, slow, paper, kind, axis, found, verdict }.text()
        };
        assert_eq!(text(Some(found)), "2.0 (0.9 to 2.4; not shown)");
        let interval = Some((1.1, 2.4));
        assert_eq!(text(Some(Sooner { interval, ..found })), "2.0 (1.1 to 2.4)");
        let one = Sooner { interval: None, seeds: 1, ..found };
        assert_eq!(text(Some(one)), "2.0 (one seed)");
        let never = Sooner { fast: None, ratio: 0.0, ..one };
        assert_eq!(text(Some(never)), "never (one seed)");
        assert_eq!(text(None), "b learned nothing");
    }
}
