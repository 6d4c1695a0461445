//! A server that speaks as AWS does, and lies where it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is answered to an action.
#[derive(Debug, Clone)]
pub enum Lie {
    /// An error of this status, code and text, as AWS writes it.
    Error(u16, &'static str),
    /// Any body with any status.
    Body(u16, String),
    /// Nothing, and the connection stays open.
    Hang,
}

/// One that runs on loopback.
pub struct Liar {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Liar {
    /// Lies about these actions; sessions it sells truly, and it says who asks.
    pub async fn start(lies: &[(&'static str, Lie)]) -> Self {
        let lies: Arc<BTreeMap<_, _>> = Arc::new(lies.iter().cloned().collect());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, lies.clone(), record.clone()));
            }
        });
        Self { port, asked, task }
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The actions that it was asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, lies: Arc<BTreeMap<&'static str, Lie>>, asked: Arc<Mutex<Vec<String>>>) {
    while let Some(form) = request(&mut stream).await {
        let action = form.strip_prefix("Action=").unwrap_or(&form).split('&').next().unwrap_or_default().to_owned();
        asked.lock().unwrap().push(action.clone());
        let (status, body) = match lies.get(action.as_str()) {
            Some(Lie::Error(status, code)) => (*status, error(code)),
            Some(Lie::Body(status, body)) => (*status, body.clone()),
            Some(Lie::Hang) => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
            None => (200, truth(&action)),
        };
        let answer =
            format!("HTTP/1.1 {status} Said\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The body of a request.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:").and_then(|n| n.trim().parse::<usize>().ok())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(body.to_owned());
            }
        }
        let mut some = [0; 4096];
        match stream.read(&mut some).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => read.extend_from_slice(&some[..n]),
        }
    }
}

pub fn error(code: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>so it is</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )
}

/// A session whose policies take so many per cent of their room.
pub fn session(action: &str, packed: u32) -> String {
    format!(
        "<{action}Response><{action}Result><PackedPolicySize>{packed}</PackedPolicySize><Credentials><AccessKeyId>ASIAXXXXXXXXXXXXXXXX</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></{action}Result></{action}Response>"
    )
}

fn truth(action: &str) -> String {
    match action {
        "AssumeRole" | "AssumeRoleWithWebIdentity" => session(action, 6),
        "GetCallerIdentity" => "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/leasehold/x</Arn><UserId>AROA:x</UserId><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>".into(),
        _ => format!("<{action}Response/>"),
    }
}
