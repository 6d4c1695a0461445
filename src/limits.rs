//! Every limit of the broker, each a key of `[limits]`, named with its unit, with its default (law 8).

/// Defines [`Limits`] and the table that the configuration, `docs/configuration.md` and the metrics are made from.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident = $default:literal, $min:literal ..= $max:literal;)+) => {
        /// The limits in force.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits { $($(#[doc = $doc])+ pub $name: u64,)+ }

        impl Default for Limits {
            fn default() -> Self { Self { $($name: $default,)+ } }
        }

        /// What is known of each limit.
        pub const ALL: &[Known] = &[$(Known {
            name: stringify!($name), default: $default, min: $min, max: $max, doc: concat!($($doc),+),
        },)+];

        impl Limits {
            /// Sets the limit called `name`.
            ///
            /// # Errors
            /// [`LimitError`] when there is none of that name or `value` is out of its range.
            pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
                match name {
                    $(stringify!($name) if ($min..=$max).contains(&value) => self.$name = value,
                    stringify!($name) => return Err(LimitError::Range { min: $min, max: $max }),)+
                    _ => return Err(LimitError::Unknown),
                }
                Ok(())
            }

            /// Name and value of each, in the order of this file.
            pub fn values(&self) -> Vec<(&'static str, u64)> { vec![$((stringify!($name), self.$name),)+] }
        }
    };
}

/// One limit's name, default, range and meaning.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its key.
    pub name: &'static str,
    /// Its default.
    pub default: u64,
    /// Its smallest value.
    pub min: u64,
    /// Its largest value.
    pub max: u64,
    /// What it limits.
    pub doc: &'static str,
}

/// Why a limit was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// No limit has this name.
    #[error("no limit has this name")]
    Unknown,
    /// The value is out of range.
    #[error("must be from {min} to {max}")]
    Range {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
}

