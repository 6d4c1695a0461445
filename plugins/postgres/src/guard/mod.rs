//! Between the driver and the server: every message of the server is looked at before the driver sees it.
//!
//! The driver trusts whoever it is connected to. It would tell a server its password in clear text if asked to, iterate as
//! often as the server says, and read a message of any length into memory. So it is connected to this guard, within this
//! process, and the guard to the server, with TLS where that is configured. What an honest server never sends ends the
//! connection before the driver has seen it; the driver is told why in the form of a server's error.

mod messages;
mod rules;
mod tls;

use std::time::Duration;

use data_encoding::HEXLOWER;
use leasehold_pglink::{Address, Tls};
use leasehold_sdk::random;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, copy_buf, split};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use rules::Rules;

/// Bytes that are moved at once: most messages of ours are shorter.
const PIECE: usize = 64 << 10;
/// How long the driver may take to come in. It is in this process and was told to.
const DRIVER_MAX: Duration = Duration::from_secs(10);

/// A connection of any kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where the driver is to connect instead of to the server.
pub(crate) struct Door {
    /// The "directory" of a Unix socket in the abstract namespace: there is no file.
    pub(crate) socket: String,
}

/// Connects to the server and waits for the driver at a door of its own.
///
/// # Errors
/// Why the server cannot be reached, for a person.
pub(crate) async fn open(server: &Address, tls: &Tls, has_password: bool) -> Result<Door, String> {
    let stream = reach(server, tls).await?;
    let socket = format!("\0leasehold-{}", HEXLOWER.encode(&random::bytes::<16>()));
    let listener = UnixListener::bind(format!("{socket}/.s.PGSQL.{}", server.port))
        .map_err(|e| format!("no socket for the driver: {e}"))?;
    tokio::spawn(async move {
        if let Ok(Some(driver)) = timeout(DRIVER_MAX, own(&listener)).await {
            drop(listener);
            pass(stream, driver, Rules::new(has_password)).await;
        }
    });
    Ok(Door { socket })
}

async fn reach(server: &Address, tls: &Tls) -> Result<Box<dyn Stream>, String> {
    if server.is_socket() {
        let path = format!("{}/.s.PGSQL.{}", server.host, server.port);
        return Ok(Box::new(UnixStream::connect(path).await.map_err(|e| e.to_string())?));
    }
    let tcp = TcpStream::connect((server.host.as_str(), server.port)).await.map_err(|e| e.to_string())?;
    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
    tls::secure(tcp, tls, &server.host).await
}

/// The driver: the first that comes from this very process. Anybody on this machine may find the name and try.
async fn own(listener: &UnixListener) -> Option<UnixStream> {
    loop {
        let (stream, _) = listener.accept().await.ok()?;
        let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
        if peer.is_some_and(|pid| u32::try_from(pid) == Ok(std::process::id())) {
            return Some(stream);
        }
    }
}

/// Passes messages until one side ends, or the server breaks a rule.
async fn pass(server: Box<dyn Stream>, driver: UnixStream, rules: Rules) {
    let (from_server, mut to_server) = split(server);
    let (from_driver, mut to_driver) = driver.into_split();
    let mut requests = BufReader::with_capacity(PIECE, from_driver);
    let ended = tokio::select! {
        ended = messages::pass(from_server, &mut to_driver, rules) => ended,
        // The driver has let go of it.
        _ = copy_buf(&mut requests, &mut to_server) => Ok(()),
    };
    if let Err(messages::Ended::Refused(why)) = ended {
        let _ = to_driver.write_all(&messages::refusal(&why)).await;
    }
}
