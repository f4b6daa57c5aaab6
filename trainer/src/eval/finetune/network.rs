//! The encoder with a linear head, every parameter of which is trained; and the optimizer whose
//! rate falls from layer to layer.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, SimpleOptimizer};
use burn::tensor::activation::log_softmax;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor, TensorData};

use crate::model::layers::{Linear, to_f32};
use crate::model::{ModelConfig, Precision, Vit};

/// A classifier of whole views.
#[derive(Module, Debug)]
pub struct Classifier<B: Backend> {
    /// The encoder.
    pub encoder: Vit<B>,
    /// Mean of the patches' normed latents → logits; of zeros at first.
    pub head: Linear<B>,
}

/// What each residual branch is multiplied with, for each view: 0 where it is dropped.
pub type Paths = Vec<[Vec<f32>; 2]>;

impl<B: Backend> Classifier<B> {
    /// A classifier on an encoder.
    pub fn new(
        encoder: Vit<B>,
        network: &ModelConfig,
        classes: usize,
        precision: Precision,
        device: &B::Device,
    ) -> Self {
        Self { encoder, head: Linear::zeros(network.dim, classes, precision, device) }
    }

    /// Logits `[views, classes]` of patches `[views, patches, 3·patch²]`. `paths` has a factor for
    /// both branches of each block and each view; without them nothing is dropped.
    pub fn forward(
        &self,
        patches: Tensor<B, 3>,
        keep: Tensor<B, 2, Int>,
        paths: Option<&Paths>,
    ) -> Tensor<B, 2> {
        let device = patches.device();
        let [views, count, _] = patches.dims();
        let factor = |factors: &[f32]| -> Tensor<B, 3> {
            Tensor::from_data(TensorData::new(factors.to_vec(), [views, 1, 1]), &device)
        };
        let mut x = self.encoder.embed(patches, keep);
        let (blocks, norm) = self.encoder.to_top();
        for (at, block) in blocks.iter().enumerate() {
            x = match paths.and_then(|paths| paths.get(at)) {
                None => block.forward(x),
                Some([attend, mix]) => {
                    let x = x.clone() + block.attend(x) * factor(attend);
                    x.clone() + block.mix(x) * factor(mix)
                }
            };
        }
        let latents = norm.forward(x).narrow(1, 1, count);
        let logits = to_f32(self.head.forward(latents.mean_dim(1)));
        let [_, _, classes] = logits.dims();
        logits.reshape([views, classes])
    }
}

/// The cross-entropy of logits with soft classes, both `[views, classes]`, over `of` views.
pub fn cross_entropy<B: Backend>(
    logits: Tensor<B, 2>,
    classes: Tensor<B, 2>,
    of: usize,
) -> Tensor<B, 1> {
    (log_softmax(logits, 1) * classes).sum().neg() / of as f64
}

/// How a parameter is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// What its learning rate is multiplied with.
    pub scale: f64,
    /// Whether weight decay applies: to matrices.
    pub decays: bool,
}

/// The rule of each parameter, in the order in which a module is visited. The head and the norm
/// have the full rate, each block below has `layer_decay` of the one above, the patches' embedding
/// is the lowest.
pub fn rules<B: Backend>(model: &Classifier<B>, layer_decay: f64) -> Vec<Rule> {
    let depth = model.encoder.to_top().0.len();
    let mut visitor = Rules { depth, layer_decay, path: vec![], rules: vec![] };
    model.visit(&mut visitor);
    visitor.rules
}

struct Rules {
    depth: usize,
    layer_decay: f64,
    path: Vec<String>,
    rules: Vec<Rule>,
}

impl<B: Backend> ModuleVisitor<B> for Rules {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let layer = match path.as_slice() {
            ["encoder", "blocks", block, ..] => block.parse().map_or(0, |block: usize| block + 1),
            ["encoder", "norm", ..] | ["head", ..] => self.depth + 1,
            _ => 0,
        };
        let below = (self.depth + 1).saturating_sub(layer) as i32;
        let decays = param.shape().num_dims() == 2;
        self.rules.push(Rule { scale: self.layer_decay.powi(below), decays });
    }
}

