//! Logs: one event a line on standard error. Standard output belongs to what a command answers, and to the audit log.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// What is logged where neither `LEASEHOLD_LOG` nor `RUST_LOG` says.
const DEFAULT: &str = "info";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: `timestamp`, `level`, `target`, the event's fields, and the fields of the spans around it
    /// (`request_id` among them) under `span`.
    Json,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{s:?} is not a log format; there are text and json")),
        }
    }
}

/// Starts logging for the whole process. Levels come from `LEASEHOLD_LOG`, else `RUST_LOG`, in the form of
/// `tracing_subscriber::EnvFilter`, such as `info,leasehold::lease=debug`.
///
/// # Errors
/// The filter cannot be read, or logging was started before.
pub fn start(format: Format) -> Result<(), LogError> {
    let filter = filter(|name| std::env::var(name).ok())?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init()?,
        Format::Json => registry.with(lines.json().flatten_event(true).with_span_list(false)).try_init()?,
    }
    Ok(())
}

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The environment's filter is not one.
    #[error("{variable}: {why}")]
    Filter {
        /// Where it came from.
        variable: &'static str,
        /// What is wrong with it.
        why: tracing_subscriber::filter::ParseError,
    },
    /// It was started before.
    #[error(transparent)]
    Started(#[from] TryInitError),
}

/// The span of one request: what is logged inside carries its id.
pub fn request_span(request_id: &str) -> tracing::Span {
    tracing::info_span!("request", request_id)
}

fn filter(read: impl Fn(&str) -> Option<String>) -> Result<EnvFilter, LogError> {
    for variable in ["LEASEHOLD_LOG", "RUST_LOG"] {
        if let Some(text) = read(variable).filter(|text| !text.trim().is_empty()) {
            return EnvFilter::builder().parse(&text).map_err(|why| LogError::Filter { variable, why });
        }
    }
    Ok(EnvFilter::new(DEFAULT))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn ours_goes_before_the_common_variable() {
        let set = |name: &str| Some(if name == "LEASEHOLD_LOG" { "warn" } else { "trace" }.to_owned());
        assert_eq!(filter(set).unwrap().to_string(), "warn");
        assert_eq!(filter(|_| None).unwrap().to_string(), "info");
        let error = filter(|_| Some("leasehold=noise".to_owned())).unwrap_err();
        assert!(error.to_string().starts_with("LEASEHOLD_LOG: "), "{error}");
    }

    #[test]
    fn a_json_line_has_the_request_it_belongs_to() {
        let captured = Captured::default();
        let writer = captured.clone();
        let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let _inside = request_span("r-1").entered();
            tracing::info!(target = "orders", "minted\n\"quoted\"");
        });
        let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["span"]["request_id"], "r-1");
        assert_eq!(line["message"], "minted\n\"quoted\"");
        assert_eq!(text.lines().count(), 1);
    }
}
