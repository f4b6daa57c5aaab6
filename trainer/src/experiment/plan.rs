//! What is compared: an arm is a recipe on an encoder, with at most one thing changed, at a size that
//! two cores can train.

use std::fmt;
use std::str::FromStr;

use schemas::ShardLayout;
use serde::{Deserialize, Serialize};

use crate::device::DeviceKind;
use crate::model::{Decay, EncoderConfig, ModelName, Positions, Precision};
use crate::settings::{Options, Recipe, Settings, SettingsError};

/// The side of a view in pixels, unless another is asked for.
///
/// Small pictures are enlarged: on 32 pixels with patches of 4, a quarter of a patch would be a HOG
/// cell of one pixel, which has one gradient and no histogram. On 64 with patches of 8 the finest
/// cell is half a patch, 4 pixels, as it is for the paper's 14-pixel patches.
pub const SIZE: u32 = 64;

/// The target cells of views of [`SIZE`].
const CELLS: [u32; 3] = [4, 8, 16];

/// Views a batch.
pub const BATCH: usize = 64;

/// Views of each picture that are stored, unless an arm changes that.
const VIEWS: u32 = 4;

/// The base learning rates that are tried for each arm.
pub const RATES: [f64; 3] = [5e-4, 1.5e-3, 4.5e-3];

/// The part of a run whose encoder is shown beside that of its end: one of [`POINTS`].
const EARLY: f64 = 1.0 / 8.0;

/// The parts of a run after which its encoder is judged: the closer together the earlier, for that is
/// when the faster methods get to where the slower ones end.
const POINTS: [f64; 12] = [
    1.0 / 64.0,
    1.0 / 32.0,
    1.0 / 16.0,
    EARLY,
    3.0 / 16.0,
    1.0 / 4.0,
    3.0 / 8.0,
    1.0 / 2.0,
    5.0 / 8.0,
    3.0 / 4.0,
    7.0 / 8.0,
    1.0,
];

/// The steps after which an encoder is judged, rising; the last is that of the run.
pub fn points(steps: u64) -> Vec<u64> {
    let mut points: Vec<u64> = POINTS.iter().map(|&part| after(steps, part)).collect();
    points.retain(|&step| step > 0);
    points.dedup();
    points
}

/// The step after which an encoder is shown beside that of the end.
pub fn early(steps: u64) -> u64 {
    after(steps, EARLY)
}

/// The step after a part of a run.
fn after(steps: u64, part: f64) -> u64 {
    (steps as f64 * part) as u64
}

/// The kinds of encoders that are compared among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Columnar: patches of 8 pixels, 6 blocks of width 128.
    Vit,
    /// Pyramidal: patches of 2 pixels, 2, 2, 2 blocks of width 32 to 128. A fourth stage would leave 4×4
    /// units of 16 pixels, too few to mask a quarter of; three leave 8×8, nearer the 7×7 of 224 pixels.
    Swin,
}

impl Family {
    /// That of a named encoder.
    pub fn of(model: ModelName) -> Self {
        match model.encoder() {
            EncoderConfig::Vit { .. } => Self::Vit,
            EncoderConfig::Swin { .. } => Self::Swin,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vit => "ViT",
            Self::Swin => "Swin",
        }
    }

    /// As names of arms and files begin with it.
    pub(super) fn slug(self) -> String {
        self.name().to_lowercase()
    }
}

/// One thing that is changed of LocalMIM with HOG on the ViT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// One tap, at the top, on cells of a patch, with the same decoder.
    TopOnly,
    /// All taps, on cells of a patch each.
    OneScale,
    /// Gradients are cut after each tap.
    LocalGradients,
    /// One view of each picture is stored.
    OneView,
    /// Eight are.
    EightViews,
}

impl Change {
    const ALL: [Self; 5] =
        [Self::TopOnly, Self::OneScale, Self::LocalGradients, Self::OneView, Self::EightViews];

    fn name(self) -> &'static str {
        match self {
            Self::TopOnly => "top-only",
            Self::OneScale => "one-scale",
            Self::LocalGradients => "local-gradients",
            Self::OneView => "one-view",
            Self::EightViews => "eight-views",
        }
    }
}

/// What a run of an arm is given.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Optimizer steps.
    pub steps: u64,
    /// The base learning rate.
    pub rate: f64,
    /// Rows of the shard set.
    pub rows: u64,
    /// The seed.
    pub seed: u64,
}

/// What all arms of an experiment train in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// The side of a view in pixels.
    pub size: u32,
    /// The encoder, in place of the families' small ones.
    pub model: Option<ModelName>,
    /// In which numbers matrices are multiplied.
    pub precision: Precision,
}

impl Bench {
    /// The layout of its shards.
    pub fn layout(&self, base: ShardLayout) -> ShardLayout {
        let cells = if self.size == SIZE { CELLS.to_vec() } else { base.cells.clone() };
        ShardLayout { size: self.size, cells, bins: 9, ..base }
    }
}

