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
/// So many kept by one client may all be fetched anew at once when our certificate changes; more do so within [`SPLAY_TIME_MAX`].
pub const AT_ONCE_MAX: usize = 8;
