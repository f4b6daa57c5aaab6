//! The one writer of whole files on this machine.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// What the names of files begin with that are not finished.
pub(crate) const UNFINISHED: &str = ".writing-";

/// A file that is at its path when it is finished, and not before: until then it has a name of its
/// own beside it. One that is dropped leaves things as they were; what a program that was killed
/// leaves is hidden, and goes with [`Storage::sweep`](crate::Storage::sweep).
///
/// A device or a pipe, such as `/dev/stdout`, can't be replaced, and is written as it comes.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Beside(NamedTempFile),
    Through(File),
}

/// Writes a file whole or not at all, over what is there; its folder is made. It is kept even if the
/// machine fails right after.
///
/// # Errors
///
/// What the system says, as [`fs::write`] does; what was there is then there still.
pub fn write_file(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = FileWriter::create(path)?;
    file.write_all(bytes.as_ref())?;
    file.finish()
}

impl FileWriter {
    /// Begins a file that is to lie at `path`; its folder is made.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        if is_device(path) {
            let kind = Kind::Through(File::options().write(true).open(path)?);
            return Ok(Self { path: path.to_owned(), kind });
        }
        let folder = folder_of(path);
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED);
        // As any other file, less the user's mask; temporary ones are private by default.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder)?;
        // Held while this program lives: a sweep leaves the file alone for so long. Where a file
        // system has no locks, nothing is swept.
        let _ = file.as_file().try_lock();
        Ok(Self { path: path.to_owned(), kind: Kind::Beside(file) })
    }

    /// The name under which the file lies until it is finished, for libraries that write by name.
    pub fn unfinished(&self) -> &Path {
        match &self.kind {
            Kind::Beside(file) => file.path(),
            Kind::Through(_) => &self.path,
        }
    }

    /// Puts the file at its path, over what is there: flushed, renamed, and the rename flushed.
    ///
    /// # Errors
    ///
    /// What the system says; what was there is then there still, unless only the last flush failed.
    pub fn finish(self) -> io::Result<()> {
        let Kind::Beside(file) = self.kind else { return Ok(()) };
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|error| error.error)?;
        sync_folder(folder_of(&self.path))
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Beside(file) => file.as_file_mut().write(bytes),
            Kind::Through(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The folder in which a file is an entry.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        None => path,
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    }
}

/// Whether a path names what is no file to be replaced. Links in `/dev` name open files.
fn is_device(path: &Path) -> bool {
    let is_special = |kind: fs::FileType| !kind.is_file() && !kind.is_dir();
    fs::metadata(path).is_ok_and(|found| {
        is_special(found.file_type())
            || path.parent() == Some(Path::new("/dev"))
            || path.starts_with("/proc")
    })
}

/// A rename is kept over a loss of power only when its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network file systems know no such thing.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = folder.read_dir().unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_seen_whole_and_its_folder_is_made() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/below/page.html");
        let mut file = FileWriter::create(&path).unwrap();
        file.write_all(b"half, ").unwrap();
        assert!(!path.exists());
        fs::write(file.unfinished(), "by name").unwrap();
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"by name");
        write_file(&path, "anew").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"anew");
        assert_eq!(names(path.parent().unwrap()), ["page.html"]);
    }

    #[test]
    fn a_write_that_fails_leaves_what_was_there_and_nothing_beside() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("page.html");
        write_file(&path, "before").unwrap();
        let mut file = FileWriter::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(names(root.path()), ["page.html"]);
        // A file can't take the place of a folder, nor lie below a file.
        let folder = root.path().join("folder");
        write_file(&folder.join("inside"), "kept").unwrap();
        assert!(write_file(&folder, "over it").is_err());
        assert!(write_file(&path.join("below"), "under it").is_err());
        assert_eq!(fs::read(folder.join("inside")).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(names(root.path()).len(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_and_stays_one() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("nothing");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        write_file(&path, "lost").unwrap();
        assert!(path.is_symlink());
        assert_eq!(names(root.path()), ["nothing"]);
        assert!(is_device(Path::new("/dev/stdout")));
    }
}
