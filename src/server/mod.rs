//! How it reaches a wire.
