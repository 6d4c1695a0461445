//! The AWS engine.
