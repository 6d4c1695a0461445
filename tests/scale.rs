//! Very many leases: what ended long ago is purged, what lives costs nothing to have.

mod due;
mod million;
mod purge;
