//! Where compiled kernels are kept, so that they are compiled once.
//!
//! A folder is one of these kernels and one device: CubeCL finds a kernel again by its name and its
//! constants, not by what it says or for what it was compiled.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cubecl::config::cache::CacheConfig;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

/// The file in a folder whose time tells when it was last used.
const USED: &str = "used";
/// Folders unused for longer are taken away.
const UNUSED: Duration = Duration::from_secs(60 * 24 * 3600);

/// Has kernels kept in the user's folder for a device, which `key` tells from others, unless a
/// cubecl.toml says where they are kept. It must come before the first touch with the device.
///
/// What there is to say: that they are going to be compiled, or that they can't be kept.
pub fn keep(device: &str, key: &str) -> Option<String> {
    let Some(root) = root(|name| std::env::var_os(name)) else {
        return Some(unkept("neither HOME nor XDG_CACHE_HOME is set"));
    };
    let folder = root.join(version()).join(plain(key));
    let first = match open(&folder) {
        Ok(first) => first,
        Err(error) => return Some(unkept(&format!("{}: {error}", folder.display()))),
    };
    sweep(&root, SystemTime::now());
    let mut state = CubeClRuntimeConfig::storage().lock();
    if state.is_none() {
        let users = CubeClRuntimeConfig::from_current_dir().override_from_env();
        if users.compilation.cache.is_some() {
            *state = Some(Arc::new(users));
            return None;
        }
        *state = Some(Arc::new(kept_in(&folder, users)));
    }
    let kept = folder.display();
    first.then(|| format!("compiling kernels for {device}: minutes, once; they are kept in {kept}"))
}

/// The configuration with what it leaves open.
fn kept_in(folder: &Path, mut config: CubeClRuntimeConfig) -> CubeClRuntimeConfig {
    config.compilation.cache = Some(CacheConfig::File(folder.to_owned()));
    // Where a user says nothing: a folder `target` near the working folder, or none.
    if matches!(config.autotune.cache, CacheConfig::Target) {
        config.autotune.cache = CacheConfig::File(folder.to_owned());
    }
    config
}

fn unkept(why: &str) -> String {
    format!("compiled kernels can't be kept, and each start compiles them anew: {why}")
}

/// The folder of all that is kept, by the system's custom.
fn root(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name: &str| {
        let path = variable(name).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let caches = folder("XDG_CACHE_HOME").or_else(|| match std::env::consts::OS {
        "windows" => folder("LOCALAPPDATA"),
        "macos" => folder("HOME").map(|home| home.join("Library/Caches")),
        _ => folder("HOME").map(|home| home.join(".cache")),
    });
    Some(caches?.join("localmim").join("kernels"))
}

/// This program's, and that of its kernels.
fn version() -> String {
    format!("{}-{}", env!("CARGO_PKG_VERSION"), kernels::IDENTITY)
}

/// A key as the name of a folder.
fn plain(key: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let words = key.split(|c| !fits(c)).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("_");
    name.truncate(150);
    name
}

/// Makes the folder and marks it as used now; whether it is new.
fn open(folder: &Path) -> io::Result<bool> {
    fs::create_dir_all(folder)?;
    let mark = folder.join(USED);
    let first = !mark.exists();
    storage::write_file(&mark, "")?;
    Ok(first)
}

/// Takes away the folders of other versions and devices that were last used long before `now`. What
/// can't be taken away is left.
fn sweep(root: &Path, now: SystemTime) {
    let within = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    for version in within(root) {
        for device in within(&version.path()) {
            let used = device.path().join(USED).metadata().and_then(|mark| mark.modified());
            let age = used.ok().and_then(|used| now.duration_since(used).ok());
            if age.is_some_and(|age| age > UNUSED) {
                let _ = fs::remove_dir_all(device.path());
            }
        }
        // Only where nothing is left in it.
        let _ = fs::remove_dir(version.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_systems_for_caches() {
        let none = root(|_| None);
        assert_eq!(none, None);
        let xdg = root(|name| (name == "XDG_CACHE_HOME").then(|| "/caches".into()));
        assert_eq!(xdg.unwrap(), Path::new("/caches/localmim/kernels"));
        if cfg!(target_os = "linux") {
            // A relative one does not count, the custom says.
            let home = root(|name| match name {
                "HOME" => Some("/home/me".into()),
                _ => Some("caches".into()),
            });
            assert_eq!(home.unwrap(), Path::new("/home/me/.cache/localmim/kernels"));
        }
    }

    #[test]
    fn a_key_is_a_plain_name() {
        assert_eq!(plain("cuda NVIDIA A/B (C) sm_80"), "cuda_NVIDIA_A_B_C_sm_80");
        assert_eq!(plain(&"x".repeat(1000)).len(), 150);
        assert_ne!(plain("cuda a sm_80"), plain("cuda a sm_90"));
    }

    #[test]
    fn a_folder_is_new_once_and_goes_when_it_is_long_unused() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("1").join("card");
        assert!(open(&folder).unwrap());
        assert!(!open(&folder).unwrap());
        sweep(root.path(), SystemTime::now());
        assert!(folder.exists());
        sweep(root.path(), SystemTime::now() + UNUSED + Duration::from_secs(60));
        assert!(!folder.exists() && !root.path().join("1").exists());

        fs::write(root.path().join("file"), "").unwrap();
        assert!(open(&root.path().join("file").join("card")).is_err());
    }

    #[test]
    fn what_a_user_says_of_caches_stands() {
        let folder = Path::new("/kept");
        let ours = kept_in(folder, CubeClRuntimeConfig::default());
        let at = |cache: &CacheConfig| cache.root();
        assert_eq!(at(ours.compilation.cache.as_ref().unwrap()), folder);
        assert_eq!(at(&ours.autotune.cache), folder);
        let mut users = CubeClRuntimeConfig::default();
        users.autotune.cache = CacheConfig::File("/theirs".into());
        assert_eq!(at(&kept_in(folder, users).autotune.cache), Path::new("/theirs"));
    }
}
