//! AdamW over named parameters, with weight decay on matrices and what a method adds to them.
//!
//! Gradients and moments are kept flat, one a parameter, in the order of [`state::table`]; so they
//! can be summed, clipped and stored without knowing any shape.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, SimpleOptimizer};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};

use crate::model::state::{self, HostTensor, ParamInfo, State, StateError};
use crate::model::{Decay, ModelConfig};

type Flat<B> = Tensor<<B as AutodiffBackend>::InnerBackend, 1>;

/// The gradient of each parameter, flat, in the order of [`state::table`]; none where a parameter
/// had no part in the loss.
#[derive(Debug, Clone)]
pub struct Gradients<B: AutodiffBackend>(Vec<Option<Flat<B>>>);

impl<B: AutodiffBackend> Gradients<B> {
    /// Takes a module's gradients out of `grads`.
    pub fn take<M: Module<B>>(module: &M, grads: &mut B::Gradients) -> Self {
        let mut visitor = Take::<B> { grads, flat: vec![] };
        module.visit(&mut visitor);
        Self(visitor.flat)
    }

    /// The gradients of two modules, one after the other.
    pub fn chain(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Adds another step's gradients.
    pub fn plus(self, other: Self) -> Self {
        let sum = |pair| match pair {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        Self(self.0.into_iter().zip(other.0).map(sum).collect())
    }

    /// Their common Euclidean norm.
    pub fn norm(&self) -> f64 {
        let squares: Vec<_> =
            self.0.iter().flatten().map(|grad| (grad.clone() * grad.clone()).sum()).collect();
        if squares.is_empty() {
            return 0.0;
        }
        let total =
            state::to_host(Tensor::cat(squares, 0)).iter().map(|&x| f64::from(x)).sum::<f64>();
        total.sqrt()
    }

    /// Scales all by `factor`.
    pub fn scale(self, factor: f64) -> Self {
        Self(self.0.into_iter().map(|grad| grad.map(|grad| grad * factor)).collect())
    }

    /// Each parameter's gradient in PyTorch's shape.
    pub fn to_state(&self, params: &[ParamInfo]) -> State {
        let named = params.iter().zip(&self.0).filter_map(|(param, grad)| {
            let values = state::to_host(grad.clone()?);
            Some((param.name.clone(), param.to_torch(values)))
        });
        named.collect()
    }
}

struct Take<'a, B: AutodiffBackend> {
    grads: &'a mut B::Gradients,
    flat: Vec<Option<Flat<B>>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Take<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let grad = param.val().grad_remove(self.grads);
        self.flat.push(grad.map(|grad| {
            let count = grad.shape().num_elements();
            grad.reshape([count])
        }));
    }
}

/// AdamW's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// The decay rates of the two moments.
    pub betas: (f64, f64),
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// What it applies to.
    pub decay: Decay,
}

/// AdamW with the state of every parameter.
pub struct Optimizer<B: AutodiffBackend> {
    decayed: AdamW,
    plain: AdamW,
    decay: Decay,
    params: Vec<ParamInfo>,
    /// What each parameter's learning rate is multiplied by.
    scales: Vec<f64>,
    moments: Vec<Option<AdamWState<B::InnerBackend, 1>>>,
}

/// The prefix of a first moment's name in a checkpoint.
const FIRST: &str = "exp_avg.";
/// The prefix of a second moment's name in a checkpoint.
const SECOND: &str = "exp_avg_sq.";

impl<B: AutodiffBackend> Optimizer<B> {
    /// An optimizer that has made no step.
    pub fn new<M: Module<B>>(model: &M, config: &ModelConfig, settings: AdamWSettings) -> Self {
        let adamw = |decay: f64| {
            AdamWConfig::new()
                .with_beta_1(settings.betas.0 as f32)
                .with_beta_2(settings.betas.1 as f32)
                .with_epsilon(1e-8)
                .with_weight_decay(decay as f32)
                .build()
        };
        let params = state::table(model, config);
        Self {
            decayed: adamw(settings.weight_decay),
            plain: adamw(0.0),
            decay: settings.decay,
            moments: vec![None; params.len()],
            scales: vec![1.0; params.len()],
            params,
        }
    }

    /// Multiplies each parameter's learning rate by a factor of its own.
    #[must_use]
    pub fn with_scales(mut self, scale: impl Fn(&ParamInfo) -> f64) -> Self {
        self.scales = self.params.iter().map(scale).collect();
        self
    }

    /// The parameters, in the order of the gradients.
    pub fn params(&self) -> &[ParamInfo] {
        &self.params
    }

    /// The network after one step.
    pub fn step<M: Module<B>>(&mut self, model: M, grads: Gradients<B>, lr: f64) -> M {
        let mut grads = grads.0.into_iter();
        model.map(&mut Step { optimizer: self, grads: &mut grads, lr, at: 0 })
    }

    /// The moments on the host, named after their parameters; and the steps behind them.
    pub fn to_state(&self) -> (State, u64) {
        let mut state = State::new();
        let mut steps = 0;
        for (param, moments) in self.params.iter().zip(&self.moments) {
            let Some(AdamWState { momentum }) = moments else { continue };
            steps = steps.max(momentum.time as u64);
            for (prefix, moment) in [(FIRST, &momentum.moment_1), (SECOND, &momentum.moment_2)] {
                let tensor = param.to_torch(state::to_host(moment.clone()));
                state.insert(format!("{prefix}{}", param.name), tensor);
            }
        }
        (state, steps)
    }

    /// Takes the moments of [`Optimizer::to_state`] up again.
    ///
    /// # Errors
    /// [`StateError`] if a moment is missing or of another shape.
    pub fn load(
        &mut self,
        state: &State,
        steps: u64,
        device: &B::Device,
    ) -> Result<(), StateError> {
        if steps == 0 {
            return Ok(());
        }
        for (param, moments) in self.params.iter().zip(&mut self.moments) {
            let flat = |prefix: &str| -> Result<Flat<B>, StateError> {
                let name = format!("{prefix}{}", param.name);
                let tensor: &HostTensor =
                    state.get(&name).ok_or_else(|| StateError::Missing(name.clone()))?;
                let values = param.from_torch(tensor)?;
                let count = values.len();
                Ok(Tensor::from_data(TensorData::new(values, [count]), device))
            };
            let momentum = AdaptiveMomentumState::new(steps as usize, flat(FIRST)?, flat(SECOND)?);
            *moments = Some(AdamWState::new(momentum));
        }
        Ok(())
    }
}

struct Step<'a, B: AutodiffBackend> {
    optimizer: &'a mut Optimizer<B>,
    grads: &'a mut std::vec::IntoIter<Option<Flat<B>>>,
    lr: f64,
    at: usize,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Step<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let at = self.at;
        self.at += 1;
        let (id, tensor, mapper) = param.consume();
        let Some(grad) = self.grads.next().flatten() else {
            return Param::from_mapped_value(id, tensor, mapper);
        };
        let decays = self.optimizer.params[at].decays(self.optimizer.decay);
        let adamw = if decays { &self.optimizer.decayed } else { &self.optimizer.plain };
        let shape = tensor.shape();
        let flat = tensor.inner().reshape([shape.num_elements()]);
        let (flat, moments) = adamw.step(
            self.lr * self.optimizer.scales[at],
            flat,
            grad,
            self.optimizer.moments[at].take(),
        );
        self.optimizer.moments[at] = moments;
        let tensor = Tensor::from_inner(flat.reshape(shape)).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}
