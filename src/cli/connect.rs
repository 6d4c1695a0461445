//! How a command finds its broker and who it is.

use std::path::PathBuf;

use leasehold_client::{Client, ClientConfig, ClientError, Settings};

use super::exit::Usage;

/// Where the socket is with the paths of the packaged unit.
const USUAL_SOCKET: &str = "/var/lib/leasehold/break-glass.sock";

/// Where the broker is and who we are. What is not given here comes from the environment; who we are also from the Workload API
/// in SPIFFE_ENDPOINT_SOCKET, where no file is named.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Broker")]
pub struct ConnectArgs {
    /// Where it is: https://HOST:PORT [env: LEASEHOLD_ADDR]
    #[arg(long, value_name = "URL")]
    addr: Option<String>,
    /// Your certificate, an X.509-SVID with its chain (PEM) [env: LEASEHOLD_CERT]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The certificate's private key (PEM) [env: LEASEHOLD_KEY]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Your trust domain's bundle (PEM or SPIFFE JWKS) [env: LEASEHOLD_BUNDLE]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The SPIFFE ID that the broker must show [env: LEASEHOLD_BROKER_ID] [default: /leasehold in your trust domain]
    #[arg(long, value_name = "SPIFFE_ID")]
    broker_id: Option<String>,
}

impl ConnectArgs {
    /// Reads the environment and the files, or asks the Workload API.
    ///
    /// # Errors
    /// [`ClientError`], naming what is missing or wrong.
    pub async fn config(self) -> Result<ClientConfig, ClientError> {
        let env = Settings::from_env()?;
        let settings = Settings {
            addr: self.addr.or(env.addr),
            cert: self.cert.or(env.cert),
            key: self.key.or(env.key),
            bundle: self.bundle.or(env.bundle),
            broker_id: self.broker_id.or(env.broker_id),
            workload_api: env.workload_api,
            svid_hint: env.svid_hint,
        };
        settings.load().await
    }

    /// Does something with a client, and says goodbye to the broker whatever came of it.
    ///
    /// # Errors
    /// Those of `deed`, and those of [`config`](Self::config).
    pub async fn with_client<T>(self, deed: impl AsyncFnOnce(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        with(Client::new(self.config().await?)?, deed).await
    }
}

/// The same for what root can also do over the break-glass socket.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct OperatorArgs {
    #[command(flatten)]
    broker: ConnectArgs,
    /// Go by the break-glass socket of the broker on this host, as root, without any certificate [env: LEASEHOLD_BREAK_GLASS]
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, require_equals = true, requires = "reason", help_heading = "Break-glass")]
    break_glass: Option<Option<PathBuf>>,
    /// Why; it goes into the audit log
    #[arg(long, value_name = "TEXT", requires = "break_glass", help_heading = "Break-glass")]
    reason: Option<String>,
}

impl OperatorArgs {
    /// As [`ConnectArgs::with_client`].
    ///
    /// # Errors
    /// Those of `deed`, and those of finding the broker.
    pub async fn with_client<T>(self, deed: impl AsyncFnOnce(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let Some(socket) = self.break_glass else { return self.broker.with_client(deed).await };
        let reason = self.reason.ok_or_else(|| Usage("--break-glass needs --reason".to_owned()))?;
        with(Client::break_glass(socket.unwrap_or_else(usual_socket), &reason)?, deed).await
    }
}

fn usual_socket() -> PathBuf {
    std::env::var_os("LEASEHOLD_BREAK_GLASS")
        .filter(|path| !path.is_empty())
        .map_or_else(|| USUAL_SOCKET.into(), PathBuf::from)
}

async fn with<T>(client: Client, deed: impl AsyncFnOnce(&Client) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let done = deed(&client).await;
    client.close().await;
    done
}
