//! The labels of the metrics. None holds an identity, a lease or anything else a caller chooses: the number of series is
//! bounded by the configuration and by this code.

use prometheus_client::encoding::EncodeLabelSet;

/// Defines label sets and a short constructor for each.
macro_rules! labels {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name { $($(#[doc = $field_doc])+ pub $field: $type,)+ }

        impl $name {
            /// The labels with these values, in the order of the fields.
            pub fn of($($field: impl Into<$type>),+) -> Self { Self { $($field: $field.into()),+ } }
        }
    )+};
}

labels! {
    /// One target.
    OfTarget {
        /// Its name in the configuration.
        target: String,
    }
    /// What became of something done in a target.
    TargetResult {
        /// The target's name.
        target: String,
        /// A short word, such as `ok`, `refused`, `retry`.
        result: &'static str,
    }
    /// Strays of a target by what was done about them.
    TargetDone {
        /// The target's name.
        target: String,
        /// `revoked`, `held`, `adopted`, `renewed`, `taken_over`, `failed`.
        done: &'static str,
    }
    /// What a target's circuit became.
    TargetState {
        /// The target's name.
        target: String,
        /// `closed`, `open` or `half_open`.
        state: &'static str,
    }
    /// How a handshake ended.
    HandshakeResult {
        /// `ok` or `refused`.
        result: &'static str,
        /// The code of the refusal; `none` where there was none.
        reason: &'static str,
    }
    /// How something ended.
    OfResult {
        /// A short word.
        result: &'static str,
    }
    /// One route.
    OfRoute {
        /// The pattern that matched, never the path that was asked for.
        route: &'static str,
    }
    /// How a request was answered.
    RouteStatus {
        /// The pattern that matched.
        route: &'static str,
        /// The HTTP status.
        status: u16,
    }
    /// How a question was decided.
    ActionAllowed {
        /// The action.
        action: &'static str,
        /// The answer: `true` or `false`.
        allowed: &'static str,
    }
    /// One audit sink.
    OfSink {
        /// Its file, `stdout`, or the URL of a collector without what may be secret.
        sink: String,
    }
    /// One limit.
    OfLimit {
        /// Its key in `[limits]`.
        limit: &'static str,
    }
    /// One credential of an agent.
    OfCredential {
        /// Its name in the agent's configuration.
        credential: String,
    }
    /// A step on a credential's way to its consumers.
    CredentialStep {
        /// Its name in the agent's configuration.
        credential: String,
        /// `fetch`, `renew` or `deliver`.
        step: &'static str,
    }
    /// Which build this is.
    Build {
        /// Its version.
        version: &'static str,
    }
}
