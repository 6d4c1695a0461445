//! One certificate, read once: the facts that SPIFFE's rules are about.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, KeyUsage, NameConstraints, ParsedExtension};
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{FromDer, X509Certificate, X509Extension};

use crate::error::tame;
use crate::{IdError, SpiffeId, SvidError};

const URI_TAG: u32 = 6;

/// What the rules need to know of a certificate.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Every URI subject alternative name, of any scheme; `None` for one that is not even text.
    pub(crate) uris: Vec<Option<String>>,
    /// All subject alternative names in readable form.
    pub(crate) sans: Vec<String>,
    /// `cA`; absent counts as false, as RFC 5280 4.2.1.9 has it.
    pub(crate) is_ca: bool,
    /// Key usage and whether it is critical.
    pub(crate) key_usage: Option<(KeyUsage, bool)>,
    /// Extended key usage, if present.
    pub(crate) eku: Option<Eku>,
    /// There are name constraints on URIs.
    pub(crate) uri_name_constraints: bool,
    /// Start of validity, seconds since the epoch.
    pub(crate) not_before: i64,
    /// End of validity, seconds since the epoch, inclusive.
    pub(crate) not_after: i64,
}

/// The two extended key usages that matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eku {
    pub(crate) server_auth: bool,
    pub(crate) client_auth: bool,
}

/// Parses DER that must be exactly one certificate.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, SvidError> {
    match X509Certificate::from_der(der) {
        Ok(([], cert)) => Ok(cert),
        Ok(_) => Err(SvidError::Malformed("bytes follow the certificate")),
        Err(_) => Err(SvidError::Malformed("it is not an X.509 certificate in DER")),
    }
}

/// Takes certificates apart that stand in DER one after the other.
pub(crate) fn split(mut ders: &[u8], most: usize) -> Result<Vec<CertificateDer<'static>>, SvidError> {
    let mut certs = Vec::new();
    while !ders.is_empty() {
        if certs.len() == most {
            return Err(SvidError::Malformed("there are too many certificates"));
        }
        let (rest, _) = X509Certificate::from_der(ders)
            .map_err(|_| SvidError::Malformed("it is not an X.509 certificate in DER"))?;
        let (cert, _) = ders.split_at(ders.len() - rest.len());
        certs.push(cert.to_vec().into());
        ders = rest;
    }
    Ok(certs)
}

impl Facts {
    /// Reads a certificate. An extension that matters must be readable and stand once: what cannot be read must not count as
    /// absent, because absent is sometimes good.
    pub(crate) fn read(der: &[u8]) -> Result<Self, SvidError> {
        Self::of(&parse(der)?)
    }

    pub(crate) fn of(cert: &X509Certificate<'_>) -> Result<Self, SvidError> {
        let mut facts = Self {
            uris: Vec::new(),
            sans: Vec::new(),
            is_ca: false,
            key_usage: None,
            eku: None,
            uri_name_constraints: false,
            not_before: cert.validity().not_before.timestamp(),
            not_after: cert.validity().not_after.timestamp(),
        };
        let mut seen = Vec::new();
        for extension in cert.extensions() {
            if seen.contains(&&extension.oid) {
                return Err(SvidError::Malformed("an extension stands twice"));
            }
            seen.push(&extension.oid);
            facts.take(extension)?;
        }
        Ok(facts)
    }

