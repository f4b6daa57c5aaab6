//! What a frozen encoder is worth: how well classes can be told by its features.
//!
//! In the order in which data flows: `sides` (the sets that are named → train and test rows),
//! [`features`] (of all labelled rows, on the host) or [`labelled`] (the rows, their views on
//! disk), [`knn`] and [`linear`] (features → predictions), [`finetune`] (views → predictions, the
//! encoder trained with a head), [`score`] (predictions → accuracies), [`record`] and [`page`] (what
//! is told), `keep` (what is left in the run's folder).

mod error;
pub mod features;
pub mod finetune;
mod keep;
pub mod knn;
pub mod labelled;
pub mod linear;
pub mod page;
mod random;
pub mod record;
pub mod score;
mod sides;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use storage::{Address, Storage};

use crate::checkpoint::{Checkpoint, EVAL_FOLDER, run_of};
use crate::device::DeviceKind;
use crate::encode::encoder::{FEATURE, Layers};
use crate::encode::rows::Encoders;
use crate::export::find_checkpoint;
use crate::model::{ModelConfig, State, alone};
use crate::progress::Console;
use crate::range::{self, SHARE};
pub use error::{EvalError, KeepError};
use features::Features;
pub use keep::Evaluated;
use keep::Tuned;
use record::{EvalRecord, LayerScore, Method, Side, Split};
use score::Score;
pub use sides::SidesError;
use sides::{Sets, Sides};

/// What is to be evaluated, and on what.
#[derive(Debug, Clone)]
pub struct EvalRequest {
    /// A run's folder, for its newest checkpoint, or a checkpoint file.
    pub checkpoint: PathBuf,
    /// How shards are reached.
    pub storage: Storage,
    /// The train set: shards, or local pictures in class folders.
    pub train: Address,
    /// The test set; without one, the train set is parted.
    pub test: Option<Address>,
    /// The share of pictures that is parted off for the test.
    pub test_share: f64,
    /// How the encoder is judged.
    pub methods: Vec<Method>,
    /// The seed of the split and of the order of training rows.
    pub seed: u64,
    /// The folder for shards that are made of pictures; none for one in the run's own.
    pub cache: Option<PathBuf>,
    /// About how many rows of the train and of the test set are looked at, to whole row groups; all
    /// where none is given. Of frozen features only.
    pub most: Option<(u64, u64)>,
    /// Of which layers frozen features are judged, each alone; the best counts.
    pub layers: Layers,
    /// Raised when fine-tuning is to stop; the same request goes on from there.
    pub stop: Option<&'static AtomicBool>,
}

/// Judges a checkpoint's encoder by each method and writes what came out into the run's folder.
///
/// # Errors
/// [`EvalError`]; of the method that failed, nothing is written. If it failed in writing, the error
/// has the accuracy.
pub fn run(
    request: &EvalRequest,
    device: DeviceKind,
    console: &Console,
) -> Result<Vec<Evaluated>, EvalError> {
    range::check("--test-share", request.test_share, SHARE)?;
    request.methods.iter().try_for_each(Method::check)?;
    let (path, checkpoint) = find_checkpoint(&request.checkpoint, console)?;
    let run = run_of(&path);
    keep::writable(&run.join(EVAL_FOLDER))?;
    let cache = request.cache.clone().unwrap_or_else(|| run.join(EVAL_FOLDER));
    let (path, checkpoint) = (path.as_path(), &checkpoint);
    let sets = Sets { request, network: &checkpoint.header.network, cache: &cache, console };
    let mut judge = Judge { request, checkpoint, path, sets, device, console, frozen: None };

    let mut done = vec![];
    for method in &request.methods {
        let judged = judge.judge(method)?;
        let record = judge.record(method, &judged);
        let top1 = score::percent(record.score.top1);
        let figures = format!("{} of step {}: top-1 {top1}", method.name(), record.step);
        let tuned = judged.parameters.as_ref().map(|parameters| Tuned {
            header: &checkpoint.header,
            parameters,
            classes: &judged.sides.train.classes,
        });
        let kept = keep::keep(record, tuned, &run, console);
        done.push(kept.map_err(|source| EvalError::Unkept { figures, source })?);
        if matches!(method, Method::Finetune(_)) {
            finetune::unfinished::remove(&judge.unfinished());
        }
    }
    Ok(done)
}

/// What came of a method.
struct Judged {
    sides: Rc<Sides>,
    /// For each test row the classes, the best first.
    predictions: Vec<Vec<u32>>,
    /// Those of an encoder that was tuned, and of its head.
    parameters: Option<State>,
    /// Where frozen features are of.
    layers: Vec<LayerScore>,
}

impl Judged {
    /// Judges each layer's features; the first of those that do best counts.
    fn each_layer(
        sides: Rc<Sides>,
        dims: Vec<(usize, usize)>,
        mut predict: impl FnMut(&Features, &Features) -> Result<Vec<Vec<u32>>, EvalError>,
    ) -> Result<Self, EvalError> {
        let (mut from, mut layers, mut best) = (0, vec![], vec![]);
        let mut most = f64::NEG_INFINITY;
        for (layer, dim) in dims {
            let columns = from..from + dim;
            from = columns.end;
            let (train, test) = (sides.train.columns(columns.clone()), sides.test.columns(columns));
            let predictions = predict(&train, &test)?;
            let top1 = Score::new(&test.labels, &predictions, &train.classes).top1;
            layers.push(LayerScore { layer, top1 });
            if top1 > most {
                (most, best) = (top1, predictions);
            }
        }
        Ok(Self { sides, predictions: best, parameters: None, layers })
    }

