//! One GET, with limits on its time and size.

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address::Url;
use super::{BundleEndpoint, EndpointProfile};
use crate::bundle::{DomainBundle, TrustBundle};
use crate::chain::Bundles;
use crate::error::tame;
use crate::limits::{BUNDLE_ENDPOINT_MS_MAX, BUNDLE_FILE_BYTES_MAX};
use crate::tls::{HostTls, connect_unknown};
use crate::{Identity, SpiffeId, clock, files};

/// The document as it is, or why there is none. Nothing of the text of an answer is in the reason.
pub(super) async fn fetch(identity: &Arc<Identity>, endpoint: &BundleEndpoint) -> Result<Vec<u8>, String> {
    let late = format!("it did not answer within {BUNDLE_ENDPOINT_MS_MAX} ms");
    let fetching = connect_and_get(identity, endpoint);
    timeout(Duration::from_millis(BUNDLE_ENDPOINT_MS_MAX), fetching).await.unwrap_or(Err(late))
}

async fn connect_and_get(identity: &Arc<Identity>, endpoint: &BundleEndpoint) -> Result<Vec<u8>, String> {
    let url = &endpoint.url;
    let tcp = TcpStream::connect((url.bare_host(), url.port)).await;
    let tcp = tcp.map_err(|error| format!("it cannot be reached: {error}"))?;
    match &endpoint.profile {
        EndpointProfile::HttpsWeb { ca } => {
            let tls = HostTls { ca: ca.clone(), client: None };
            let stream = tls.connect(&url.host, tcp).await.map_err(|error| tame(&error.to_string()))?;
            get(stream, url).await
        }
        EndpointProfile::HttpsSpiffe { endpoint_id, bootstrap } => {
            let (identity, id, bootstrap) = (Arc::clone(identity), endpoint_id.clone(), bootstrap.clone());
            let bundles = tokio::task::spawn_blocking(move || believed(&identity, &id, &bootstrap));
            let bundles = bundles.await.map_err(|_| "its bootstrap bundle cannot be read".to_owned())??;
            let stream = connect_unknown(tcp, &bundles, endpoint_id).await;
            get(stream.map_err(|error| tame(&error.to_string()))?, url).await
        }
    }
}

/// What verifies the server: the newest bundle of its domain that is known, which is the last one fetched if it serves its own
/// domain's bundle (Federation 5.2.2); before there is one, the bootstrap file.
fn believed(identity: &Identity, id: &SpiffeId, bootstrap: &std::path::Path) -> Result<Arc<Bundles>, String> {
    let domain = id.trust_domain();
    let snapshot = identity.snapshot();
    let known = snapshot.bundles.get(domain).filter(|bundle| bundle.is_known());
    let bundle = match known {
        Some(bundle) => Arc::clone(bundle),
        None => {
            let content = files::read(bootstrap, BUNDLE_FILE_BYTES_MAX).map_err(|error| error.to_string())?.to_vec();
            let bundle = TrustBundle::parse(&content, clock::now_unix_ms());
            let bundle = bundle.map_err(|error| format!("{}: {error}", bootstrap.display()))?;
            Arc::new(DomainBundle { bundle, generation: 0, content })
        }
    };
    Ok(Arc::new(Bundles::from([(domain.clone(), bundle)])))
}

async fn get(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &Url) -> Result<Vec<u8>, String> {
    let broke = |error: hyper::Error| format!("the connection broke: {}", tame(&error.to_string()));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    let request = Request::get(url.path.clone())
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broke)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("it redirects ({}), which is not followed", status.as_u16()));
        }
        if status != StatusCode::OK {
            return Err(format!("it answers {}", status.as_u16()));
        }
        body(response.into_body()).await
    };
    // The connection moves only while it is polled; it ends by itself when the answer is there.
    tokio::pin!(answer, connection);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(broke(error)),
        },
    }
}

async fn body(body: Incoming) -> Result<Vec<u8>, String> {
    let most = usize::try_from(BUNDLE_FILE_BYTES_MAX).unwrap_or(usize::MAX);
    match Limited::new(body, most).collect().await {
        Ok(whole) => Ok(whole.to_bytes().to_vec()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(format!("its bundle is larger than {most} bytes"))
        }
        Err(error) => Err(format!("the connection broke: {}", tame(&error.to_string()))),
    }
}