/// A recipe on an encoder, perhaps with one thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arm {
    /// The encoder.
    pub family: Family,
    /// The recipe.
    pub recipe: Recipe,
    /// What is changed of it.
    pub change: Option<Change>,
}

impl Arm {
    /// LocalMIM with HOG on the ViT, which changes are held against.
    pub const BASE: Self = Self { family: Family::Vit, recipe: Recipe::LocalmimHog, change: None };

    /// A recipe on an encoder.
    pub const fn of(family: Family, recipe: Recipe) -> Self {
        Self { family, recipe, change: None }
    }

    /// [`Self::BASE`] with one thing changed.
    pub const fn changed(change: Change) -> Self {
        Self { change: Some(change), ..Self::BASE }
    }

    /// The methods: LocalMIM with both targets, MAE and MaskFeat on a ViT; LocalMIM, GreenMIM and
    /// SimMIM on a Swin.
    pub fn methods() -> Vec<Self> {
        let vit = [Recipe::LocalmimHog, Recipe::LocalmimPixel, Recipe::Mae, Recipe::Maskfeat];
        let swin = [Recipe::LocalmimHog, Recipe::Greenmim, Recipe::Simmim];
        let of = |family| move |recipe| Self::of(family, recipe);
        let vit = vit.into_iter().map(of(Family::Vit));
        vit.chain(swin.into_iter().map(of(Family::Swin))).collect()
    }

    /// The methods that a named encoder is for; all where none is named.
    pub fn methods_on(model: Option<ModelName>) -> Vec<Self> {
        let mut methods = Self::methods();
        methods.retain(|arm| model.is_none_or(|model| arm.family == Family::of(model)));
        methods
    }

    /// Every arm: the methods, and LocalMIM with one thing changed.
    pub fn all() -> Vec<Self> {
        let changed = Change::ALL.into_iter().map(Self::changed);
        Self::methods().into_iter().chain(changed).collect()
    }

    /// The arm's name, as in `vit-mae` or `vit-one-scale`.
    pub fn name(self) -> String {
        let family = self.family.slug();
        format!("{family}-{}", self.change.map_or(self.recipe.name(), Change::name))
    }

    /// The arm whose learning rate this one trains at: what is changed must not be the rate, too.
    pub fn rated_by(self) -> Self {
        Self { change: None, ..self }
    }

    /// Views of each picture that its shards hold.
    pub fn views(self) -> u32 {
        match self.change {
            Some(Change::OneView) => 1,
            Some(Change::EightViews) => 8,
            _ => VIEWS,
        }
    }

    /// The settings of a run.
    ///
    /// Recipes keep what makes them: targets, masks, taps, AdamW's betas and how much decays. Decoders
    /// are narrowed as the encoder is against the paper's. Positions and what decays are the same for
    /// all, so that encoders differ in what they learned alone; so are batch, warm-up, clipping and
    /// the last rate, for the papers' are for hundreds of epochs of large batches. The rate is each
    /// method's own, of [`RATES`].
    ///
    /// # Errors
    /// [`SettingsError`] only if these constants do not fit a recipe.
    pub fn settings(
        self,
        bench: Bench,
        plan: Plan,
        device: DeviceKind,
    ) -> Result<Settings, SettingsError> {
        let Plan { steps, rate, rows, seed } = plan;
        let mut options = Options {
            recipe: Some(self.recipe),
            steps: Some(steps),
            batch_size: Some(BATCH),
            lr: Some(rate),
            min_lr: Some(0.0),
            positions: Some(Positions::Fixed),
            decay: Some(Decay::Matrices),
            warmup_epochs: Some(0.1 * steps as f64 / (rows / BATCH as u64).max(1) as f64),
            clip_grad: Some(1.0),
            precision: Some(bench.precision),
            seed: Some(seed),
            log_every: Some((steps / 50).max(1)),
            // Whoever trains stops at the points, and what is left there is kept.
            checkpoint_every: Some(steps),
            keep: Some(POINTS.len() + 1),
            ..Options::default()
        };
        match bench.model {
            Some(model) => narrowed(&mut options, model, self.recipe),
            None => self.small(&mut options),
        }
        if self.recipe == Recipe::Simmim {
            options.input_size = Some(bench.size as usize);
        }
        let taps = match self.change {
            Some(Change::TopOnly) => {
                options.taps = Some(crate::settings::Taps::Named(crate::settings::NamedTaps::Top));
                1
            }
            Some(Change::OneScale) => 4,
            _ => 0,
        };
        if taps > 0 {
            let patch = bench.model.map_or(SMALL_PATCH, |model| model.encoder().patch());
            options.cells = Some(vec![patch; taps]);
        }
        options.local_gradients = Some(self.change == Some(Change::LocalGradients));
        Settings::resolve(options, device)
    }

