//! Every limit of the client, with its unit.

use std::time::Duration;

/// Time for reaching the broker, TLS handshake included.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Time for the Workload API to give a first SVID.
pub const WORKLOAD_API_TIME_MAX: Duration = Duration::from_secs(10);
/// Time for one call, unless the configuration says another: longer than the broker takes at most for a mint.
pub const CALL_TIME_DEFAULT: Duration = Duration::from_secs(30);
/// Time for a pass of the reconciler, which answers when it is done.
pub const RECONCILE_TIME_MAX: Duration = Duration::from_secs(600);
/// Size of an answer: a page of 1000 leases with long errors stays far below it.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Size of an answer's headers, which is also the size of the read buffer.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Connections that are kept between calls.
pub const IDLE_CONNECTIONS_MAX: usize = 8;
/// Age at which a kept connection that was not used is closed: below the 60 s after which a broker closes it.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(45);
/// Time for saying goodbye to the broker.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);
/// Leases in one page when a list is followed to its end.
pub const PAGE_LEASES: u32 = 1000;
/// Bytes of an error text taken from the broker.
pub const TEXT_BYTES_MAX: usize = 512;
/// First pause after a renewal or rotation that failed; doubled each time.
pub const RETRY_TIME_MIN: Duration = Duration::from_secs(1);
/// Longest such pause.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(30);
/// How long the broker is asked to wait for a change of a lease that is kept.
pub const WATCH_TIME: Duration = Duration::from_secs(25);
/// Within this time the holders of leases that ended all at once ask for others, each at a moment of its own.
pub const SPLAY_TIME_MAX: Duration = Duration::from_secs(2);
/// Size of an access token that is looked at. A Leasehold issuer makes none above 6 KiB.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Length of the name of a key (`kid`).
pub const TOKEN_KID_BYTES_MAX: usize = 128;
/// How far clocks may be apart when tokens are checked, unless the configuration says another.
pub const TOKEN_LEEWAY_DEFAULT: Duration = Duration::from_secs(30);
/// The most that it may say.
pub const TOKEN_LEEWAY_MAX: Duration = Duration::from_secs(300);
/// Time for one fetch from an issuer, connection included.
pub const ISSUER_FETCH_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause after a fetch before the same is fetched again, however many tokens ask for it.
pub const ISSUER_FETCH_PAUSE: Duration = Duration::from_secs(5);
/// The same while nothing was fetched yet.
pub const ISSUER_FIRST_FETCH_PAUSE: Duration = Duration::from_secs(1);
/// How long a check waits for a fetch when there is an older copy that may still be used.
pub const ISSUER_STALE_WAIT_MAX: Duration = Duration::from_secs(1);
/// Size of an issuer's discovery document and of its key set.
pub const ISSUER_DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// Keys in a key set.
pub const ISSUER_KEYS_MAX: usize = 64;
/// How long a key set is fresh when the issuer does not say.
pub const KEYS_FRESH_DEFAULT: Duration = Duration::from_secs(300);
/// However short the issuer says, a key set is fresh for this long.
pub const KEYS_FRESH_MIN: Duration = Duration::from_secs(60);
/// However long the issuer says, it is fresh no longer.
pub const KEYS_FRESH_MAX: Duration = Duration::from_secs(3600);
/// How long the keys of an issuer that is away are used, unless the configuration says another.
pub const KEYS_KEPT_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// How long files with keys are taken for unchanged.
pub const KEY_FILES_FRESH: Duration = Duration::from_secs(5);
/// Size of a status list as it is sent.
pub const STATUS_TOKEN_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Size of a status list when it is unpacked: 16 million tokens.
pub const STATUS_LIST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Status lists that are kept.
pub const STATUS_LISTS_MAX: usize = 32;
/// How long a status list is fresh when it does not say.
pub const STATUS_FRESH_DEFAULT: Duration = Duration::from_secs(60);
/// However short it says, it is fresh for this long.
pub const STATUS_FRESH_MIN: Duration = Duration::from_secs(1);
/// However long it says, it is fresh no longer.
pub const STATUS_FRESH_MAX: Duration = Duration::from_secs(3600);
/// So many kept by one client may all be fetched anew at once when our certificate changes; more do so within [`SPLAY_TIME_MAX`].
pub const AT_ONCE_MAX: usize = 8;
