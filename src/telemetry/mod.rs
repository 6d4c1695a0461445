//! What broker and agent say about themselves: logs, metrics, and what the process denies to onlookers.

mod agent;
mod deeds;
pub mod labels;
pub mod logs;
pub mod metrics;
pub mod process;
mod table;

pub use agent::AgentMetrics;
pub use metrics::Metrics;
