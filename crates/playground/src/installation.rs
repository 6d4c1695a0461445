//! Where the server binaries are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Major versions of PostgreSQL that Leasehold supports, oldest and newest.
pub const SUPPORTED_MAJORS: std::ops::RangeInclusive<u32> = 13..=18;

/// Names one folder with server binaries; it wins over everything that is found on the machine.
const BIN_DIR_VARIABLE: &str = "LEASEHOLD_PG_BIN";

/// Where Debian and Ubuntu keep one folder for each major version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// One set of PostgreSQL server binaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    bin_dir: PathBuf,
    version: String,
    major: u32,
}

impl Installation {
    /// Looks at the binaries in `bin_dir`.
    ///
    /// # Errors
    /// When `initdb` or `postgres` is missing there, cannot be run, or is of a version that is not supported.
    pub fn at(bin_dir: impl Into<PathBuf>) -> Result<Self> {
        let bin_dir = bin_dir.into();
        for program in ["initdb", "postgres"] {
            if !bin_dir.join(program).is_file() {
                bail!("there is no {program} in {}", bin_dir.display());
            }
        }
        let version = ask_version(&bin_dir.join("postgres"))?;
        let major = parse_major(&version).with_context(|| format!("cannot read the version {version:?}"))?;
        if !SUPPORTED_MAJORS.contains(&major) {
            bail!("PostgreSQL {version} in {} is not supported: 13 to 18 are", bin_dir.display());
        }
        Ok(Self { bin_dir, version, major })
    }

    /// The folder with `postgres` and `initdb`.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.bin_dir
    }

    /// The version as the server prints it, such as `15.18`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version, such as `15`.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// The server to use: `LEASEHOLD_PG_BIN` when set, else the newest supported one under `/usr/lib/postgresql`, else that in `PATH`.
///
/// # Errors
/// When none is found, with the package to install; when `LEASEHOLD_PG_BIN` is set and wrong.
pub fn find_installation() -> Result<Installation> {
    if let Some(bin_dir) = std::env::var_os(BIN_DIR_VARIABLE).filter(|value| !value.is_empty()) {
        return Installation::at(PathBuf::from(bin_dir)).with_context(|| format!("{BIN_DIR_VARIABLE} is wrong"));
    }
    find_all().into_iter().next().context(
        "no PostgreSQL server (13 to 18) is installed: run `make setup`, or `apt-get install postgresql` \
         on Debian and Ubuntu, or name the folder of its binaries in LEASEHOLD_PG_BIN",
    )
}

/// Every supported server that is installed, the newest first of `/usr/lib/postgresql`, then that of `PATH`.
#[must_use]
pub fn find_all() -> Vec<Installation> {
    let mut found: Vec<Installation> =
        debian_bin_dirs().into_iter().filter_map(|dir| Installation::at(dir).ok()).collect();
    found.sort_by_key(|installation| std::cmp::Reverse(installation.major));
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&in_path).filter(|dir| dir.join("postgres").is_file()) {
        // A link such as /usr/bin/postgres must be followed: initdb looks for its share folder from where it lies.
        let dir = std::fs::canonicalize(dir.join("postgres"))
            .ok()
            .and_then(|file| file.parent().map(Path::to_owned))
            .unwrap_or(dir);
        if let Ok(installation) = Installation::at(dir)
            && !found.contains(&installation)
        {
            found.push(installation);
        }
    }
    found
}

fn debian_bin_dirs() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(DEBIAN_ROOT) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path().join("bin")).filter(|dir| dir.join("postgres").is_file()).collect()
}

fn ask_version(postgres: &Path) -> Result<String> {
    let output = Command::new(postgres)
        .arg("--version")
        .env("LC_ALL", "C")
        .output()
        .with_context(|| format!("cannot run {}", postgres.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{} --version failed: {}", postgres.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
    text.split_whitespace().nth(2).map(str::to_owned).with_context(|| format!("cannot read {text:?} as a version"))
}

fn parse_major(version: &str) -> Option<u32> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The first file named `program` in the folders of `PATH`.
pub(crate) fn in_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program.as_ref())).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_versions_are_read_from_what_servers_print() {
        assert_eq!(parse_major("15.18"), Some(15));
        assert_eq!(parse_major("18beta1"), Some(18));
        assert_eq!(parse_major("devel"), None);
    }

    #[test]
    fn a_folder_without_binaries_is_named_in_the_error() {
        let error = Installation::at("/nonexistent").unwrap_err().to_string();
        assert!(error.contains("/nonexistent"), "{error}");
    }
}
