//! A subscription as an administrator sees it.

use crate::{fanout::Subscription, graphql::Following, hub::Hub, protocol::jsonrpc::write_filter};

/// What a subscription follows and how far it is.
pub(super) fn following(id: &str, subscription: &Subscription, hub: &Hub) -> Following {
    let mut filter = String::new();
    write_filter(subscription.asked(), &mut filter);
    let position = subscription.position();
    Following {
        id: id.to_owned(),
        form: subscription.form().to_owned(),
        filter,
        lag: hub.bounds().head.get().saturating_sub(position.get()),
        position: hub.position(position).to_string(),
        waiting_bytes: subscription.waiting_bytes(),
    }
}
