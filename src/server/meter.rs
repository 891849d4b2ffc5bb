//! What a WebSocket's peer sends, counted as it is read: the frames that never become a message are seen here only.
//!
//! Flow: [`Wire`](super::wire::Wire) shows every piece that it reads; the meter follows the headers of the frames (RFC 6455,
//! section 5.2) and passes over what they carry.
//! Invariants: it keeps no payload, and asks the clock only for control frames and for a message that is not whole yet.
//! Not here: whether frames are well-formed (tungstenite).

use std::time::Duration;
use tokio::time::Instant;

/// Pings and pongs of one peer in [`CONTROL_SPAN`]: thirty times what a lively client sends.
const CONTROL_FRAMES_MAX: u32 = 300;
const CONTROL_SPAN: Duration = Duration::from_secs(10);
/// Frames of one message. Clients send a message in one frame, some of them in pieces of some KiB.
pub(super) const FRAGMENTS_MAX: u32 = 4_096;

/// The longest header without its mask.
const HEADER_BYTES_MAX: usize = 10;
const MASK_BYTES: u64 = 4;

/// More than any honest client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flood {
    /// Pings or pongs without end.
    Control,
    /// A message in too many frames.
    Fragments,
}

/// Follows the frames of one peer.
#[derive(Debug)]
pub(super) struct Meter {
    header: [u8; HEADER_BYTES_MAX],
    /// How many bytes of the header are here.
    header_bytes: usize,
    /// How many bytes of the frame's mask and payload are still to come.
    left: u64,
    /// Frames of the message that is not whole yet.
    fragments: u32,
    /// Since when the message is not whole.
    since: Option<Instant>,
    control_frames: u32,
    control_since: Instant,
    flood: Option<Flood>,
}

impl Meter {
    pub(super) fn new() -> Self {
        Meter {
            header: [0; HEADER_BYTES_MAX],
            header_bytes: 0,
            left: 0,
            fragments: 0,
            since: None,
            control_frames: 0,
            control_since: Instant::now(),
            flood: None,
        }
    }

