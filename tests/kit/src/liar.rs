//! A server that speaks PostgreSQL's protocol and lies in one way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What a server does that an honest one never would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It asks for the password in clear text.
    ClearPassword,
    /// It asks for an MD5 hash of the password.
    Md5Password,
    /// It states this many iterations of SCRAM.
    Iterations(u32),
    /// It answers the proof of the password with a signature that is not its own.
    WrongSignature,
    /// It lets everybody in.
    Unasked,
    /// It states a message of 1 GiB and sends it as fast as it is taken.
    LongMessage,
    /// It sends notices for ever, before the login.
    Notices,
    /// It tells settings for ever, before the login.
    Settings,
    /// It never answers.
    Silent,
    /// It sends one byte a second.
    Trickle,
    /// It agrees to TLS and then never answers.
    TlsStall,
    /// It lets everybody in, and lists a million accounts from this name on.
    Accounts(String),
    /// It lets everybody in, and sends errors with escape codes, new lines and half a megabyte of text.
    Errors,
    /// It lets everybody in, and sends an error of 10 MiB.
    LongError,
    /// It lets everybody in, and answers with rows for ever.
    Rows,
    /// It lets everybody in, and answers with notices for ever.
    NoticesLater,
    /// It lets everybody in, and is another server each time.
    Fingerprints,
    /// It lets everybody in, and breaks off each third answer, or makes it an error.
    Fits,
}

/// How many accounts [`Lie::Accounts`] lists.
const ACCOUNTS: usize = 1_000_000;

/// A lying server on loopback. Dropping it closes every connection.
pub struct Liar {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Liar {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("listen on loopback");
        let address = listener.local_addr().expect("the listener's address");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let memory = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let talk = Talk { stream, lie: lie.clone(), heard: Arc::clone(&memory), number, answers: 0 };
                // How a session ends is the client's affair.
                sessions.spawn(async move { drop(talk.run().await) });
                while sessions.try_join_next().is_some() {}
            }
        });
        Self { address, heard, task }
    }

    /// The port where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Whether any client has sent these bytes.
    #[must_use]
    pub fn has_heard(&self, text: &str) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.windows(text.len()).any(|piece| piece == text.as_bytes())
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Talk {
    stream: TcpStream,
    lie: Lie,
    heard: Arc<Mutex<Vec<u8>>>,
    number: u64,
    answers: u64,
}

type Io<T> = std::io::Result<T>;

impl Talk {
    async fn run(mut self) -> Io<()> {
        let start = self.start_up().await?;
        match self.lie.clone() {
            Lie::Silent | Lie::TlsStall => self.listen().await,
            Lie::ClearPassword => self.ask(&[0, 0, 0, 3]).await,
            Lie::Md5Password => self.ask(&[0, 0, 0, 5, 1, 2, 3, 4]).await,
            Lie::Iterations(n) => self.scram(n).await,
            Lie::WrongSignature => self.scram(4096).await,
            Lie::LongMessage => {
                self.stream.write_all(&[b'R', 0x40, 0, 0, 0]).await?;
                loop {
                    self.stream.write_all(&[0; 1 << 16]).await?;
                }
            }
            Lie::Notices => self.for_ever(&notice()).await,
            Lie::Settings => self.for_ever(&message(b'S', b"a_setting\0of no use\0")).await,
            Lie::Trickle => {
                for byte in message(b'R', &[&[0, 0, 0, 10][..], b"SCRAM-SHA-256\0\0"].concat()) {
                    self.stream.write_all(&[byte]).await?;
                    sleep(Duration::from_secs(1)).await;
                }
                self.listen().await
            }
            _ => self.serve(&start).await,
        }
    }

