//! Requests out, bounded answers in.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use leasehold_identity::Identity;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::ClientError;
use crate::connection::{Connection, Idle, Unanswered, causes};
use crate::limits::{ANSWER_BYTES_MAX, TEXT_BYTES_MAX};
use crate::way::Way;
use crate::wire::Problem;

/// The header in which a request on the break-glass socket says why.
const REASON: &str = "leasehold-reason";

/// Talks to one broker.
pub(crate) struct Transport {
    way: Way,
    /// Time for one call.
    timeout: Duration,
    idle: Idle,
    /// Held by each that keeps a credential by this, so that they know how many they are.
    keepers: Arc<()>,
}

/// One call: what to send and how long to wait.
pub(crate) struct Call {
    method: Method,
    path: String,
    body: Option<Bytes>,
    /// On top of the configured time.
    extra_time: Duration,
}

/// A good answer.
pub(crate) struct Answer {
    body: Zeroizing<Vec<u8>>,
    /// Where and what, for errors.
    addr: String,
    call: String,
}

impl Call {
    pub(crate) fn get(path: String) -> Self {
        Self { method: Method::GET, path, body: None, extra_time: Duration::ZERO }
    }

    pub(crate) fn post<T: Serialize>(path: String, body: Option<&T>) -> Self {
        Self::with_body(Method::POST, path, body)
    }

    pub(crate) fn put<T: Serialize>(path: String, body: &T) -> Self {
        Self::with_body(Method::PUT, path, Some(body))
    }

    pub(crate) fn delete<T: Serialize>(path: String, body: &T) -> Self {
        Self::with_body(Method::DELETE, path, Some(body))
    }

    fn with_body<T: Serialize>(method: Method, path: String, body: Option<&T>) -> Self {
        let body = body.map(|body| Bytes::from(serde_json::to_vec(body).expect("texts, numbers and maps of texts")));
        Self { method, path, body, extra_time: Duration::ZERO }
    }

    /// Waits this much longer.
    pub(crate) fn and_wait(mut self, extra_time: Duration) -> Self {
        self.extra_time = extra_time;
        self
    }

    fn request(&self, way: &Way) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.path)
            .header(HOST, way.host())
            .header(ACCEPT, "application/json, application/problem+json")
            .header(USER_AGENT, concat!("leasehold/", env!("CARGO_PKG_VERSION")));
        if let Some(reason) = way.reason() {
            request = request.header(REASON, reason);
        }
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(self.body.clone().unwrap_or_default()))
    }
}

impl Transport {
    pub(crate) fn new(way: Way, timeout: Duration) -> Self {
        Self { way, timeout, idle: Idle::default(), keepers: Arc::default() }
    }

    /// Who we are; `None` where no certificate is shown.
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        self.way.identity()
    }

    /// One more that keeps a credential, for as long as it is held.
    pub(crate) fn keeper(&self) -> Arc<()> {
        self.keepers.clone()
    }

    /// How many keep one.
    pub(crate) fn keepers(&self) -> usize {
        Arc::strong_count(&self.keepers) - 1
    }

    pub(crate) async fn close(&self) {
        self.idle.close().await;
    }

    /// Makes a call and takes its whole answer.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, ClientError> {
        let limit = self.timeout.saturating_add(call.extra_time);
        let late = |_| ClientError::TimedOut { addr: self.way.place(), after: limit };
        timeout(limit, self.call_unbounded(&call)).await.map_err(late)?
    }

    async fn call_unbounded(&self, call: &Call) -> Result<Answer, ClientError> {
        if let Some(kept) = self.idle.take(self.way.generation()) {
            match self.call_on(kept, call).await? {
                // On a kept connection 401 means that its certificate has run out since; a new one shows the present.
                Tried::Answered(Err(error)) if error.status() == Some(401) => {}
                Tried::Answered(answer) => return answer,
                // It was closed while it was idle.
                Tried::Unsent(_) => {}
            }
        }
        let fresh = Connection::open(&self.way).await?;
        match self.call_on(fresh, call).await? {
            Tried::Answered(answer) => answer,
            Tried::Unsent(why) => Err(self.broken(why)),
        }
    }

    async fn call_on(&self, mut on: Connection, call: &Call) -> Result<Tried, ClientError> {
        let request = call.request(&self.way).map_err(|error| self.odd(call, error.to_string()))?;
        let response = match on.call(request).await {
            Ok(response) => response,
            Err(Unanswered::Unsent(why)) => return Ok(Tried::Unsent(why)),
            Err(Unanswered::Unknown(why)) => return Err(self.broken(why)),
        };
        let (head, body) = response.into_parts();
        let body = self.read(call, &head.headers, body).await?;
        if !head.headers.get(CONNECTION).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close")) {
            self.idle.put(on);
        }
        Ok(Tried::Answered(self.judge(call, head.status, &head.headers, body)))
    }

    /// Reads a body into memory that is wiped when dropped. What hyper and TLS buffered on the way is not ours to wipe.
    async fn read(&self, call: &Call, head: &HeaderMap, mut body: Incoming) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let said = head.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
        let mut taken = Zeroizing::new(Vec::with_capacity(said.unwrap_or(0).min(ANSWER_BYTES_MAX)));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(causes(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if taken.len() + data.len() > ANSWER_BYTES_MAX {
                return Err(self.odd(call, format!("it is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            append(&mut taken, &data);
        }
        Ok(taken)
    }

    fn judge(
        &self,
        call: &Call,
        status: StatusCode,
        head: &HeaderMap,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Answer, ClientError> {
        if status.is_success() {
            return Ok(Answer { body, addr: self.way.place(), call: call.to_string() });
        }
        let Ok(mut problem) = serde_json::from_slice::<Problem>(&body) else {
            return Err(self.odd(call, format!("status {status} without a problem document")));
        };
        let retry_after = || head.get(RETRY_AFTER)?.to_str().ok()?.parse().ok();
        problem.retry_after = problem.retry_after.or_else(retry_after);
        Err(ClientError::Problem(Box::new(problem)))
    }

    fn broken(&self, why: String) -> ClientError {
        self.way.broken(cut(&why))
    }

    fn odd(&self, call: &Call, why: String) -> ClientError {
        ClientError::Protocol { addr: self.way.place(), call: call.to_string(), why: cut(&why) }
    }
}

/// What became of a call on one connection.
enum Tried {
    Answered(Result<Answer, ClientError>),
    /// It never left.
    Unsent(String),
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Answer {
    /// Its JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| self.odd(&error.to_string()))
    }

    /// Its JSON, when it holds secrets: what exactly did not fit is then not told, for it may be one.
    pub(crate) fn secret_json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| self.odd(&format!("unexpected JSON at line {} column {}", error.line(), error.column())))
    }

    pub(crate) fn odd(&self, why: &str) -> ClientError {
        ClientError::Protocol { addr: self.addr.clone(), call: self.call.clone(), why: cut(why) }
    }
}

/// Grows by hand: a vector that grows by itself gives its old memory back unwiped.
fn append(taken: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let needed = taken.len() + data.len();
    if needed > taken.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * taken.capacity())));
        larger.extend_from_slice(taken);
        *taken = larger;
    }
    taken.extend_from_slice(data);
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
