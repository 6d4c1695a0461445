//! What a request to a port on loopback must look like before its token is looked at: a browser that some page sends there is
//! turned away.

use std::net::SocketAddr;

use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue};

/// The names by which the port is asked rightly.
#[derive(Clone)]
pub struct Hosts([String; 2]);

impl Hosts {
    /// Those of this address.
    pub fn of(addr: SocketAddr) -> Self {
        Self([addr.to_string(), format!("localhost:{}", addr.port())])
    }

    /// Why the request is not answered, whatever token it shows.
    pub fn refuse(&self, headers: &HeaderMap) -> Option<&'static str> {
        if headers.contains_key(header::ORIGIN) {
            return Some("no web page is answered (Origin)");
        }
        let known = only(headers, header::HOST).is_some_and(|host| self.0.iter().any(|known| known.as_bytes() == host));
        (!known).then_some("Host must be the address that this agent listens on")
    }
}

/// The value of a header that is there once.
pub fn only(headers: &HeaderMap, name: HeaderName) -> Option<&[u8]> {
    let mut all = headers.get_all(name).iter();
    all.next().filter(|_| all.next().is_none()).map(HeaderValue::as_bytes)
}
