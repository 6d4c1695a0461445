//! Metrics as a table, from which all that repeats what it says is made.

/// Defines a set of metrics, its registration and the list of names from one table: name, type, how it is made, help. One of them is
/// `build_info`.
macro_rules! metrics {
    ($(#[doc = $about:literal])+ $set:ident $prefix:literal:
     $($(#[doc = $help:literal])+ $name:ident: $type:ty = $make:expr;)+) => {
        $(#[doc = $about])+
        pub struct $set {
            registry: prometheus_client::registry::Registry,
            $($(#[doc = $help])+ pub $name: $type,)+
        }

        impl $set {
            /// All metrics, at nought.
            pub fn new() -> Self {
                use $crate::telemetry::{labels::Build, table::help};
                let mut registry = prometheus_client::registry::Registry::with_prefix($prefix);
                $(let $name: $type = $make;
                registry.register(stringify!($name), help(concat!($($help),+)), $name.clone());)+
                let metrics = Self { registry, $($name,)+ };
                metrics.build_info.get_or_create(&Build::of(env!("CARGO_PKG_VERSION"))).set(1);
                metrics
            }

            /// Everything in OpenMetrics text.
            pub fn encode(&self) -> String {
                let mut out = String::new();
                // Writing to a String does not fail, and half an answer is better than none if that ever changes.
                let _ = prometheus_client::encoding::text::encode(&mut out, &self.registry);
                out
            }
        }

        impl Default for $set {
            fn default() -> Self {
                Self::new()
            }
        }

        #[cfg(test)]
        const NAMES_AND_TYPES: &[(&str, &str)] = &[$((stringify!($name), stringify!($type))),+];

        /// Demands that `page` explains each metric, and none that is gone.
        #[cfg(test)]
        fn assert_explained(page: &str) {
            for (name, kind) in NAMES_AND_TYPES {
                let suffix = if kind.contains("Counter") { "_total" } else { "" };
                let name = format!(concat!("`", $prefix, "_{}{}`"), name, suffix);
                assert!(page.contains(&name), "{name} is not explained");
            }
            let explained = page.matches(concat!("| `", $prefix, "_")).count();
            assert_eq!(explained, NAMES_AND_TYPES.len(), "one is explained that is gone");
        }
    };
}
pub(super) use metrics;

/// The encoder adds a full stop of its own.
pub(super) fn help(doc: &str) -> &str {
    doc.trim().trim_end_matches('.')
}