limits! {
    /// Live leases that one identity may hold of one role.
    live_leases_per_identity_and_role = 1000, 1..=10_000_000;
    /// Sessions of AWS that one identity has ended itself and that the policy of their role denies until they are over: that policy's
    /// space is finite. What it ends beyond runs until it is over
    aws_deny_entries_per_identity = 5, 0..=200;
    /// Credentials that one identity may ask for of one role in a minute, on one broker.
    mints_per_minute_per_identity_and_role = 600, 1..=1_000_000;
    /// Requests of one identity that are refused for want of a grant in a minute; more are answered 429 and not audited.
    refusals_per_minute_per_identity = 600, 1..=1_000_000;
    /// Questions that one identity may ask in a minute about what would be allowed.
    questions_per_minute_per_identity = 600, 1..=1_000_000;
    /// Orders to end many leases that one identity may give in a minute, on one broker.
    orders_per_minute_per_identity = 60, 1..=1_000_000;
    /// Time for a TLS handshake.
    handshake_milliseconds_max = 3000, 100..=60_000;
    /// TLS handshakes under way at once; more are closed at once.
    handshakes_at_once_max = 1024, 1..=100_000;
    /// Open connections of the API; more are closed at once.
    connections_at_once_max = 10_000, 1..=1_000_000;
    /// Open connections of the public listener; more are closed at once.
    public_connections_at_once_max = 1000, 1..=100_000;
    /// Open connections of one address, or of one /64 of IPv6, to the public listener; more are closed at once.
    public_connections_at_once_per_address_max = 100, 1..=100_000;
    /// Requests under way at once; more are answered 503.
    requests_at_once_max = 4096, 1..=1_000_000;
    /// Open connections of one identity; more are closed at once.
    connections_at_once_per_identity_max = 2000, 1..=1_000_000;
    /// Requests of one identity under way at once, long polls included; more are answered 429.
    requests_at_once_per_identity_max = 256, 1..=1_000_000;
    /// Size of a request's body.
    body_bytes_max = 16_384, 256..=1_048_576;
    /// Time for a request's body to arrive.
    body_seconds_max = 10, 1..=600;
    /// Size of a request's headers.
    header_bytes_max = 16_384, 8192..=1_048_576;
    /// Time to read a request's headers, and for a connection to sit idle between requests.
    header_seconds_max = 60, 1..=3600;
    /// Time in which a caller may take nothing of an answer that waits for it; then its connection is closed.
    unread_seconds_max = 30, 1..=3600;
    /// Age at which a kept connection is asked to close.
    connection_seconds_max = 3600, 10..=86_400;
    /// Longest `wait` of a lease's long poll.
    wait_seconds_max = 60, 1..=600;
    /// Leases in one page of a list.
    page_leases_max = 1000, 1..=10_000;
    /// Params in one request.
    params_per_request_max = 16, 0..=256;
    /// Leases that a bulk revocation may match without `expect`.
    bulk_revoke_unexpected_max = 100, 0..=1_000_000;
    /// Leases that an order to end many makes `revoking` in one step; a mint waits for one step at most.
    order_step_leases_max = 500, 1..=10_000;
    /// How long a lease is kept in the store after its end; the audit log keeps it as long as its files are kept.
    ended_leases_kept_hours = 168, 1..=87_600;
    /// Ended leases that leave the store in one step; a mint waits for one step at most.
    purge_step_leases_max = 500, 1..=10_000;
    /// Mints and renewals of one target that may wait for it, its first questions included; more are answered 503.
    mints_waiting_per_target_max = 1024, 1..=100_000;
    /// Time from recording a lease to its credential; past it the lease is ended.
    mint_milliseconds_max = 15_000, 1000..=300_000;
    /// Time for one batch of revocations in a target.
    revoke_milliseconds_max = 60_000, 1000..=600_000;
    /// First wait before a failed revocation is tried again.
    revoke_retry_milliseconds_min = 1000, 10..=60_000;
    /// Longest wait before a failed revocation is tried again.
    revoke_retry_milliseconds_max = 300_000, 1000..=86_400_000;
    /// Calls to a target that fail in a row before it is asked whether it is there; if it is not, its circuit opens.
    circuit_failures_max = 3, 1..=1000;
    /// First wait between two probes of a target whose circuit is open.
    circuit_probe_milliseconds_min = 1000, 10..=60_000;
    /// Longest wait between two probes of a target whose circuit is open.
    circuit_probe_milliseconds_max = 10_000, 100..=3_600_000;
    /// Time between two passes of the reconciler over a target.
    reconcile_seconds = 300, 1..=86_400;
    /// Strays of one target that one pass of the reconciler takes up; the rest is for the next pass.
    strays_per_pass_max = 1000, 1..=1_000_000;
    /// Age that the newest account of another cluster must have before that cluster can be taken over.
    takeover_quiet_seconds = 600, 1..=86_400;
    /// How far the wall clock may be from the broker's own; past it nothing is minted or reaped.
    clock_skew_milliseconds_max = 10_000, 100..=600_000;
    /// How long a sweep is held that would end an unusual share of all live leases after a jump of the clock.
    sweep_hold_seconds = 180, 1..=3600;
    /// The share of all live leases, in percent, that is unusual to fall due in one jump.
    sweep_share_percent_max = 50, 1..=100;
    /// Sweeps of fewer leases are never held.
    sweep_leases_min = 20, 1..=1_000_000;
    /// Longest time from writing an audit line to its fsync; 0: every group is synced before it counts as written.
    audit_fsync_milliseconds_max = 100, 0..=10_000;
    /// Audit lines that may wait to be written; more are refused, and with them what they are for.
    audit_waiting_lines_max = 10_000, 1..=1_000_000;
    /// How long an audit line is waited for; past it what it is for is refused, and the broker is not ready.
    audit_write_milliseconds_max = 5000, 100..=60_000;
    /// Time for one try to hand audit lines to a collector: connecting, sending and its answer.
    audit_send_milliseconds_max = 3000, 100..=60_000;
    /// Bytes of audit lines that wait for a sink that is not required; more are lost to it, and counted.
    audit_buffer_bytes_max = 67_108_864, 1_048_576..=4_294_967_296;
    /// Longest time from an audit line to the checkpoint that covers it.
    audit_checkpoint_seconds = 10, 1..=3600;
    /// Refused handshakes that are audited one by one, per reason and minute; the rest are counted.
    refused_handshakes_audited_per_minute = 10, 1..=10_000;
    /// Connections to a PostgreSQL store.
    store_connections_max = 16, 2..=1000;
    /// Time for one call to a PostgreSQL store; past it what needed it is answered 503.
    store_call_milliseconds_max = 5000, 100..=60_000;
    /// Changes of the store that may wait for the writer; more are answered 503.
    store_waiting_writes_max = 8192, 1..=1_000_000;
    /// Time to finish what is under way at shutdown.
    shutdown_milliseconds_max = 15_000, 100..=20_000;
}

/// Those that are read once, at start: a reload that changes one of them is refused, so that the limits in force are always
/// those of the file.
pub const READ_AT_START: &[&str] = &[
    "handshake_milliseconds_max",
    "handshakes_at_once_max",
    "connections_at_once_max",
    "public_connections_at_once_max",
    "public_connections_at_once_per_address_max",
    "requests_at_once_max",
    "connections_at_once_per_identity_max",
    "requests_at_once_per_identity_max",
    "body_bytes_max",
    "body_seconds_max",
    "header_bytes_max",
    "header_seconds_max",
    "unread_seconds_max",
    "connection_seconds_max",
    "page_leases_max",
    "params_per_request_max",
    "audit_fsync_milliseconds_max",
    "audit_waiting_lines_max",
    "audit_write_milliseconds_max",
    "audit_send_milliseconds_max",
    "audit_buffer_bytes_max",
    "audit_checkpoint_seconds",
    "refused_handshakes_audited_per_minute",
    "store_connections_max",
    "store_call_milliseconds_max",
    "store_waiting_writes_max",
    "shutdown_milliseconds_max",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_start_are_limits() {
        assert!(READ_AT_START.iter().all(|name| ALL.iter().any(|known| known.name == *name)));
    }

    #[test]
    fn every_limit_is_within_its_own_range_and_can_be_set() {
        let mut limits = Limits::default();
        for known in ALL {
            assert!((known.min..=known.max).contains(&known.default), "{}", known.name);
            limits.set(known.name, known.max).unwrap();
            assert!(limits.set(known.name, known.max + 1).is_err());
        }
        assert_eq!(limits.set("nope", 1), Err(LimitError::Unknown));
    }
}
