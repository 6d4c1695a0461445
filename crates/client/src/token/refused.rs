//! Why a token is refused.

/// Why a token is refused. The text says what to do and has nothing in it that came from the token, nor from whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It is longer than [`TOKEN_BYTES_MAX`](crate::limits::TOKEN_BYTES_MAX).
    #[error("the token is longer than {} bytes: send the access token alone", crate::limits::TOKEN_BYTES_MAX)]
    TooLarge,
    /// It is no token of the form that a Leasehold issuer makes.
    #[error("this is no access token (RFC 9068): {0}")]
    Malformed(&'static str),
    /// Its header wants a key to be taken from somewhere, or a rule to be obeyed that is not known (RFC 8725 section 3).
    #[error("the token's header has the member {0}, which is not taken: keys come from the issuer alone")]
    HeaderNotAllowed(&'static str),
    /// It is something else, such as an ID token or a status list.
    #[error("the token's type is not at+jwt (RFC 9068): send an access token")]
    WrongType,
    /// It is signed by an algorithm that is not taken, or by another than its key is for.
    #[error("the token's algorithm is none of ES256, EdDSA and RS256, or not the one of its key")]
    AlgorithmNotAllowed,
    /// The issuer has no such key.
    #[error("the issuer has no key of the name that the token says: it is of another issuer, or its key was withdrawn")]
    UnknownKey,
    /// Somebody else signed it, or something was changed.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// Another issuer's.
    #[error("the token is of another issuer than {expected}")]
    WrongIssuer {
        /// The one that is believed.
        expected: String,
    },
    /// It is for somebody else.
    #[error("the token is for another audience than {expected}: ask for one for this")]
    WrongAudience {
        /// Who we are.
        expected: String,
    },
    /// Its time is over.
    #[error("the token expired {seconds} s ago: ask for another")]
    Expired {
        /// How long ago.
        seconds: u64,
    },
    /// Its time has not begun.
    #[error("the token is valid only in {seconds} s: compare the clocks of this host and of the issuer")]
    NotYetValid {
        /// In how long it begins.
        seconds: u64,
    },
    /// It is bound to no certificate, and only such are taken.
    #[error(
        "the token is bound to no certificate: its role must say bind = \"certificate\", or the verifier take others"
    )]
    NotBound,
    /// It is bound to a certificate, and none was shown.
    #[error("the token is bound to a certificate (RFC 8705): connect with the one that it was asked for with")]
    NoCertificate,
    /// It is bound to another certificate than was shown.
    #[error("the token is bound to another certificate than the one shown: ask for one with this")]
    OtherCertificate,
    /// It does not allow what is wanted.
    #[error("the token has not the scope {scope}")]
    ScopeMissing {
        /// The scope that is wanted.
        scope: String,
    },
    /// It speaks for another tenant, or whatever the claim is about.
    #[error("the token's claim {claim} is not there or not the one that is wanted here")]
    ClaimDiffers {
        /// The name of the claim that is wanted.
        claim: String,
    },
    /// It was ended before its time.
    #[error("the token was revoked: ask for another")]
    Revoked,
    /// Whether it was ended is not known, and must be.
    #[error("whether the token was revoked is not known: {why}")]
    StatusNotKnown {
        /// Why not.
        why: String,
    },
    /// No token can be judged at the moment.
    #[error("the keys of the issuer are not at hand: {why}")]
    KeysNotAvailable {
        /// Why not.
        why: String,
    },
}

impl Refused {
    /// The word of RFC 6750 section 3.1.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ScopeMissing { .. } | Self::ClaimDiffers { .. } => "insufficient_scope",
            _ => "invalid_token",
        }
    }

    /// The HTTP status to answer with: 401, or 403 where another token of the same kind would not help, or 503 where the token
    /// may be good and it is us who cannot tell.
    pub fn status(&self) -> u16 {
        match self {
            Self::ScopeMissing { .. } | Self::ClaimDiffers { .. } => 403,
            Self::StatusNotKnown { .. } | Self::KeysNotAvailable { .. } => 503,
            _ => 401,
        }
    }

    /// A name for logs and metrics that stays the same.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed(_) => "malformed",
            Self::HeaderNotAllowed(_) => "header_not_allowed",
            Self::WrongType => "wrong_type",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::WrongIssuer { .. } => "wrong_issuer",
            Self::WrongAudience { .. } => "wrong_audience",
            Self::Expired { .. } => "expired",
            Self::NotYetValid { .. } => "not_yet_valid",
            Self::NotBound => "not_bound",
            Self::NoCertificate => "no_certificate",
            Self::OtherCertificate => "other_certificate",
            Self::ScopeMissing { .. } => "scope_missing",
            Self::ClaimDiffers { .. } => "claim_differs",
            Self::Revoked => "revoked",
            Self::StatusNotKnown { .. } => "status_not_known",
            Self::KeysNotAvailable { .. } => "keys_not_available",
        }
    }

    /// The value of the header `WWW-Authenticate` (RFC 6750 section 3). What is wrong on our side is not told to a stranger.
    pub fn www_authenticate(&self) -> String {
        let description = match self {
            Self::StatusNotKnown { .. } => "whether the token was revoked is not known at the moment".to_owned(),
            Self::KeysNotAvailable { .. } => "the keys of the issuer are not at hand at the moment".to_owned(),
            _ => self.to_string(),
        };
        let mut value = format!("Bearer error=\"{}\", error_description=\"{}\"", self.code(), quotable(&description));
        if let Self::ScopeMissing { scope } = self {
            value.push_str(&format!(", scope=\"{}\"", quotable(scope)));
        }
        value
    }
}

/// What may stand between quotes there.
fn quotable(text: &str) -> String {
    let fits = |c: char| c == ' ' || (c.is_ascii_graphic() && c != '"' && c != '\\');
    text.chars().map(|c| if fits(c) { c } else { '\'' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_as_the_standard_has_it() {
        let missing = Refused::ScopeMissing { scope: "a:\"b".into() };
        assert_eq!((missing.status(), missing.code()), (403, "insufficient_scope"));
        assert_eq!(
            missing.www_authenticate(),
            "Bearer error=\"insufficient_scope\", error_description=\"the token has not the scope a:'b\", scope=\"a:'b\""
        );
        let expired = Refused::Expired { seconds: 7 };
        assert_eq!((expired.status(), expired.code()), (401, "invalid_token"));
        let away = Refused::KeysNotAvailable { why: "10.0.0.5 is away".into() };
        assert_eq!(away.status(), 503);
        assert!(!away.www_authenticate().contains("10.0.0.5"));
    }
}
