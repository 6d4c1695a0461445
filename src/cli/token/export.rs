//! What the issuer publishes, as files at the paths of the public listener.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::NamedTempFile;

use super::super::connect::ConnectArgs;
use super::super::exit;

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Where: it is made if it is not there.
    dir: PathBuf,
    #[command(flatten)]
    broker: ConnectArgs,
}

/// Writes `.well-known/openid-configuration`, `.well-known/oauth-authorization-server` and `oauth2/jwks`, and where the broker asserts to
/// clouds `cloud/.well-known/openid-configuration` and `cloud/jwks`.
pub async fn run(args: ExportArgs) -> anyhow::Result<u8> {
    let documents = args.broker.with_client(async |client| Ok(client.issuer_documents().await?)).await?;
    // The keys first: whoever reads between two writes finds a key set that holds what the document speaks of.
    write(&args.dir.join("oauth2/jwks"), &documents.jwks)?;
    for name in ["openid-configuration", "oauth-authorization-server"] {
        write(&args.dir.join(".well-known").join(name), &documents.discovery)?;
    }
    // No `.well-known/oauth-authorization-server/cloud`: what it would lie in is a file. Clouds look beneath the issuer's path.
    if let Some(cloud) = &documents.cloud {
        write(&args.dir.join("cloud/jwks"), &cloud.jwks)?;
        write(&args.dir.join("cloud/.well-known/openid-configuration"), &cloud.discovery)?;
    }
    Ok(exit::DONE)
}

/// Whole or not at all: verifiers read it at any time.
fn write(path: &Path, document: &serde_json::Value) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir).with_context(failed)?;
    let mut file = NamedTempFile::new_in(dir).with_context(failed)?;
    let put = |file: &mut NamedTempFile| {
        serde_json::to_writer_pretty(file.as_file_mut(), document)?;
        file.write_all(b"\n")?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable)?;
        file.as_file().sync_all()
    };
    put(&mut file).with_context(failed)?;
    file.persist(path).map_err(|e| e.error).with_context(failed)?;
    Ok(())
}
