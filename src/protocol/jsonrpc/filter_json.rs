//! A filter as JSON in the names in which callers write it: what `gateway.subscription` shows.
//!
//! Invariants: reading what is written gives an equal filter.

use crate::{
    event::{EventFilter, Ids},
    protocol::text::push_string,
};

/// Appends a filter as an object; a filter that allows everything is `{}`.
pub fn write_filter(filter: &EventFilter, out: &mut String) {
    let mut object = Object { out, is_empty: true };
    object.out.push('{');
    if let Some(types) = filter.types() {
        object.list("types", types.iter().map(|pattern| pattern.as_str()));
    }
    if let Some(families) = filter.families() {
        object.list("categories", families.iter().map(|family| family.segment().unwrap_or("custom")));
    }
    for (field, ids) in filter.scope_ids() {
        object.list(field.camel(), ids.iter());
    }
    object.ids("sources", filter.sources());
    object.ids("correlationId", filter.correlation_ids());
    if let Some(priority) = filter.min_priority() {
        object.name("minPriority");
        push_string(object.out, priority.name());
    }
    if let Some(filters) = filter.any_of() {
        object.name("anyOf");
        for (index, filter) in filters.iter().enumerate() {
            object.out.push(if index == 0 { '[' } else { ',' });
            write_filter(filter, object.out);
        }
        object.out.push(']');
    }
    object.out.push('}');
}

struct Object<'a> {
    out: &'a mut String,
    is_empty: bool,
}

impl Object<'_> {
    fn name(&mut self, name: &str) {
        if !self.is_empty {
            self.out.push(',');
        }
        self.is_empty = false;
        push_string(self.out, name);
        self.out.push(':');
    }

    fn list<'a>(&mut self, name: &str, items: impl Iterator<Item = &'a str>) {
        self.name(name);
        self.out.push('[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            push_string(self.out, item);
        }
        self.out.push(']');
    }

    fn ids(&mut self, name: &str, ids: Option<&Ids>) {
        if let Some(ids) = ids {
            self.list(name, ids.iter());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_as_an_equal_filter() {
        let texts = [
            "{}",
            r#"{"types":["*.created","task.*"],"categories":["agent","custom"],"organizationId":["a\"b","q"],
                "roomId":"r","sources":["/ci","é"],"correlationId":["c"],"minPriority":"HIGH",
                "anyOf":[{"taskId":["1","2"]},{"types":["x"],"minPriority":"LOW"}]}"#,
        ];
        for text in texts {
            let filter = EventFilter::new(serde_json::from_str(text).unwrap()).unwrap();
            let mut out = String::new();
            write_filter(&filter, &mut out);
            assert_eq!(EventFilter::new(serde_json::from_str(&out).unwrap()).unwrap(), filter, "{out}");
        }
    }
}
