//! The program `fanfare`: the server and the commands around it.

mod cli;

use mimalloc::MiMalloc;
use std::{env, process::ExitCode};

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let variable = |name: &str| env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    cli::run(env::args_os(), &cli::Environment { variable: &variable, names })
}
