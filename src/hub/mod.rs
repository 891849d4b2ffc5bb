//! The pipeline: publish, subscribe, tail.