    fn take(&mut self, extension: &X509Extension<'_>) -> Result<(), SvidError> {
        match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(san) => {
                for name in &san.general_names {
                    self.take_name(name);
                }
            }
            ParsedExtension::BasicConstraints(basic) => self.is_ca = basic.ca,
            ParsedExtension::KeyUsage(usage) => self.key_usage = Some((*usage, extension.critical)),
            ParsedExtension::ExtendedKeyUsage(eku) => {
                self.eku = Some(Eku { server_auth: eku.server_auth, client_auth: eku.client_auth });
            }
            ParsedExtension::NameConstraints(names) => self.uri_name_constraints = constrains_uris(names),
            _ if matters(extension) => {
                return Err(SvidError::Malformed("an extension cannot be read"));
            }
            _ => {}
        }
        Ok(())
    }

    fn take_name(&mut self, name: &GeneralName<'_>) {
        self.sans.push(tame(&name.to_string()));
        match name {
            GeneralName::URI(uri) => self.uris.push(Some((*uri).to_owned())),
            GeneralName::Invalid(tag, _) if tag.0 == URI_TAG => self.uris.push(None),
            _ => {}
        }
    }

    /// The one SPIFFE ID (X509-SVID 2): exactly one URI of any scheme, and that is a SPIFFE ID.
    pub(crate) fn spiffe_id(&self) -> Result<SpiffeId, SvidError> {
        match self.uris.as_slice() {
            [] => Err(SvidError::NoUriSan),
            [Some(uri)] => SpiffeId::parse(uri).map_err(|why| SvidError::BadSpiffeId { text: tame(uri), why }),
            [None] => Err(SvidError::BadSpiffeId { text: String::new(), why: IdError::NotSpiffe }),
            several => Err(SvidError::SeveralUriSans(several.len())),
        }
    }

    /// The rules for a leaf that its chain cannot tell (X509-SVID 4.3, 4.4, 5.2), all that are broken.
    pub(crate) fn leaf_violations(&self, id: &SpiffeId) -> Vec<SvidError> {
        let mut broken = Vec::new();
        if self.is_ca {
            broken.push(SvidError::CaLeaf);
        }
        if id.path().is_empty() {
            broken.push(SvidError::RootPath(id.clone()));
        }
        broken.extend(self.leaf_key_usage().map(SvidError::KeyUsage));
        // The chain validator asks for the side in use only; SPIFFE asks for both.
        match self.eku {
            Some(Eku { server_auth: false, .. }) => broken.push(SvidError::ExtendedKeyUsage("it lacks serverAuth")),
            Some(Eku { client_auth: false, .. }) => broken.push(SvidError::ExtendedKeyUsage("it lacks clientAuth")),
            _ => {}
        }
        broken
    }

    fn leaf_key_usage(&self) -> Option<&'static str> {
        match self.key_usage {
            None => Some("the extension is absent"),
            Some((_, false)) => Some("the extension is not critical"),
            Some((usage, _)) if !usage.digital_signature() => Some("digitalSignature is not set"),
            Some((usage, _)) if usage.key_cert_sign() => Some("keyCertSign is set"),
            Some((usage, _)) if usage.crl_sign() => Some("cRLSign is set"),
            Some(_) => None,
        }
    }

    /// What makes an intermediate unfit to sign others (X509-SVID 3.2, 4.1, 4.3). The chain validator ignores key usage.
    pub(crate) fn intermediate_violation(&self) -> Option<&'static str> {
        match self.key_usage {
            None if self.is_ca => Some("it has no key usage"),
            _ => self.authority_violation(),
        }
    }

    /// The same for an authority in a bundle. Roots made without any key usage are common, and RFC 5280 4.2.1.3 restricts only
    /// those that have one.
    pub(crate) fn authority_violation(&self) -> Option<&'static str> {
        if !self.is_ca {
            return Some("it is not a certificate authority");
        }
        match self.key_usage {
            Some((usage, _)) if !usage.key_cert_sign() => return Some("its key usage lacks keyCertSign"),
            _ => {}
        }
        match self.spiffe_id() {
            Ok(id) if !id.path().is_empty() => Some("its SPIFFE ID has a path, as a workload's has"),
            _ => None,
        }
    }
}

fn constrains_uris(names: &NameConstraints<'_>) -> bool {
    let trees = [&names.permitted_subtrees, &names.excluded_subtrees];
    let mut bases = trees.into_iter().flatten().flatten().map(|tree| &tree.base);
    bases.any(|base| match base {
        GeneralName::URI(_) => true,
        GeneralName::Invalid(tag, _) => tag.0 == URI_TAG,
        _ => false,
    })
}

fn matters(extension: &X509Extension<'_>) -> bool {
    [
        oid::OID_X509_EXT_SUBJECT_ALT_NAME,
        oid::OID_X509_EXT_BASIC_CONSTRAINTS,
        oid::OID_X509_EXT_KEY_USAGE,
        oid::OID_X509_EXT_EXTENDED_KEY_USAGE,
        oid::OID_X509_EXT_NAME_CONSTRAINTS,
    ]
    .contains(&extension.oid)
}