    /// Reads up to the start-up packet and answers its body.
    async fn start_up(&mut self) -> Io<Vec<u8>> {
        loop {
            let length = self.stream.read_u32().await?;
            let mut body = vec![0; length.saturating_sub(4).min(1 << 16) as usize];
            self.stream.read_exact(&mut body).await?;
            self.hear(&body);
            if body.starts_with(&[0x04, 0xd2, 0x16, 0x2f]) {
                if self.lie == Lie::TlsStall {
                    self.stream.write_all(b"S").await?;
                    self.listen().await?;
                }
                self.stream.write_all(b"N").await?;
            } else {
                return Ok(body);
            }
        }
    }

    /// Takes whatever comes and says nothing.
    async fn listen(&mut self) -> Io<()> {
        let mut piece = [0; 4096];
        loop {
            let n = self.stream.read(&mut piece).await?;
            if n == 0 {
                return Ok(());
            }
            self.hear(&piece[..n]);
        }
    }

    async fn ask(&mut self, how: &[u8]) -> Io<()> {
        self.stream.write_all(&message(b'R', how)).await?;
        self.listen().await
    }

    async fn scram(&mut self, iterations: u32) -> Io<()> {
        self.stream.write_all(&message(b'R', &[&[0, 0, 0, 10][..], b"SCRAM-SHA-256\0\0"].concat())).await?;
        let (_, first) = self.next().await?;
        let first = String::from_utf8_lossy(&first).into_owned();
        let nonce = first.split("r=").nth(1).unwrap_or_default();
        let answer = format!("r={nonce}liar,s=AAAAAAAAAAAAAAAAAAAAAA==,i={iterations}");
        self.stream.write_all(&message(b'R', &[&[0, 0, 0, 11], answer.as_bytes()].concat())).await?;
        let _ = self.next().await?;
        let signature = format!("v={}=", "A".repeat(43));
        self.stream.write_all(&message(b'R', &[&[0, 0, 0, 12], signature.as_bytes()].concat())).await?;
        self.stream.write_all(&[message(b'R', &[0; 4]), ready()].concat()).await?;
        self.listen().await
    }

    async fn for_ever(&mut self, what: &[u8]) -> Io<()> {
        let many = what.repeat(1000);
        loop {
            self.stream.write_all(&many).await?;
        }
    }

    /// Lets everybody in and answers statements.
    async fn serve(&mut self, start: &[u8]) -> Io<()> {
        let greeting = [message(b'R', &[0; 4]), message(b'S', b"server_version\x0016.1\0"), ready()].concat();
        self.stream.write_all(&greeting).await?;
        let named = |key: &str| {
            let mut words = start[4..].split(|b| *b == 0).map(String::from_utf8_lossy);
            words.by_ref().find(|word| word == key).and(words.next()).unwrap_or_default().into_owned()
        };
        let (user, database) = (named("user"), named("database"));
        loop {
            let (kind, body) = self.next().await?;
            let sql = String::from_utf8_lossy(&body).into_owned();
            self.answers += 1;
            let answer = match kind {
                b'X' => return Ok(()),
                b'Q' if sql.contains("pg_control_system") => self.facts(&user, &database),
                b'Q' => self.lie_about(&sql).await?,
                _ => ready(),
            };
            self.stream.write_all(&answer).await?;
        }
    }

    fn facts(&self, user: &str, database: &str) -> Vec<u8> {
        let system = if self.lie == Lie::Fingerprints { self.number } else { 7 };
        let names = [("system", 25), ("login", 25), ("database", 25), ("super", 16), ("pid", 23)];
        let values = [&*system.to_string(), user, database, "t", "1"];
        [described(&names), row(&values), done(), ready()].concat()
    }

