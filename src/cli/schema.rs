//! `fanfare schema`: the GraphQL schema as this build serves it.

use super::{Failure, terminal};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Compare with a file instead of printing; another text ends with exit code 1.
    #[arg(long)]
    check: bool,
    /// The file to compare with.
    #[arg(value_name = "FILE", default_value = "schema.graphql", requires = "check")]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let schema = fanfare::schema_sdl();
    let schema = format!("{}\n", schema.trim_end());
    if !arguments.check {
        return terminal::print(&schema);
    }
    let shown = arguments.file.display();
    let kept = std::fs::read_to_string(&arguments.file)
        .map_err(|error| Failure::failed(format!("{shown} cannot be read: {error}")))?;
    match difference(&kept, &schema) {
        None => terminal::print(&format!("{shown} is up to date\n")),
        Some((line, kept, current)) => Err(Failure::failed(format!(
            "{shown} is not the schema of this build; write it anew with `fanfare schema > {shown}`\n  line {line}\n  \
             - {kept}\n  + {current}"
        ))),
    }
}

/// The first line that differs, with both texts; `(end)` where one is shorter.
fn difference<'a>(kept: &'a str, current: &'a str) -> Option<(usize, &'a str, &'a str)> {
    const END: &str = "(end)";
    let (mut kept, mut current) = (kept.lines(), current.lines());
    for line in 1.. {
        match (kept.next(), current.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => return Some((line, one.unwrap_or(END), other.unwrap_or(END))),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_told_with_its_line_and_equal_texts_have_none() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(difference("a\nb\n", "a\nc\n"), Some((2, "b", "c")));
        assert_eq!(difference("a\n", "a\nc\n"), Some((2, "(end)", "c")));
        assert_eq!(difference("a\nb\n", "a\n"), Some((2, "b", "(end)")));
    }
}
