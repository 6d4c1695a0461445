//! Any sequence of changes, against a model that fits on a page.

use super::super::Store;

pub(super) async fn run<S: Store + 'static>(_open: &impl AsyncFn(&str) -> S) {}
