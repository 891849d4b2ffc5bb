//! Every setting, and the way to each room's options.
