//! An event as the bytes of its row, with a checksum over them and the offset, and back.
//!
//! Layout, little-endian: logged_at i64 (ms), time i64 (s), nanoseconds u32, marks u8 (bit 0: the producer gave the time; bits
//! 1 and 2: priority; bit 3: the correlation id is that of the request), presence u16 (which of [`OPTIONAL`] follow), then texts, each after its length (u32): type, id, source,
//! those present, data; at the end CRC-32C (u32) over the offset and all before.
//! Invariants: bytes whose checksum is wrong never become an event.

use super::super::store::Place;
use crate::event::{
    Attributes, Epoch, Event, EventFilter, EventType, Json, NewEvent, Offset, Priority, Rules, Scope,
    ScopeField, StoredEvent, TypePattern,
};
use chrono::DateTime;

/// How many texts an event may have or not: its scope, then correlation id, subject, attributes, binary data, namespace.
const OPTIONAL: usize = SCOPE + 5;
const SCOPE: usize = ScopeField::ALL.len();
const CORRELATION: usize = SCOPE;
const SUBJECT: usize = SCOPE + 1;
const ATTRIBUTES: usize = SCOPE + 2;
const BINARY: usize = SCOPE + 3;
const NAMESPACE: usize = SCOPE + 4;

/// The bit of the marks that says whose the correlation id is.
const INHERITED: u8 = 3;

/// What is wrong with the bytes of a row.
pub(super) type Damage = String;

/// What a key and an event's part of the index take beside their texts.
const OVERHEAD_BYTES: usize = 64;

/// The bytes of an event as retention counts them: about what its row, its key and its part of the index take on disk.
pub(super) fn counted_bytes(record: usize, key: [&str; 3]) -> u64 {
    (record + key.map(str::len).iter().sum::<usize>() + OVERHEAD_BYTES) as u64
}

/// The row of an event, borrowed from the database's page.
pub(super) struct Record<'a> {
    /// Milliseconds since 1970.
    pub(super) logged_at: i64,
    time_seconds: i64,
    time_nanos: u32,
    marks: u8,
    event_type: &'a str,
    pub(super) id: &'a str,
    pub(super) source: &'a str,
    optional: [Option<&'a str>; OPTIONAL],
    data: &'a str,
    /// All of its bytes.
    length: usize,
}

/// Writes the row of an event in place of what `out` holds. Fails when a text is too long for its length.
pub(super) fn write(out: &mut Vec<u8>, event: &NewEvent, place: Place) -> Result<(), Damage> {
    let attributes = (!event.attributes().is_empty())
        .then(|| serde_json::to_string(event.attributes()))
        .transpose()
        .map_err(|error| error.to_string())?;
    let namespace = Some(event.namespace()).filter(|namespace| !namespace.is_empty());
    let mut optional = [None; OPTIONAL];
    let scope = ScopeField::ALL.into_iter().map(|field| event.scope().get(field));
    let others =
        [event.correlation_id(), event.subject(), attributes.as_deref(), event.data_base64(), namespace]
            .into_iter();
    for (to, from) in optional.iter_mut().zip(scope.chain(others)) {
        *to = from;
    }
    out.clear();
    out.extend_from_slice(&place.logged_at.to_le_bytes());
    out.extend_from_slice(&event.time().timestamp().to_le_bytes());
    out.extend_from_slice(&event.time().timestamp_subsec_nanos().to_le_bytes());
    let is_inherited = event.correlation_id() != event.given_correlation_id();
    out.push(
        u8::from(event.time_is_given()) | (event.priority() as u8) << 1 | u8::from(is_inherited) << INHERITED,
    );
    let presence = optional.iter().rev().fold(0_u16, |bits, text| bits << 1 | u16::from(text.is_some()));
    out.extend_from_slice(&presence.to_le_bytes());
    let present = optional.into_iter().flatten();
    for text in [event.event_type().as_str(), event.id(), event.source()]
        .into_iter()
        .chain(present)
        .chain([event.data().as_str()])
    {
        write_text(out, text)?;
    }
    seal(out, place.offset.get());
    Ok(())
}

/// Writes a text after its length.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), Damage> {
    let length = u32::try_from(text.len()).map_err(|error| error.to_string())?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Ends bytes with their checksum, which covers the place they stand at as well: bytes of another row never pass.
pub(super) fn seal(out: &mut Vec<u8>, place: u64) {
    seal_after(out, sum_of(place));
}

/// The same where the sum over the place is known.
pub(super) fn seal_after(out: &mut Vec<u8>, place: u32) {
    let sum = crc32c::crc32c_append(place, out);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// The bytes in front of the checksum, if it is right.
pub(super) fn unseal(bytes: &[u8], place: u64) -> Result<Fields<'_>, Damage> {
    unseal_after(bytes, sum_of(place))
}

/// The same where the sum over the place is known.
pub(super) fn unseal_after(bytes: &[u8], place: u32) -> Result<Fields<'_>, Damage> {
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
    match u32::from_le_bytes(*sum) == crc32c::crc32c_append(place, body) {
        true => Ok(Fields(body)),
        false => Err("its checksum is wrong".to_owned()),
    }
}

/// The sum over a place, with which that over its bytes begins.
pub(super) fn sum_of(place: u64) -> u32 {
    crc32c::crc32c(&place.to_le_bytes())
}