    /// The layer that did best; none of an encoder that was tuned.
    fn layer(&self) -> Option<usize> {
        LayerScore::best(&self.layers).map(|best| best.layer)
    }
}

/// An encoder that is judged.
struct Judge<'a> {
    request: &'a EvalRequest,
    checkpoint: &'a Checkpoint,
    path: &'a Path,
    sets: Sets<'a>,
    device: DeviceKind,
    console: &'a Console,
    /// Features are made once, whatever is made of them.
    frozen: Option<Rc<Sides>>,
}

impl Judge<'_> {
    fn judge(&mut self, method: &Method) -> Result<Judged, EvalError> {
        let seed = self.request.seed;
        let layers = self.request.layers.of(&self.checkpoint.header.network);
        let judged = match method {
            Method::Knn(settings) => {
                let sides = self.frozen()?;
                Judged::each_layer(sides, layers, |train, test| {
                    Ok(knn::predict(train, test, settings))
                })?
            }
            Method::Linear(settings) => {
                let sides = self.frozen()?;
                Judged::each_layer(sides, layers, |train, test| {
                    let linear::Judged { predictions, loss, guess } =
                        linear::predict(train, test, settings, seed)?;
                    if loss > guess + 1e-3 {
                        self.console.message(&format!(
                            "warning: after training, the loss on the train rows is {loss:.3}, above the {guess:.3} of a classifier that knows nothing; --lr may be too high"
                        ));
                    }
                    Ok(predictions)
                })?
            }
            Method::Finetune(settings) => {
                let (train, test) = self.sets.on_disk()?;
                let unfinished = self.unfinished();
                let never = AtomicBool::new(false);
                let tuning = finetune::Tuning {
                    checkpoint: self.checkpoint,
                    path: self.path,
                    train: &train,
                    test: &test,
                    settings,
                    seed,
                    unfinished: &unfinished,
                    stop: self.request.stop.unwrap_or(&never),
                };
                let (predictions, parameters) =
                    finetune::predict_on(self.device, &tuning, self.console)?;
                let sides = Rc::new(Sides { train: train.index(), test: test.index() });
                Judged { sides, predictions, parameters: Some(parameters), layers: vec![] }
            }
        };
        let shared = judged.sides.shared_pictures();
        if shared > 0 {
            let text = format!("warning: {shared} test pictures are train pictures too");
            self.console.message(&text);
        }
        Ok(judged)
    }

    /// The file that fine-tuning goes on from after a stop.
    fn unfinished(&self) -> PathBuf {
        let step = self.checkpoint.header.step;
        let name = format!("finetune-step-{step:08}.unfinished");
        run_of(self.path).join(EVAL_FOLDER).join(name)
    }

    /// The frozen features of both sides.
    fn frozen(&mut self) -> Result<Rc<Sides>, EvalError> {
        if let Some(sides) = &self.frozen {
            return Ok(Rc::clone(sides));
        }
        let checkpoints = [self.checkpoint];
        let encoders = Encoders {
            device: self.device,
            path: self.path,
            checkpoints: &checkpoints,
            layers: self.request.layers,
        };
        let sides = Rc::new(self.sets.frozen(encoders)?);
        self.frozen = Some(Rc::clone(&sides));
        Ok(sides)
    }

    fn record(&self, method: &Method, judged: &Judged) -> EvalRecord {
        let Self { request, checkpoint: Checkpoint { header, .. }, .. } = self;
        let Sides { train, test } = &*judged.sides;
        let test_at = request.test.as_ref().unwrap_or(&request.train);
        let layer = judged.layer();
        EvalRecord {
            method: method.clone(),
            step: header.step,
            checkpoint: self.path.to_owned(),
            recipe: header.settings.recipe.name().to_owned(),
            model: header.settings.model.name().to_owned(),
            feature: feature(&header.network, layer),
            dim: layer.map_or(alone::width(&header.network), |layer| {
                header.network.encoder.latent(layer).dim
            }),
            seed: request.seed,
            train: Side::new(request.train.to_string(), train),
            test: Side::new(test_at.to_string(), test),
            split: request.test.is_none().then_some(Split { test_share: request.test_share }),
            shared_pictures: judged.sides.shared_pictures(),
            layers: if judged.layers.len() > 1 { judged.layers.clone() } else { vec![] },
            score: Score::new(&test.labels, &judged.predictions, &train.classes),
        }
    }
}

/// What the features of a layer are; without a layer, those of the topmost tap.
fn feature(network: &ModelConfig, layer: Option<usize>) -> String {
    match layer {
        Some(layer) if !alone::top(network).contains(&layer) => format!(
            "mean over all patches of the normed latents after {} {layer}, without the class token",
            network.encoder.layer_name()
        ),
        _ => FEATURE.to_owned(),
    }
}
