//! Other ways in: CloudEvents and webhooks.