    async fn lie_about(&mut self, sql: &str) -> Io<Vec<u8>> {
        match &self.lie {
            Lie::Accounts(first) if sql.contains("pg_auth_members") && sql.contains("ORDER BY") => {
                Ok(accounts(first, sql))
            }
            Lie::Errors => {
                Ok([error(&format!("\x1b[2J\x1b]0;owned\x07\r\nFAKE LINE {}", "x".repeat(500_000))), ready()].concat())
            }
            Lie::LongError => Ok([error(&"x".repeat(10 << 20)), ready()].concat()),
            Lie::NoticesLater => self.for_ever(&notice()).await.map(|()| Vec::new()),
            Lie::Rows => {
                self.stream.write_all(&described(&[("name", 25), ("oid", 20)])).await?;
                self.for_ever(&row(&["lh_x", "1"])).await.map(|()| Vec::new())
            }
            Lie::Fits if self.answers.is_multiple_of(3) => Err(std::io::ErrorKind::ConnectionReset.into()),
            Lie::Fits if self.answers % 3 == 1 => Ok([error("a fit"), ready()].concat()),
            _ => Ok([done(), ready()].concat()),
        }
    }

    async fn next(&mut self) -> Io<(u8, Vec<u8>)> {
        let kind = self.stream.read_u8().await?;
        let length = self.stream.read_u32().await?;
        let mut body = vec![0; length.saturating_sub(4).min(16 << 20) as usize];
        self.stream.read_exact(&mut body).await?;
        self.hear(&body);
        Ok((kind, body))
    }

    fn hear(&self, bytes: &[u8]) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    }
}

/// One page of a million accounts: their names count up from `first`.
fn accounts(first: &str, sql: &str) -> Vec<u8> {
    let after = sql.split("OPERATOR(pg_catalog.>) '").nth(1).and_then(|rest| rest.split('\'').next()).unwrap_or("");
    let limit: usize =
        sql.rsplit("LIMIT ").next().and_then(|n| n.trim_end_matches('\0').trim().parse().ok()).unwrap_or(1);
    let start = if after.len() == first.len() { digits(after) + 1 } else { 0 };
    let mut answer = described(&[("name", 25), ("oid", 20)]);
    for n in (start..ACCOUNTS).take(limit) {
        answer.extend(row(&[&named(first, n), &n.to_string()]));
    }
    [answer, done(), ready()].concat()
}

/// The five characters of an account's name before its last: the last holds bits that must not be set.
fn counter(name: &str) -> std::ops::Range<usize> {
    name.len() - 6..name.len() - 1
}

const BASE32HEX: &[u8] = b"0123456789abcdefghijklmnopqrstuv";

fn named(first: &str, n: usize) -> String {
    let mut name = first.to_owned();
    let text: String = (0..5).rev().map(|place| char::from(BASE32HEX[(n >> (5 * place)) & 31])).collect();
    name.replace_range(counter(first), &text);
    name
}

fn digits(name: &str) -> usize {
    let value = |c: u8| BASE32HEX.iter().position(|b| *b == c).unwrap_or_default();
    name[counter(name)].bytes().fold(0, |n, c| (n << 5) | value(c))
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short message");
    [&[kind], &length.to_be_bytes()[..], body].concat()
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn done() -> Vec<u8> {
    message(b'C', b"SELECT 1\0")
}

fn error(text: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0CXX000\0M{text}\0\0").as_bytes())
}

fn notice() -> Vec<u8> {
    message(b'N', b"SWARNING\0VWARNING\0C01000\0Mnothing of note\0\0")
}

fn described(columns: &[(&str, u32)]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).expect("few columns").to_be_bytes().to_vec();
    for (name, kind) in columns {
        body.extend(name.as_bytes());
        body.extend([0; 7]);
        body.extend(kind.to_be_bytes());
        body.extend([0xff; 6]);
        body.extend([0, 0]);
    }
    message(b'T', &body)
}

fn row(values: &[&str]) -> Vec<u8> {
    let mut body = u16::try_from(values.len()).expect("few columns").to_be_bytes().to_vec();
    for value in values {
        body.extend(u32::try_from(value.len()).expect("a short value").to_be_bytes());
        body.extend(value.as_bytes());
    }
    message(b'D', &body)
}
