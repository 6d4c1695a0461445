//! What AWS answers, as errors of ours: the kind says what may be true there now, the text what to do.

use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sts::config::http::HttpResponse;
use aws_sdk_sts::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use leasehold_sdk::{EngineError, Reason};

/// When to come again after a throttled call that says nothing of it.
const AFTER_THROTTLING: Duration = Duration::from_secs(2);

/// What a call does, for errors that leave open whether it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    /// It makes nothing that lasts: a session whose answer is lost is in nobody's hands.
    Nothing,
    /// It makes something that has to be ended.
    Makes,
}

/// The word by which AWS says what went wrong; `None`: it did not answer.
pub(crate) fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    match error {
        SdkError::ServiceError(answer) => answer.err().code(),
        _ => None,
    }
}

/// One call's error. `call` is its name in AWS's documentation.
pub(crate) fn error<E>(call: &str, does: Does, error: &SdkError<E, HttpResponse>) -> EngineError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let open = |why: String| if does == Does::Makes { EngineError::unknown(why) } else { EngineError::retry(why) };
    let SdkError::ServiceError(answer) = error else {
        if let Some(why) = login_failed(error) {
            return why;
        }
        // With all its causes: the last of them says that a name is unknown or a certificate not good.
        let why = format!("{call} got no answer from AWS: {}", DisplayErrorContext(error));
        return if matches!(error, SdkError::ConstructionFailure(_)) { EngineError::retry(why) } else { open(why) };
    };
    // What stands between us and AWS answers so, and what it did with the request it does not say.
    let status = answer.raw().status();
    let Some(code) = answer.err().code() else {
        return open(format!("{call} got an answer that is not AWS's, with the status {}", status.as_u16()));
    };
    match judge(call, does, code, answer.err().message().unwrap_or_default()) {
        EngineError::Refused { why } if status.is_server_error() => open(why.as_str().to_owned()),
        judged => judged,
    }
}

/// Without a login of the broker's own nothing was sent, and it may be mended any time.
fn login_failed(error: &(dyn std::error::Error + 'static)) -> Option<EngineError> {
    let causes = || std::iter::successors(Some(error), |error| error.source());
    if let Some(failed) = causes().find_map(|cause| cause.downcast_ref::<EngineError>()) {
        let after = match failed {
            EngineError::Retry { after, .. } => *after,
            _ => None,
        };
        let why = Reason::new(format!("the broker has no login there: {}", failed.why().as_str()));
        return Some(EngineError::Retry { why, after });
    }
    let failed = causes().find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    Some(EngineError::retry(format!("the broker has no login there: {}", DisplayErrorContext(failed))))
}

/// An answer of this code and text.
pub(crate) fn judge(call: &str, does: Does, code: &str, said: &str) -> EngineError {
    let why = |hint: &str| {
        let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        Reason::new(format!("AWS refuses {call} ({code}): {said}{hint}"))
    };
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "PriorRequestNotComplete" => {
            EngineError::Retry { why: why("the account asks for fewer calls"), after: Some(AFTER_THROTTLING) }
        }
        "RequestExpired" | "RequestTimeTooSkewed" | "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            EngineError::Retry {
                why: why("compare this machine's clock with AWS's: five minutes are the most that it forgives"),
                after: None,
            }
        }
        "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "InvalidAccessKeyId"
        | "AuthFailure" => {
            EngineError::Retry { why: why("it is the broker's own login that is not good, or not yet"), after: None }
        }
        "InvalidIdentityToken" | "IDPCommunicationError" | "IDPRejectedClaim" => EngineError::Retry {
            why: why(
                "AWS does not take the broker's assertion: see that it reaches the issuer's documents, and that its identity \
                      provider has this issuer and audience",
            ),
            after: None,
        },
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" => {
            EngineError::Refused { why: why("`leasehold check` prints the policies that are needed") }
        }
        "RegionDisabledException" => EngineError::Refused { why: why("activate STS in this region, or name another") },
        "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => {
            EngineError::Refused { why: why("shorten session_policy, policy_arns or tags") }
        }
        "ConcurrentModification"
        | "ConcurrentModificationException"
        | "DeleteConflict"
        | "EntityTemporarilyUnmodifiable" => EngineError::Retry { why: why(""), after: None },
        "InternalFailure"
        | "InternalError"
        | "ServiceFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => {
            if does == Does::Makes {
                EngineError::Unknown { why: why("") }
            } else {
                EngineError::Retry { why: why(""), after: None }
            }
        }
        _ => EngineError::Refused { why: why("") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_says_what_may_be_true_there() {
        let of = |code| judge("AssumeRole", Does::Makes, code, "said");
        assert!(matches!(of("Throttling"), EngineError::Retry { after: Some(_), .. }));
        assert!(matches!(of("RequestTimeTooSkewed"), EngineError::Retry { .. }));
        assert!(matches!(of("ExpiredToken"), EngineError::Retry { .. }));
        assert!(matches!(of("AccessDenied"), EngineError::Refused { .. }));
        assert!(matches!(of("WhoKnows"), EngineError::Refused { .. }));
        assert!(matches!(of("InternalFailure"), EngineError::Unknown { .. }), "it may have been made");
        let nothing = judge("AssumeRole", Does::Nothing, "InternalFailure", "said");
        assert!(matches!(nothing, EngineError::Retry { .. }), "there is nothing to clean up");
        assert!(of("AccessDenied").to_string().contains("AssumeRole (AccessDenied): said; `leasehold check`"));
    }
}
