//! Very many leases: what ended long ago is purged, what lives costs nothing to have.

mod million;
mod purge;
