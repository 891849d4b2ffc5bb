//! Reading a request body: whole, bounded in bytes and in time, as UTF-8.

use super::{App, problem::Problem};
use crate::error::{Code, Refusal};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::time::timeout;

/// So many bytes beyond the limit are read and thrown away: a peer that is still sending when its socket is closed loses the
/// answer that tells it why.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads a body. Fails with 413, with 408 when it takes too long, or with 400 when the peer breaks off.
pub(super) async fn read(app: &App, body: Body) -> Result<Bytes, Problem> {
    let bytes_max = app.options.request_bytes_max;
    match timeout(app.options.body_timeout, collect(body, bytes_max)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            let allowed = format!("{bytes_max} bytes");
            let message = format!("the request body is larger than {allowed}");
            Err(Refusal::new(Code::TooLarge, message).with("allowed", allowed).into())
        }
        Ok(Err(_)) => Err(Refusal::new(Code::BadRequest, "the request body broke off").into()),
        Err(_) => Err(Problem::with_status(StatusCode::REQUEST_TIMEOUT, "the request body took too long")),
    }
}

/// The whole body; `None` when it has more bytes than allowed. One that came in one piece is not copied: it is a part of the
/// connection's read buffer, which nobody reads into as long as it is held.
async fn collect(mut body: Body, bytes_max: usize) -> Result<Option<Bytes>, axum::Error> {
    let (mut first, mut kept, mut count) = (Bytes::new(), BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame?.into_data() else { continue };
        count += bytes.len();
        match count <= bytes_max {
            true if count == bytes.len() => first = bytes,
            true => {
                kept.extend_from_slice(&std::mem::take(&mut first));
                kept.extend_from_slice(&bytes);
            }
            false if count <= bytes_max + DISCARDED_BYTES_MAX => {
                (first, kept) = (Bytes::new(), BytesMut::new())
            }
            false => break,
        }
    }
    Ok((count <= bytes_max).then(|| if kept.is_empty() { first } else { kept.freeze() }))
}

/// Reads a body as text.
pub(super) async fn read_text(app: &App, body: Body) -> Result<String, Problem> {
    let bytes = read(app, body).await?;
    String::from_utf8(bytes.into())
        .map_err(|_| Refusal::new(Code::BadRequest, "the request body is not UTF-8").into())
}

/// The media type of a body without its parameters, in lower case; a charset other than UTF-8 is refused.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let mut parts = value.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    for parameter in parts {
        let Some((name, charset)) = parameter.split_once('=') else { continue };
        if name.trim().eq_ignore_ascii_case("charset")
            && !charset.trim_matches('"').eq_ignore_ascii_case("utf-8")
        {
            return Err(Problem::with_status(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the charset of a body must be utf-8",
            ));
        }
    }
    Ok(Some(media_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[tokio::test]
    async fn a_body_in_any_pieces_is_read_whole_up_to_its_limit() {
        let pieces: [&[&str]; 7] =
            [&[], &[""], &["abc"], &["", "abc"], &["abc", ""], &["a", "bc", "", "def"], &["", "", "ab", "c"]];
        for pieces in pieces {
            let whole = pieces.concat();
            for bytes_max in 0..=whole.len() + 1 {
                let stream = futures_util::stream::iter(pieces.iter().copied().map(Ok::<_, Infallible>));
                let read = collect(Body::from_stream(stream), bytes_max).await.unwrap();
                let expected = (whole.len() <= bytes_max).then(|| Bytes::from(whole.clone()));
                assert_eq!(read, expected, "{pieces:?} of at most {bytes_max}");
            }
        }
    }
}
