//! How it is said: sessions and dialects, pure.
