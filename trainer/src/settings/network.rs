//! Settings and the layout of shards → the network.

use schemas::{CodebookLayout, ShardLayout};

use super::{NamedTaps, Settings, SettingsError, Taps};
use crate::model::mask::{MaskKind, MaskSpec};
use crate::model::{
    CodebookSize, ConfigError, Coordinates, EncoderConfig, MaskedInput, ModelConfig, Positions,
    TapConfig, TargetKind,
};
use crate::range::OutOfRange;

impl Settings {
    /// The encoder: the model's, changed where a size is given.
    ///
    /// # Errors
    /// [`ConfigError`] if a size belongs to another family of encoders.
    pub fn encoder(&self) -> Result<EncoderConfig, ConfigError> {
        let mut encoder = self.model.encoder();
        if self.recipe.needs_swin() && matches!(encoder, EncoderConfig::Vit { .. }) {
            return Err(ConfigError(format!(
                "{} is a method for Swin, and {} is a ViT; choose --model swin-tiny-7 or another Swin",
                self.recipe.name(),
                self.model.name()
            )));
        }
        let fail = |text: &str| Err(ConfigError(format!("{} {text}", self.model.name())));
        match &mut encoder {
            EncoderConfig::Vit { patch, dim, depth, heads } => {
                *patch = self.patch.unwrap_or(*patch);
                *dim = self.width.unwrap_or(*dim);
                for (value, given, flag) in
                    [(depth, &self.depths, "--depths"), (heads, &self.heads, "--heads")]
                {
                    match given.as_deref() {
                        None => {}
                        Some(&[given]) => *value = given,
                        Some(_) => return fail(&format!("is a ViT: {flag} is one number")),
                    }
                }
                if self.window.is_some() || self.coordinates != Coordinates::Spatial {
                    return fail(
                        "is a ViT, which has no windows; leave out --window and --coordinates",
                    );
                }
            }
            EncoderConfig::Swin { patch, dim, depths, heads, window, coordinates } => {
                if self.positions != Positions::Fixed {
                    return fail("is a Swin, whose positions are relative; leave out --positions");
                }
                *patch = self.patch.unwrap_or(*patch);
                *dim = self.width.unwrap_or(*dim);
                if let Some(given) = &self.depths {
                    depths.clone_from(given);
                }
                if let Some(given) = &self.heads {
                    heads.clone_from(given);
                }
                *window = self.window.unwrap_or(*window);
                *coordinates = self.coordinates;
            }
        }
        Ok(encoder)
    }

    /// The network for a set of shards.
    ///
    /// # Errors
    /// [`SettingsError`] if sizes do not fit together or nothing would stay visible or masked.
    pub fn network(&self, layout: &ShardLayout) -> Result<ModelConfig, SettingsError> {
        let (size, bins) = (layout.size as usize, layout.bins as usize);
        let input = self.input_size.unwrap_or(size);
        if input != size && (self.target != TargetKind::RawPixel || input > size) {
            return Err(ConfigError(format!(
                "--input-size {input} for stored views of {size} pixels: a part of a view has no stored {} targets, and none is larger than a view; leave it out, or ingest with --size {input}",
                self.target.name()
            ))
            .into());
        }
        let encoder = self.encoder()?;
        let taps = self.placed_taps(&encoder)?;
        let mut config = ModelConfig {
            taps,
            positions: self.positions,
            norm_epsilon: self.norm_epsilon,
            masked: self.masked,
            local_gradients: self.local_gradients,
            head: self.head,
            decoder_dim: self.decoder_dim,
            decoder_depth: self.decoder_depth,
            decoder_heads: self.decoder_heads,
            loss: self.loss,
            ..ModelConfig::local_mim(encoder, input, self.target, bins)
        };
        if self.target == TargetKind::Code {
            self.predict_codes(&mut config, &layout.codebooks);
        }
        config.check()?;
        // Codebooks that are not predicted make no other network.
        let ModelConfig { taps, codebooks, .. } = &mut config;
        codebooks.retain(|codebook| taps.iter().any(|tap| tap.cell == codebook.cell));
        self.check_masks(&config)?;
        Ok(config)
    }

    /// The taps, each with its target's cell.
    fn placed_taps(&self, encoder: &EncoderConfig) -> Result<Vec<TapConfig>, ConfigError> {
        let layers = encoder.layers();
        let top = encoder.latent(layers).pixels;
        let defaults = encoder.default_taps();
        let taps: Vec<TapConfig> = match &self.taps {
            Taps::Named(NamedTaps::Default) => defaults,
            Taps::Named(NamedTaps::Top) => vec![TapConfig { layer: layers, cell: top }],
            // As many taps as the paper's have its cells, whatever the layers.
            Taps::After(after) => after
                .iter()
                .enumerate()
                .map(|(i, &layer)| {
                    let cell = defaults.get(i).filter(|_| after.len() == defaults.len());
                    TapConfig { layer, cell: cell.map_or(top, |tap| tap.cell) }
                })
                .collect(),
        };
        match &self.cells {
            None => Ok(taps),
            Some(cells) if cells.len() == taps.len() => Ok(taps
                .into_iter()
                .zip(cells)
                .map(|(tap, &cell)| TapConfig { cell, ..tap })
                .collect()),
            Some(cells) => {
                let layers: Vec<_> = taps.iter().map(|tap| tap.layer).collect();
                Err(ConfigError(format!(
                    "{} target cells ({cells:?}) for {} taps ({layers:?}); --cells and --taps must be equally long",
                    cells.len(),
                    layers.len()
                )))
            }
        }
    }

