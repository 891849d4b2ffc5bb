//! The publisher of one request.

use crate::{Event, PublishError, Published, Publisher, RequestContext};

/// Publishes the events of one request: each gets its correlation id, and its trace as the CloudEvents attribute
/// `traceparent`, unless it has one of its own. Made by [`Publisher::request`]; cloning shares it.
#[derive(Clone, Debug)]
pub struct RequestPublisher {
    publisher: Publisher,
    context: RequestContext,
}

impl RequestPublisher {
    pub(crate) fn new(publisher: Publisher, context: RequestContext) -> Self {
        RequestPublisher { publisher, context }
    }

    /// The request.
    pub fn context(&self) -> &RequestContext {
        &self.context
    }

    /// Publishes an event of the request as [`Publisher::publish`] does.
    pub fn publish(&self, event: Event) {
        self.publisher.publish(self.context.stamp(event));
    }

    /// Publishes an event of the request as [`Publisher::publish_durable`] does, and fails as it does.
    ///
    /// Cancel safety: dropping the future does not take the event back.
    pub async fn publish_durable(&self, event: Event) -> Result<Published, PublishError> {
        self.publisher.publish_durable(self.context.stamp(event)).await
    }
}
