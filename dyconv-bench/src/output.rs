//! What the program writes: text on standard output, files that are never half written.

use std::io::{ErrorKind, Write};
use std::path::Path;

use dyconv_core::{Error, Result};
use image::RgbImage;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use serde::Serialize;

/// Prints a text and a line end. A closed pipe (`dyconv bench | head`) is no error.
///
/// # Errors
/// Where standard output can't be written to for another reason.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut write = || -> std::io::Result<()> {
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    };
    match write() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::file("standard output", error)),
        _ => Ok(()),
    }
}

/// Makes a folder for results, and the folders above it.
///
/// # Errors
/// Where that can't be done.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|error| Error::file(path.display(), error))
}

/// Writes a file under a temporary name beside its own and renames it.
///
/// # Errors
/// Where the folder doesn't exist or can't be written to.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        // Temporary files are private by default; a result should be as readable as any other file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| Error::file(path.display(), error))
}

/// Writes a value as indented JSON.
///
/// # Errors
/// As [`write_file`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_file(path, json(value)?.as_bytes())
}

/// A value as indented JSON, with a line end. Numbers that are NaN or infinite become `null`.
///
/// # Errors
/// Where the value has keys that JSON can't express.
pub fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Error::file("JSON", error))?;
    Ok(text + "\n")
}

/// Writes a picture as PNG.
///
/// # Errors
/// As [`write_file`].
pub fn write_png(path: &Path, picture: &RgbImage) -> Result<()> {
    let mut bytes = Vec::new();
    // Plots go into repositories: small files are worth the time.
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive);
    picture.write_with_encoder(encoder).map_err(|error| Error::file(path.display(), error))?;
    write_file(path, &bytes)
}

/// Finds out early that a file can't be written, before long work is done for it.
///
/// # Errors
/// Where its folder doesn't exist or can't be written to, or the path is a folder.
pub fn check_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::file(path.display(), "a folder; expected the name of a file"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match tempfile::Builder::new().tempfile_in(folder) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::file(path.display(), error)),
    }
}
