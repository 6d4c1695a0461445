//! What the broker says about itself: logs, metrics, and what the process denies to onlookers.

mod deeds;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod process;

pub use metrics::Metrics;
