//! The one thing that a shared response cannot say by itself: how many older events it stands for, for this reader.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    extensions: serde_json::Map<String, Value>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
}

/// A GraphQL response with `extensions.replaced`. A text that is no response is given back as it is.
pub fn with_replaced(response: &str, replaced: u64) -> String {
    let Ok(mut read) = serde_json::from_str::<Response<'_>>(response) else { return response.to_owned() };
    read.extensions.insert("replaced".to_owned(), replaced.into());
    let extensions = Value::Object(read.extensions);
    match read.errors {
        None => format!(r#"{{"data":{},"extensions":{extensions}}}"#, read.data),
        Some(errors) => format!(r#"{{"data":{},"errors":{errors},"extensions":{extensions}}}"#, read.data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_stands_beside_the_cursor_and_nothing_else_changes() {
        let data = r#"{"events":{"data":{"extensions":{"cursor":"x"},"n":1.50}}}"#;
        let response = format!(r#"{{"data":{data},"extensions":{{"cursor":"c"}}}}"#);
        let expected = format!(r#"{{"data":{data},"extensions":{{"cursor":"c","replaced":3}}}}"#);
        assert_eq!(with_replaced(&response, 3), expected);

        let failed = r#"{"data":null,"extensions":{"cursor":"c"},"errors":[{"message":"m"}]}"#;
        let expected = r#"{"data":null,"errors":[{"message":"m"}],"extensions":{"cursor":"c","replaced":1}}"#;
        assert_eq!(with_replaced(failed, 1), expected);
    }
}
