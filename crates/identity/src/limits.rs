//! Every limit of this crate, with its unit.

/// Longest SPIFFE ID, in bytes (SPIFFE-ID 2.3).
pub const SPIFFE_ID_BYTES_MAX: usize = 2048;

/// Longest trust domain name, in bytes (SPIFFE-ID 2.3).
pub const TRUST_DOMAIN_BYTES_MAX: usize = 255;

/// Most certificates that a peer may present, the leaf among them.
pub const CHAIN_CERTS_MAX: usize = 10;

/// Largest trust bundle file, in bytes.
pub const BUNDLE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Most authorities that one trust bundle may hold.
pub const BUNDLE_AUTHORITIES_MAX: usize = 1024;

/// Largest SVID certificate or key file, in bytes.
pub const SVID_FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Files are read again this often even when no change was announced, in milliseconds: not every file system announces all.
pub const WATCH_POLL_MS: u64 = 5_000;

/// After a change is announced the files are left to settle this long before they are read, in milliseconds, so that a writer
/// that truncates first is not caught half way.
pub const WATCH_SETTLE_MS: u64 = 150;

/// Text that came from a peer is cut to this many bytes before it is put into an error.
pub const PEER_TEXT_BYTES_MAX: usize = 256;

/// Largest message of a Workload API, in bytes.
pub const WORKLOAD_API_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most SVIDs that a Workload API may give to one workload.
pub const WORKLOAD_API_SVIDS_MAX: usize = 100;

/// Longest wait for a connection to a Workload API, in milliseconds.
pub const WORKLOAD_API_CONNECT_MS_MAX: u64 = 5_000;

/// Longest wait for a Workload API's answer to the call, in milliseconds. Later messages take as long as they take.
pub const WORKLOAD_API_ANSWER_MS_MAX: u64 = 30_000;

/// First pause before a Workload API is asked again, in milliseconds; each further one is twice as long.
pub const WORKLOAD_API_RETRY_MS_MIN: u64 = 100;

/// Longest pause before a Workload API is asked again, in milliseconds.
pub const WORKLOAD_API_RETRY_MS_MAX: u64 = 10_000;

/// A stream that brought nothing is opened anew when the SVID ends, but not more often than this, in milliseconds: a
/// connection can be dead without either side seeing it.
pub const WORKLOAD_API_SILENCE_MS_MIN: u64 = 60_000;

/// How often is looked whether all sources have had a first word, in milliseconds.
pub const FIRST_WORDS_LOOK_MS: u64 = 50;

/// Longest time for one fetch from a bundle endpoint, in milliseconds.
pub const BUNDLE_ENDPOINT_MS_MAX: u64 = 30_000;

/// Pause between two fetches where the bundle has no refresh hint, in milliseconds (Federation 4.1).
pub const BUNDLE_REFRESH_MS_DEFAULT: u64 = 300_000;

/// Shortest pause between two fetches, in milliseconds, whatever the refresh hint says.
pub const BUNDLE_REFRESH_MS_MIN: u64 = 1_000;

/// Longest pause between two fetches, in milliseconds, whatever the refresh hint says: a revoked authority must not stay for
/// longer.
pub const BUNDLE_REFRESH_MS_MAX: u64 = 24 * 3_600_000;

/// First pause after a fetch that failed before any succeeded, in milliseconds; each further one is twice as long.
pub const BUNDLE_RETRY_MS_MIN: u64 = 1_000;
