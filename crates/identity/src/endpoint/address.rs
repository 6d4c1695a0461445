//! The URL of a bundle endpoint.

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

/// `https://host[:port]/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) path: PathAndQuery,
}

/// Why a text is not the URL of a bundle endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not a URL at all, or one with a fragment.
    #[error("it is not a URL such as https://partner.example/bundle")]
    NotAUrl,
    /// Another scheme.
    #[error("it must begin with https://")]
    Scheme,
    /// A user name or password (Federation 5.2.1.1).
    #[error("it must not hold a user name or password")]
    UserInfo,
    /// The port is no number from 1 to 65535.
    #[error("its port is wrong")]
    Port,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError::NotAUrl);
        }
        let uri: Uri = text.parse().map_err(|_| UrlError::NotAUrl)?;
        if uri.scheme_str() != Some("https") {
            return Err(UrlError::Scheme);
        }
        let authority = uri.authority().ok_or(UrlError::NotAUrl)?;
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        if authority.host().is_empty() {
            return Err(UrlError::NotAUrl);
        }
        let port = match authority.port_u16() {
            Some(0) => return Err(UrlError::Port),
            Some(port) => port,
            None if authority.as_str() == authority.host() => 443,
            None => return Err(UrlError::Port),
        };
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { host: authority.host().to_owned(), port, path })
    }

    /// What the header `Host` says.
    pub(super) fn authority(&self) -> String {
        match self.port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }

    /// The host as it is looked up: an IPv6 address without its brackets.
    pub(super) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let shown = |text: &str| Url::parse(text).map(|url| url.to_string());
        for (text, url) in [
            ("https://partner.example/bundle", "https://partner.example/bundle"),
            ("https://partner.example", "https://partner.example/"),
            ("https://partner.example:8443/b?x=y", "https://partner.example:8443/b?x=y"),
            ("https://[::1]:8443/b", "https://[::1]:8443/b"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(url), "{text}");
        }
        for (text, error) in [
            ("http://partner.example/bundle", UrlError::Scheme),
            ("partner.example/bundle", UrlError::NotAUrl),
            ("", UrlError::NotAUrl),
            ("https://partner.example/#x", UrlError::NotAUrl),
            ("https://u:p@partner.example/", UrlError::UserInfo),
            ("https://partner.example:0/", UrlError::Port),
            ("https://partner.example:99999/", UrlError::Port),
        ] {
            assert_eq!(shown(text), Err(error), "{text}");
        }
    }
}
