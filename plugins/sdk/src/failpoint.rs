//! Named steps at which a test can have the process killed, to see what a crash there leaves behind.
//!
//! Only in builds with debug assertions: a release build has none of this.

/// The steps, in the order in which a lease meets them. Tests walk the whole list.
pub const STEPS: &[&str] = &[
    "mint.decided",
    "mint.recorded",
    "aws.user_made",
    "aws.key_made",
    "mint.made",
    "mint.activated",
    "mint.on_record",
    "renew.announced",
    "renew.moved",
    "renew.renewed",
    "order.placed",
    "order.step",
    "revoke.ordered",
    "revoke.claimed",
    "revoke.fenced",
    "revoke.sessions_gone",
    "revoke.handed_over",
    "revoke.dropped",
    "revoke.dead",
    "revoke.settled",
    "outbox.written",
    "takeover.taken",
    "rotate.sealed",
    "rotate.recoverable",
    "rotate.set",
    "rotate.proved",
];

/// Passes a step. When `LEASEHOLD_FAIL_POINT` names it, the process is gone, as by `kill -9`.
#[inline]
pub fn hit(step: &'static str) {
    #[cfg(debug_assertions)]
    {
        debug_assert!(STEPS.contains(&step), "the step {step} is not in the list");
        if std::env::var_os("LEASEHOLD_FAIL_POINT").is_some_and(|named| named == step) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = step;
}
