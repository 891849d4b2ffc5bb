//! The kinds of values that are text: one that may be absent, a path that may be absent, lists.

use super::value::{OFF, Unit, Value, read_port};
use crate::event::Family;
use std::path::PathBuf;

const TEXT_BYTES_MAX: usize = 1024;

impl Value for Option<String> {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        match text {
            "" => Some(None),
            _ if text.contains(['\n', '\r']) || text.trim() != text || text.len() > TEXT_BYTES_MAX => None,
            _ => Some(Some(text.to_owned())),
        }
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        self.clone().map(Into::into)
    }
}

impl Value for Option<PathBuf> {
    fn read(text: &str, _: &Unit) -> Option<Self> {
        Some((!text.is_empty()).then(|| text.into()))
    }

    fn show(&self, unit: &Unit) -> Option<toml::Value> {
        self.as_ref()?.show(unit)
    }
}

impl Value for Vec<String> {
    fn read(text: &str, unit: &Unit) -> Option<Self> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        if matches!(unit, Unit::Algorithms) {
            let is_name = |item: &str| item.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return items.map(|item| is_name(item).then(|| item.to_owned())).collect();
        }
        items.map(|origin| is_origin(origin).then(|| origin.to_ascii_lowercase())).collect()
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(self.clone().into())
    }
}

impl Value for Vec<Family> {
    fn read(text: &str, unit: &Unit) -> Option<Self> {
        let Unit::Families(allowed) = unit else { return None };
        if text == OFF {
            return Some(Vec::new());
        }
        let mut families = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let family = allowed.iter().copied().find(|family| family.segment() == Some(name))?;
            if !families.contains(&family) {
                families.push(family);
            }
        }
        Some(families)
    }

    fn show(&self, _: &Unit) -> Option<toml::Value> {
        Some(self.iter().filter_map(|family| family.segment()).collect::<Vec<_>>().into())
    }
}

/// Is it scheme, host and perhaps port, as browsers send it (RFC 6454, section 6.2)?
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let host = match rest.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => match read_port(port) {
            Some(_) => host,
            None => return false,
        },
        Some(_) | None => rest,
    };
    matches!(scheme, "http" | "https")
        && !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-[]:".contains(&byte))
}
