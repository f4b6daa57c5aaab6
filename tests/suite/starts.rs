//! What parameters start with, against what the methods' own constructors draw.
//!
//! `golden/starts.json` holds the moments of each parameter over several seeds, and
//! `golden/starts.py` made it. Two samples of one distribution differ by chance; what is allowed
//! for that follows from how many values there are.

use std::collections::BTreeMap;

use schemas::{PictureFilter, ShardLayout};
use trainer::device::DeviceKind;
use trainer::import::name_here;
use trainer::model::init::init;
use trainer::settings::{Options, Settings};

/// As many as the file was made from.
const SEEDS: u64 = 8;

/// Deviations that a difference by chance may be of: one such in 10⁶.
const CHANCE: f64 = 5.0;

/// A network of a method, and the moments of its parameters by the authors' names.
#[derive(serde::Deserialize)]
struct Method {
    options: Options,
    size: u32,
    moments: BTreeMap<String, Moments>,
}

/// Count, mean, deviation, least, greatest.
#[derive(serde::Deserialize, Debug, Clone, Copy)]
struct Moments(usize, f64, f64, f64, f64);

impl Moments {
    fn of(values: &[f32]) -> Self {
        let count = values.len() as f64;
        let each = || values.iter().map(|&value| f64::from(value));
        let mean = each().sum::<f64>() / count;
        let variance = each().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let least = each().fold(f64::INFINITY, f64::min);
        let greatest = each().fold(f64::NEG_INFINITY, f64::max);
        Self(values.len(), mean, variance.sqrt(), least, greatest)
    }

    /// Whether values end at a bound: the farthest of a uniform one is 1.7 deviations away, of as
    /// many normal ones as there are here more than two.
    fn end_at_a_bound(self) -> bool {
        let Self(_, mean, deviation, least, greatest) = self;
        (greatest - mean).max(mean - least) < 2.0 * deviation
    }

    /// Holds a sample against another of the same distribution.
    fn hold(self, published: Self, name: &str) {
        let Self(count, mean, deviation, least, greatest) = published;
        assert_eq!(self.0, count, "{name}");
        let text = format!("{name}: {self:?}, published {published:?}");
        if deviation == 0.0 {
            // Six digits of the file.
            let close = |value: f64| (value - mean).abs() < 1e-6;
            assert!(close(self.3) && close(self.4), "{text}");
            return;
        }
        let values = count as f64;
        assert!((self.1 - mean).abs() < CHANCE * deviation * (2.0 / values).sqrt(), "{text}");
        // A deviation of n normal values has one of 1/√(2n) of itself, of uniform ones less.
        assert!((self.2 / deviation - 1.0).abs() < CHANCE / values.sqrt(), "{text}");
        assert_eq!(self.end_at_a_bound(), published.end_at_a_bound(), "{text}");
        // How far the farthest of n falls short of a bound, or strays where there is none, is
        // exponential about as follows.
        let stray = match published.end_at_a_bound() {
            true => (greatest - least) / values,
            false => deviation / (2.0 * values.ln()).sqrt(),
        };
        let most = 1e6_f64.ln() * stray;
        assert!((self.3 - least).abs() < most && (self.4 - greatest).abs() < most, "{text}");
    }
}

#[test]
fn parameters_start_as_their_authors_have_them() {
    let methods: Vec<Method> = serde_json::from_str(include_str!("../golden/starts.json")).unwrap();
    for Method { options, size, moments } in methods {
        let settings = Settings::resolve(options, DeviceKind::Cpu).unwrap();
        let layout = ShardLayout {
            size,
            cells: vec![],
            bins: 9,
            codebooks: vec![],
            picture_filter: PictureFilter::None,
        };
        let network = settings.network(&layout).unwrap();
        let mut values: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for seed in 0..SEEDS {
            for (name, tensor) in init(&network, settings.start, seed) {
                values.entry(name).or_default().extend(tensor.data);
            }
        }
        for (published, expected) in moments {
            let name = name_here(&published, &network);
            let ours = values.remove(&name).unwrap_or_else(|| panic!("no {name}"));
            let name = format!("{}: {name}", settings.recipe.name());
            Moments::of(&ours).hold(expected, &name);
        }
        assert!(values.is_empty(), "not in the published code: {:?}", values.keys());
    }
}
