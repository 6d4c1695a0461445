//! The SPIFFE Workload API as a source: one stream of SVIDs and bundles, kept open, and opened again when it breaks.
//!
//! Only gRPC itself is left to a crate (tonic, without its TLS): the two messages are eight fields. Clients of the whole API
//! refuse a message for anything that is wrong in it, so that one partner's damaged bundle would hold up the own SVID's
//! rotation; here each bundle is judged by itself.

mod address;
mod call;
mod follow;
mod update;
mod wire;

pub use address::{AddressError, WorkloadApi};
pub(crate) use call::first;
pub(crate) use follow::follow;
use update::Update;
pub(crate) use update::{Feed, Given};