/// Fields that are read one after the other.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or("a field is cut")?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damage> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Damage> {
        self.take().map(i64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damage> {
        let length = u32::from_le_bytes(self.take()?) as usize;
        let (text, rest) = self.0.split_at_checked(length).ok_or("a text is cut")?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|error| error.to_string())
    }

    /// Is nothing left?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Record<'a> {
    /// Reads the row at an offset; nothing is copied.
    pub(super) fn read(bytes: &'a [u8], offset: u64) -> Result<Self, Damage> {
        let mut fields = unseal(bytes, offset)?;
        let logged_at = fields.i64()?;
        let time_seconds = fields.i64()?;
        let time_nanos = u32::from_le_bytes(fields.take()?);
        let [marks] = fields.take()?;
        let presence = u16::from_le_bytes(fields.take()?);
        let (event_type, id, source) = (fields.text()?, fields.text()?, fields.text()?);
        let mut optional = [None; OPTIONAL];
        for (bit, place) in optional.iter_mut().enumerate() {
            if presence >> bit & 1 == 1 {
                *place = Some(fields.text()?);
            }
        }
        let data = fields.text()?;
        Ok(Record {
            logged_at,
            time_seconds,
            time_nanos,
            marks,
            event_type,
            id,
            source,
            optional,
            data,
            length: bytes.len(),
        })
    }

    /// Its bytes as retention counts them.
    pub(super) fn counted_bytes(&self) -> u64 {
        counted_bytes(self.length, [self.id, self.source, self.namespace()])
    }

    /// The event of the row.
    pub(super) fn event(&self, epoch: Epoch, offset: u64) -> Result<Event, Damage> {
        Ok(Event::logged(self.new_event()?, epoch, Offset::new(offset)))
    }

    /// The event of the row without its place.
    pub(super) fn new_event(&self) -> Result<NewEvent, Damage> {
        self.stored().map(NewEvent::from)
    }

    fn stored(&self) -> Result<StoredEvent, Damage> {
        let mut scope = Scope::default();
        for (field, id) in self.scope() {
            scope.set(field, id).map_err(|refusal| refusal.to_string())?;
        }
        let attributes = self.optional(ATTRIBUTES).map(serde_json::from_str::<Attributes>).transpose();
        Ok(StoredEvent {
            id: self.id.into(),
            namespace: self.optional(NAMESPACE).map(Into::into),
            event_type: self.event_type()?,
            time: DateTime::from_timestamp(self.time_seconds, self.time_nanos).ok_or("its time is none")?,
            time_is_given: self.marks & 1 == 1,
            source: self.source.into(),
            subject: self.optional(SUBJECT).map(Into::into),
            scope,
            correlation_id: self.optional(CORRELATION).map(Into::into),
            correlation_is_inherited: self.marks >> INHERITED & 1 == 1,
            priority: self.priority()?,
            attributes: attributes.map_err(|error| error.to_string())?.unwrap_or_default(),
            data: Json::stored(self.data),
            data_base64: self.optional(BINARY).map(Into::into),
        })
    }

    /// Whose ids its id is one of.
    pub(super) fn namespace(&self) -> &'a str {
        self.optional(NAMESPACE).unwrap_or_default()
    }

    fn optional(&self, index: usize) -> Option<&'a str> {
        self.optional.get(index).copied().flatten()
    }

    fn scope(&self) -> impl Iterator<Item = (ScopeField, &'a str)> {
        ScopeField::ALL.into_iter().zip(self.optional).filter_map(|(field, id)| Some((field, id?)))
    }

    fn priority(&self) -> Result<Priority, Damage> {
        let known = Priority::ALL.get(usize::from(self.marks >> 1 & 3)).copied();
        known.ok_or_else(|| "its priority is none".to_owned())
    }

    /// What happened.
    pub(super) fn event_type(&self) -> Result<EventType, Damage> {
        EventType::parse(self.event_type, "type").map_err(|refusal| refusal.to_string())
    }

    /// False only when the filter's own fields or its grants (not its alternatives) exclude the event; cheaper than making
    /// the event.
    pub(super) fn may_match(&self, filter: &EventFilter) -> Result<bool, Damage> {
        let has = |ids: &crate::event::Ids, id: Option<&str>| id.is_some_and(|id| ids.contains(id));
        if filter.min_priority().is_some_and(|least| self.priority().is_ok_and(|own| own < least))
            || filter.sources().is_some_and(|sources| !sources.contains(self.source))
            || filter.correlation_ids().is_some_and(|ids| !has(ids, self.optional(CORRELATION)))
            || filter.scope_ids().any(|(field, ids)| !has(ids, self.optional(field as usize)))
        {
            return Ok(false);
        }
        if filter.types().is_some() || filter.families().is_some() {
            let event_type = self.event_type()?;
            let fits = |pattern: &TypePattern| pattern.matches(&event_type);
            if !filter.types().is_none_or(|patterns| patterns.iter().any(fits))
                || !filter.families().is_none_or(|families| families.contains(&event_type.family()))
            {
                return Ok(false);
            }
        }
        for rules in filter.grants() {
            if !self.may_meet(rules)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn may_meet(&self, rules: &Rules) -> Result<bool, Damage> {
        for rule in rules.iter() {
            if self.may_match(rule.as_filter())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The texts that the index knows the event by.
    pub(super) fn terms(&self, put: impl FnMut(u32)) {
        super::terms::of_event(self.event_type, self.source, self.optional(CORRELATION), self.scope(), put);
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
