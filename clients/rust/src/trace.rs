//! W3C Trace Context, level 1: which trace a request belongs to, and which span of it called.
//!
//! Invariants: what is read by a later version of the format is written by ours; of the flags only `sampled` is passed on; an id
//! of zeros is none.

use std::fmt::Write;
use uuid::Uuid;

/// The spec has everybody pass on at least so many.
const STATE_BYTES_MAX: usize = 512;
const STATE_MEMBERS_MAX: usize = 32;
/// Longer members are the first to go.
const STATE_MEMBER_BYTES: usize = 128;
const SAMPLED: u8 = 1;

/// A place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    trace_id: u128,
    span_id: u64,
    is_sampled: bool,
    state: Option<Box<str>>,
}

impl TraceContext {
    /// A new trace. It counts as sampled: its events are recorded, and services behind that sample as their caller does would
    /// otherwise record nothing of it.
    pub(crate) fn begin() -> Self {
        TraceContext { trace_id: Uuid::new_v4().as_u128(), span_id: span_id(), is_sampled: true, state: None }
    }

    /// Reads a `traceparent`; none if it is not as the spec says.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (version, rest) = text.split_at_checked(2)?;
        let version = hex(version).filter(|version| *version != 0xff)?;
        // -<32 digits>-<16 digits>-<2 digits>, behind which a later version may have more, set off by a dash.
        let (known, more) = rest.split_at_checked(53)?;
        if !more.is_empty() && (version == 0 || !more.starts_with('-')) {
            return None;
        }
        let mut fields = known.strip_prefix('-')?.split('-');
        let (trace_id, span_id, flags) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() || (trace_id.len(), span_id.len(), flags.len()) != (32, 16, 2) {
            return None;
        }
        let trace_id = hex(trace_id).filter(|id| *id != 0)?;
        let span_id = u64::try_from(hex(span_id)?).ok().filter(|id| *id != 0)?;
        let is_sampled = hex(flags)? & u128::from(SAMPLED) != 0;
        Some(TraceContext { trace_id, span_id, is_sampled, state: None })
    }

    /// The same with the lists of the `tracestate` headers, in their order, cut to what everybody passes on.
    pub(crate) fn with_state<'a>(self, headers: impl Iterator<Item = &'a str>) -> Self {
        let members = headers.flat_map(|list| list.split(',')).map(trim).filter(|member| !member.is_empty());
        let mut members: Vec<_> = members.collect();
        let is_valid = members.len() <= STATE_MEMBERS_MAX && members.iter().all(|member| is_member(member));
        if !is_valid || members.is_empty() {
            return TraceContext { state: None, ..self };
        }
        let bytes = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>() - 1;
        while !members.is_empty() && bytes(&members) > STATE_BYTES_MAX {
            let long = members.iter().rposition(|member| member.len() > STATE_MEMBER_BYTES);
            members.remove(long.unwrap_or(members.len() - 1));
        }
        let state = (!members.is_empty()).then(|| members.join(",").into());
        TraceContext { state, ..self }
    }

    /// The same trace, in a new span.
    pub(crate) fn into_own_span(self) -> Self {
        TraceContext { span_id: span_id(), ..self }
    }

    /// 32 hexadecimal digits.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The value of the header.
    pub(crate) fn traceparent(&self) -> String {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        let mut text = String::with_capacity(55);
        write!(text, "00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id)
            .expect("writing to a string does not fail");
        text
    }

    /// The value of `tracestate`, if there is one.
    pub(crate) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Without the white space that HTTP allows around a value.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Never 0: of the last eight bytes of a random id the first bit is set.
fn span_id() -> u64 {
    Uuid::new_v4().as_u64_pair().1
}

/// Lower-case digits only.
fn hex(text: &str) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Is it `key=value` in the characters that the spec allows at most?
fn is_member(text: &str) -> bool {
    let Some((key, value)) = text.split_once('=') else { return false };
    let is_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let is_value = |byte: u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b',' | b'=');
    (1..=256).contains(&key.len())
        && key.bytes().all(is_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(is_value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn state(lists: &[&str]) -> Option<String> {
        let trace = TraceContext::parse(GOOD).unwrap().with_state(lists.iter().copied());
        trace.state().map(str::to_owned)
    }

    #[test]
    fn what_is_read_is_written_alike_and_an_own_span_keeps_the_trace() {
        let trace = TraceContext::parse(GOOD).unwrap();
        assert_eq!(trace.traceparent(), GOOD);
        let own = trace.clone().into_own_span();
        assert_eq!(own.trace_id(), trace.trace_id());
        assert_ne!(own.traceparent(), GOOD);
        let begun = TraceContext::begin();
        assert_eq!(TraceContext::parse(&begun.traceparent()), Some(begun));
    }

    #[test]
    fn of_the_flags_only_sampled_is_passed_on() {
        for (given, passed) in [("00", "00"), ("01", "01"), ("02", "00"), ("ff", "01")] {
            let text = format!("{}-{given}", GOOD.strip_suffix("-01").unwrap());
            let written = TraceContext::parse(&text).unwrap().traceparent();
            assert!(written.ends_with(&format!("-{passed}")), "{given} {written}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let body = GOOD.strip_prefix("00").unwrap();
        for good in [format!("cc{body}"), format!("cc{body}-what-comes-later"), format!("01{body}-")] {
            assert_eq!(
                TraceContext::parse(&good).map(|trace| trace.traceparent()).as_deref(),
                Some(GOOD),
                "{good}"
            );
        }
        for bad in
            [format!("ff{body}"), format!("cc{body}.later"), format!("cc{body}0"), format!("00{body}-x")]
        {
            assert_eq!(TraceContext::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_as_the_spec_says_is_no_trace() {
        let zeros = (
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        );
        let upper = GOOD.to_uppercase();
        let bad = [
            "",
            "00",
            "é0-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-012",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for bad in bad.into_iter().chain([zeros.0, zeros.1, &upper]) {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_state_keeps_its_order_and_loses_long_members_and_then_its_end() {
        assert_eq!(state(&["a=1 , b=2", "", "c@v=3"]).as_deref(), Some("a=1,b=2,c@v=3"));
        let (long, short) = (format!("long={}", "x".repeat(200)), format!("s={}", "x".repeat(90)));
        let kept = state(&[&format!("{short},{long},{short},{long},{short}")]).unwrap();
        assert_eq!(kept, [short.as_str(), &long, &short, &short].join(","));
        let kept = state(&[&[short.as_str(); 6].join(",")]).unwrap();
        assert_eq!(kept.split(',').count(), 5);
    }

    #[test]
    fn a_state_that_is_not_as_the_spec_says_is_left_out_whole() {
        let many = vec!["a=1"; 33].join(",");
        for bad in ["", ",", "a", "A=1", "a=", "=1", "a=1,b", "a=é", many.as_str()] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_panics_or_goes_out_in_another_form(text in "\\PC{0,80}", state in "\\PC{0,700}") {
            if let Some(trace) = TraceContext::parse(&text) {
                let trace = trace.with_state([state.as_str()].into_iter());
                prop_assert_eq!(trace.traceparent().len(), 55);
                prop_assert!(trace.state().is_none_or(|state| state.len() <= STATE_BYTES_MAX && state.is_ascii()));
            }
        }
    }
}