    /// The peer sent these bytes.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if self.left > 0 {
                let passed = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= passed as u64;
                bytes = bytes.get(passed..).unwrap_or_default();
            } else {
                if let Some(slot) = self.header.get_mut(self.header_bytes) {
                    *slot = *first;
                }
                self.header_bytes += 1;
                bytes = rest;
                let Some(left) = self.left_after_header() else { continue };
                self.left = left;
            }
            if self.left == 0 {
                self.ended();
            }
        }
        let is_whole = self.fragments == 0 && self.header_bytes == 0;
        self.since = if is_whole { None } else { self.since.or_else(|| Some(Instant::now())) };
    }

    /// More than is allowed, once it was.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.flood
    }

    /// Since when a message is on its way that is not whole.
    pub(super) fn message_since(&self) -> Option<Instant> {
        self.since
    }

    /// How many bytes of the frame on its way are still to come, as far as its header says so.
    pub(super) fn frame_bytes_left(&self) -> u64 {
        self.left
    }

    /// The bytes that follow a header; none while the header itself is not whole.
    fn left_after_header(&self) -> Option<u64> {
        let have = self.header.get(..self.header_bytes).unwrap_or(&self.header);
        let [_, second, extended @ ..] = have else { return None };
        let length = match (second & 0x7f, extended) {
            (126, [high, low]) => u64::from(u16::from_be_bytes([*high, *low])),
            (127, [a, b, c, d, e, f, g, h]) => u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]),
            (126 | 127, _) => return None,
            (short, _) => u64::from(short),
        };
        let is_masked = second & 0x80 != 0;
        Some(length.saturating_add(if is_masked { MASK_BYTES } else { 0 }))
    }

    /// A frame is whole.
    fn ended(&mut self) {
        let [first, ..] = self.header;
        self.header_bytes = 0;
        let (is_final, is_control) = (first & 0x80 != 0, first & 0x08 != 0);
        match (is_control, is_final) {
            (true, _) => self.control(),
            (false, true) => self.fragments = 0,
            (false, false) => {
                self.fragments += 1;
                if self.fragments >= FRAGMENTS_MAX {
                    self.flood = Some(Flood::Fragments);
                }
            }
        }
    }

    fn control(&mut self) {
        let now = Instant::now();
        if now >= self.control_since + CONTROL_SPAN {
            (self.control_since, self.control_frames) = (now, 0);
        }
        self.control_frames += 1;
        if self.control_frames > CONTROL_FRAMES_MAX {
            self.flood = Some(Flood::Control);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: u8 = 0x1;
    const CONTINUATION: u8 = 0x0;
    const PING: u8 = 0x9;

    /// A frame as a client sends it.
    fn frame(opcode: u8, is_final: bool, payload: usize) -> Vec<u8> {
        let mut bytes = vec![opcode | if is_final { 0x80 } else { 0 }];
        match payload {
            0..126 => bytes.push(0x80 | u8::try_from(payload).unwrap()),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        // Mask and payload full of what looks like headers.
        bytes.extend(std::iter::repeat_n(PING, 4 + payload));
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_runs_from_the_first_byte_of_a_message_to_its_last() {
        let mut meter = Meter::new();
        let begun = Instant::now();
        meter.read(&[0x01]);
        assert_eq!(meter.message_since(), Some(begun));
        tokio::time::advance(Duration::from_secs(1)).await;
        let rest = frame(TEXT, false, 3);
        meter.read(&rest[1..]);
        meter.read(&frame(PING, true, 5));
        assert_eq!(meter.message_since(), Some(begun), "a ping between two frames changes nothing");
        meter.read(&frame(CONTINUATION, true, 70_000));
        assert_eq!(meter.message_since(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn pings_without_end_are_a_flood_and_lively_pings_are_not() {
        let mut meter = Meter::new();
        for _ in 0..100 {
            for _ in 0..CONTROL_FRAMES_MAX / 10 {
                meter.read(&frame(PING, true, 125));
            }
            assert_eq!(meter.flood(), None);
            tokio::time::advance(CONTROL_SPAN / 5).await;
        }
        for _ in 0..=CONTROL_FRAMES_MAX {
            meter.read(&frame(PING, true, 0));
        }
        assert_eq!(meter.flood(), Some(Flood::Control));
    }

    #[tokio::test]
    async fn a_message_has_so_many_frames_and_not_more() {
        for (frames, expected) in [(FRAGMENTS_MAX - 1, None), (FRAGMENTS_MAX, Some(Flood::Fragments))] {
            let mut meter = Meter::new();
            meter.read(&frame(TEXT, false, 0));
            (1..frames).for_each(|_| meter.read(&frame(CONTINUATION, false, 0)));
            meter.read(&frame(CONTINUATION, true, 0));
            assert_eq!(meter.flood(), expected);
        }
    }

    proptest! {
        /// However the bytes are cut, the frames are the same.
        #[test]
        fn pieces_of_any_size_are_followed_alike(
            payloads in prop::collection::vec(prop_oneof![0_usize..200, 65_530_usize..65_540], 1..20),
            cuts in prop::collection::vec(1_usize..5_000, 1..50),
        ) {
            let mut bytes = Vec::new();
            for payload in &payloads {
                bytes.extend(frame(CONTINUATION, false, *payload));
            }
            let mut meter = Meter::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, others) = rest.split_at((*cut).min(rest.len()));
                meter.read(piece);
                rest = others;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(meter.fragments as usize, payloads.len());
            prop_assert_eq!((meter.header_bytes, meter.left, meter.control_frames), (0, 0, 0));
            meter.read(&frame(TEXT, true, 1));
            prop_assert_eq!(meter.message_since(), None);
        }
    }
}
