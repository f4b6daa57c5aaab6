//! Published weights: PyTorch's files and safetensors, by the names of their authors.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use trainer::checkpoint::Checkpoint;
use trainer::device::DeviceKind;
use trainer::export;
use trainer::import::{ImportError, Imported, import};
use trainer::model::state::State;
use trainer::model::{Coordinates, ModelName};
use trainer::settings::{Options, Recipe, Settings};

use crate::golden::Golden;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// A file in MAE's form that PyTorch wrote, arguments beside the parameters.
fn mae_file() -> PathBuf {
    file("mae_vit.pth")
}

const MAE_SIZE: usize = 32;

fn mae_settings(change: impl FnOnce(&mut Options)) -> Settings {
    let mut options = Options {
        recipe: Some(Recipe::Mae),
        patch: Some(8),
        width: Some(8),
        depths: Some(vec![2]),
        heads: Some(vec![2]),
        decoder_dim: Some(8),
        decoder_depth: Some(1),
        decoder_heads: Some(2),
        ..Options::default()
    };
    change(&mut options);
    Settings::resolve(options, DeviceKind::Cpu).unwrap()
}

fn write(path: &Path, state: &State) {
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = state
        .iter()
        .map(|(name, tensor)| {
            let bytes = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name.clone(), tensor.shape.clone(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize_to_file(views, None::<HashMap<String, String>>, path).unwrap();
}

#[test]
fn maes_weights_become_a_checkpoint_that_can_be_exported() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = mae_settings(|_| ());
    let imported = import(&mae_file(), &out, &settings, MAE_SIZE, 9).unwrap();
    let Imported { checkpoint: path, found, fresh } = imported;
    assert_eq!(fresh, 0, "the file has its decoder");
    let checkpoint = Checkpoint::read(&path).unwrap();
    assert_eq!(checkpoint.model.len(), found);
    assert_eq!(checkpoint.model["decoder.0.pred.0.weight"].shape, [192, 8, 1, 1]);

    // What is exported is what was in the file, positions included.
    let timm = export::to_timm(&checkpoint).unwrap();
    let again = folder.path().join("again.safetensors");
    write(&again, &timm);
    let second = folder.path().join("second");
    let imported = import(&again, &second, &settings, MAE_SIZE, 9).unwrap();
    assert!(imported.fresh > 0, "an export has no decoder");
    let encoder = |model: &State| -> State {
        let encoder = model.iter().filter(|(name, _)| !name.starts_with("decoder."));
        encoder.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    };
    let read = Checkpoint::read(&imported.checkpoint).unwrap();
    assert!(encoder(&read.model) == encoder(&checkpoint.model));

    let error = import(&mae_file(), &out, &settings, MAE_SIZE, 9).unwrap_err();
    assert!(matches!(error, ImportError::Occupied(_)), "{error}");
}

#[test]
fn a_file_of_another_network_is_refused_with_the_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let wide = mae_settings(|options| options.width = Some(16));
    let text = import(&mae_file(), &out, &wide, MAE_SIZE, 9).unwrap_err().to_string();
    assert!(text.contains("mae_vit.pth") && text.contains("--model"), "{text}");
    assert!(text.contains("[16") && text.contains("[8"), "{text}");

    let text = folder.path().join("text.pth");
    std::fs::write(&text, "these are no weights, but longer than a header").unwrap();
    let error = import(&text, &out, &mae_settings(|_| ()), MAE_SIZE, 9).unwrap_err().to_string();
    assert!(error.contains("text.pth") && error.contains("torch.save"), "{error}");
    let full = import(&file("with_optimizer.pth"), &out, &mae_settings(|_| ()), MAE_SIZE, 9);
    let error = full.unwrap_err().to_string();
    assert!(error.contains("with_optimizer.pth") && error.contains("torch.load"), "{error}");
    let gone = folder.path().join("gone.pth");
    let error = import(&gone, &out, &mae_settings(|_| ()), MAE_SIZE, 9).unwrap_err().to_string();
    assert!(error.contains("gone.pth"), "{error}");
    assert!(!out.exists(), "nothing should be left of a failure");
}

#[test]
fn positions_that_were_learned_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = mae_settings(|_| ());
    let imported = import(&mae_file(), &out, &settings, MAE_SIZE, 9).unwrap();
    let mut timm = export::to_timm(&Checkpoint::read(&imported.checkpoint).unwrap()).unwrap();
    timm.get_mut("pos_embed").unwrap().data[20] += 0.5;
    let path = folder.path().join("learned.safetensors");
    write(&path, &timm);
    let error = import(&path, &folder.path().join("other"), &settings, MAE_SIZE, 9).unwrap_err();
    assert!(
        matches!(&error, ImportError::Positions { name, .. } if name == "pos_embed"),
        "{error}"
    );
}

#[test]
fn the_authors_swin_is_taken_in_with_or_without_its_decoders() {
    let golden = Golden::with("randperm").swap_remove(0);
    let state: State = golden
        .names("param.")
        .into_iter()
        .map(|name| (name.clone(), golden.tensor(&format!("param.{name}"))))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::resolve(
        Options {
            model: Some(ModelName::SwinTiny7),
            width: Some(16),
            depths: Some(vec![2; 4]),
            heads: Some(vec![1, 2, 4, 8]),
            coordinates: Some(Coordinates::Published),
            decoder_dim: Some(16),
            decoder_heads: Some(2),
            ..Options::default()
        },
        DeviceKind::Cpu,
    )
    .unwrap();
    let whole = folder.path().join("whole.safetensors");
    write(&whole, &state);
    let imported = import(&whole, &folder.path().join("whole"), &settings, 224, 9).unwrap();
    assert_eq!((imported.found, imported.fresh), (state.len(), 0));
    assert!(Checkpoint::read(&imported.checkpoint).unwrap().model == state);

    let alone: State = state
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("encoder.")?.into(), tensor.clone())))
        .collect();
    let path = folder.path().join("encoder.safetensors");
    write(&path, &alone);
    let imported = import(&path, &folder.path().join("encoder"), &settings, 224, 9).unwrap();
    assert_eq!(imported.found, alone.len());
    assert_eq!(imported.fresh, state.len() - alone.len());
}
