//! `[identity]`: who the broker is and whom it can verify.

use std::collections::BTreeMap;
use std::path::Path;

use leasehold_identity::{BundleSource, IdentityConfig, SvidSource, TrustDomain};

use super::section::{Field, Section};
use super::value;
use toml::de::DeValue;

pub(super) fn identity(root: &Section<'_>, base: &Path) -> Option<IdentityConfig> {
    let section = root.section_or_empty("identity");
    section.require("trust_domain", "the broker's own trust domain, such as \"prod.example.org\"");
    section.require("svid", "{ cert = \"broker.pem\", key = \"broker-key.pem\" }");
    let domain = section.string("trust_domain").and_then(|f| f.read(|s| TrustDomain::parse(s)));
    let svid = section.section("svid").and_then(|svid| svid_source(svid, base));
    let bundles = bundles(&section, base);
    if let (Some(domain), Some(bundles)) = (&domain, &bundles)
        && !bundles.contains_key(domain)
    {
        let why =
            format!("has no bundle of the broker's own trust domain: add \"{domain}\" = {{ file = \"bundle.pem\" }}");
        section.wrong("bundles", why);
    }
    section.finish();
    Some(IdentityConfig { trust_domain: domain?, svid: svid?, bundles: bundles? })
}

fn svid_source(section: Section<'_>, base: &Path) -> Option<SvidSource> {
    section.later("workload_api", "the SPIFFE Workload API");
    if !section.has("workload_api") {
        section.require("cert", "a PEM file: the certificate and its intermediates");
        section.require("key", "a PEM file: the private key");
    }
    let (cert, key) = (section.path("cert", base), section.path("key", base));
    section.finish();
    Some(SvidSource::Files { cert: cert?, key: key? })
}

fn bundles(section: &Section<'_>, base: &Path) -> Option<BTreeMap<TrustDomain, BundleSource>> {
    let entries = section.section_or_empty("bundles").entries();
    // All are read, so that every error is told, before one that is wrong spoils the whole.
    let read: Vec<_> = entries.into_iter().map(|(name, field)| bundle(name, &field, base)).collect();
    read.into_iter().collect()
}

fn bundle(name: &str, field: &Field<'_, &DeValue<'_>>, base: &Path) -> Option<(TrustDomain, BundleSource)> {
    let domain = field.read(|_| TrustDomain::parse(name));
    let section = field.section().or_else(|| {
        field.wrong(value::expected("a table such as { file = \"bundle.pem\" }", field.value));
        None
    })?;
    section.later("url", "a bundle endpoint");
    section.later("profile", "a bundle endpoint");
    section.later("workload_api", "the SPIFFE Workload API");
    if !section.has("url") && !section.has("workload_api") {
        section.require("file", "a PEM file or a SPIFFE bundle (JWKS)");
    }
    let file = section.path("file", base);
    section.finish();
    Some((domain?, BundleSource::File(file?)))
}
