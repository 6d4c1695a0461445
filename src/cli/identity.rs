//! `leasehold identity`: development certificates, and a look into any.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use leasehold_identity::dev::{CA_CERT_FILE, DevCa};
use leasehold_identity::{CertReport, SpiffeId, TrustDomain, inspect};
use leasehold_sdk::Timestamp;
use serde::Serialize;

use super::block;
use super::exit;
use super::output::{Output, json, print, safe};

/// A PEM file with certificates is much smaller than this.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Issue a development SVID. For production use SPIRE or another SPIFFE issuer.
    Issue(IssueArgs),
    /// Describe the certificates of a PEM file and the rules for SVIDs that they break. Trusts nothing.
    Inspect(InspectArgs),
    /// Refuse an identity everything from now on, on every broker. Its leases live on: end them with `lease revoke --identity`.
    Block(block::BlockArgs),
    /// Lift a block.
    Unblock(block::UnblockArgs),
    /// Which identities are blocked.
    Blocks(block::BlocksArgs),
}

#[derive(Debug, clap::Args)]
pub struct IssueArgs {
    /// For this workload, such as spiffe://dev.local/billing
    #[arg(value_name = "SPIFFE_ID")]
    id: SpiffeId,
    /// Folder of the development authority; an empty or new one gets a new authority.
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Trust domain of a new authority [default: that of SPIFFE_ID]
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<TrustDomain>,
    /// Where to write the certificate and its key [default: the folder of the authority]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Name of the files: NAME.pem and NAME-key.pem [default: the ID's path with dashes]
    #[arg(long)]
    name: Option<String>,
    /// How long it is valid.
    #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
    ttl: Duration,
}

#[derive(Debug, clap::Args)]
pub struct InspectArgs {
    /// The PEM file.
    file: PathBuf,
}

/// What was issued.
#[derive(Debug, Serialize)]
struct Issued {
    spiffe_id: SpiffeId,
    cert: PathBuf,
    key: PathBuf,
    bundle: PathBuf,
    not_after: Timestamp,
}

pub async fn run(command: IdentityCommand, output: Output) -> anyhow::Result<u8> {
    match command {
        IdentityCommand::Block(args) => block::block(args, output).await,
        IdentityCommand::Unblock(args) => block::unblock(args, output).await,
        IdentityCommand::Blocks(args) => block::list(args, output).await,
        IdentityCommand::Issue(args) => issue(&args, output),
        IdentityCommand::Inspect(args) => look(&args.file, output),
    }
}

fn issue(args: &IssueArgs, output: Output) -> anyhow::Result<u8> {
    let ca = authority(&args.ca, args.trust_domain.as_ref().unwrap_or(args.id.trust_domain()))?;
    let svid = ca.issue(&args.id, args.ttl)?;
    let out = args.out.as_deref().unwrap_or(&args.ca);
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let name = args.name.clone().unwrap_or_else(|| args.id.segments().collect::<Vec<_>>().join("-"));
    if name.contains('/') || name.is_empty() {
        bail!("{name:?} cannot be the name of a file");
    }
    let (cert, key) = svid.write_to(out, &name)?;
    let issued = Issued {
        spiffe_id: args.id.clone(),
        cert,
        key,
        bundle: args.ca.join(CA_CERT_FILE),
        not_after: Timestamp::from_unix_ms(svid.not_after_unix_ms),
    };
    let members = [
        ("spiffe id", issued.spiffe_id.to_string()),
        ("certificate", issued.cert.display().to_string()),
        ("private key", issued.key.display().to_string()),
        ("bundle", issued.bundle.display().to_string()),
        ("valid until", issued.not_after.to_string()),
    ];
    output.one(&issued, members)?;
    Ok(exit::DONE)
}

/// The authority in a folder, made if there is none.
fn authority(dir: &Path, trust_domain: &TrustDomain) -> anyhow::Result<DevCa> {
    if dir.join(CA_CERT_FILE).exists() {
        return Ok(DevCa::load(dir)?);
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let ca = DevCa::create(trust_domain)?;
    ca.save(dir)?;
    Ok(ca)
}

fn look(file: &Path, output: Output) -> anyhow::Result<u8> {
    let size = std::fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
    if size > PEM_BYTES_MAX {
        bail!("{} is larger than {PEM_BYTES_MAX} bytes", file.display());
    }
    let pem = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let reports = inspect(&pem).with_context(|| file.display().to_string())?;
    match output {
        Output::Json => json(&reports)?,
        Output::Table => print(&reports.iter().enumerate().map(described).collect::<Vec<_>>().join("\n"))?,
    }
    Ok(exit::DONE)
}

fn described((at, report): (usize, &CertReport)) -> String {
    let id = report.spiffe_id.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let usage = report.key_usage.clone().unwrap_or_else(|| "not said".to_owned());
    let rules = if report.violations.is_empty() { "keeps them".to_owned() } else { report.violations.join("; ") };
    let time = |ms| Timestamp::from_unix_ms(ms).to_string();
    let members = [
        ("certificate", format!("{} ({})", at + 1, if report.is_ca { "an authority" } else { "a leaf" })),
        ("spiffe id", id),
        ("names", report.sans.join(", ")),
        ("subject", report.subject.clone()),
        ("issuer", report.issuer.clone()),
        ("valid from", time(report.not_before_unix_ms)),
        ("valid until", time(report.not_after_unix_ms)),
        ("serial", report.serial.clone()),
        ("key usage", usage),
        ("sha-256", report.sha256.clone()),
        ("rules for SVIDs", rules),
    ];
    let shown = |value: &str| if value.is_empty() { "-".to_owned() } else { safe(value) };
    members.iter().map(|(name, value)| format!("{name:<17}{}\n", shown(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(id: &str, ca: &Path) -> IssueArgs {
        let id = SpiffeId::parse(id).unwrap();
        let ttl = Duration::from_secs(60);
        IssueArgs { id, ca: ca.into(), trust_domain: None, out: None, name: None, ttl }
    }

    #[test]
    fn an_authority_is_made_once_and_issues_what_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        issue(&args("spiffe://dev.local/ns/billing", &ca), Output::Json).unwrap();
        let bundle = std::fs::read(ca.join("ca.pem")).unwrap();
        issue(&args("spiffe://dev.local/leasehold", &ca), Output::Table).unwrap();
        assert_eq!(std::fs::read(ca.join("ca.pem")).unwrap(), bundle);
        let reports = inspect(&std::fs::read(ca.join("ns-billing.pem")).unwrap()).unwrap();
        assert!(reports[0].violations.is_empty());
        assert!(described((0, &reports[0])).contains("spiffe://dev.local/ns/billing"));
        let files = leasehold_identity::Identity::from_files(
            &ca.join("leasehold.pem"),
            &ca.join("leasehold-key.pem"),
            &ca.join("ca.pem"),
        );
        assert!(files.unwrap().status().svid_ok);
        let other = issue(&args("spiffe://other.local/x", &ca), Output::Json).unwrap_err();
        assert!(other.to_string().contains("not in the trust domain dev.local"), "{other}");
    }
}
