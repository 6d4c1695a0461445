//! `[identity]`: who the broker is and whom it can verify.

use std::collections::BTreeMap;
use std::path::Path;

use leasehold_identity::{
    BundleEndpoint, BundleSource, EndpointProfile, IdentityConfig, SpiffeId, SvidSource, TrustDomain, WorkloadApi,
};

use super::section::{Field, Section};
use super::value;
use toml::de::DeValue;

/// What bundle endpoints gave last, in `data_dir`.
const KEPT_DIR: &str = "bundles";

pub(super) fn identity(root: &Section<'_>, base: &Path, data_dir: Option<&Path>) -> Option<IdentityConfig> {
    let section = root.section_or_empty("identity");
    section.require("trust_domain", "the broker's own trust domain, such as \"prod.example.org\"");
    section.require("svid", "{ cert = \"broker.pem\", key = \"broker-key.pem\" } or { workload_api = \"unix:///…\" }");
    let domain = section.string("trust_domain").and_then(|f| f.read(|s| TrustDomain::parse(s)));
    let svid = section.section("svid").and_then(|svid| svid_source(svid, base));
    let kept = data_dir.map(|dir| dir.join(KEPT_DIR));
    let bundles = bundles(&section, base, kept.as_deref());
    if let (Some(domain), Some(bundles)) = (&domain, &bundles)
        && !bundles.contains_key(domain)
    {
        let why =
            format!("has no bundle of the broker's own trust domain: add \"{domain}\" = {{ file = \"bundle.pem\" }}");
        section.wrong("bundles", why);
    }
    if let (Some(SvidSource::Files { .. }), Some(bundles)) = (&svid, &bundles) {
        for (domain, _) in bundles.iter().filter(|(_, source)| **source == BundleSource::WorkloadApi) {
            let why = "needs svid = { workload_api = \"unix:///…\" }: bundles come from where the SVID comes from";
            section.wrong(&format!("bundles.\"{domain}\".workload_api"), why);
        }
    }
    section.finish();
    Some(IdentityConfig { trust_domain: domain?, svid: svid?, bundles: bundles? })
}

fn svid_source(section: Section<'_>, base: &Path) -> Option<SvidSource> {
    if section.has("workload_api") {
        return workload_api(section);
    }
    section.require("cert", "a PEM file: the certificate and its intermediates");
    section.require("key", "a PEM file: the private key");
    let (cert, key) = (section.path("cert", base), section.path("key", base));
    if section.string("hint").is_some() {
        section.wrong("hint", "chooses among the SVIDs of a workload_api");
    }
    section.finish();
    Some(SvidSource::Files { cert: cert?, key: key? })
}

fn workload_api(section: Section<'_>) -> Option<SvidSource> {
    for key in ["cert", "key"] {
        if section.has(key) {
            section.wrong(key, "cannot stand beside workload_api, which gives certificate and key");
        }
        let _ = section.string(key);
    }
    let api = section.string("workload_api").and_then(|f| f.read(|s| WorkloadApi::parse(s)));
    let hint = section.string("hint");
    section.finish();
    let api = api?;
    Some(SvidSource::WorkloadApi(match hint {
        Some(hint) => api.with_hint(hint.value),
        None => api,
    }))
}

fn bundles(section: &Section<'_>, base: &Path, kept: Option<&Path>) -> Option<BTreeMap<TrustDomain, BundleSource>> {
    let entries = section.section_or_empty("bundles").entries();
    // All are read, so that every error is told, before one that is wrong spoils the whole.
    let read: Vec<_> = entries.into_iter().map(|(name, field)| bundle(name, &field, base, kept)).collect();
    read.into_iter().collect()
}

fn bundle(
    name: &str,
    field: &Field<'_, &DeValue<'_>>,
    base: &Path,
    kept: Option<&Path>,
) -> Option<(TrustDomain, BundleSource)> {
    let domain = field.read(|_| TrustDomain::parse(name));
    let section = field.section().or_else(|| {
        field.wrong(value::expected("a table such as { file = \"bundle.pem\" }", field.value));
        None
    })?;
    let source = match (section.has("file"), section.has("workload_api"), section.has("url")) {
        (true, false, false) => section.path("file", base).map(BundleSource::File),
        (false, true, false) => from_workload_api(&section),
        (false, false, true) => endpoint(&section, base, kept).map(BundleSource::Endpoint),
        _ => {
            let why = "must have exactly one of file = \"…\", workload_api = true and url = \"https://…\"";
            section.wrong("", why);
            return None;
        }
    };
    section.finish();
    Some((domain?, source?))
}

fn from_workload_api(section: &Section<'_>) -> Option<BundleSource> {
    if !section.flag("workload_api")? {
        section.wrong("workload_api", "must be true: to have the bundle from elsewhere, name that and not this");
        return None;
    }
    Some(BundleSource::WorkloadApi)
}

/// URL and profile are said and never inferred (Federation 5.1).
fn endpoint(section: &Section<'_>, base: &Path, kept: Option<&Path>) -> Option<BundleEndpoint> {
    section.require("profile", "\"https_web\" or \"https_spiffe\": how the server of the URL proves itself");
    let url = section.string("url");
    let profile = section.string("profile");
    let ca = section.path("ca", base);
    let endpoint_id = section.string("endpoint_id").and_then(|f| f.read(|s| SpiffeId::parse(s)));
    let bootstrap = section.path("bootstrap", base);
    let only = |keys: &[&str], of: &str| {
        for key in keys.iter().filter(|key| section.has(key)) {
            section.wrong(key, format!("is for {of} only"));
        }
    };
    let profile = profile?;
    let profile = match profile.value {
        "https_web" => {
            only(&["endpoint_id", "bootstrap"], "https_spiffe");
            if section.has("ca") && ca.is_none() {
                return None;
            }
            EndpointProfile::HttpsWeb { ca }
        }
        "https_spiffe" => {
            only(&["ca"], "https_web");
            section.require("endpoint_id", "the SPIFFE ID that the server of the URL must show");
            section.require("bootstrap", "a file with the bundle of that ID's trust domain, to begin with");
            EndpointProfile::HttpsSpiffe { endpoint_id: endpoint_id?, bootstrap: bootstrap? }
        }
        _ => {
            profile.wrong("must be \"https_web\" or \"https_spiffe\"");
            return None;
        }
    };
    let endpoint = url?.read(|url| BundleEndpoint::new(url, profile))?;
    Some(endpoint.kept_in(kept?))
}