    /// Has every tap predict codes. A codebook fits one size of patch; where there is one alone, every
    /// tap predicts it.
    fn predict_codes(&self, config: &mut ModelConfig, codebooks: &[CodebookLayout]) {
        if let ([codebook], None) = (codebooks, &self.cells) {
            config.taps.iter_mut().for_each(|tap| tap.cell = codebook.cell as usize);
        }
        config.codebooks = codebooks
            .iter()
            .map(|&CodebookLayout { cell, codes, .. }| CodebookSize {
                cell: cell as usize,
                codes: codes as usize,
            })
            .collect();
    }

    /// Whether something stays visible and something masked, in a way that the encoder can take.
    fn check_masks(&self, config: &ModelConfig) -> Result<(), SettingsError> {
        if self.mask == MaskKind::Block && self.masked == MaskedInput::Dropped {
            return Err(ConfigError(
                "--mask block masks now more, now less; the encoder must see mask tokens (--masked token)".into(),
            )
            .into());
        }
        let masks = MaskSpec::new(config, self.mask_ratio, self.mask);
        if masks.count == 0 || masks.count >= masks.units() {
            let problem =
                format!("must leave some patches visible and some masked, not {}", self.mask_ratio);
            return Err(OutOfRange { flag: "--mask-ratio", problem }.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::device::DeviceKind;
    use crate::model::LossKind;
    use crate::settings::{Options, Recipe};

    fn layout() -> ShardLayout {
        ShardLayout::new(224, vec![4, 8, 16, 32], 9).unwrap()
    }

    fn codebook(cell: u32) -> CodebookLayout {
        CodebookLayout { cell, codes: 512, blake3: "0".repeat(64) }
    }

    #[test]
    fn every_tap_predicts_the_codebook_that_there_is() {
        let settings = resolve(Options::parse("target = \"code\"", "file").unwrap()).unwrap();
        assert_eq!(settings.loss, LossKind::CrossEntropy);
        let with = |cells: &[u32]| {
            let codebooks = cells.iter().map(|&cell| codebook(cell)).collect();
            settings.network(&ShardLayout { codebooks, ..layout() })
        };
        let network = with(&[16]).unwrap();
        assert!(network.taps.iter().all(|tap| tap.cell == 16 && network.channels(tap) == 512));
        let network = with(&[4, 8, 14, 16, 32]).unwrap();
        let cells = |taps: &[TapConfig]| taps.iter().map(|tap| tap.cell).collect::<Vec<_>>();
        assert_eq!(cells(&network.taps), [4, 8, 16, 32]);
        assert_eq!(network.codebooks.len(), 4, "none of 14 pixels is predicted");
        for (cells, missing) in [(&[][..], "4 pixels"), (&[4, 8], "16 pixels")] {
            let error = with(cells).unwrap_err().to_string();
            assert!(error.contains(missing) && error.contains("--codebook"), "{error}");
            assert!(error.contains(&format!("cells of {cells:?}")), "{error}");
        }
        // What a recipe says for its own target gives way.
        for recipe in ["maskfeat", "simmim"] {
            let text = format!("recipe = \"{recipe}\"\ntarget = \"code\"");
            let settings = resolve(Options::parse(&text, "file").unwrap()).unwrap();
            let layout = ShardLayout { codebooks: vec![codebook(16)], ..layout() };
            let network = settings.network(&layout).unwrap();
            assert!(network.taps.iter().all(|tap| tap.cell == 16), "{recipe}");
            assert_eq!(resolve(settings.to_options()).unwrap(), settings);
        }
        for text in ["target = \"code\"\nloss = \"l2\"", "loss = \"cross-entropy\""] {
            let settings = resolve(Options::parse(text, "file").unwrap()).unwrap();
            let error = settings.network(&layout()).unwrap_err().to_string();
            assert!(error.contains("--loss cross-entropy"), "{error}");
        }
    }

    fn resolve(options: Options) -> Result<Settings, SettingsError> {
        Settings::resolve(options, DeviceKind::Cpu)
    }

    #[test]
    fn every_recipe_makes_a_network_of_its_kind() {
        for &recipe in Recipe::value_variants() {
            let settings = resolve(Options { recipe: Some(recipe), ..Options::default() }).unwrap();
            let network = settings.network(&layout()).unwrap();
            let swin = matches!(network.encoder, EncoderConfig::Swin { .. });
            assert_eq!(swin, recipe.needs_swin(), "{}", recipe.name());
            let top_only = !recipe.name().starts_with("localmim");
            assert_eq!(network.taps.len() == 1, top_only, "{}", recipe.name());
        }
    }

    #[test]
    fn sizes_of_another_family_are_refused() {
        let refused = |text: &str| {
            let settings = resolve(Options::parse(text, "file").unwrap()).unwrap();
            settings.network(&layout()).unwrap_err().to_string()
        };
        assert!(refused("window = 7").contains("no windows"));
        assert!(refused("depths = [2, 2]").contains("--depths"));
        assert!(
            refused("recipe = \"simmim\"\nmodel = \"vit-base-16\"").contains("method for Swin")
        );
        assert!(refused("input-size = 192").contains("--size 192"));
        assert!(refused("mask = \"block\"").contains("--masked token"));
    }
}
