//! What somebody may do with one event and what they see of it: the answer of `fanfare explain`.
//!
//! Not here: who somebody is (the policy, tokens), how the answer is printed (`cli`).

use super::{Mask, Principal};
use crate::{
    error::Refusal,
    event::{NewEvent, write_event_with},
};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

/// What a principal may do with an event, and what it sees of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The principal's name.
    pub subject: String,
    /// Where its grant comes from.
    pub origin: String,
    /// May it read the event? By which rule, or why not.
    pub read: Result<String, Refusal>,
    /// May it publish the event? By which rule, or why not.
    pub publish: Result<String, Refusal>,
    /// The masks for events of this type, whether they meet something in this one or not.
    pub masks: Vec<Mask>,
    /// The event as it sees it; `None` when it may not read it.
    pub seen: Option<NewEvent>,
}

impl Explanation {
    /// Asks the principal's grant and view about an event.
    pub fn new(principal: &Principal, event: &NewEvent) -> Self {
        let (grant, view) = (principal.grant(), principal.view());
        let read = grant.check_read(event);
        let published = grant.admit(event.clone());
        // What a grant allows, one of its rules allows.
        let rule = Option::unwrap_or_default;
        let masks = view.masks().filter(|mask| mask.concerns(event.event_type())).cloned().collect();
        Explanation {
            subject: principal.subject().to_owned(),
            origin: grant.origin().to_owned(),
            publish: published.map(|event| rule(grant.rule_to_publish(&event))),
            masks,
            seen: read.is_ok().then(|| view.show_new(event)),
            read: read.map(|()| rule(grant.rule_to_read(event))),
        }
    }

    /// For people: a line for each decision and mask, then the event.
    pub fn text(&self) -> String {
        let decision = |verb: &str, decided: &Result<String, Refusal>| match decided {
            Ok(rule) => format!("{} may {verb} it, by the rule: {rule}\n", self.subject),
            Err(refusal) => format!("{} may not {verb} it: {refusal}\n", self.subject),
        };
        let mut text = decision("read", &self.read) + &decision("publish", &self.publish);
        text.push_str(&format!("the grant comes from {}\n", self.origin));
        for mask in &self.masks {
            text.push_str(&format!("masked is {mask}\n"));
        }
        if self.masks.is_empty() {
            text.push_str("nothing is masked in events of this type\n");
        }
        if let Some(seen) = &self.seen {
            text.push_str(&format!("seen as {}\n", written(seen)));
        }
        text
    }

    /// For programs: one JSON object; the event stands in it as its readers get it, to the byte.
    pub fn json(&self) -> String {
        let shape = Shape {
            subject: &self.subject,
            grant: &self.origin,
            read: decision(&self.read),
            publish: decision(&self.publish),
            masks: self.masks.iter().map(mask).collect(),
            event: self.seen.as_ref().and_then(|seen| RawValue::from_string(written(seen)).ok()),
        };
        // Text members and JSON that was checked always have a JSON form.
        serde_json::to_string(&shape).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Shape<'e> {
    subject: &'e str,
    grant: &'e str,
    read: Value,
    publish: Value,
    masks: Vec<Value>,
    event: Option<Box<RawValue>>,
}

fn decision(decided: &Result<String, Refusal>) -> Value {
    let mut members = Map::from_iter([("allowed".to_owned(), decided.is_ok().into())]);
    match decided {
        Ok(rule) => {
            members.insert("rule".to_owned(), rule.as_str().into());
        }
        Err(refusal) => {
            members.insert("message".to_owned(), refusal.message.as_ref().into());
            // The refusal's own facts do not stand in for the decision.
            members.extend(refusal.members().into_iter().filter(|(name, _)| name != "allowed"));
        }
    }
    Value::Object(members)
}

fn mask(mask: &Mask) -> Value {
    let types: Vec<&str> = mask.types().iter().map(|pattern| pattern.as_str()).collect();
    json!({ "path": mask.path(), "types": types, "action": mask.action().name() })
}

fn written(event: &NewEvent) -> String {
    let mut text = String::new();
    write_event_with(event, |_| (), &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        auth::{Action, Credential, Grant, MaskDraft, MaskKey, Masks},
        event::{Draft, Limits},
    };

    #[test]
    fn an_explanation_says_what_is_allowed_what_is_masked_and_what_is_seen() {
        let rule = |types: &str, path: &str| MaskDraft {
            types: vec![types.to_owned()],
            path: path.to_owned(),
            action: Action::Partial,
            roles: Some(vec!["member".to_owned()]),
            except: None,
        };
        let drafts = vec![rule("agent.*", "data.email"), rule("task.*", "data")];
        let view =
            Masks::new(drafts, MaskKey::new([1; 32])).unwrap().view(&["member"], |role| role == "member");
        let principal = Principal::new("ann", Credential::None, Grant::everything(), view, None);
        let draft =
            Draft::from_json(r#"{"type":"agent.log","id":"1","data":{"email":"ann@example.org","n":1.0}}"#);
        let event = NewEvent::new(draft.unwrap(), &Limits::default()).unwrap();

        let explanation = Explanation::new(&principal, &event);
        let text = explanation.text();
        assert!(
            text.starts_with(
                "ann may read it, by the rule: everything\nann may publish it, by the rule: everything\n\
                 the grant comes from a server without authentication\nmasked is data.email of agent.*: partial\n"
            ),
            "{text}"
        );
        assert!(text.contains(r#""data":{"email":"***.org","n":1.0}"#) && !text.contains("ann@"), "{text}");
        assert!(explanation.json().contains(r#""n":1.0}"#));
        let json: Value = serde_json::from_str(&explanation.json()).unwrap();
        assert_eq!(
            (&json["read"], &json["masks"][0]["path"]),
            (&json!({ "allowed": true, "rule": "everything" }), &json!("data.email"))
        );
        assert_eq!(json["event"]["data"]["email"], "***.org");
        assert_eq!(json["masks"].as_array().unwrap().len(), 1);
    }
}
