//! The suite that every engine runs. See [`run`].
