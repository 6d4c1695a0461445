//! A hook that is a URL: told by a POST which credential has changed. No secret goes over it.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use leasehold_identity::HostTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Headers of an answer; its body is not read.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// Calls it.
///
/// # Errors
/// When it cannot be reached in time, or answers anything but 2xx.
pub async fn post(url: &Uri, time: Duration, credential: &str, generation: u64) -> anyhow::Result<()> {
    let done = timeout(time, post_unbounded(url, credential, generation)).await;
    let status = done.with_context(|| format!("{url} did not answer within {time:?}"))?;
    let status = status.with_context(|| format!("{url} cannot be called"))?;
    if !status.is_success() {
        bail!("{url} answers {}", status.as_u16());
    }
    Ok(())
}

async fn post_unbounded(url: &Uri, credential: &str, generation: u64) -> anyhow::Result<StatusCode> {
    let host = url.host().context("it names no host")?;
    let secure = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let body = serde_json::json!({ "credential": credential, "generation": generation }).to_string();
    let request = Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, url.authority().map_or(host, |authority| authority.as_str()))
        .header(USER_AGENT, concat!("leasehold/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))?;
    if secure {
        send(HostTls::default().connect(host, stream).await?, request).await
    } else {
        send(stream, request).await
    }
}

async fn send<IO>(stream: IO, request: Request<Full<Bytes>>) -> anyhow::Result<StatusCode>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let spoken = http1::Builder::new().max_buf_size(HEADER_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = spoken?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await;
    connection.abort();
    Ok(answer?.status())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with this, and tells what was asked.
    async fn answered(answer: &'static str) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Uri = format!("http://{}/reload?now=1", listener.local_addr().unwrap()).parse().unwrap();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"}") {
                let mut some = [0; 4096];
                let n = stream.read(&mut some).await.unwrap();
                asked.extend_from_slice(&some[..n]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let done = post(&url, Duration::from_secs(20), "orders", 7).await;
        (done.map_err(|e| format!("{e:#}")), heard.await.unwrap())
    }

    #[tokio::test]
    async fn what_changed_is_posted_and_only_a_good_answer_counts() {
        let (done, asked) = answered("HTTP/1.1 204 No Content\r\n\r\n").await;
        done.unwrap();
        assert!(asked.starts_with("POST /reload?now=1 HTTP/1.1\r\nhost: 127.0.0.1:"), "{asked}");
        assert!(asked.ends_with("{\"credential\":\"orders\",\"generation\":7}"), "{asked}");
        let (done, _) = answered("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
        assert!(done.unwrap_err().ends_with("/reload?now=1 answers 503"));
        let nobody: Uri = "http://127.0.0.1:9/".parse().unwrap();
        let error = post(&nobody, Duration::from_secs(20), "orders", 7).await.unwrap_err().to_string();
        assert!(error.contains("cannot be called"), "{error}");
    }
}
