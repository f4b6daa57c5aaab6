//! The network in training: started or resumed, stepped, saved.

use std::path::PathBuf;

use kernels::Trainable;
use kernels::optim::Clip;
use shards::ShardSet;

use super::error::TrainError;
use super::optim::{AdamWSettings, Gradient, Optimizer};
use crate::checkpoint::{
    CHECKPOINT_VERSION, Checkpoint, CheckpointError, CheckpointFolder, Header,
};
use crate::data::Position;
use crate::model::init::init;
use crate::model::{LocalMim, ModelConfig, state};
use crate::settings::Settings;

/// A checkpoint to go on from, already checked against the settings.
pub struct Resume {
    /// The file.
    pub path: PathBuf,
    /// What was in it.
    pub checkpoint: Checkpoint,
}

/// The network in training, and how far it is.
pub(super) struct Trainee<B: Trainable> {
    pub model: LocalMim<B>,
    pub optimizer: Optimizer<B>,
    pub step: u64,
    pub position: Position,
}

impl<B: Trainable> Trainee<B> {
    fn new(
        model: LocalMim<B>,
        settings: &Settings,
        network: &ModelConfig,
        device: &B::Device,
    ) -> Self {
        let &Settings { betas, weight_decay, decay, .. } = settings;
        let adamw = AdamWSettings { betas, weight_decay, decay };
        let optimizer = Optimizer::new(&model, network, adamw, device);
        let position = Position { epoch: 0, batch: 0 };
        Self { model, optimizer, step: 0, position }
    }

    pub fn start(settings: &Settings, network: &ModelConfig, device: &B::Device) -> Self {
        let state = init(network, settings.start, settings.seed);
        let model = LocalMim::from_state(network, settings.precision, &state, device)
            .expect("the initial parameters are this network's");
        Self::new(model, settings, network, device)
    }

    pub fn resume(
        resume: &Resume,
        settings: &Settings,
        network: &ModelConfig,
        device: &B::Device,
    ) -> Result<Self, TrainError> {
        let Resume { path, checkpoint } = resume;
        let header = &checkpoint.header;
        let differences: Vec<_> = settings
            .conflicts(&header.settings)
            .into_iter()
            .map(|(flag, before, now)| format!("--{flag} was {before}, is {now} now"))
            .collect();
        if !differences.is_empty() {
            let (path, differences) = (path.clone(), differences.join(", "));
            return Err(TrainError::Conflict { path, differences });
        }
        if header.network != *network {
            return Err(TrainError::OtherNetwork(path.clone()));
        }
        let state = |source| TrainError::State { path: path.clone(), source };
        let model = LocalMim::from_state(network, settings.precision, &checkpoint.model, device)
            .map_err(state)?;
        let mut trainee = Self::new(model, settings, network, device);
        trainee.optimizer.load(&checkpoint.moments, header.optimizer_steps).map_err(state)?;
        trainee.step = header.step;
        trainee.position = header.position;
        Ok(trainee)
    }

    /// One optimizer step.
    pub fn apply(
        &mut self,
        gradient: &Gradient<B>,
        lr: f64,
        clip: Option<Clip<B::InnerBackend>>,
        position: Position,
    ) {
        self.optimizer.step(&mut self.model, gradient, lr, clip);
        self.step += 1;
        self.position = position;
    }

    pub fn save(
        &self,
        folder: &CheckpointFolder,
        settings: &Settings,
        network: &ModelConfig,
        dataset: &ShardSet,
    ) -> Result<PathBuf, CheckpointError> {
        let (moments, optimizer_steps) = self.optimizer.to_state();
        let header = Header {
            version: CHECKPOINT_VERSION,
            step: self.step,
            optimizer_steps,
            position: self.position,
            settings: settings.clone(),
            network: network.clone(),
            dataset: dataset.fingerprint(),
        };
        let model = self.optimizer.parameters();
        let model = model.unwrap_or_else(|| state::save(&self.model, network));
        let checkpoint = Checkpoint { header, model, moments };
        folder.save(&checkpoint, settings.keep)
    }
}
