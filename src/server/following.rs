//! A subscription as an administrator sees it.

use crate::{event::Offset, fanout::Subscription, graphql::Following, protocol::jsonrpc::write_filter};

/// What a subscription follows and how far it is, in a log that ends at `head`.
pub(super) fn following(id: &str, subscription: &Subscription, head: Offset) -> Following {
    let mut filter = String::new();
    write_filter(subscription.asked(), &mut filter);
    let position = subscription.position();
    Following {
        id: id.to_owned(),
        form: subscription.form().to_owned(),
        filter,
        lag: head.get().saturating_sub(position.offset.get()),
        position: position.to_string(),
        waiting_bytes: subscription.waiting_bytes(),
    }
}
