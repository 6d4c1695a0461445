//! The messages of `FetchX509SVID`, by the field numbers of the Workload API's protocol (Workload API 5, appendix A).

use std::collections::HashMap;

use zeroize::Zeroize;

/// Where the call goes.
pub(super) const FETCH_X509_SVID: &str = "/SpiffeWorkloadAPI/FetchX509SVID";

/// Every call must carry this; else the server refuses it, which keeps out requests that others were tricked into sending.
pub(super) const SECURITY_HEADER: (&str, &str) = ("workload.spiffe.io", "true");

/// There is nothing to ask for: who asks is known to the server.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Request {}

/// All that the workload has, each time anew. Field 2, revocation lists, is passed over.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Response {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<Svid>,
    /// By the SPIFFE ID of the trust domain; concatenated DER.
    #[prost(map = "string, bytes", tag = "3")]
    pub(super) federated_bundles: HashMap<String, Vec<u8>>,
}

/// One identity.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct Svid {
    #[prost(string, tag = "1")]
    pub(super) spiffe_id: String,
    /// Leaf first; concatenated DER.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) x509_svid: Vec<u8>,
    /// PKCS#8 in DER.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) x509_svid_key: Vec<u8>,
    /// Of the identity's own trust domain; concatenated DER.
    #[prost(bytes = "vec", tag = "4")]
    pub(super) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(super) hint: String,
}

impl std::fmt::Debug for Svid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Svid").field("spiffe_id", &self.spiffe_id).field("hint", &self.hint).finish_non_exhaustive()
    }
}

impl Drop for Svid {
    fn drop(&mut self) {
        self.x509_svid_key.zeroize();
    }
}
