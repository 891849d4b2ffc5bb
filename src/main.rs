//! The program `fanfare`: the server and the commands around it.

mod cli;

use std::{env, process::ExitCode};
#[cfg(not(target_env = "msvc"))]
use tikv_jemallocator::Jemalloc;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let variable = |name: &str| env::var_os(name).map(|text| text.to_string_lossy().into_owned());
    let names = env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    cli::run(env::args_os(), &cli::Environment { variable: &variable, names })
}
