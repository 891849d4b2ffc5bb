//! Records against the events they were written from, and against bytes that nobody wrote.

use super::*;
use crate::event::{Draft, Epoch, Limits, Offset};
use proptest::prelude::*;

fn place(offset: u64) -> Place {
    Place { offset: Offset::new(offset), logged_at: -5 }
}

fn whole() -> NewEvent {
    let json = r#"{"id":"ü","type":"task.status.x","time":"-0044-03-15T12:00:00.123456789Z","source":"/a","subject":"s",
        "organizationId":"o","domainId":"d","instanceId":"i","agentId":"a","taskId":"t","workflowId":"w","userId":"u",
        "roomId":"r","correlationId":"c","priority":"CRITICAL","data":{"a":1},"attributes":{"x":1,"y":"z"}}"#;
    NewEvent::new(Draft::from_json(json).unwrap(), &Limits::default()).unwrap()
}

fn written(event: &NewEvent, offset: u64) -> Vec<u8> {
    let mut out = vec![1, 2, 3];
    write(&mut out, event, place(offset)).unwrap();
    out
}

#[test]
fn an_event_survives_its_record_and_its_terms_are_the_same() {
    let bare = Draft { event_type: "a".to_owned(), ..Draft::default() };
    let bare = NewEvent::new(bare, &Limits::default()).unwrap();
    for event in [whole(), bare.clone(), bare.or_correlation_id("c"), whole().or_correlation_id("other")] {
        let bytes = written(&event, 9);
        let record = Record::read(&bytes, 9).unwrap();
        let read = record.event(Epoch::new([7; 16]), 9).unwrap();
        assert_eq!((&*read, read.offset().get(), record.logged_at), (&event, 9, -5));
        let (mut of_event, mut of_record) = (Vec::new(), Vec::new());
        super::super::terms::of_new_event(&event, |term| of_event.push(term));
        record.terms(|term| of_record.push(term));
        assert_eq!(of_event, of_record);
    }
}

#[test]
fn every_flipped_bit_every_cut_and_every_other_place_is_found() {
    let mut bytes = written(&whole(), 9);
    assert!(Record::read(&bytes, 8).is_err());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::read(&bytes, 9).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!((0..bytes.len()).all(|length| Record::read(&bytes[..length], 9).is_err()));
}

proptest! {
    #[test]
    fn bytes_that_nobody_wrote_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Record::read(&bytes, 1).is_err());
        // With a right checksum the fields are read, and may still be nonsense.
        seal(&mut bytes, 1);
        if let Ok(record) = Record::read(&bytes, 1) {
            let _ = record.event(Epoch::new([7; 16]), 1);
        }
    }
}