type Flat<B> = Tensor<<B as AutodiffBackend>::InnerBackend, 1>;

/// AdamW with a rule for each parameter.
pub struct Optimizer<B: AutodiffBackend> {
    decayed: AdamW,
    plain: AdamW,
    rules: Vec<Rule>,
    moments: Vec<Option<AdamWState<B::InnerBackend, 1>>>,
}

impl<B: AutodiffBackend> Optimizer<B> {
    /// An optimizer that has made no step.
    pub fn new(rules: Vec<Rule>, weight_decay: f64) -> Self {
        let adamw = |decay: f64| {
            AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(decay as f32).build()
        };
        let moments = vec![None; rules.len()];
        Self { decayed: adamw(weight_decay), plain: adamw(0.0), rules, moments }
    }

    /// The classifier after one step; a parameter without a gradient stays.
    pub fn step(
        &mut self,
        model: Classifier<B>,
        gradients: Vec<Option<Flat<B>>>,
        lr: f64,
    ) -> Classifier<B> {
        model.map(&mut Step { optimizer: self, gradients: gradients.into_iter(), lr, at: 0 })
    }
}

struct Step<'a, B: AutodiffBackend> {
    optimizer: &'a mut Optimizer<B>,
    gradients: std::vec::IntoIter<Option<Flat<B>>>,
    lr: f64,
    at: usize,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Step<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let at = self.at;
        self.at += 1;
        let (id, tensor, mapper) = param.consume();
        let Some(gradient) = self.gradients.next().flatten() else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let Rule { scale, decays } = self.optimizer.rules[at];
        let adamw = if decays { &self.optimizer.decayed } else { &self.optimizer.plain };
        let shape = tensor.shape();
        let flat = tensor.inner().reshape([shape.num_elements()]);
        let moments = self.optimizer.moments[at].take();
        let (flat, moments) = adamw.step(self.lr * scale, flat, gradient, moments);
        self.optimizer.moments[at] = moments;
        let tensor = Tensor::from_inner(flat.reshape(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::model::{TargetKind, VitModel};

    fn classifier() -> Classifier<Flex> {
        let network = ModelConfig::of_model(VitModel::Tiny16, 32, TargetKind::Hog, 9);
        let device = Default::default();
        let encoder = Vit::zeros(&network, Precision::F32, &device);
        Classifier::new(encoder, &network, 7, Precision::F32, &device)
    }

    #[test]
    fn rates_fall_from_the_head_down_and_only_matrices_decay() {
        let rules = rules(&classifier(), 0.5);
        let scale = |layers: i32| 0.5f64.powi(layers);
        // Patches' embedding: a weight and a bias; then the class token.
        let lowest = [(scale(13), true), (scale(13), false), (scale(13), false)];
        let found: Vec<_> = rules[..3].iter().map(|rule| (rule.scale, rule.decays)).collect();
        assert_eq!(found, lowest);
        // Twelve parameters a block.
        for block in 0..12 {
            let of_block = &rules[3 + 12 * block..][..12];
            assert!(of_block.iter().all(|rule| rule.scale == scale(12 - block as i32)));
            assert_eq!(of_block.iter().filter(|rule| rule.decays).count(), 4);
        }
        let head = &rules[rules.len() - 2..];
        assert_eq!((head[0].scale, head[0].decays, head[1].decays), (1.0, true, false));
    }

    #[test]
    fn the_loss_of_a_head_of_zeros_is_that_of_guessing() {
        let device = Default::default();
        let logits = Tensor::<Flex, 2>::zeros([3, 7], &device);
        let classes = Tensor::<Flex, 2>::ones([3, 7], &device) / 7.0;
        let loss = crate::model::state::to_host(cross_entropy(logits, classes, 3))[0];
        assert!((loss - 7f32.ln()).abs() < 1e-5, "{loss}");
    }
}
