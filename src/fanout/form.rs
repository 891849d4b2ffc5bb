//! What members of a group see of an event: a [`Form`] says how, its [`Renderer`] does it, a [`Payload`](super::Payload) is
//! the result.

use crate::event::{Event, write_event};
use std::{fmt, pin::Pin, sync::Arc};

/// A way to render events that many subscriptions can share.
pub trait Form: Send + Sync + fmt::Debug {
    /// Equal keys are the same form: the same event gives the same bytes. Compared whole, never by a hash alone.
    fn key(&self) -> &str;

    /// A renderer for a group or for the replay of one member.
    fn renderer(&self) -> Box<dyn Renderer>;

    /// What a member gets in place of an event whose rendering failed: an error of this form with the event's cursor.
    fn failed(&self, event: &Event) -> String;
}

/// The outcome of a rendering; `None` when it failed and the renderer must be made anew.
pub type RenderFuture<'a> = Pin<Box<dyn Future<Output = Option<String>> + Send + 'a>>;

/// Renders events one by one.
pub trait Renderer: Send {
    /// The text of one event. May panic; that costs this event of this group only.
    fn render<'a>(&'a mut self, event: &'a Arc<Event>) -> RenderFuture<'a>;
}

/// A form that is a plain function of the event, such as the whole event as JSON.
#[derive(Clone, Copy)]
pub struct EventForm {
    name: &'static str,
    write: fn(&Event, &mut String),
}

impl EventForm {
    /// The whole event in our own field names.
    pub const WHOLE: EventForm = EventForm::new("event", write_event);

    /// A form of this name; two forms of one name must be the same function.
    pub const fn new(name: &'static str, write: fn(&Event, &mut String)) -> Self {
        EventForm { name, write }
    }
}

impl fmt::Debug for EventForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EventForm").field(&self.name).finish()
    }
}

impl Form for EventForm {
    fn key(&self) -> &str {
        self.name
    }

    fn renderer(&self) -> Box<dyn Renderer> {
        Box::new(*self)
    }

    fn failed(&self, event: &Event) -> String {
        serde_json::json!({ "id": event.id(), "cursor": event.cursor().to_string(), "code": "INTERNAL" })
            .to_string()
    }
}

impl Renderer for EventForm {
    fn render<'a>(&'a mut self, event: &'a Arc<Event>) -> RenderFuture<'a> {
        let mut text = String::new();
        (self.write)(event, &mut text);
        Box::pin(std::future::ready(Some(text)))
    }
}
