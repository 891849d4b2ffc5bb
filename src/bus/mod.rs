//! Where an event goes: the index of filters and the broadcast of batches.
