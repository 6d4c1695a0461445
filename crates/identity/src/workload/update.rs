//! What a message means: checked, or discarded.

use std::collections::BTreeMap;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::WorkloadApi;
use super::wire::{Response, Svid};
use crate::bundle::TrustBundle;
use crate::error::tame;
use crate::limits::WORKLOAD_API_SVIDS_MAX;
use crate::svid::OwnSvid;
use crate::{IdentityError, SpiffeId, TrustDomain, clock};

/// One message whose own part is good. Federated bundles are judged where they come into use, each by itself.
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) svid: Arc<OwnSvid>,
    /// The own one among them, as concatenated DER.
    pub(crate) bundles: BTreeMap<TrustDomain, Vec<u8>>,
}

/// What has come from a Workload API so far.
#[derive(Debug)]
pub(crate) struct Feed {
    /// Whose. What another one gave does not count.
    pub(crate) api: WorkloadApi,
    pub(crate) given: Given,
    /// Why nothing newer comes just now.
    pub(crate) trouble: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Given {
    /// It has not answered yet.
    Nothing,
    /// The last good message.
    Update(Arc<Update>),
    /// It gave something, and then refused us (Workload API 5.2.1): what it gave must not be used any more.
    Withdrawn,
}

impl Update {
    /// Reads a message.
    ///
    /// # Errors
    /// Why the message must be discarded whole: a mandatory field of it is empty (Workload API 5.2.1), or its own SVID or
    /// bundle is not as it must be.
    pub(super) fn read(message: Response, api: &WorkloadApi) -> Result<Self, String> {
        Self::try_read(message, api).map_err(|why| format!("its message is discarded: {why}"))
    }

    fn try_read(mut message: Response, api: &WorkloadApi) -> Result<Self, String> {
        if message.svids.len() > WORKLOAD_API_SVIDS_MAX {
            return Err(format!("it holds more than {WORKLOAD_API_SVIDS_MAX} SVIDs"));
        }
        if let Some(field) = message.svids.iter().find_map(empty_field) {
            return Err(format!("an SVID in it has no {field}"));
        }
        let at = choose(&message.svids, api.hint())?;
        let mut chosen = message.svids.swap_remove(at);
        let svid = own(&mut chosen, api)?;
        let domain = svid.spiffe_id.trust_domain().clone();
        let bundle = mem::take(&mut chosen.bundle);
        TrustBundle::from_ders(&bundle, clock::now_unix_ms())
            .map_err(|error| format!("the bundle of {domain} in it is not usable: {error}"))?;

        let mut bundles = federated(&message, api);
        bundles.insert(domain, bundle);
        Ok(Self { svid: Arc::new(svid), bundles })
    }
}

fn empty_field(svid: &Svid) -> Option<&'static str> {
    [
        (svid.spiffe_id.is_empty(), "spiffe_id"),
        (svid.x509_svid.is_empty(), "x509_svid"),
        (svid.x509_svid_key.is_empty(), "x509_svid_key"),
        (svid.bundle.is_empty(), "bundle"),
    ]
    .into_iter()
    .find_map(|(empty, field)| empty.then_some(field))
}

/// The first is the default; of several with the wanted hint, the first (Workload API 8).
fn choose(svids: &[Svid], hint: Option<&str>) -> Result<usize, String> {
    match hint {
        _ if svids.is_empty() => Err("there is no SVID in it".into()),
        None => Ok(0),
        Some(hint) => {
            let at = svids.iter().position(|svid| svid.hint == hint);
            at.ok_or_else(|| format!("no SVID in it has the hint {hint:?}"))
        }
    }
}

fn own(chosen: &mut Svid, api: &WorkloadApi) -> Result<OwnSvid, String> {
    let key = Zeroizing::new(mem::take(&mut chosen.x509_svid_key));
    let place = api.to_string();
    let svid = OwnSvid::from_der(&chosen.x509_svid, &key, Path::new(&place)).map_err(|error| error.to_string())?;
    if svid.spiffe_id.as_str() != chosen.spiffe_id {
        return Err(format!("it calls its SVID {:?}, which is {}", tame(&chosen.spiffe_id), svid.spiffe_id));
    }
    Ok(svid)
}

/// The bundles of other domains: those that come with further SVIDs, and those that are federated with.
fn federated(message: &Response, api: &WorkloadApi) -> BTreeMap<TrustDomain, Vec<u8>> {
    let of_id = |id: &str| match SpiffeId::parse(id) {
        Ok(id) => Some(id.trust_domain().clone()),
        Err(why) => {
            tracing::warn!(workload_api = %api, id = tame(id), %why, "a bundle is left out: its trust domain has no name");
            None
        }
    };
    let others = message.federated_bundles.iter();
    let others = others.filter_map(|(id, bundle)| Some((of_id(id)?, bundle.clone())));
    let ours = message.svids.iter().filter_map(|svid| Some((of_id(&svid.spiffe_id)?, svid.bundle.clone())));
    // What stands beside an SVID is of its own domain, so it goes before what is federated with.
    others.chain(ours).collect()
}

impl Feed {
    pub(crate) fn new(api: &WorkloadApi) -> Self {
        Self { api: api.clone(), given: Given::Nothing, trouble: None }
    }

    pub(crate) fn of(api: &WorkloadApi, update: Update) -> Self {
        Self { given: Given::Update(Arc::new(update)), ..Self::new(api) }
    }

    /// Why there is nothing, or nothing newer.
    pub(crate) fn error(&self) -> Option<IdentityError> {
        let address = self.api.to_string();
        match (&self.given, &self.trouble) {
            (Given::Update(_), None) => None,
            (Given::Nothing, None) => {
                Some(IdentityError::WorkloadApi { address, why: "it has not answered yet".into() })
            }
            (Given::Withdrawn, why) => Some(IdentityError::Withdrawn { address, why: why.clone().unwrap_or_default() }),
            (_, Some(why)) => Some(IdentityError::WorkloadApi { address, why: why.clone() }),
        }
    }
}