    /// The families' small encoders.
    fn small(self, options: &mut Options) {
        let local = matches!(self.recipe, Recipe::LocalmimHog | Recipe::LocalmimPixel);
        match self.family {
            Family::Vit => {
                options.model = Some(ModelName::VitTiny16);
                options.patch = Some(SMALL_PATCH);
                options.width = Some(128);
                options.depths = Some(vec![6]);
                options.heads = Some(vec![4]);
                options.decoder_heads = Some(4);
                match self.recipe {
                    Recipe::Mae => {
                        options.decoder_dim = Some(88);
                        options.decoder_depth = Some(4);
                    }
                    Recipe::Maskfeat => options.cells = Some(vec![4]),
                    _ => {
                        options.cells = Some(vec![4, 4, 8, 16]);
                        options.decoder_dim = Some(48);
                    }
                }
            }
            Family::Swin => {
                options.model = Some(ModelName::SwinTiny7);
                options.patch = Some(2);
                options.width = Some(32);
                options.depths = Some(vec![2; 3]);
                options.heads = Some(vec![1, 2, 4]);
                options.window = Some(7);
                options.decoder_dim = Some(if local { 64 } else { 128 });
                options.decoder_heads = Some(4);
            }
        }
    }
}

/// The side of a patch of the small ViT.
const SMALL_PATCH: usize = 8;

/// A named encoder; decoders as wide beside it as the papers' beside theirs: a third, of MAE's two
/// thirds.
fn narrowed(options: &mut Options, model: ModelName, recipe: Recipe) {
    options.model = Some(model);
    let width = match model.encoder() {
        EncoderConfig::Vit { dim, .. } | EncoderConfig::Swin { dim, .. } => dim,
    };
    match (recipe, model.encoder()) {
        (Recipe::Mae, EncoderConfig::Vit { .. }) => options.decoder_dim = Some(width * 2 / 3),
        (_, EncoderConfig::Vit { .. }) => options.decoder_dim = Some(width / 3),
        // A Swin's first width is an eighth of its last.
        (Recipe::LocalmimHog | Recipe::LocalmimPixel, _) => options.decoder_dim = Some(width * 2),
        _ => options.decoder_dim = Some(width * 4),
    }
    options.decoder_heads = Some(4);
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl FromStr for Arm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let all = Self::all();
        all.iter().find(|arm| arm.name() == name).copied().ok_or_else(|| {
            let names: Vec<_> = all.iter().map(|arm| arm.name()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BENCH: Bench = Bench { size: SIZE, model: None, precision: Precision::F32 };

    fn fits(bench: Bench, arm: Arm) {
        let plan = Plan { steps: 100, rate: RATES[0], rows: 50, seed: 0 };
        let settings = arm.settings(bench, plan, DeviceKind::Cpu).unwrap();
        let base = ShardLayout::new(224, vec![4, 8, 16, 32], 9).unwrap();
        let layout = bench.layout(base);
        let network = settings.network(&layout).unwrap();
        for tap in &network.taps {
            assert!(layout.cells.contains(&(tap.cell as u32)), "{arm}: {}", tap.cell);
        }
    }

    #[test]
    fn every_arm_fits_the_shards_and_has_a_name_of_its_own() {
        for arm in Arm::all() {
            fits(BENCH, arm);
            assert_eq!(arm.name().parse(), Ok(arm));
        }
        for model in [ModelName::VitTiny16, ModelName::SwinTiny7] {
            let methods = Arm::methods_on(Some(model));
            assert!(methods.iter().all(|arm| arm.family == Family::of(model)) && methods.len() > 1);
        }
        for arm in Arm::all().into_iter().filter(|arm| arm.family == Family::Vit) {
            fits(Bench { size: 224, model: Some(ModelName::VitTiny16), ..BENCH }, arm);
        }
    }

    #[test]
    fn a_change_is_of_one_thing() {
        let plan = Plan { steps: 100, rate: RATES[0], rows: 50, seed: 0 };
        let settings = |arm: Arm| arm.settings(BENCH, plan, DeviceKind::Cpu).unwrap();
        let base = settings(Arm::BASE);
        let differ = |change| {
            let conflicts = settings(Arm::changed(change)).conflicts(&base).into_iter();
            conflicts.map(|(flag, ..)| flag).collect::<Vec<_>>()
        };
        assert_eq!(differ(Change::TopOnly), ["cells", "taps"]);
        assert_eq!(differ(Change::OneScale), ["cells"]);
        assert_eq!(differ(Change::LocalGradients), ["local-gradients"]);
        assert!(differ(Change::OneView).is_empty());
    }

    #[test]
    fn an_encoder_is_judged_at_the_end_and_more_often_at_the_beginning() {
        let of_many = points(6400);
        assert_eq!((of_many.len(), of_many[0], of_many[11]), (12, 100, 6400));
        assert_eq!(points(2), [1, 2]);
        assert_eq!(points(1), [1]);
    }
}
